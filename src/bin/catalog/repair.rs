//! `catalog repair`: makes damaged models whole again.

use std::path::PathBuf;
use std::sync::Arc;

use catalog_core::{Key, LocalSource, ModelRef, Record, RepairOptions, RepairSource};

use crate::app::App;
use crate::args::OneModel;
use crate::failure::Outcome;
use crate::human;
use crate::interrupt::cancel_on_signal;
use crate::json::Line;
use crate::net::Net;
use crate::progress::Progress;

/// Make a damaged model whole again from a good copy
///
/// Checks the model in full, reads only the damaged MiBs from the copy, and reuses the rest. It checks the whole
/// result before it replaces the damaged content, and rebuilds the path of the model and of all other models that
/// need the same bytes. It refuses a copy that is damaged in the same place.
///
/// Without `--from`, it tries copies in the store itself and the source of the model: its path, or the server that it
/// was fetched from, if a rule allows that; a server is asked only for the damaged parts. The damaged content stays
/// in `quarantine/`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog repair llama3
  catalog repair llama3 --from /mnt/backup/llama3-8b.gguf
  catalog repair llama3 --from /mnt/other-catalog")]
pub(crate) struct Args {
    #[command(flatten)]
    target: OneModel,
    /// A good copy: the file, the directory of a tree, or the root of another catalog; may be given more than once
    #[arg(long, value_name = "PATH")]
    from: Vec<PathBuf>,
    #[command(flatten)]
    net: Net,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let catalog = app.open_with_locks()?;
        app.note_unknown_room(&catalog);
        let progress = Arc::new(Progress::new(app));
        let cancel = cancel_on_signal();
        // A local source needs no server, and nothing from the environment about servers.
        let has_server = catalog.record(Key::typed(&self.target.model))?.is_some_and(|record| is_remote(&record));
        let catalog = if has_server && !self.net.is_offline() { self.net.apply(catalog, &cancel)? } else { catalog };
        let sources = self.from.into_iter().map(|path| Arc::new(LocalSource::new(path)) as Arc<dyn RepairSource>);
        let options =
            RepairOptions::default().with_from(sources.collect()).with_observer(progress.clone()).with_cancel(cancel);
        let report = catalog.repair(Key::typed(&self.target.model), &options);
        progress.clear();
        let report = self.target.found(report, &catalog, app)?;
        for path in &report.occupied {
            app.note(&format!("{} holds another file, and was left alone", path.display()));
        }
        if report.quarantined > 0 {
            let files = human::count(report.quarantined, "other file");
            app.note(&format!("{files} that stood in the model's place: in quarantine now"));
        }
        app.receipt(Line::Repaired(&report), |app| {
            let id = app.out.shown(&report.id);
            let others: Vec<String> = report
                .shown
                .iter()
                .filter(|other| **other != report.id)
                .map(|other| app.out.shown(other).into())
                .collect();
            let also = match others.is_empty() {
                true => String::new(),
                false => format!("\n  whole again with it: {}", others.join(", ")),
            };
            let words = match report.files {
                0 if report.shown.is_empty() => format!("{id} is whole: nothing to repair"),
                0 => format!("{id} is whole, and its path was made anew"),
                files => format!(
                    "repaired {id}: {} in {files} {}, {} read from copies",
                    human::size(report.repaired_bytes),
                    if files == 1 { "file" } else { "files" },
                    human::size(report.source_bytes)
                ),
            };
            (words + &also).into_bytes()
        });
        Ok(())
    }
}

fn is_remote(record: &Record) -> bool {
    let source = record.source.as_ref().map(|source| ModelRef::parse(&source.reference));
    source.is_some_and(|reference| !matches!(reference, Ok(ModelRef::File { .. })))
}
