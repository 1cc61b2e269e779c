//! `catalog unpin`: takes pins away.

use std::collections::BTreeMap;

use catalog_core::{Pin, Record};
use clap::builder::NonEmptyStringValueParser;

use crate::app::App;
use crate::args::Models;
use crate::complete;
use crate::failure::Outcome;
use crate::json::Line;
use crate::pins::{Pinned, holds};

/// Take pins away, so that `gc` may take the models again
///
/// It is no error if there was no such pin.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog unpin llama3
  catalog unpin llama3 mistral --as pool-7")]
pub(crate) struct Args {
    #[command(flatten)]
    targets: Models,
    /// Only the pin of this name [default: all pins]
    #[arg(long = "as", value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), add = complete::pins())]
    name: Option<String>,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let catalog = app.open_with_locks()?;
        self.targets.each(app, &catalog, |app, before| {
            let record = catalog.unpin(&before.entry.id, self.name.as_deref())?;
            app.receipt(Line::Pins(Pinned::from(&record)), |app| words(&before.pins, &record, app));
            Ok(())
        })
    }
}

fn words(before: &BTreeMap<String, Pin>, record: &Record, app: &App) -> Vec<u8> {
    let id = app.out.shown(&record.entry.id);
    let is_changed = before.len() > record.pins.len();
    let mut words = if is_changed { format!("unpinned {id}") } else { format!("{id} had no such pin") };
    let left = record.pins.iter().filter(|(_, pin)| holds(pin));
    let left: Vec<_> = left.map(|(name, _)| app.out.shown(name)).collect();
    if !left.is_empty() {
        words.push_str(&format!("; still pinned as {}", left.join(", ")));
    }
    words.into_bytes()
}
