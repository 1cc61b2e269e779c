//! Uses: when a model was last requested, to the hour.
//!
//! A use is written into the index. A user who cannot write the index (an engine under another user, or one that sees
//! the root read-only and `uses/` mounted writable) writes a note instead: an empty file in `uses/`, a folder in which
//! everyone may create files (mode 1777, like `/tmp`). Its modification time is the time of the use. A user cannot
//! renew a note of another user, so each has one of their own, told apart by a number.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::{Shared, Store, check_store_file, each};
use crate::entry::{Record, TOUCH_INTERVAL};
use crate::error::{Error, Result};
use crate::fs::lock::Wait;
use crate::fs::{Durability, Kind, Meta, Root, current_user, meta_of, now_ms};
use crate::index::Change;
use crate::layout::{self, Thing};
use crate::observer::Event;

/// How long noting a use may wait for a lock: a caller that wants a path must not wait for this.
const TOUCH_PATIENCE: Duration = Duration::from_millis(50);

/// The maximum number of notes that one call writes, each of which is a file. The rest are noted the next time.
const NOTES_AT_ONCE: usize = 256;

/// The maximum number of notes per id.
const MOST: u32 = 32;

impl Store {
    /// Notes that an entry is used now: at most once an hour, not durably, and without ever failing. Returns whether it
    /// was noted.
    pub(crate) fn touch(&self, record: &Record) -> bool {
        self.touch_all(std::slice::from_ref(record)) > 0
    }

    /// The same for several entries, in one write per shard. One that cannot be written does not affect the others.
    /// Returns how many were noted.
    pub(crate) fn touch_all(&self, records: &[Record]) -> usize {
        let due = records.iter().filter(|record| is_due(record.last_used_ms, now_ms()));
        let ids: Vec<&str> = due.map(|record| record.entry.id.as_str()).collect();
        if ids.is_empty() {
            return 0;
        }
        let (touched, recorded) = self.record_uses(&ids);
        let failed: Vec<(&str, &Error)> =
            recorded.iter().filter_map(|(id, result)| Some((*id, result.as_ref().err()?))).collect();
        let is_written = |(id, result): &&(&str, Result<()>)| result.is_ok() && touched.contains(*id);
        recorded.iter().filter(is_written).count() + self.note_uses(&failed)
    }

    /// Writes uses into the index. Returns those that were due in the index too, and whether each could be written.
    fn record_uses<'i>(&self, ids: &[&'i str]) -> (BTreeSet<String>, Vec<(&'i str, Result<()>)>) {
        let begun = Instant::now();
        // All waits together take no longer than this.
        let left = || Wait::UpTo(TOUCH_PATIENCE.saturating_sub(begun.elapsed()));
        let mut handle = self.clone();
        handle.settings.durability = Durability::Relaxed;
        let mut touched = BTreeSet::new();
        // Lock once for all: if the store is busy, it is busy for each shard and each id.
        let mut shared = match Shared::poll(&handle, left()) {
            Ok(Some(shared)) => shared,
            Ok(None) => {
                let path = self.root.absolute(&layout::lock_store());
                let busy = Error::Busy { what: "the store", path, waited: begun.elapsed(), holder: None };
                return (touched, all_failed(ids, &busy));
            }
            Err(error) => return (touched, all_failed(ids, &error)),
        };
        let recorded = each(ids, &Error::is_read_only, &mut |ids| {
            shared.shard_wait = left();
            shared.record(ids, false, &mut |id, old| {
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
        (touched, recorded)
    }

    /// Notes those uses that could not be written into the index and are due, at most [`NOTES_AT_ONCE`]. Returns how
    /// many were noted.
    fn note_uses(&self, failed: &[(&str, &Error)]) -> usize {
        // Write nothing into a store that a newer version has taken over.
        if failed.is_empty() || !matches!(check_store_file(&self.root), Ok(true)) {
            return 0;
        }
        let (now, all) = (now_ms(), (failed.len() > NOTES_AT_ONCE).then(|| NotedUses::read(&self.root)));
        let last = |id: &str| all.as_ref().map_or_else(|| last_noted(&self.root, id), |all| all.of(id));
        let due = failed.iter().filter(|(id, _)| is_due(last(id), now));
        due.take(NOTES_AT_ONCE).filter(|(id, why)| self.note_use(id, why)).count()
    }

    /// Writes a note for a use. If that fails too, the observer is told once.
    fn note_use(&self, id: &str, why: &Error) -> bool {
        let Err(error) = note(&self.root, id) else { return true };
        tracing::debug!(id, index = %why, %error, "could not note that the entry was used");
        // If the index was only busy, the use is noted the next time. A sealed root never loses an entry.
        if why.is_read_only() && !self.is_sealed().unwrap_or(false) {
            self.has_told_of_uses.call_once(|| self.observer.0.on(&Event::UseNotNoted { what: id }));
        }
        false
    }

    /// The record of an id, with the last use according to the index and all notes.
    pub(crate) fn record_with_uses(&self, id: &str) -> Result<Option<Record>> {
        let record = self.record(id)?;
        Ok(record.map(|record| Record { last_used_ms: record.last_used_ms.max(last_noted(&self.root, id)), ..record }))
    }
}

fn all_failed<'i>(ids: &[&'i str], error: &Error) -> Vec<(&'i str, Result<()>)> {
    ids.iter().map(|id| (*id, Err(error.clone()))).collect()
}

/// A use in the future was written under a wrong clock, and counts as none.
fn is_due(last_used_ms: Option<u64>, now_ms: u64) -> bool {
    last_used_ms.is_none_or(|ms| ms > now_ms || now_ms - ms >= TOUCH_INTERVAL.as_millis() as u64)
}

/// Notes that an id is used now.
pub(super) fn note(root: &Root, id: &str) -> Result<()> {
    let key = layout::use_key(id);
    let mut refused = None;
    for number in 0..MOST {
        let name = layout::use_note(&key, number);
        // Look before opening: opening another user's file would block if they hold a lease on it.
        let noted = match root.meta(&name) {
            Ok(None) => match root.create_file(&name, 0o644) {
                Ok(_) => return Ok(()),
                Err(error) if error.is_already_there() => continue,
                Err(error) => return Err(error),
            },
            Ok(Some(meta)) if !is_own(&meta) => continue,
            Ok(Some(_)) => match root.open_private_file(&name) {
                Ok(Some(file)) => {
                    let meta = meta_of(&file).map_err(|e| root.fail("look at", &name, e))?;
                    if !is_own(&meta) {
                        continue;
                    }
                    file.set_modified(SystemTime::now()).map_err(|e| root.fail("set the time of", &name, e))
                }
                Ok(None) => continue, // a sweep has removed it
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        match noted {
            Ok(()) => return Ok(()),
            Err(error) => drop(refused.get_or_insert(error)),
        }
    }
    let everywhere = || root.fail("note a use in", Path::new(layout::USES), io::ErrorKind::AlreadyExists.into());
    Err(refused.unwrap_or_else(everywhere))
}

/// Whether a note belongs to this user. A file with another name may be anything.
fn is_own(meta: &Meta) -> bool {
    meta.owner == current_user() && meta.links == 1
}

/// Creates `uses/`, which a store of an earlier version lacks. Best effort. An existing folder keeps the mode that its
/// owner gave it.
pub(crate) fn make_folder(root: &Root) {
    let folder = Path::new(layout::USES);
    let made =
        root.meta(folder).and_then(|meta| if meta.is_none() { root.make_dirs(folder).map(drop) } else { Ok(()) });
    if let Err(error) = made {
        tracing::debug!(root = %root.path().display(), %error, "could not create the folder for noted uses");
    }
}

/// The time of the newest note of each id, by its key.
#[derive(Default)]
pub(crate) struct NotedUses(BTreeMap<String, u64>);

impl NotedUses {
    /// Reads the notes that can be read. They are only hints: a user who may not read them works without.
    pub(crate) fn read(root: &Root) -> Self {
        let folder = Path::new(layout::USES);
        let mut newest: BTreeMap<String, u64> = BTreeMap::new();
        let notes = root.entries(folder).unwrap_or_else(|error| {
            tracing::debug!(%error, "could not read the uses noted outside the index; ignoring them");
            Vec::new()
        });
        for (name, meta) in notes {
            if let Thing::UseNote { key, .. } = layout::classify_in(folder, &name)
                && meta.kind == Kind::File
            {
                let ms = newest.entry(key).or_default();
                *ms = (*ms).max(noted_ms(meta.mtime_ns));
            }
        }
        NotedUses(newest)
    }

    /// The record with the latest use that any process has noted.
    pub(crate) fn add_to(&self, record: Record) -> Record {
        Record { last_used_ms: record.last_used_ms.max(self.of(&record.entry.id)), ..record }
    }

    /// The last use of an id according to the notes.
    pub(crate) fn of(&self, id: &str) -> Option<u64> {
        if self.0.is_empty() { None } else { self.0.get(&layout::use_key(id)).copied() }
    }
}

/// The same for one id. It looks at the notes with consecutive numbers only.
pub(super) fn last_noted(root: &Root, id: &str) -> Option<u64> {
    let key = layout::use_key(id);
    let notes = (0..MOST).map_while(|number| root.meta(&layout::use_note(&key, number)).ok().flatten());
    notes.filter(|meta| meta.kind == Kind::File).map(|meta| noted_ms(meta.mtime_ns)).max()
}

fn noted_ms(mtime_ns: i128) -> u64 {
    u64::try_from(mtime_ns / 1_000_000).unwrap_or(0)
}

/// The notes of ids that have no entry, except those written within `grace`. Empty if this user may not look.
pub(crate) fn stray_notes(store: &Store, grace: Duration) -> Result<Vec<PathBuf>> {
    let folder = Path::new(layout::USES);
    let notes = match store.root.entries(folder) {
        Err(error) if error.is_permission_denied() => return Ok(Vec::new()),
        notes => notes?,
    };
    if notes.is_empty() {
        return Ok(Vec::new());
    }
    let mut keys = BTreeSet::new();
    store.index.each(&mut |record| {
        keys.insert(layout::use_key(&record.entry.id));
        Ok(())
    })?;
    let is_stray = |(name, meta): &(OsString, Meta)| {
        matches!(layout::classify_in(folder, name), Thing::UseNote { key, .. } if !keys.contains(&key))
            && meta.age() >= grace
    };
    Ok(notes.into_iter().filter(is_stray).map(|(name, _)| folder.join(name)).collect())
}
