//! `catalog path`: where a model is, for an engine to open.

use catalog_core::{CatalogEntry, FsCatalog, Key, LifecycleState, ResolvedModel, StoredFile};

use crate::app::App;
use crate::args::{OneModel, Unchecked};
use crate::failure::{Failure, Outcome};
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
  catalog path ./llama3-8b.gguf
  llama-server -m \"$(catalog path --entry hf:org/model-GGUF)\"      # a split model: the first part")]
pub(crate) struct Args {
    #[command(flatten)]
    target: OneModel,
    /// Print the path of this file of the model, such as config.json or mmproj.gguf
    #[arg(long, value_name = "NAME", conflicts_with = "entry")]
    file: Option<String>,
    /// Print the path that an engine is given: of a model with GGUF files, the file (of a split one, the first part),
    /// and otherwise the model's own path
    #[arg(long)]
    entry: bool,
    #[command(flatten)]
    unchecked: Unchecked,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let catalog = self.unchecked.apply(app.open()?, app);
        let resolved = catalog.resolve(Key::typed(&self.target.model));
        let mut entry = self.target.found(resolved, &catalog, app)?.entry;
        note_if_retired(app, &entry);
        if let Some(file) = self.chosen(&catalog, &entry)? {
            entry.local_path = file.local_path;
        }
        print(app, &entry);
        Ok(())
    }

    /// The file of the model that was asked for. `None`: the model itself.
    fn chosen(&self, catalog: &FsCatalog, entry: &CatalogEntry) -> Result<Option<StoredFile>, Failure> {
        let id = entry.id.as_str();
        let find = |path: &str| Ok(catalog.files(id)?.into_iter().find(|file| file.path == path));
        match &self.file {
            Some(name) => match find(name)? {
                None => Err(Failure::not_found(format!("could not find the file {name:?} in {id}"))),
                found => Ok(found),
            },
            None if self.entry => catalog.facts(id)?.entry.map_or(Ok(None), |path| find(&path)),
            None => Ok(None),
        }
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
