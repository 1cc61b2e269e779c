//! The store lock as types: operations that require the lock are methods of its guard.
//!
//! A [`Shared`] guard excludes sweeps; an [`Exclusive`] guard excludes commits and other sweeps. A process holds
//! `locks/gate` only while it waits for the store lock: later commits then queue behind a waiting sweep, which they
//! could otherwise overtake for ever.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::{Store, open};
use crate::blob::{self, Published, Sealed, Touched};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::Session;
use crate::fs::lock::{Hold, Lock, Wait, lock, poll};
use crate::fs::{Durability, Meta, Root, Temp, atomic};
use crate::index::{Edit, FLUSH_ONCE_FROM, Flush, Generation, StoredRecord};
use crate::layout;
use crate::view::{self, Copies, Exhibit, Judged, Shown, Tally};

/// Held for a commit: no sweep runs until it is dropped.
#[must_use = "a dropped guard excludes no sweep"]
#[derive(Debug)]
pub(crate) struct Shared<'s> {
    store: &'s Store,
    lock: Lock,
    /// The content of `trash/`, read when the first blob is published.
    trash: Mutex<Option<Arc<BTreeMap<Digest, u64>>>>,
    /// Folders with new names, to be synced before anything that needs those names is recorded.
    touched: Touched,
    /// How long to wait for the lock of a shard.
    pub(super) shard_wait: Wait,
}

/// Held for a sweep, and for anything else that must run alone: no commit runs until it is dropped.
#[must_use = "a dropped guard excludes no commit"]
#[derive(Debug)]
pub(crate) struct Exclusive<'s> {
    store: &'s Store,
    lock: Lock,
}

impl<'s> Shared<'s> {
    pub(crate) fn lock(store: &'s Store) -> Result<Self> {
        Ok(Self::of(store, lock_store(store, Hold::Shared)?))
    }

    /// Like [`lock`](Shared::lock), for a caller that can do without: `None` if the lock is busy for this long. It does
    /// not look for the holder.
    pub(super) fn poll(store: &'s Store, wait: Wait) -> Result<Option<Self>> {
        let begun = Instant::now();
        let poll = |path: PathBuf| poll(&store.root, &path, Hold::Shared, wait.left_since(begun));
        let Some(_gate) = poll(layout::lock_gate())? else { return Ok(None) };
        let Some(lock) = poll(layout::lock_store())? else { return Ok(None) };
        check_is_ours(store)?;
        Ok(Some(Self::of(store, lock)))
    }

    fn of(store: &'s Store, lock: Lock) -> Self {
        Shared {
            store,
            lock,
            trash: Mutex::default(),
            touched: Touched::default(),
            shard_wait: store.settings.lock_wait,
        }
    }

    /// A part of the commit's work, for one thread.
    pub(super) fn part(&self) -> Part<'_> {
        Part { guard: self, touched: self.touched.of_one_part(&self.store.root) }
    }

    /// Takes over the names that a part has made.
    pub(super) fn take(&mut self, made: Made) {
        self.touched.extend(made.0);
    }

    /// The content of `trash/`. Only sweeps add to it.
    fn trash(&self) -> Result<Arc<BTreeMap<Digest, u64>>> {
        let mut trash = self.trash.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match &*trash {
            Some(trash) => trash.clone(),
            None => trash.insert(Arc::new(blob::trash(&self.store.root)?)).clone(),
        })
    }

    /// Changes records once everything that they refer to is durable. With `flush`, it syncs the whole file system for
    /// that, and not each folder.
    pub(super) fn record(&mut self, ids: &[&str], flush: bool, edit: &mut Edit<'_>) -> Result<()> {
        let (root, touched) = (&self.store.root, &self.touched);
        let is_full = self.store.durability().is_full();
        let (touched, flush) = if is_full { (touched, flush) } else { (&Touched::default(), false) };
        record(self.store, ids, self.shard_wait, &mut |shards| make_durable(root, shards, touched, flush), edit)
    }

    /// Makes durable what was published or shown for records that exist already.
    pub(super) fn sync(&self) -> Result<()> {
        if self.store.durability().is_full() { self.touched.sync(&self.store.root) } else { Ok(()) }
    }

    /// Whether the lock file is still the one that is locked. If another process has removed it, a sweep may have run
    /// at the same time.
    pub(super) fn is_named(&self) -> Result<bool> {
        self.lock.is_named(&self.store.root, &layout::lock_store())
    }
}

/// What one thread of a commit does under its lock.
pub(super) struct Part<'g> {
    guard: &'g Shared<'g>,
    touched: Touched,
}

/// The names that a [`Part`] has made. They are durable once [`Shared::take`] has taken them over and
/// [`record`](Shared::record) or [`sync`](Shared::sync) has returned.
#[must_use = "nothing else makes these names durable"]
pub(super) struct Made(Touched);

impl Part<'_> {
    /// Gives a blob its name; if it is in `trash/`, it is moved back instead.
    pub(super) fn publish(&mut self, incoming: &mut Sealed<'_>) -> Result<Published> {
        let Store { root, .. } = self.guard.store;
        let durability = self.guard.store.durability();
        blob::publish(root, incoming, &*self.guard.trash()?, durability, &mut self.touched)
    }

    /// Makes a view of blobs that are in the store.
    pub(super) fn show(
        &mut self,
        session: &Session<'_>,
        exhibit: &Exhibit<'_>,
        judged: &Judged,
        copies: Option<&mut Copies>,
        tally: &mut Tally,
    ) -> Result<Shown> {
        view::show(&self.guard.store.root, exhibit, session, judged, copies, &mut self.touched, tally)
    }

    pub(super) fn made(self) -> Made {
        Made(self.touched)
    }
}

impl<'s> Exclusive<'s> {
    pub(crate) fn lock(store: &'s Store) -> Result<Self> {
        Ok(Exclusive { store, lock: lock_store(store, Hold::Exclusive)? })
    }

    /// Changes records that refer to nothing new.
    pub(crate) fn record(&self, ids: &[&str], edit: &mut Edit<'_>) -> Result<()> {
        let (root, nothing) = (&self.store.root, Touched::default());
        let wait = self.store.settings.lock_wait;
        record(self.store, ids, wait, &mut |shards| make_durable(root, shards, &nothing, false), edit)
    }

    /// Moves a blob that is neither referenced nor leased to `trash/`.
    pub(super) fn retire(&self, digest: &Digest) -> Result<PathBuf> {
        blob::to_trash(&self.store.root, digest)
    }

    /// Durably moves a bad file that should have the bytes of a blob to `quarantine/`. `false`: it was replaced since
    /// it was checked, and stays.
    pub(super) fn quarantine(&self, digest: &Digest, from: &Path, bad: &Meta) -> Result<bool> {
        blob::quarantine(&self.store.root, digest, from, bad, self.store.durability())
    }

    /// Durably moves a file in a view's folder that belongs to no entry to `quarantine/`. `false`: it was replaced
    /// since it was looked at, and stays.
    pub(super) fn quarantine_stranger(&self, from: &Path, found: &Meta) -> Result<bool> {
        blob::quarantine_stranger(&self.store.root, from, found, self.store.durability())
    }

    /// Replaces a damaged or lost shard with its previous generation. `None`: the shard is readable by now.
    pub(crate) fn restore_shard(&self, number: u8) -> Result<Option<Generation>> {
        let Store { index, settings, .. } = self.store;
        index.restore_previous(number, settings.durability, settings.lock_wait)
    }

    /// Makes a good shard its own `.prev`. `false`: it has a good one by now.
    pub(crate) fn renew_previous(&self, number: u8) -> Result<bool> {
        let Store { index, settings, .. } = self.store;
        index.renew_previous(number, settings.durability, settings.lock_wait)
    }

    /// Replaces `store.json`.
    pub(crate) fn replace_store_file(&self, text: &[u8]) -> Result<()> {
        atomic::replace(&self.store.root, Path::new(layout::STORE_JSON), text, Durability::Full)
    }

    /// Writes a `store.json` without limits, to replace one that is lost or was moved away.
    pub(crate) fn write_default_store_file(&self) -> Result<()> {
        open::write_store_file(&self.store.root)
    }

    /// Whether the lock file is still the one that is locked. If another process has removed it, commits may run at the
    /// same time.
    pub(super) fn is_named(&self) -> Result<bool> {
        self.lock.is_named(&self.store.root, &layout::lock_store())
    }
}

/// Makes new shards durable, and the names that a commit has made: together, so that all wait for the disk once. With
/// `flush`, it syncs the whole file system.
fn make_durable(root: &Root, shards: &[&Temp<'_>], touched: &Touched, flush: bool) -> Result<()> {
    match flush || shards.len() >= FLUSH_ONCE_FROM {
        true if root.sync_file_system()? => Ok(()),
        _ => touched.sync_with(root, shards),
    }
}

/// The one call that changes the index. No id gets content that the rules of signatures do not allow.
fn record(store: &Store, ids: &[&str], wait: Wait, flush: &mut Flush<'_>, edit: &mut Edit<'_>) -> Result<()> {
    store.index.update(ids, store.durability(), wait, flush, &mut |id, old| {
        let before = old.as_ref().map(StoredRecord::content);
        let change = edit(id, old)?;
        if let Some(new) = change.record()
            && before != Some(new.content())
        {
            store.signature_policy()?.check(id, new.digest_here(), &new.attested)?;
        }
        Ok(change)
    })
}

fn lock_store(store: &Store, hold: Hold) -> Result<Lock> {
    let Store { root, settings, .. } = store;
    let begun = Instant::now();
    let lock = |path| lock(root, path, "the store", hold, settings.lock_wait.left_since(begun));
    let _gate = lock(layout::lock_gate())?;
    let lock = lock(layout::lock_store())?;
    check_is_ours(store)?;
    Ok(lock)
}

/// An error if a newer version has taken over the store since it was opened, which it does under the store lock.
fn check_is_ours(store: &Store) -> Result<()> {
    match open::check_store_file(&store.root) {
        Err(error @ Error::UnsupportedFormat { .. }) => Err(error),
        // A damaged or lost `store.json` is for `doctor`, and does not stop other work.
        Ok(_) | Err(_) => Ok(()),
    }
}
