//! `catalog pin`: keeps models from every collection.

use std::time::Duration;

use catalog_core::Record;
use clap::builder::NonEmptyStringValueParser;

use crate::amount;
use crate::app::App;
use crate::args::Models;
use crate::failure::Outcome;
use crate::json::Line;
use crate::pins::{Pinned, lasts};

/// Keep models, whatever `gc` is asked for
///
/// The catalog records the pin, so it needs no running process and survives a restart. Each pin has a name, so that
/// several users of a model do not remove each other's pins; pinning again under the same name replaces that pin.
/// `remove` refuses a pinned model without --force.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog pin llama3
  catalog pin llama3 mistral --as pool-7 --for 2h
  catalog gc --dry-run")]
pub(crate) struct Args {
    #[command(flatten)]
    targets: Models,
    /// Who, or what, needs them
    #[arg(long = "as", value_name = "NAME", default_value = "default", value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// How long the pin holds: 90s, 15m, 2h, 30d, 1w [default: until `catalog unpin`]
    #[arg(long = "for", value_name = "TIME", value_parser = amount::lifetime)]
    lifetime: Option<Duration>,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let catalog = app.open_with_locks()?;
        self.targets.each(app, &catalog, |app, record| {
            let record = catalog.pin(&record.entry.id, &self.name, self.lifetime)?;
            app.receipt(Line::Pins(Pinned::from(&record)), |app| self.words(&record, app));
            Ok(())
        })
    }

    fn words(&self, record: &Record, app: &App) -> Vec<u8> {
        let (id, name) = (app.out.shown(&record.entry.id), app.out.shown(&self.name));
        let end = record.pins.get(&self.name).map(lasts).unwrap_or_default();
        format!("pinned {id} as {name}, {end}").into_bytes()
    }
}
