//! What is noted of an entry without touching its content: that it is used, wanted, retired.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Shared, Store, each};
use crate::entry::{LifecycleState, Pin, Record, TOUCH_INTERVAL, check_id};
use crate::error::Result;
use crate::fs::lock::Wait;
use crate::fs::{Durability, now_ms};
use crate::index::{Change, StoredRecord};

/// How long noting a use may wait for a lock: whoever waits for a path does not wait for this.
const TOUCH_PATIENCE: Duration = Duration::from_millis(50);

impl Store {
    /// Notes that an entry is used now: at most once an hour, not durably, and never failing. Returns whether it was
    /// recorded.
    pub(crate) fn touch(&self, record: &Record) -> bool {
        self.touch_all(std::slice::from_ref(record)) > 0
    }

    /// The same for several entries, in one write for each shard; one that cannot be written loses the others nothing.
    /// Returns how many were recorded.
    pub(crate) fn touch_all(&self, records: &[Record]) -> usize {
        let due = records.iter().filter(|record| is_due(record.last_used_ms, now_ms()));
        let ids: Vec<&str> = due.map(|record| record.entry.id.as_str()).collect();
        if ids.is_empty() {
            return 0;
        }
        let begun = Instant::now();
        let mut touched = BTreeSet::new();
        let edited = each(&ids, &|_| false, &mut |ids| {
            // All of it waits no longer than that.
            let mut handle = self.with_lock_wait(Wait::UpTo(TOUCH_PATIENCE.saturating_sub(begun.elapsed())));
            handle.settings.durability = Durability::Relaxed;
            handle.edit(ids, &mut |id, old| {
                let now = now_ms();
                touched.remove(id);
                Ok(match old {
                    Some(mut record) if is_due(record.last_used_ms, now) => {
                        record.last_used_ms = Some(now);
                        touched.insert(id.to_owned());
                        Change::Put(Box::new(record))
                    }
                    _ => Change::Keep,
                })
            })
        });
        let is_noted = |(id, result): (&str, Result<()>)| match result {
            Ok(()) => touched.contains(id),
            Err(error) => {
                tracing::debug!(id, %error, "its use was not recorded");
                false
            }
        };
        edited.into_iter().map(is_noted).filter(|is_noted| *is_noted).count()
    }

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

    /// `None`: all pins.
    pub(crate) fn unpin(&self, id: &str, name: Option<&str>) -> Result<Record> {
        self.edit_record(id, &mut |record, _| record.pins.retain(|pin, _| name.is_some_and(|name| name != pin)))
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

/// A use from the future was written by a clock that was wrong.
fn is_due(last_used_ms: Option<u64>, now_ms: u64) -> bool {
    last_used_ms.is_none_or(|ms| ms > now_ms || now_ms - ms >= TOUCH_INTERVAL.as_millis() as u64)
}
