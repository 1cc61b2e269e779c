//! `catalog export`: shows models in the folders of other tools.

use std::collections::BTreeSet;
use std::path::PathBuf;

use catalog_core::{
    Export, ExportLayout, ExportOptions, ExportReceipt, ExportRemoval, ExportState, ExportSync, ExportWay, FsCatalog,
    SyncAction,
};

use crate::app::App;
use crate::args::{find_all, word};
use crate::complete;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::json::Line;
use crate::table::Column;

/// Show models in the folder of another tool, without a copy where that is safe
///
/// The tool finds the model as if it had fetched it itself. A file there is a hardlink of the stored one if the tool
/// never writes into finished files, and otherwise a reflink or a copy; it says which, and why. It is never a symlink
/// into the catalog. What the tool has already stays, and a file with other bytes in the way is an error before
/// anything is made.
///
/// The catalog remembers what it has made. --list shows all exports, and whether they are still whole. --remove takes
/// away what is still as it was made, and nothing that the tool had before or has replaced. --sync makes again what is
/// missing or was interrupted, and gives an export the new content of its id. It does not make again what you have
/// removed with the tool (`ollama rm`, `hf cache rm`): it forgets that. If an id is no longer in the catalog, or the
/// folder is not there, it does nothing. That the tool has moved a branch on is no damage.
#[derive(clap::Args)]
#[command(override_usage = "catalog export [OPTIONS] --as <LAYOUT> <ID|REF>...\n       catalog export --list\n       \
                            catalog export --remove <ID>...\n       catalog export --sync")]
#[command(after_help = "Examples:
  catalog export hf:org/model --as hf
  catalog export llama3 --as ollama --repo llama3:8b
  catalog export llama3 --as lmstudio --repo me/llama3
  catalog export llama3 mistral --as oci --to ./layout
  catalog export llama3 --as oci --to llama3.tar && skopeo inspect oci-archive:llama3.tar
  catalog export --list
  catalog export --remove llama3 --as ollama
  catalog export --sync")]
pub(crate) struct Args {
    /// Ids, references, patterns such as 'hf:org/*', digests or the first digits of one; with --remove, also ids that
    /// are no longer in the catalog
    #[arg(value_name = "ID|REF", required_unless_present_any = ["list", "sync"], conflicts_with_all = ["list", "sync"])]
    #[arg(add = complete::models())]
    models: Vec<String>,
    /// The layout
    #[arg(long = "as", value_name = "LAYOUT", value_parser = word(LAYOUTS, ExportLayout::as_str))]
    #[arg(required_unless_present_any = ["list", "sync", "remove"], conflicts_with = "sync")]
    layout: Option<ExportLayout>,
    /// The tool's folder [default: where the tool looks, by its environment variables]; for `oci` a directory, or an
    /// archive if the name ends in .tar
    #[arg(long, value_name = "DIR", conflicts_with = "sync")]
    to: Option<PathBuf>,
    /// The name there: ORG/NAME; for Ollama MODEL:TAG or NAMESPACE/MODEL:TAG; for `oci` the tag; for `dir` one file name
    /// [default: from the reference or the id]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["list", "remove", "sync"])]
    repo: Option<String>,
    /// The version there: for `hf` and `llamacpp` the commit, for others a word such as a tag
    #[arg(long, value_name = "COMMIT", conflicts_with_all = ["list", "remove", "sync"])]
    revision: Option<String>,
    /// Show all exports, and whether they are still whole
    #[arg(long, conflicts_with_all = ["remove", "sync"])]
    list: bool,
    /// Remove the exports of these ids; --as and --to select some of them
    #[arg(long, conflicts_with = "sync")]
    remove: bool,
    /// Bring all exports up to date
    #[arg(long)]
    sync: bool,
}

const LAYOUTS: &[(ExportLayout, &str)] = &[
    (ExportLayout::Hf, "the cache of huggingface_hub, for vLLM, SGLang, transformers and others"),
    (ExportLayout::LlamaCpp, "the cache of llama.cpp"),
    (ExportLayout::Ollama, "the store of Ollama; the model is one GGUF file"),
    (ExportLayout::RamaLama, "the store of RamaLama"),
    (ExportLayout::LmStudio, "the folder of LM Studio"),
    (ExportLayout::ModelScope, "the cache of ModelScope"),
    (ExportLayout::Oci, "an OCI image layout, for skopeo, oras and others"),
    (ExportLayout::Dir, "a plain file, or a folder with the files"),
];

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let catalog = app.open_with_locks()?;
        match (self.list, self.sync, self.remove) {
            (true, ..) => self.list(app, &catalog),
            (_, true, _) => sync(app, &catalog),
            (.., true) => self.remove(app, &catalog),
            _ => self.export(app, &catalog),
        }
    }

    fn export(self, app: &mut App, catalog: &FsCatalog) -> Outcome {
        let Some(layout) = self.layout else { return Err(Failure::usage("--as names the layout")) };
        let (mut ids, mut seen, mut first) = (Vec::new(), BTreeSet::new(), None);
        for model in &self.models {
            match find_all(catalog, app, model) {
                Ok(records) => ids.extend(records.into_iter().map(|record| record.entry.id)),
                Err(failure) => drop(first.get_or_insert(app.tell(Some(model), &failure))),
            }
        }
        ids.retain(|id| seen.insert(id.clone()));
        if ids.len() > 1 && (self.repo.is_some() || self.revision.is_some()) {
            return Err(Failure::usage("--repo and --revision are of one model; export the models one by one"));
        }
        let options = ExportOptions::new(layout).with_to(self.to).with_repo(self.repo).with_revision(self.revision);
        catalog.export_many(&ids, &options, &mut |id, result| {
            match result {
                Ok(receipt) => {
                    for note in &receipt.notes {
                        app.note(note);
                    }
                    app.receipt(Line::Exported(&receipt), |app| exported(&receipt, app));
                }
                Err(error) => drop(first.get_or_insert(app.tell(Some(id), &error.into()))),
            }
            app.out.flush();
        })?;
        first.map_or(Ok(()), |exit| Err(Failure::Told(exit)))
    }

    fn is_meant(&self, export: &Export) -> bool {
        let to = self.to.as_ref().map(|to| to.canonicalize().or_else(|_| std::path::absolute(to)));
        self.layout.is_none_or(|layout| layout == export.layout)
            && to.is_none_or(|to| to.is_ok_and(|to| to == export.to))
    }

    fn list(&self, app: &mut App, catalog: &FsCatalog) -> Outcome {
        let (exports, unreadable): (Vec<_>, Vec<_>) = catalog.exports()?.into_iter().partition(Result::is_ok);
        let exports: Vec<Export> = exports.into_iter().flatten().filter(|export| self.is_meant(export)).collect();
        match app.json() {
            true => exports.iter().for_each(|export| app.out.json(&Line::Export(export))),
            false => table(app, &exports),
        }
        app.out.flush();
        let told = unreadable.into_iter().filter_map(Result::err).map(|error| app.tell(None, &error.into()));
        let first = told.collect::<Vec<_>>().into_iter().next();
        first.map_or(Ok(()), |exit| Err(Failure::Told(exit)))
    }

    fn remove(&self, app: &mut App, catalog: &FsCatalog) -> Outcome {
        // One that cannot be read has no id. `--list` tells of it.
        let exports: Vec<Export> = catalog.exports()?.into_iter().flatten().collect();
        let mut done = BTreeSet::new();
        app.each(self.models.iter().map(|model| (model, model)), |app, model| {
            let mut ids = vec![model.clone()];
            if exports.iter().all(|export| export.id != *model) {
                ids = find_all(catalog, app, model)?.into_iter().map(|record| record.entry.id).collect();
            }
            let meant = exports.iter().filter(|export| ids.contains(&export.id) && self.is_meant(export));
            let meant: Vec<&Export> = meant.filter(|export| done.insert(export.key.clone())).collect();
            if meant.is_empty() {
                let hint = format!("`{} export --list` shows what was exported", app.command());
                return Err(Failure::not_found(format!("could not find an export of {model:?}")).with_hint(hint));
            }
            app.each(meant.iter().map(|export| (&export.id, export)), |app, export| {
                if let Some(removal) = catalog.remove_export(&export.key)? {
                    app.receipt(Line::ExportRemoved(&removal), |app| removed(&removal, app));
                }
                Ok(())
            })
        })
    }
}

fn table(app: &mut App, exports: &[Export]) {
    let row = |export: &Export| {
        let (as_, to) = (export.layout.to_string(), export.to.display().to_string());
        vec![export.id.clone(), as_, export.state.to_string(), export.name.clone(), to]
    };
    let rows: Vec<Vec<String>> = exports.iter().map(row).collect();
    let columns = ["ID", "AS", "STATE", "NAME", "FOLDER"].map(|name| Column::text(name, 0));
    if !rows.is_empty() {
        app.table(&columns, &rows, 4);
    }
    for export in exports.iter().filter(|export| !export.differences.is_empty()) {
        const FEW: usize = 3;
        let mut differences = export.differences.iter().take(FEW).cloned().collect::<Vec<_>>().join("; ");
        if let more @ 1.. = export.differences.len().saturating_sub(FEW) {
            differences.push_str(&format!("; and {more} more"));
        }
        app.note(&format!("{} as {}: {differences}", export.id, export.layout));
    }
}

fn sync(app: &mut App, catalog: &FsCatalog) -> Outcome {
    let mut first = None;
    catalog.sync_exports(&mut |id, result| {
        match result {
            Ok(done) => {
                app.receipt(Line::ExportSynced(&done), |app| synced(&done, app));
                for note in &done.notes {
                    app.note(&format!("{}: {note}", done.id));
                }
            }
            Err(error) => drop(first.get_or_insert(app.tell(id, &error.into()))),
        }
        app.out.flush();
    })?;
    first.map_or(Ok(()), |exit| Err(Failure::Told(exit)))
}

fn exported(receipt: &ExportReceipt, app: &App) -> Vec<u8> {
    let how = match (receipt.way, receipt.copied_bytes) {
        (ExportWay::Kept, _) => "all of it was there".to_owned(),
        (ExportWay::Copy, bytes) => format!("by copies of {}", human::size(bytes)),
        (way, _) => format!("by {way}"),
    };
    let reason = match (&receipt.reason, receipt.way) {
        (Some(reason), ExportWay::Reflink | ExportWay::Copy) => format!(": {reason}"),
        _ => String::new(),
    };
    let kept = match receipt.kept_files {
        1 if receipt.way != ExportWay::Kept => ", 1 file was there".to_owned(),
        files @ 2.. if receipt.way != ExportWay::Kept => format!(", {files} files were there"),
        _ => String::new(),
    };
    let mut words = format!(
        "exported {} as {} {}, {how}{kept}{reason}\n  ",
        app.out.shown(&receipt.id),
        receipt.layout,
        app.out.shown(&receipt.name)
    )
    .into_bytes();
    words.extend_from_slice(&app.out.shown_path(&receipt.path));
    words
}

fn removed(removal: &ExportRemoval, app: &App) -> Vec<u8> {
    let to = removal.to.to_string_lossy();
    let mut words = format!("removed the export of {} in {}", app.out.shown(&removal.id), app.out.shown(&to));
    words.push_str(&match removal.removed_files {
        0 => ": nothing of it was left".to_owned(),
        files => format!(": {}", human::count(files, "name")),
    });
    for kept in &removal.kept {
        words.push_str(&format!("\n  kept {}", app.out.shown(kept)));
    }
    words.into_bytes()
}

fn synced(done: &ExportSync, app: &App) -> Vec<u8> {
    let did = match (done.action, done.state) {
        (SyncAction::Nothing, ExportState::Whole) => "is whole".to_owned(),
        (SyncAction::Nothing, state) => format!("stays as it is ({state})"),
        (SyncAction::Made, state) => format!("was {state}, and is made again"),
        (SyncAction::Updated, _) => "has the new content".to_owned(),
        (SyncAction::Forgotten, state) => format!("was {state}, and is forgotten"),
        (action, _) => action.to_string(),
    };
    format!("{} as {} {}: {did}", app.out.shown(&done.id), done.layout, app.out.shown(&done.name)).into_bytes()
}
