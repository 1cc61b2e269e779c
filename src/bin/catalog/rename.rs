//! `catalog rename`: another id for a model.

use catalog_core::Key;

use crate::app::App;
use crate::args::NewId;
use crate::failure::Outcome;
use crate::json::Line;

/// Give a model another id
///
/// Everything else stays: content, source, trust, pins and times. The path changes, because the id is part of it; a
/// process that has the old path open is not affected. It is an error if the new id exists.
#[derive(clap::Args)]
#[command(visible_alias = "mv")]
#[command(after_help = "Examples:
  catalog rename file:/downloads/llama3-8b.gguf llama3")]
pub(crate) struct Args {
    #[command(flatten)]
    named: NewId,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let NewId { target, new_id } = self.named;
        let catalog = app.open_with_locks()?;
        let old = &target.model;
        let record = target.found(catalog.rename(Key::typed(old), &new_id), &catalog, app)?;
        app.receipt(Line::model(&record), |app| {
            format!("renamed {} to {}", app.out.shown(old), app.out.shown(&record.entry.id)).into_bytes()
        });
        Ok(())
    }
}
