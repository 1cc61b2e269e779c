//! `catalog attach`: documents of models.

use std::path::PathBuf;

use catalog_core::{AttachedDocument, DocumentKind, FsCatalog, Key, NewDocument};
use serde::Serialize;

use crate::app::App;
use crate::args::{OneModel, word};
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::json::Line;
use crate::table::Column;

const KINDS: &[(DocumentKind, &str)] = &[
    (DocumentKind::Sbom, "a bill of materials"),
    (DocumentKind::Signature, "a signature"),
    (DocumentKind::Doc, "anything else"),
];

const COLUMNS: [Column; 5] = [
    Column::text("NAME", 4),
    Column::text("TYPE", 4),
    Column::number("SIZE", 4),
    Column::text("DIGEST", 6),
    Column::text("ATTACHED", 8),
];

/// Keep a document with a model
///
/// Such as its signature, its bill of materials, or another one. The document is stored beside the model, and belongs to its content: `verify` checks it, `tag` and `rename` keep it,
/// and it goes when the model is removed or its id gets other content. Engines do not see it. It has at most 64 MiB.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog bom llama3 -o llama3.cdx.json && catalog attach llama3 llama3.cdx.json --type sbom
  catalog attach llama3 review.pdf --name review-2.pdf
  catalog attach llama3 --list
  catalog attach llama3 --get llama3.cdx.json > bom.json
  catalog detach llama3 llama3.cdx.json")]
pub(crate) struct Args {
    #[command(flatten)]
    target: OneModel,
    /// The document
    #[arg(value_name = "FILE", required_unless_present_any = ["list", "get"])]
    file: Option<PathBuf>,
    /// What it is
    #[arg(long = "type", value_name = "TYPE", default_value = "doc", value_parser = word(KINDS, DocumentKind::as_str))]
    kind: DocumentKind,
    /// Its name, if it is not that of the file
    #[arg(long)]
    name: Option<String>,
    /// Replace a document that has the same name or the same bytes
    #[arg(long)]
    replace: bool,
    /// List the documents of the model
    #[arg(long, conflicts_with_all = ["file", "get"])]
    list: bool,
    /// Write the document with this name to standard output
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    get: Option<String>,
}

/// A document, and its model.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Of<'a> {
    /// The model.
    id: &'a str,
    #[serde(flatten)]
    document: &'a AttachedDocument,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let typed = Key::typed(&self.target.model);
        let Some(file) = &self.file else {
            let catalog = app.open()?;
            let id = self.target.found(self.id(&catalog), &catalog, app)?;
            return match self.get {
                Some(name) => get(app, &catalog, &id, &name),
                None => list(app, &catalog, &id),
            };
        };
        let mut new = NewDocument::read(self.kind, file)?.with_replace(self.replace);
        new = match &self.name {
            Some(name) => new.with_name(name.as_str()),
            None => new,
        };
        let catalog = app.open_with_locks()?;
        let id = self.target.found(catalog.attach(typed, &new), &catalog, app)?.entry.id;
        let documents = catalog.documents(id.as_str())?;
        if let Some(document) = documents.iter().find(|document| document.name == new.name) {
            app.receipt(Line::Attached(Of { id: &id, document }), |app| {
                let name = app.out.shown(&document.name);
                format!("attached {name} to {} ({})", app.out.shown(&id), document.kind).into_bytes()
            });
        }
        Ok(())
    }

    fn id(&self, catalog: &FsCatalog) -> catalog_core::Result<String> {
        let record = catalog.record(Key::typed(&self.target.model))?;
        let not_found = || catalog_core::Error::not_found(&self.target.model, catalog.root());
        record.map(|record| record.entry.id).ok_or_else(not_found)
    }
}

fn list(app: &mut App, catalog: &FsCatalog, id: &str) -> Outcome {
    let documents = catalog.documents(id)?;
    if app.json() {
        documents.iter().for_each(|document| app.out.json(&Line::Document(Of { id, document })));
        return Ok(());
    }
    let row = |document: &AttachedDocument| {
        vec![
            app.out.shown(&document.name).into_owned(),
            document.kind.clone(),
            document.size_bytes.map_or_else(|| "lost".to_owned(), human::size),
            human::short_digest(&document.digest),
            human::moment(document.attached_ms),
        ]
    };
    let rows: Vec<_> = documents.iter().map(row).collect();
    match rows.is_empty() {
        true => app.note(&format!("{} has no documents", app.out.shown(id))),
        false => app.table(&COLUMNS, &rows, 0),
    }
    Ok(())
}

fn get(app: &mut App, catalog: &FsCatalog, id: &str, name: &str) -> Outcome {
    match catalog.document(id, name)? {
        Some(bytes) => {
            app.out.raw(&bytes);
            Ok(())
        }
        None => Err(no_document(app, id, name)),
    }
}

pub(crate) fn no_document(app: &App, id: &str, name: &str) -> Failure {
    Failure::not_found(format!("could not find the document {name:?}: {id:?} has none with this name"))
        .with_hint(format!("`{} attach {} --list` shows those that it has", app.command(), crate::text::shell_word(id)))
}
