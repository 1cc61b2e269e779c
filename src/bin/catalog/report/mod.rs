//! `catalog report`: the state of a store, for a person who looks after it.

mod data;
mod markup;
mod models;
mod next;
mod page;
mod picture;
mod summary;
mod svg;
mod treemap;

use std::path::PathBuf;

use serde::Serialize;

use crate::app::App;
use crate::du;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::json::Line;
use crate::write_file;

pub(crate) use summary::Summary;

/// Show what is on the disk, what would go next, and what was not checked for long
///
/// Prints a summary. With --html, it writes a page instead. The page has a picture of the disk, which distinguishes
/// what only one model needs, what models share, what gc can take and what is in quarantine; a table of all models that
/// can be sorted; what gc would take next and why; and what is damaged or was not checked for long. It is one file, and
/// loads nothing.
///
/// The report writes nothing to the store, and reads no content. If the store's own limits evict no model, it also
/// shows what would go first if half of the used room had to be free.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog report
  catalog report --html report.html
  catalog report --html - | ssh host 'cat > /srv/www/models.html'
  catalog report --json | jq 'select(.type == \"report\").usage.physical_bytes'")]
pub(crate) struct Args {
    /// Write a page to this file, and replace what is there; - for standard output
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// The JSON of `report --html`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Written {
    /// The page, absolute.
    path: String,
    /// Its size.
    size_bytes: u64,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let is_stdout = self.html.as_ref().is_some_and(|path| path.as_os_str() == "-");
        if is_stdout && app.json() {
            return Err(Failure::usage("--html - and --json both want standard output")
                .with_hint("give --html a file, or leave one of them out"));
        }
        let catalog = app.open()?;
        let state = data::State::gather(&catalog)?;
        app.note_unreadable(&state.root, &state.usage.unreadable, du::NOT_COUNTED);
        match self.html {
            Some(_) if is_stdout => {
                let page = page::page(&state, &app.command());
                app.out.raw(page.as_bytes());
            }
            Some(path) => {
                let page = page::page(&state, &app.command());
                let path = write_file::write(&path, &state.root, page.as_bytes(), "--html -")?;
                let size_bytes = page.len() as u64;
                let written = Written { path: path.to_string_lossy().into_owned(), size_bytes };
                app.receipt(Line::ReportWritten(written), |app| {
                    let words = format!("wrote {}: ", human::size(size_bytes)).into_bytes();
                    [words.as_slice(), &app.out.shown_path(&path)].concat()
                });
            }
            None => print(app, &state),
        }
        Ok(())
    }
}

fn print(app: &mut App, state: &data::State) {
    let summary = Summary::from(state);
    if !app.json() {
        return summary::print(app, state, &summary);
    }
    for model in &state.models {
        app.out.json(&Line::model_with(&model.record, Some(model.exclusive_bytes), None, None));
    }
    app.out.json(&Line::Report(&summary));
}
