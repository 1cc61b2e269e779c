//! `catalog tag`: a second id for a model.

use catalog_core::Key;

use crate::app::App;
use crate::args::NewId;
use crate::failure::Outcome;
use crate::json::Line;

/// Give a model a second id
///
/// Both ids have the same content, stored once, and the same source. They are independent: each can be retired, pinned
/// and removed without the other. The new one has no pins.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog tag hf:org/repo production
  catalog path production")]
pub(crate) struct Args {
    #[command(flatten)]
    named: NewId,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let NewId { target, new_id } = self.named;
        let catalog = app.open_with_locks()?;
        let tagged = catalog.tag(Key::typed(&target.model), &new_id);
        let record = target.found(tagged, &catalog, app)?;
        app.receipt(Line::model(&record), |app| {
            format!("tagged {} as {}", app.out.shown(&target.model), app.out.shown(&record.entry.id)).into_bytes()
        });
        Ok(())
    }
}
