//! `catalog list`: what is here.

use catalog_core::{LifecycleState, Record};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};

use crate::app::App;
use crate::args::word;
use crate::failure::Outcome;
use crate::human;
use crate::json::Line;
use crate::output::Output;

/// List the models that are here
///
/// One line a model, sorted by id. SIZE is what an engine sees; models that share their bytes are stored once.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog list
  catalog list --state retired
  catalog list --json | jq -r 'select(.size > 1e10) | .id'")]
pub(crate) struct Args {
    /// Only the models in this state
    #[arg(long, value_parser = word(&STATES, LifecycleState::as_str))]
    state: Option<LifecycleState>,
}

const STATES: [(LifecycleState, &str); 2] =
    [(LifecycleState::Active, "In use or ready for use"), (LifecycleState::Retired, "On their way out")];

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let catalog = app.open()?;
        let mut records = catalog.records()?;
        let is_empty = records.is_empty();
        records.retain(|record| self.state.is_none_or(|state| record.entry.lifecycle == state));
        if app.json() {
            for record in &records {
                app.out.json(&Line::from(record));
            }
        } else if !records.is_empty() {
            let table = table(&records, &app.out);
            app.out.line(table.trim_fmt());
        } else if is_empty {
            let root = catalog.root().display();
            app.note(&format!("the catalog at {root} is empty; `{} stage FILE` brings a model in", app.command()));
        } else {
            app.note(&format!("no model is in this state; `{} list` shows all", app.command()));
        }
        Ok(())
    }
}

/// On a terminal a long id goes on on the next line; elsewhere each model is one line, and its id is exact.
fn table(records: &[Record], out: &Output) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(if out.is_terminal() {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    });
    table.set_header(["ID", "SIZE", "STATE", "TRUST", "KIND", "LAST USED"]);
    for record in records {
        table.add_row([
            out.shown(&record.entry.id).into_owned(),
            human::size(record.size_bytes),
            record.entry.lifecycle.as_str().to_owned(),
            if record.damaged_ms.is_some() { "DAMAGED" } else { record.trust.as_str() }.to_owned(),
            record.kind.as_str().to_owned(),
            record.last_used_ms.map_or_else(|| "never".to_owned(), human::ago),
        ]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        column.set_constraint(match index {
            0 => ColumnConstraint::LowerBoundary(Width::Fixed(12)),
            _ => ColumnConstraint::ContentWidth,
        });
    }
    if let Some(size) = table.column_mut(1) {
        size.set_cell_alignment(CellAlignment::Right);
    }
    table
}
