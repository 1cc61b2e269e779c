//! What `pin`, `unpin` and `show` say of pins.

use std::collections::BTreeMap;

use catalog_core::{Pin, Record};
use serde::Serialize;

use crate::human;

/// The JSON of `pin` and `unpin`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Pinned<'a> {
    /// The entry.
    id: &'a str,
    /// Its pins, by name.
    pins: &'a BTreeMap<String, Pin>,
}

impl<'a> From<&'a Record> for Pinned<'a> {
    fn from(record: &'a Record) -> Self {
        Pinned { id: &record.entry.id, pins: &record.pins }
    }
}

/// Until when the pin holds, or since when it does not.
pub(crate) fn lasts(pin: &Pin) -> String {
    match pin.expiry_ms {
        None => "for good".to_owned(),
        Some(ms) if holds(pin) => format!("until {}", human::moment(ms)),
        Some(ms) => format!("over since {}", human::moment(ms)),
    }
}

/// Whether the pin keeps its entry now.
pub(crate) fn holds(pin: &Pin) -> bool {
    pin.holds_at(human::now_ms())
}
