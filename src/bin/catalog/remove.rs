//! `catalog remove`: takes models out of the catalog, and frees what only they needed.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write as _};

use catalog_core::{Error, FsCatalog, Record, RemoveOptions, RemoveReceipt};

use crate::app::App;
use crate::args::{Models, find_all};
use crate::failure::{Exit, Failure, Outcome};
use crate::human;
use crate::json::Line;
use crate::text::visible;

/// Remove models, and free what only they needed
///
/// Content that another model shares, or that a running process holds, stays, and is listed with the reason. The
/// files from which the models were staged are not touched. A file that another program has put into the folder of a
/// model goes to `quarantine/`.
///
/// On a terminal, it asks before it removes more than one model. Without a terminal it cannot ask: then a pattern, a
/// digest or a path that stands for several models needs --yes, but models that are named one by one do not.
#[derive(clap::Args)]
#[command(visible_alias = "rm")]
#[command(after_help = "Examples:
  catalog remove llama2
  catalog remove 'hf:org/*' --dry-run
  catalog remove 'hf:org/*' --yes
  catalog list --state retired -q | xargs -d '\\n' catalog remove")]
pub(crate) struct Args {
    #[command(flatten)]
    targets: Models,
    /// Say what would be removed and what would come free, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Remove them also when they are pinned
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// What an argument stands for.
struct Found {
    text: String,
    records: Result<Vec<Record>, Failure>,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let catalog = app.open_with_locks()?;
        let found = self.find(app, &catalog);
        if !self.dry_run && !self.yes && !self.is_agreed(app, &found)? {
            app.note("nothing was removed");
            return Err(Failure::Told(Exit::Failed));
        }
        let options = RemoveOptions::default().with_force(self.force).with_dry_run(self.dry_run);
        app.each(found.into_iter().map(|found| (found.text, found.records)), |app, records| {
            let records = records?;
            let ids: Vec<&String> = records.iter().map(|record| &record.entry.id).collect();
            app.each(ids.iter().map(|id| (id, id)), |app, id| {
                let receipt = catalog.remove_with(id.as_str(), &options)?;
                let receipt = receipt.ok_or_else(|| Error::not_found(id.as_str(), catalog.root()))?;
                app.receipt(Line::Removed(&receipt), |app| words(&receipt, app));
                Ok(())
            })
        })
    }

    /// What the arguments stand for, each model once.
    fn find(&self, app: &App, catalog: &FsCatalog) -> Vec<Found> {
        let mut seen = BTreeSet::new();
        let found = self.targets.models.iter().map(|text| {
            let mut records = find_all(catalog, app, text);
            if let Ok(records) = &mut records {
                records.retain(|record| seen.insert(record.entry.id.clone()));
            }
            Found { text: text.clone(), records }
        });
        found.collect()
    }

    /// Whether a person has agreed, or need not be asked.
    fn is_agreed(&self, app: &mut App, found: &[Found]) -> Result<bool, Failure> {
        let records = || found.iter().filter_map(|found| found.records.as_ref().ok());
        if records().map(Vec::len).sum::<usize>() <= 1 {
            return Ok(true);
        }
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            let several = found.iter().find(|found| found.records.as_ref().is_ok_and(|records| records.len() > 1));
            return several.map_or(Ok(true), |found| {
                let count = found.records.as_ref().map_or(0, Vec::len);
                let text = &found.text;
                Err(Failure::usage(format!(
                    "could not remove {text:?}: it stands for {count} models, and there is no terminal to ask on"
                ))
                .with_hint("--yes removes them, --dry-run lists them"))
            });
        }
        app.out.flush();
        let mut question = String::new();
        for record in records().flatten() {
            question.push_str(&format!("  {}  {}\n", human::size(record.size_bytes), visible(&record.entry.id)));
        }
        let count = records().map(Vec::len).sum::<usize>();
        let _ = write!(io::stderr(), "{question}remove these {count} models? [y/N] ");
        let mut answer = String::new();
        // The end of the input means no.
        io::stdin().read_line(&mut answer).map_err(|error| Error::io("read", "standard input", error))?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
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
    for export in &receipt.exports {
        let export = app.out.shown(export);
        words.push_str(&format!("\n  its export as {export} stays; `{} export --remove` takes it away", app.command()));
    }
    words.into_bytes()
}
