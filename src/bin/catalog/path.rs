//! `catalog path`: where a model is, for an engine to open.

use catalog_core::{CatalogEntry, Key, LifecycleState, ResolvedModel};

use crate::app::App;
use crate::args::{OneModel, Unchecked};
use crate::failure::Outcome;
use crate::json::Line;
use crate::text::argument;

/// Print the path of a model, and nothing else
///
/// Prints the exact bytes of the path and a line break. If inode, size or modification time of a file are not those
/// of its last full check, it first checks the file in full. It does not give out damaged content; the exit code is 4
/// then. It notes the use of the model, at most once an hour: for room, `gc` first takes models that were not used
/// for long, and none that were used within the hour. `catalog lease` holds a model for longer.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  llama-server -m \"$(catalog path llama3)\"
  catalog path ./llama3-8b.gguf")]
pub(crate) struct Args {
    #[command(flatten)]
    target: OneModel,
    #[command(flatten)]
    unchecked: Unchecked,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let catalog = self.unchecked.apply(app.open()?, app);
        let resolved = catalog.resolve(Key::typed(&self.target.model));
        let entry = self.target.found(resolved, &catalog, app)?.entry;
        note_if_retired(app, &entry);
        print(app, &entry);
        Ok(())
    }
}

/// Notes on standard error that the model is retired.
pub(crate) fn note_if_retired(app: &App, entry: &CatalogEntry) {
    if entry.lifecycle == LifecycleState::Retired {
        let (command, id) = (app.command(), argument(&entry.id));
        app.note(&format!("{} is retired; `{command} activate {id}` reverses that", entry.id));
    }
}

/// Prints the path.
pub(crate) fn print(app: &mut App, entry: &CatalogEntry) {
    if app.json() {
        app.out.json(&Line::Path(&ResolvedModel { id: entry.id.clone(), local_path: entry.local_path.clone() }));
    } else {
        app.out.line(entry.local_path.as_os_str().as_encoded_bytes());
    }
}
