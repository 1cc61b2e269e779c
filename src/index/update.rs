//! Changing shards: locked, written beside the old one, synced, renamed over it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::format::ShardText;
use super::generation_claim::{claim, precedes};
use super::load::{Index, load_text, unreadable};
use super::record::StoredRecord;
use crate::entry::Stamp;
use crate::error::{Error, Result};
use crate::fs::lock::{Hold, Lock, Wait, lock};
use crate::fs::reserve::with_reserve;
use crate::fs::{Durability, Root, Temp, atomic, spare_descriptors};
use crate::layout::{self, MAX_SHARD_BYTES};

/// From how many shards on one flush of the file system is cheaper than one a file.
const FLUSH_ONCE_FROM: usize = 8;

/// How often a writer begins again where locks do nothing.
const ATTEMPTS: usize = 1000;

/// What becomes of a record.
#[derive(Debug)]
pub(crate) enum Change {
    Keep,
    Put(Box<StoredRecord>),
    Remove,
}

/// What the caller of an update has made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing, or only what it wrote itself.
    Nothing,
    /// The whole file system, the new shards with it.
    FileSystem,
}

/// Decides on the new record of an id, given the one that it has.
pub(crate) type Edit<'a> = dyn FnMut(&str, Option<StoredRecord>) -> Result<Change> + 'a;

/// A shard that is locked and written beside its old self.
struct Pending<'r> {
    /// `None` where locks do nothing.
    lock: Option<Lock>,
    number: u8,
    generation: u64,
    old_stamp: Option<Stamp>,
    new: Temp<'r>,
    /// For a first write, the generation before.
    first_previous: Option<Temp<'r>>,
    /// It only takes entries out: so it may use the reserve.
    only_removes: bool,
}

impl Index {
    /// Changes the records of `ids`. If a step fails, the records of some shards may be changed and those of others not, but
    /// in each shard all or none. Durable, with `Durability::Full`, when it returns. Called by the guards of the store lock.
    ///
    /// `flush` is called once the new shards are written and before any of them can be seen: what they refer to has to
    /// be durable when it returns.
    pub(crate) fn update(
        &self,
        ids: &[&str],
        durability: Durability,
        wait: Wait,
        flush: &mut dyn FnMut() -> Result<Flushed>,
        edit: &mut Edit<'_>,
    ) -> Result<()> {
        let mut by_shard: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
        for id in ids {
            by_shard.entry(layout::shard_number(id)).or_default().push(id);
        }
        let by_shard: Vec<(u8, Vec<&str>)> = by_shard.into_iter().collect();
        // Each shard is locked until all are durable, with a descriptor of its own. To count what is open takes a list of it.
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
        flush: &mut dyn FnMut() -> Result<Flushed>,
        edit: &mut Edit<'_>,
    ) -> Result<()> {
        // With any durability a shard's text is on disk before it replaces the one before: it holds other entries, too,
        // which were acknowledged as durable, and some file systems show an empty file after a power cut otherwise.
        let flush_once = by_shard.len() >= FLUSH_ONCE_FROM;
        let each = if flush_once { Durability::Relaxed } else { Durability::Full };
        let mut pending = Vec::new();
        // Ascending, as every writer does: so no two of them wait for each other.
        for (number, ids) in by_shard {
            if let Some(shard) = self.prepare(*number, ids, each, wait, edit)? {
                pending.push((ids, shard));
            }
        }
        if flush()? == Flushed::Nothing && flush_once && !self.root.sync_file_system()? {
            pending.iter().try_for_each(|(_, shard)| shard.new.sync())?;
        }
        let changed = !pending.is_empty();
        let mut locks = Vec::with_capacity(pending.len());
        for (ids, mut shard) in pending {
            // Again only where locks do nothing, when another writer came between.
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
            }
        }
        if changed && durability.is_full() {
            self.root.sync_dir(Path::new(layout::INDEX))?;
        }
        Ok(())
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
        let (text, old_bytes) = (text.render(), loaded.stamp.map_or(0, |stamp| stamp.size_bytes));
        if text.len() as u64 > MAX_SHARD_BYTES {
            // Nobody would read it again.
            return Err(self.root.fail("write", &layout::shard(number), io::ErrorKind::FileTooLarge.into()));
        }
        let write = || Temp::write(&self.root, Path::new(layout::INDEX), &text, durability);
        let new = match write() {
            // What makes the index smaller has to work on a full disk, or else room could never be made. The
            // generation before gives its inode and its blocks; the shard as it is now takes its place. That first: the
            // reserve is one inode, and on tmpfs each of the two steps takes one.
            Err(error) if error.is_no_space() && text.len() as u64 <= old_bytes => {
                self.in_room(only_removes, || keep_previous(&self.root, number, durability))?;
                self.in_room(only_removes, write)?
            }
            other => other?,
        };
        // The generation before a first write is an empty shard, so that a shard that is lost later is told from one
        // that was never written. Its content matters to nobody, so it is not synced. It is written before the shard can be
        // seen: a write that finds no room must not have recorded.
        let first_previous = match loaded.stamp {
            None => {
                let empty = ShardText::default().render();
                Some(Temp::write(&self.root, Path::new(layout::INDEX), &empty, Durability::Relaxed)?)
            }
            Some(_) => None,
        };
        Ok(Some(Pending { lock, number, generation, old_stamp: loaded.stamp, new, first_previous, only_removes }))
    }

    /// A step of a change. If the change only takes entries out, the step may use the reserve when there is no room.
    fn in_room<T>(&self, only_removes: bool, mut step: impl FnMut() -> Result<T>) -> Result<T> {
        if only_removes { with_reserve(&self.root, step) } else { step() }
    }

    /// The lock is given back, to be held until all shards are in place and synced. `None`: another writer came between,
    /// and must not be undone.
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
        // Again, and last of all: when somebody has removed the lock file meanwhile, another writer has the lock, too.
        if let Some(lock) = &shard.lock
            && !(lock.is_named(&self.root, &layout::lock_shard(shard.number))?
                && self.root.meta(&path)?.map(|meta| meta.stamp()) == shard.old_stamp)
        {
            return Ok(None);
        }
        match self.in_room(shard.only_removes, || shard.new.publish_over(&path)) {
            // Another writer has finished our work.
            Err(error) if !self.locks_work && error.is_missing() => {}
            other => other?,
        }
        if let Some(mut previous) = shard.first_previous {
            // After it: a `.prev` alone would say that the shard is lost.
            previous.publish_over(&layout::shard_prev(shard.number)).inspect_err(|_| {
                // With the lock, nobody has built on what is about to be called failed.
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
        .map(|old| StoredRecord::parse(old))
        .transpose()
        .map_err(|reason| Error::CorruptIndex { path: path(), reason: unreadable(id, &reason) })?;
    match edit(id, stored)? {
        Change::Keep => Ok(Applied::Nothing),
        Change::Remove => Ok(if text.entries.remove(id).is_some() { Applied::Removed } else { Applied::Nothing }),
        Change::Put(new) => {
            let new = new.render(old.map(|old| &**old)).map_err(|e| Error::io("encode an entry of", path(), e))?;
            text.entries.insert(id.to_owned(), new);
            Ok(Applied::Put)
        }
    }
}

/// Gives the shard its second name `.prev`, so that it is never absent.
pub(super) fn keep_previous(root: &Root, number: u8, durability: Durability) -> Result<()> {
    let (path, prev) = (layout::shard(number), layout::shard_prev(number));
    if let (Some(now), Some(before)) = (root.meta(&path)?, root.meta(&prev)?)
        && now.same_inode(&before)
    {
        return Ok(()); // as a removal without room has left it: on tmpfs, one more name would cost an inode
    }
    let private = path.with_file_name(format!(".{}.tmp", atomic::random_name()));
    match root.link(&path, &private) {
        Ok(()) => {
            let renamed = root.rename_over(&private, &prev);
            // When both names are one inode already, the rename leaves the private one where it is.
            let removed = root.remove_file(&private);
            renamed.and(removed.map(drop))
        }
        // Where locks do nothing: another writer has replaced it in the middle of the call.
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
