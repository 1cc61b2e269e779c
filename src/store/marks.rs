//! Changes to an entry that do not touch its content, such as pins and retirement.

use std::time::Duration;

use super::{Shared, Store};
use crate::entry::{LifecycleState, Pin, Record, check_id};
use crate::error::Result;
use crate::fs::now_ms;
use crate::index::{Change, StoredRecord};

impl Store {
    pub(crate) fn set_state(&self, id: &str, state: LifecycleState) -> Result<()> {
        self.edit(&[id], &mut |id, old| {
            let mut record = old.ok_or_else(|| self.not_found(id))?;
            if record.lifecycle == state {
                return Ok(Change::Keep);
            }
            record.set_lifecycle(state, now_ms());
            Ok(Change::Put(Box::new(record)))
        })
    }

    pub(crate) fn pin(&self, id: &str, name: &str, lifetime: Option<Duration>) -> Result<Record> {
        check_id(name)?;
        self.edit_record(id, &mut |record, now_ms| {
            let lifetime_ms = lifetime.map(|lifetime| u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX));
            let expiry_ms = lifetime_ms.map(|ms| now_ms.saturating_add(ms));
            record.pins.insert(name.to_owned(), Pin { created_ms: now_ms, expiry_ms });
        })
    }

    /// `None` removes all pins.
    pub(crate) fn unpin(&self, id: &str, name: Option<&str>) -> Result<Record> {
        self.edit_record(id, &mut |record, _| record.pins.retain(|pin, _| name.is_some_and(|name| name != pin)))
    }

    /// Records that the content of a record is also at `place`, unless the id has got other content in the meantime.
    #[cfg(feature = "net")]
    pub(crate) fn note_pushed(&self, pushed: &Record, place: &str) -> Result<()> {
        let id = pushed.entry.id.as_str();
        self.edit_record(id, &mut |record, now_ms| {
            if record.digest == pushed.entry.digest {
                record.pushed.insert(place.to_owned(), now_ms);
            }
        })?;
        Ok(())
    }

    fn edit_record(&self, id: &str, edit: &mut dyn FnMut(&mut StoredRecord, u64)) -> Result<Record> {
        let mut edited = None;
        Shared::lock(self)?.record(&[id], false, &mut |_, old| {
            let mut record = old.ok_or_else(|| self.not_found(id))?;
            let before = record.clone();
            edit(&mut record, now_ms());
            edited = Some(record.clone().into_record(id.to_owned(), &self.root));
            if record == before {
                return Ok(Change::Keep);
            }
            record.updated_ms = now_ms();
            Ok(Change::Put(Box::new(record)))
        })?;
        edited.ok_or_else(|| self.not_found(id))
    }
}
