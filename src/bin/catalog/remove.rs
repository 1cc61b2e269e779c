//! `catalog remove`: takes models out of the catalog, and frees what only they needed.

use catalog_core::{Error, Key, RemoveOptions, RemoveReceipt};

use crate::app::App;
use crate::args::{Models, named};
use crate::failure::Outcome;
use crate::human;
use crate::json::Line;

/// Remove models, and free what only they needed
///
/// Content that another model shares, or that a running process holds, stays; what stays is listed with the reason. The
/// files that the models were staged from are not touched. A file that somebody else has put beside a model in its folder is
/// kept in `quarantine/`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog remove llama2
  catalog list --state retired --json | jq -r .id | xargs -d '\\n' catalog remove")]
pub(crate) struct Args {
    #[command(flatten)]
    targets: Models,
    /// Say what would be removed and what would come free, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove them also when they are pinned
    #[arg(long)]
    force: bool,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let catalog = app.open_with_locks()?;
        let options = RemoveOptions::default().with_force(self.force).with_dry_run(self.dry_run);
        app.each(named(&self.targets.models), |app, model| {
            let receipt = catalog.remove_with(Key::typed(model), &options)?;
            let receipt = receipt.ok_or_else(|| Error::not_found(model, catalog.root()))?;
            app.receipt(Line::Removed(&receipt), |app| words(&receipt, app));
            Ok(())
        })
    }
}

fn words(receipt: &RemoveReceipt, app: &App) -> Vec<u8> {
    let (removed, reclaimed) = match receipt.removed {
        true => ("removed", "reclaimed"),
        false => ("would remove", "to be reclaimed"),
    };
    let reclaimed = match receipt.blobs_removed {
        0 if receipt.bytes_reclaimed == 0 => format!("nothing {reclaimed}"),
        0 | 1 => format!("{} {reclaimed}", human::size(receipt.bytes_reclaimed)),
        blobs => format!("{} {reclaimed} in {blobs} blobs", human::size(receipt.bytes_reclaimed)),
    };
    let mut words = format!("{removed} {}: {reclaimed}", app.out.shown(&receipt.id));
    if receipt.shared_bytes > 0 {
        let shared = human::size(receipt.shared_bytes);
        words.push_str(&format!("; {shared} stay in use by files outside the store that have the same bytes"));
    }
    for kept in &receipt.kept {
        words.push_str(&format!(
            "\n  kept {}, {}: {}",
            human::short_digest(&kept.digest),
            human::size(kept.bytes),
            app.out.shown(&kept.reason)
        ));
    }
    words.into_bytes()
}
