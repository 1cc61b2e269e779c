//! `tag` and `rename`: another id for the content of an entry.
//!
//! Both commit an entry with the new id like any other: they make its view and write its record, durably. `rename` then
//! removes the old record, and finally the old view. A process that is killed between the commit and the removal leaves
//! both entries, each of them whole, and a second call continues from there.
//!
//! The old record is removed only if the new one was made from it in its current state. So a pin that another process
//! adds in the meantime is copied to the new record first. If two processes rename one entry, only one removes the old
//! record; the other finds it gone, and takes its new entry back.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::blob::manifest::TreeFile;
use crate::entry::{ArtifactKind, LifecycleState, LogEventKind, Record, check_id};
use crate::error::{Error, Result};
use crate::fs::{Session, now_ms};
use crate::hint::Hint;
use crate::index::{Change, Happened, StoredRecord, encode_path};
use crate::layout;
use crate::store::{self, Store, Sweep, Unit};
use crate::view::{Exhibit, Occupied, View};

/// How often a call starts again because another process changed the entry in the meantime.
const ATTEMPTS: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The old id stays. The new entry has a view of its own.
    Tag,
    /// The old id goes. A path of the user's own stays.
    Rename,
}

/// Gives the content of an entry a second id.
pub(crate) fn tag(store: &Store, id: &str, new_id: &str) -> Result<Record> {
    let named = name(store, id, new_id, How::Tag)?;
    tracing::debug!(id, new_id, "tagged");
    Ok(named.new.into_record(new_id.to_owned(), &store.root))
}

/// Gives an entry another id.
pub(crate) fn rename(store: &Store, id: &str, new_id: &str) -> Result<Record> {
    if id == new_id {
        check_id(id)?;
        return store.require(id);
    }
    let named = name(store, id, new_id, How::Rename)?;
    let new = match take_out(store, id, new_id, named)? {
        Some(new) => new,
        None => return Err(store.not_found(id)),
    };
    tracing::debug!(id, new_id, "renamed");
    Ok(new.into_record(new_id.to_owned(), &store.root))
}

/// An entry that has been recorded under a new id.
struct Named {
    /// The old record, which the new one was made from.
    old: StoredRecord,
    new: StoredRecord,
    /// Whether this call recorded it, and not another process before.
    is_own: bool,
}

/// Commits an entry with the new id and the old entry's content.
fn name(store: &Store, id: &str, new_id: &str, how: How) -> Result<Named> {
    check_id(new_id)?;
    let begun = Instant::now();
    for _ in 0..ATTEMPTS {
        let record = store.require(id)?;
        if record.kind != ArtifactKind::Registered
            && let Err(error) = store.ensure_here(&record)
        {
            match store.record(id)? {
                Some(now) if now == record => return Err(error),
                _ => continue, // it has just been marked as damaged, or another process removed or renamed it
            }
        }
        let old = stored(store, id)?;
        if record.is_same_content(&old.clone().into_record(id.to_owned(), &store.root))
            && let Some(named) = try_name(store, id, new_id, how, old)?
        {
            return Ok(named);
        }
    }
    Err(busy(store, Path::new(&stored(store, id)?.path), begun))
}

/// The error if other processes keep changing the entry.
fn busy(store: &Store, path: &Path, begun: Instant) -> Error {
    Error::Busy { what: "an entry", path: store.root.absolute(path), waited: begun.elapsed(), holder: None }
}

/// The record as it is on disk.
fn stored(store: &Store, id: &str) -> Result<StoredRecord> {
    let mut stored = None;
    store.edit(&[id], &mut |_, old| {
        stored = old;
        Ok(Change::Keep)
    })?;
    stored.ok_or_else(|| store.not_found(id))
}

/// Returns `None` if another process changed an entry in the meantime.
fn try_name(store: &Store, id: &str, new_id: &str, how: How, old: StoredRecord) -> Result<Option<Named>> {
    let record = old.clone().into_record(id.to_owned(), &store.root);
    let last_used_ms = store.record_with_uses(id)?.and_then(|record| record.last_used_ms);
    let text = if how == How::Rename { store.index.text_of(id)? } else { None };
    let own_path = own_path(store, &record, new_id, how)?;
    let files = files_of(store, &record)?;
    let session = Session::begin(&store.root)?;
    let put = RefCell::new(None);
    let is_taken = Cell::new(false);
    // Checked before the view is made: a second name in another entry's view folder would stay there.
    let is_due = || {
        if put.borrow().is_some() {
            return Ok(true); // a second round
        }
        is_taken.set(store.record(new_id)?.is_some());
        Ok(!is_taken.get() && store.record(id)?.as_ref() == Some(&record))
    };
    let edit = |view: Option<&View>, now: Option<StoredRecord>| {
        if let Some(now) = now {
            // In a second round, this may be the record that the first round wrote.
            let is_own = put.borrow().as_ref().is_some_and(|put: &StoredRecord| put.is_content_of(&now));
            return if is_own { Ok(Change::Keep) } else { Err(taken(id, new_id, &now, &old)) };
        }
        let mut new = named_anew(&old, how, last_used_ms);
        if let (Some((_, path)), Some(view)) = (&own_path, view) {
            new.path.clone_from(path);
            new.view = Some(view.mode);
            new.view_fingerprint.clone_from(&view.fingerprint);
        }
        *put.borrow_mut() = Some(new.clone());
        let kind = match how {
            How::Rename => LogEventKind::Renamed,
            How::Tag => LogEventKind::Tagged,
        };
        let how = Happened::with_note(kind, id);
        Ok(Change::PutBrought { record: Box::new(new), how, made_from: text.clone() })
    };
    let exhibit = own_path.as_ref().map(|(at, _)| Exhibit {
        id: new_id,
        files: &files,
        at,
        occupied: Occupied::Quarantine,
        durability: store.durability(),
    });
    let unit = Unit { id: new_id, blobs: &mut [], exhibit, is_due: &is_due, record: Some(&edit) };
    let done = store::commit(store, &session, &mut [unit], false).pop().expect("there is one for each unit");
    if let Err(error) = done.result {
        let shown = own_path.as_ref().filter(|_| done.tally.made > 0).and_then(|(at, _)| at.parent());
        store::undo(store, &BTreeSet::new(), &shown.map(Path::to_path_buf).into_iter().collect::<Vec<_>>());
        return Err(error);
    }
    if let Some(new) = put.take() {
        return Ok(Some(Named { old, new, is_own: true }));
    }
    if !is_taken.get() {
        return Ok(None);
    }
    let now = match stored(store, new_id) {
        Err(Error::NotFound { .. }) => return Ok(None),
        now => now?,
    };
    let goes_on = match how {
        How::Tag => now.is_content_of(&old),
        How::Rename => now.has_all_of(&old) && (own_path.is_some() || now.path == old.path),
    };
    if goes_on { Ok(Some(Named { old, new: now, is_own: false })) } else { Err(taken(id, new_id, &now, &old)) }
}

/// The path of the new entry's own view, also as text. Returns `None` if the new entry keeps the path of the old one.
fn own_path(store: &Store, record: &Record, new_id: &str, how: How) -> Result<Option<(PathBuf, String)>> {
    let at = store.relative(&record.entry.local_path);
    let is_own_view = at.starts_with(layout::view_home(&record.entry.id));
    let (Some(digest), false) = (record.entry.digest, record.kind == ArtifactKind::Registered) else { return Ok(None) };
    if how == How::Rename && !is_own_view {
        return Ok(None);
    }
    let name = at.file_name().unwrap_or_default().to_string_lossy();
    let path = layout::view(new_id, &digest, &name);
    let text = encode_path(&path).ok_or_else(|| Error::InvalidPath {
        path: store.root.absolute(&path),
        reason: "it is not UTF-8, which the index needs",
        hint: Hint::Rename,
    })?;
    Ok(Some((path, text)))
}

fn files_of(store: &Store, record: &Record) -> Result<Vec<TreeFile>> {
    record.entry.digest.map_or(Ok(Vec::new()), |digest| store.files_of(record.kind, digest, record.size_bytes))
}

/// The record for the new id, still with the path of the old one.
fn named_anew(old: &StoredRecord, how: How, last_used_ms: Option<u64>) -> StoredRecord {
    let now = now_ms();
    let mut new = StoredRecord { updated_ms: now, ..old.clone() };
    match how {
        How::Rename => new.last_used_ms = last_used_ms,
        How::Tag => {
            new.created_ms = now;
            new.last_used_ms = None;
            new.pins.clear();
            new.set_lifecycle(LifecycleState::Active, now);
        }
    }
    new
}

fn taken(id: &str, new_id: &str, now: &StoredRecord, old: &StoredRecord) -> Error {
    Error::IdTaken { id: id.to_owned(), new_id: new_id.to_owned(), has_same_content: now.is_content_of(old) }
}

/// The result of removing the old record.
enum TakenOut {
    Done,
    /// It has changed, but still has the same content.
    Changed(Box<StoredRecord>),
    /// The id now has different content, which stays.
    Replaced,
    /// Another process has removed it.
    Gone,
}

/// Removes the old record and its view. Returns the new record in its final state. Returns `None` if another process
/// has removed or renamed the entry; the new record is then taken back.
fn take_out(store: &Store, id: &str, new_id: &str, named: Named) -> Result<Option<StoredRecord>> {
    let Named { mut old, mut new, is_own } = named;
    let begun = Instant::now();
    for _ in 0..ATTEMPTS {
        match try_take_out(store, id, new_id, &old)? {
            TakenOut::Done => {
                let record = old.clone().into_record(id.to_owned(), &store.root);
                remove_views(store, &record, &old);
                store.complete();
                return Ok(Some(new));
            }
            TakenOut::Replaced => return Ok(Some(new)),
            TakenOut::Gone => {
                if is_own {
                    take_back(store, new_id, &new);
                }
                return Ok(None);
            }
            TakenOut::Changed(now) => {
                store.edit(&[new_id], &mut |_, record| {
                    let Some(mut record) = record.filter(|record| record.is_content_of(&old)) else {
                        return Ok(Change::Keep);
                    };
                    record.follow(&old, &now);
                    new = record.clone();
                    Ok(Change::Put(Box::new(record)))
                })?;
                old = *now;
            }
        }
    }
    Err(busy(store, Path::new(&old.path), begun))
}

fn try_take_out(store: &Store, id: &str, new_id: &str, old: &StoredRecord) -> Result<TakenOut> {
    let mut came_to = TakenOut::Gone;
    store.edit(&[id], &mut |_, now| {
        let (change, outcome) = match now {
            None => (Change::Keep, TakenOut::Gone),
            Some(now) if now == *old => {
                let how = Happened::with_note(LogEventKind::Removed, format!("it was renamed to {new_id}"));
                (Change::Remove(how), TakenOut::Done)
            }
            Some(now) if now.is_content_of(old) && now.path == old.path => {
                (Change::Keep, TakenOut::Changed(Box::new(now)))
            }
            Some(_) => (Change::Keep, TakenOut::Replaced),
        };
        came_to = outcome;
        Ok(change)
    })?;
    Ok(came_to)
}

/// Removes the record that this call wrote, if no other process has changed it since.
fn take_back(store: &Store, new_id: &str, new: &StoredRecord) {
    let mut is_out = false;
    let edited = store.edit(&[new_id], &mut |_, now| {
        // The commit itself adds owners to the record, which is not such a change.
        is_out = now.is_some_and(|now| StoredRecord { owners: new.owners.clone(), ..now } == *new);
        let how = Happened::with_note(LogEventKind::Removed, "the entry that it was made from is gone");
        Ok(if is_out { Change::Remove(how) } else { Change::Keep })
    });
    match edited {
        Ok(()) if is_out => remove_views(store, &new.clone().into_record(new_id.to_owned(), &store.root), new),
        Ok(()) => {}
        Err(error) => {
            tracing::warn!(id = new_id, %error, "could not remove the new entry; two entries have the same content now")
        }
    }
}

/// Removes the views of an id that no longer has a record. A leased view stays until the first collection after its
/// lease. Best effort: a collection finds the rest.
fn remove_views(store: &Store, record: &Record, stored: &StoredRecord) {
    if let Err(error) = try_remove_views(store, record, stored) {
        tracing::warn!(id = %record.entry.id, %error, "could not remove the old view; the next collection will");
    }
}

fn try_remove_views(store: &Store, record: &Record, stored: &StoredRecord) -> Result<()> {
    let (Some(digest), false) = (record.entry.digest, record.kind == ArtifactKind::Registered) else { return Ok(()) };
    let files = files_of(store, record)?;
    let mut sweep = Sweep::begin(store)?;
    if sweep.block_leases(&digest)? {
        sweep.remove_views(&record.entry.id, stored, &files)?;
    }
    sweep.finish().map(drop)
}
