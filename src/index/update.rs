//! Changes shards: a shard is locked, written next to the old one, synced, and renamed over it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::value::RawValue;

use super::format::ShardText;
use super::generation_claim::{claim, precedes};
use super::happened::{Happened, happened, source};
use super::load::{Index, load_text, unreadable};
use super::log::Logged;
use super::record::StoredRecord;
use super::segments;
use crate::entry::{LogEvent, LogEventKind, Stamp};
use crate::error::{Error, Result};
use crate::fs::lock::{Hold, Lock, Wait, lock};
use crate::fs::reserve::with_reserve;
use crate::fs::{Durability, Root, Temp, atomic, now_ms, spare_descriptors};
use crate::layout::{self, MAX_SHARD_BYTES};

/// From this many shards on, one flush of the file system is cheaper than one sync per file.
pub(crate) const FLUSH_ONCE_FROM: usize = 8;

/// How often a writer retries where locks do not work.
const ATTEMPTS: usize = 1000;

/// What to do with a record.
#[derive(Debug)]
pub(crate) enum Change {
    Keep,
    /// The log says by the difference to the old record what happened.
    Put(Box<StoredRecord>),
    /// A record whose content came by other means than staging.
    PutBrought {
        record: Box<StoredRecord>,
        how: Happened,
        /// The text of the record of another id from which it was made: what a later version has written there is kept.
        made_from: Option<Box<RawValue>>,
    },
    Remove(Happened),
}

impl Change {
    /// The record to write.
    pub(crate) fn record(&self) -> Option<&StoredRecord> {
        match self {
            Change::Put(record) | Change::PutBrought { record, .. } => Some(record),
            Change::Keep | Change::Remove(_) => None,
        }
    }

    /// The record to write.
    pub(crate) fn record_mut(&mut self) -> Option<&mut StoredRecord> {
        match self {
            Change::Put(record) | Change::PutBrought { record, .. } => Some(record),
            Change::Keep | Change::Remove(_) => None,
        }
    }
}

/// Makes the texts of new shards durable, and everything that they refer to. If they are more than a few, one flush of
/// the file system costs less than one sync each.
pub(crate) type Flush<'a> = dyn FnMut(&[&Temp<'_>]) -> Result<()> + 'a;

/// Decides on the new record of an id, given its current record.
pub(crate) type Edit<'a> = dyn FnMut(&str, Option<StoredRecord>) -> Result<Change> + 'a;

/// A locked shard whose new text is written but not in place.
struct Pending<'r> {
    /// `None` where locks do not work.
    lock: Option<Lock>,
    number: u8,
    generation: u64,
    old_stamp: Option<Stamp>,
    new: Temp<'r>,
    /// The events that are no longer in it, and the number of the first of them.
    segment: Option<(Temp<'r>, u64)>,
    /// For the first write of a shard: its `.prev`.
    first_previous: Option<Temp<'r>>,
    /// Whether the change only removes entries, so that it may use the reserve.
    only_removes: bool,
}

impl<'r> Pending<'r> {
    /// What has to be durable before it is in place.
    fn texts(&self) -> impl Iterator<Item = &Temp<'r>> {
        [&self.new].into_iter().chain(self.segment.iter().map(|(segment, _)| segment))
    }
}

impl Index {
    /// Changes the records of `ids`. If a step fails, some shards may have been changed and others not, but each shard
    /// completely or not at all. With `Durability::Full`, the change is durable when this returns. Only the guards of
    /// the store lock call it.
    ///
    /// It calls `flush` once the new shards are written and before any of them is visible.
    pub(crate) fn update(
        &self,
        ids: &[&str],
        durability: Durability,
        wait: Wait,
        flush: &mut Flush<'_>,
        edit: &mut Edit<'_>,
    ) -> Result<()> {
        let mut by_shard: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
        for id in ids {
            by_shard.entry(layout::shard_number(id)).or_default().push(id);
        }
        let by_shard: Vec<(u8, Vec<&str>)> = by_shard.into_iter().collect();
        // Each shard stays locked, with its own descriptor, until all are durable. Counting the open descriptors is not
        // free, as it lists a directory, so a single shard does without.
        let at_once = if by_shard.len() > 1 { (spare_descriptors() / 2).max(1) } else { 1 };
        for some in by_shard.chunks(at_once) {
            self.update_some(some, durability, wait, flush, edit)?;
        }
        Ok(())
    }

    fn update_some(
        &self,
        by_shard: &[(u8, Vec<&str>)],
        durability: Durability,
        wait: Wait,
        flush: &mut Flush<'_>,
        edit: &mut Edit<'_>,
    ) -> Result<()> {
        let flush_once = by_shard.len() >= FLUSH_ONCE_FROM;
        let each = if flush_once { Durability::Relaxed } else { Durability::Full };
        let mut pending = Vec::new();
        // In ascending order, like every writer, so that no two writers deadlock.
        for (number, ids) in by_shard {
            if let Some(shard) = self.prepare(*number, ids, each, wait, edit)? {
                pending.push((ids, shard));
            }
        }
        // With any durability, a shard's text must be on disk before it replaces the old one: it also contains entries
        // that were acknowledged as durable, and otherwise some file systems show an empty file after a power cut.
        flush(&pending.iter().flat_map(|(_, shard)| shard.texts()).collect::<Vec<_>>())?;
        let moved_out = self.publish_segments(pending.iter_mut().map(|(_, shard)| shard), durability)?;
        let changed = !pending.is_empty();
        let mut locks = Vec::with_capacity(pending.len());
        for (ids, mut shard) in pending {
            // Retry if another writer came in between: where locks do not work, or because the lock file was removed.
            let mut attempts = 0..ATTEMPTS;
            loop {
                let number = shard.number;
                if let Some(lock) = self.replace(shard, durability)? {
                    locks.push(lock);
                    break;
                }
                if attempts.next().is_none() {
                    let path = self.root.absolute(&layout::shard(number));
                    return Err(Error::Busy { what: "an index shard", path, waited: Duration::ZERO, holder: None });
                }
                match self.prepare(number, ids, Durability::Full, wait, edit)? {
                    Some(again) => shard = again,
                    None => break,
                }
                shard.new.sync()?;
                self.publish_segments([&mut shard].into_iter(), durability)?;
            }
        }
        if changed && durability.is_full() {
            self.root.sync_dir(Path::new(layout::INDEX))?;
        }
        if !moved_out.is_empty() {
            segments::drop_oldest(&self.root, &moved_out);
        }
        Ok(())
    }

    /// Gives the segments of these shards their names, durably, before the shards without their events are in place.
    /// Returns the numbers of the shards that have one.
    fn publish_segments<'p, 'r: 'p>(
        &self,
        shards: impl Iterator<Item = &'p mut Pending<'r>>,
        durability: Durability,
    ) -> Result<Vec<u8>> {
        let mut moved_out = Vec::new();
        for shard in shards {
            if let Some((mut segment, first)) = shard.segment.take() {
                segment.publish_over(&layout::log_segment(shard.number, first))?;
                moved_out.push(shard.number);
            }
        }
        if !moved_out.is_empty() && durability.is_full() {
            self.root.sync_dir(Path::new(layout::LOG))?;
        }
        Ok(moved_out)
    }

    fn prepare(
        &self,
        number: u8,
        ids: &[&str],
        durability: Durability,
        wait: Wait,
        edit: &mut Edit<'_>,
    ) -> Result<Option<Pending<'_>>> {
        let lock = match self.locks_work {
            true => Some(lock(&self.root, layout::lock_shard(number), "an index shard", Hold::Exclusive, wait)?),
            false => None,
        };
        let loaded = load_text(&self.root, number)?;
        let mut text = loaded.value;
        let (mut changed, mut only_removes) = (false, true);
        for id in ids {
            match apply(&self.root, number, &mut text, id, edit)? {
                Applied::Nothing => continue,
                Applied::Removed => {}
                Applied::Put => only_removes = false,
            }
            changed = true;
        }
        if !changed {
            return Ok(None);
        }
        text.generation = text.generation.saturating_add(1);
        let generation = text.generation;
        let segment = if only_removes { None } else { self.move_out(number, &mut text.logged, durability) };
        let (text, old_bytes) = (text.render(), loaded.stamp.map_or(0, |stamp| stamp.size_bytes));
        if text.len() as u64 > MAX_SHARD_BYTES {
            // No reader would accept it.
            return Err(self.root.fail("write", &layout::shard(number), io::ErrorKind::FileTooLarge.into()));
        }
        // A change that shrinks the index must work on a full disk, or room could never be made. So it is synced here,
        // where a lack of room that only the sync reports can be dealt with; all others are synced together.
        let is_smaller = text.len() as u64 <= old_bytes;
        let synced = if is_smaller { durability } else { Durability::Relaxed };
        let write = || Temp::write(&self.root, Path::new(layout::INDEX), &text, synced);
        let new = match write() {
            // Making the current shard the `.prev` frees the inode and the blocks of the previous generation. It comes
            // first: the reserve is one inode, and on tmpfs each of the two steps needs one.
            Err(error) if error.is_no_space() && is_smaller => {
                self.in_room(only_removes, || keep_previous(&self.root, number, durability))?;
                self.in_room(only_removes, write)?
            }
            other => other?,
        };
        // The `.prev` of a first write is an empty shard, so that a shard that is lost later can be told from one that
        // was never written. Its content does not matter, so it is not synced. It is written before the shard is
        // visible, because a write that fails for lack of room must not have recorded anything.
        let first_previous = match loaded.stamp {
            None => {
                let empty = ShardText::default().render();
                Some(Temp::write(&self.root, Path::new(layout::INDEX), &empty, Durability::Relaxed)?)
            }
            Some(_) => None,
        };
        let old_stamp = loaded.stamp;
        Ok(Some(Pending { lock, number, generation, old_stamp, new, segment, first_previous, only_removes }))
    }

    /// Takes the events out of a shard that has many, into a segment. If that fails, such as on a full disk, they stay.
    fn move_out(&self, number: u8, logged: &mut Logged, durability: Durability) -> Option<(Temp<'_>, u64)> {
        let Logged::Log(log) = logged else { return None };
        if log.size_bytes() < segments::SEGMENT_FROM_BYTES {
            return None;
        }
        if !self.locks_work {
            // Two writers could replace each other's segments. The shard is never without its newest events.
            log.events.drain(..log.events.len() / 2);
            log.is_trimmed = true;
            return None;
        }
        let segment = segments::write(&self.root, log, durability)
            .inspect_err(|error| tracing::debug!(shard = number, %error, "older events stay in the shard"))
            .ok()?;
        let first = log.first();
        log.events.clear();
        Some((segment, first))
    }

    /// Does a step of a change. If the change only removes entries, the step may use the reserve when there is no room.
    fn in_room<T>(&self, only_removes: bool, mut step: impl FnMut() -> Result<T>) -> Result<T> {
        if only_removes { with_reserve(&self.root, step) } else { step() }
    }

    /// Puts the new shard in place. Returns the lock, to be held until all shards are in place and synced. `None`:
    /// another writer came in between, and its change must not be undone.
    fn replace(&self, mut shard: Pending<'_>, durability: Durability) -> Result<Option<Option<Lock>>> {
        let path = layout::shard(shard.number);
        let is_current = if self.locks_work {
            self.root.meta(&path)?.map(|meta| meta.stamp()) == shard.old_stamp
        } else {
            claim(&self.root, shard.number, shard.generation, &mut shard.new, durability)?
                && precedes(&self.root, shard.number, shard.generation)?
        };
        if !is_current {
            return Ok(None);
        }
        if shard.old_stamp.is_some() {
            self.in_room(shard.only_removes, || keep_previous(&self.root, shard.number, durability))?;
        }
        // Check again, as the last step: if the lock file was removed in the meantime, another writer may hold the lock
        // too.
        if let Some(lock) = &shard.lock
            && !(lock.is_named(&self.root, &layout::lock_shard(shard.number))?
                && self.root.meta(&path)?.map(|meta| meta.stamp()) == shard.old_stamp)
        {
            return Ok(None);
        }
        match self.in_room(shard.only_removes, || shard.new.publish_over(&path)) {
            // Another writer has completed our write.
            Err(error) if !self.locks_work && error.is_missing() => {}
            other => other?,
        }
        if let Some(mut previous) = shard.first_previous {
            // Only after the shard: a `.prev` alone would mean that the shard is lost.
            previous.publish_over(&layout::shard_prev(shard.number)).inspect_err(|_| {
                // We hold the lock, so no writer has built on the change that is about to be reported as failed.
                if self.locks_work {
                    let _ = self.root.remove_file(&path);
                }
            })?;
        }
        Ok(Some(shard.lock))
    }
}

/// What an edit has changed.
enum Applied {
    Nothing,
    Removed,
    Put,
}

fn apply(root: &Root, number: u8, text: &mut ShardText, id: &str, edit: &mut Edit<'_>) -> Result<Applied> {
    let path = || root.absolute(&layout::shard(number));
    let old = text.entries.get(id);
    let stored = old
        .map(|old| StoredRecord::parse(old.get()))
        .transpose()
        .map_err(|reason| Error::CorruptIndex { path: path(), reason: unreadable(id, &reason) })?;
    let fail = |e: serde_json::Error| Error::io("encode an entry of", path(), io::Error::from(e));
    let (new, brought, made_from) = match edit(id, stored.clone())? {
        Change::Keep => return Ok(Applied::Nothing),
        Change::Remove(how) => {
            let Some(old) = stored else { return Ok(Applied::Nothing) };
            text.entries.remove(id);
            log(root, number, text, id, &old, vec![how]).map_err(fail)?;
            return Ok(Applied::Removed);
        }
        Change::Put(new) => (new, None, old.map(ToOwned::to_owned)),
        Change::PutBrought { record, how, made_from } => {
            (record, Some(how), made_from.or_else(|| old.map(ToOwned::to_owned)))
        }
    };
    text.entries.insert(id, new.render(made_from.as_deref()).map_err(fail)?);
    let happened = happened(stored.as_ref(), &new, brought);
    log(root, number, text, id, &new, happened).map_err(fail)?;
    Ok(Applied::Put)
}

/// Adds what happened to an id to the log of its shard.
fn log(
    root: &Root,
    number: u8,
    text: &mut ShardText,
    id: &str,
    record: &StoredRecord,
    happened: Vec<Happened>,
) -> serde_json::Result<()> {
    if happened.is_empty() {
        return Ok(());
    }
    let mut log = match std::mem::take(&mut text.logged) {
        Logged::Log(log) => log,
        other => segments::resume(root, number, &other),
    };
    for Happened { kind, note } in happened {
        let is_brought = matches!(kind, LogEventKind::Staged | LogEventKind::Adopted);
        log.push(LogEvent {
            at_ms: now_ms(),
            digest: record.digest,
            id: id.to_owned(),
            note,
            number: 0,
            previous: None,
            size_bytes: is_brought.then_some(record.size_bytes),
            source: if is_brought { source(record) } else { None },
            version: env!("CARGO_PKG_VERSION").to_owned(),
            what: kind,
        })?;
    }
    text.logged = Logged::Log(log);
    Ok(())
}

/// Makes the current shard the `.prev`, by a second name and not by a rename, so that the shard is never absent.
pub(super) fn keep_previous(root: &Root, number: u8, durability: Durability) -> Result<()> {
    let (path, prev) = (layout::shard(number), layout::shard_prev(number));
    if let (Some(now), Some(before)) = (root.meta(&path)?, root.meta(&prev)?)
        && now.same_inode(&before)
    {
        // A removal on a full disk left it like this. On tmpfs, another name would cost an inode.
        return Ok(());
    }
    let private = path.with_file_name(format!(".{}.tmp", atomic::random_name()));
    match root.link(&path, &private) {
        Ok(()) => {
            let renamed = root.rename_over(&private, &prev);
            // If both names are the same inode already, the rename does nothing and leaves the private name.
            let removed = root.remove_file(&private);
            renamed.and(removed.map(drop))
        }
        // Where locks do not work, another writer may replace the shard during the call.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if atomic::is_link_refusal(&e) => {
            let old = root.read(&path, MAX_SHARD_BYTES)?.unwrap_or_default();
            write_previous(root, &prev, &old, durability)
        }
        Err(e) => Err(root.fail("keep the generation before of", &path, e)),
    }
}

fn write_previous(root: &Root, prev: &Path, text: &[u8], durability: Durability) -> Result<()> {
    Temp::write(root, Path::new(layout::INDEX), text, durability)?.publish_over(prev)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests;
