//! `catalog leases`: which process holds which model.

use catalog_core::LeaseHolder;

use crate::app::App;
use crate::failure::Outcome;
use crate::human;
use crate::json::Line;
use crate::output::Output;
use crate::table::Column;
use crate::text::visible;

/// Show which processes hold models, so that nothing takes them
///
/// Prints a line for each model and process. A lease holds content, so it holds all models that have the same
/// content. Content whose model was removed is shown by its digest, and goes when the lease ends.
///
/// On Linux, root sees all holders. Other users see their own processes, and the processes of others that took a lease
/// themselves rather than inherited it. A process in another container or on another host has no number here. A process
/// that has a model open without a lease is not shown; `catalog gc --dry-run` says that it keeps the model.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog leases
  catalog leases --json | jq -r 'select(.id == \"llama3\") | .pid'")]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let holders = app.open_with_locks()?.leases()?;
        if app.json() {
            for holder in &holders {
                app.out.json(&Line::Lease(holder));
            }
        } else if holders.is_empty() {
            app.note("no model is leased");
        } else {
            let rows: Vec<_> = holders.iter().map(|holder| row(holder, &app.out)).collect();
            app.table(&COLUMNS, &rows, 2);
        }
        Ok(())
    }
}

const COLUMNS: [Column; 3] = [Column::text("ID", 0), Column::text("PID", 0), Column::text("COMMAND", 0)];

fn row(holder: &LeaseHolder, out: &Output) -> Vec<String> {
    let removed = || format!("{} (removed)", human::short_digest(&holder.digest));
    vec![
        holder.id.as_deref().map_or_else(removed, |id| out.shown(id).into_owned()),
        holder.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        // Another program chose the text of its command, which may contain line breaks.
        holder.command.as_deref().map_or("who holds it is not known".into(), visible).into_owned(),
    ]
}
