//! `catalog leases`: who holds what.

use catalog_core::LeaseHolder;
use comfy_table::{ContentArrangement, Table};

use crate::app::App;
use crate::failure::Outcome;
use crate::human;
use crate::json::Line;
use crate::output::Output;

/// Show which processes hold models, so that nothing takes them
///
/// One line for each model and process. A lease is on content: models with the same content are all held by it. Content whose
/// model was removed meanwhile is shown by its digest, and goes when the lease ends.
///
/// Linux tells who holds a lease: to root of every process, to others of their own processes and of those that have taken the
/// lease themselves. Of a process in another container, or on another host, it is only known that there is one. A process
/// that has a model open without a lease is not shown here; `catalog gc --dry-run` says that it keeps the model.
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
            let table = table(&holders, &app.out);
            app.out.line(table.trim_fmt());
        }
        Ok(())
    }
}

/// Each holder is one line, however long its command is.
fn table(holders: &[LeaseHolder], out: &Output) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["ID", "PID", "COMMAND"]);
    for holder in holders {
        let removed = || format!("{} (removed)", human::short_digest(&holder.digest));
        table.add_row([
            holder.id.as_deref().map_or_else(removed, |id| out.shown(id).into_owned()),
            holder.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            // What stands in a command is another program's, and may have line breaks.
            holder.command.as_deref().map_or("who holds it is not known".into(), crate::text::visible).into_owned(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}
