//! The store lock as types: what may only be done while it is held is a method of its guard.
//!
//! A [`Shared`] guard excludes sweeps, an [`Exclusive`] one excludes commits and other sweeps. `locks/gate` is held only
//! while the store lock is waited for: commits that come later wait behind a sweep that waits, which they would otherwise
//! overtake for ever.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Store, open};
use crate::blob::{self, Published, Sealed, Touched};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::Session;
use crate::fs::lock::{Hold, Lock, Wait, lock, poll};
use crate::fs::{Durability, Meta, atomic};
use crate::index::{Edit, Flushed, Generation};
use crate::layout;
use crate::view::{self, Copies, Exhibit, Judged, Shown, Tally};

/// Held for a commit: no sweep runs until it is dropped.
#[must_use = "a dropped guard excludes no sweep"]
#[derive(Debug)]
pub(crate) struct Shared<'s> {
    store: &'s Store,
    lock: Lock,
    /// What lies in `trash/`; read when the first blob is published.
    trash: Option<BTreeMap<Digest, u64>>,
    /// Folders with new names, which are synced before anything that needs them is recorded.
    touched: Touched,
    /// How long shards are waited for.
    pub(super) shard_wait: Wait,
}

/// Held for a sweep, and for whatever else must be alone: no commit runs until it is dropped.
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

    /// [`lock`](Shared::lock) for whoever can do without: `None` when it is busy for so long. It does not look for the holder.
    pub(super) fn poll(store: &'s Store, wait: Wait) -> Result<Option<Self>> {
        let begun = Instant::now();
        let poll = |path: PathBuf| poll(&store.root, &path, Hold::Shared, wait.left_since(begun));
        let Some(_gate) = poll(layout::lock_gate())? else { return Ok(None) };
        let Some(lock) = poll(layout::lock_store())? else { return Ok(None) };
        check_is_ours(store)?;
        Ok(Some(Self::of(store, lock)))
    }

    fn of(store: &'s Store, lock: Lock) -> Self {
        Shared { store, lock, trash: None, touched: Touched::default(), shard_wait: store.settings.lock_wait }
    }

    /// Gives a blob its name; one that is in `trash/` is moved back instead. It is durable once [`record`](Shared::record)
    /// or [`sync`](Shared::sync) has returned.
    pub(super) fn publish(&mut self, incoming: &mut Sealed<'_>) -> Result<Published> {
        let (root, durability) = (&self.store.root, self.store.durability());
        let trash = match &mut self.trash {
            Some(trash) => trash,
            none => none.insert(blob::trash(root)?),
        };
        blob::publish(root, incoming, trash, durability, &mut self.touched)
    }

    /// Makes a view of blobs that are here.
    pub(super) fn show(
        &mut self,
        session: &Session<'_>,
        exhibit: &Exhibit<'_>,
        judged: &Judged,
        copies: Option<&mut Copies>,
        tally: &mut Tally,
    ) -> Result<Shown> {
        view::show(&self.store.root, exhibit, session, judged, copies, &mut self.touched, tally)
    }

    /// Changes records, once everything that they refer to is durable. With `flush`, the whole file system is synced for
    /// that and not each folder by itself.
    pub(super) fn record(&mut self, ids: &[&str], flush: bool, edit: &mut Edit<'_>) -> Result<()> {
        let (root, touched) = (&self.store.root, &self.touched);
        let is_full = self.store.durability().is_full();
        let mut make_durable = || match (is_full, flush) {
            (false, _) => Ok(Flushed::Nothing),
            (true, true) if root.sync_file_system()? => Ok(Flushed::FileSystem),
            (true, _) => touched.sync(root).map(|()| Flushed::Nothing),
        };
        record(self.store, ids, self.shard_wait, &mut make_durable, edit)
    }

    /// Makes durable what was published or shown for records that are there already.
    pub(super) fn sync(&self) -> Result<()> {
        if self.store.durability().is_full() { self.touched.sync(&self.store.root) } else { Ok(()) }
    }

    /// Whether the lock file is still the one that is locked. If somebody has removed it, a sweep may have run beside this.
    pub(super) fn is_named(&self) -> Result<bool> {
        self.lock.is_named(&self.store.root, &layout::lock_store())
    }
}

impl<'s> Exclusive<'s> {
    pub(crate) fn lock(store: &'s Store) -> Result<Self> {
        Ok(Exclusive { store, lock: lock_store(store, Hold::Exclusive)? })
    }

    /// Changes records that refer to nothing new.
    pub(crate) fn record(&self, ids: &[&str], edit: &mut Edit<'_>) -> Result<()> {
        record(self.store, ids, self.store.settings.lock_wait, &mut || Ok(Flushed::Nothing), edit)
    }

    /// Moves a blob that nothing references and nobody leases to `trash/`.
    pub(super) fn retire(&self, digest: &Digest) -> Result<PathBuf> {
        blob::to_trash(&self.store.root, digest)
    }

    /// Moves a file that should have the bytes of a blob, and was found bad, to `quarantine/`, durably. `false`: it was
    /// replaced since it was looked at, and stays.
    pub(super) fn quarantine(&self, digest: &Digest, from: &Path, bad: &Meta) -> Result<bool> {
        blob::quarantine(&self.store.root, digest, from, bad, self.store.durability())
    }

    /// Moves a file that is in a view's folder, and that no entry has there, to `quarantine/`, durably. `false`: it was
    /// replaced since it was looked at, and stays.
    pub(super) fn quarantine_stranger(&self, from: &Path, found: &Meta) -> Result<bool> {
        blob::quarantine_stranger(&self.store.root, from, found, self.store.durability())
    }

    /// Puts the generation before in the place of a shard that is damaged or lost. `None`: the shard can be read by now.
    pub(crate) fn restore_shard(&self, number: u8) -> Result<Option<Generation>> {
        let Store { index, settings, .. } = self.store;
        index.restore_previous(number, settings.durability, settings.lock_wait)
    }

    /// Gives a good shard the second name `.prev`. `false`: it has a good one by now.
    pub(crate) fn renew_previous(&self, number: u8) -> Result<bool> {
        let Store { index, settings, .. } = self.store;
        index.renew_previous(number, settings.durability, settings.lock_wait)
    }

    /// Replaces `store.json`.
    pub(crate) fn replace_store_file(&self, text: &[u8]) -> Result<()> {
        atomic::replace(&self.store.root, Path::new(layout::STORE_JSON), text, Durability::Full)
    }

    /// Writes a `store.json` without limits, in the place of one that is lost or was moved away.
    pub(crate) fn write_default_store_file(&self) -> Result<()> {
        open::write_store_file(&self.store.root)
    }

    /// Whether the lock file is still the one that is locked. If somebody has removed it, commits run beside this.
    pub(super) fn is_named(&self) -> Result<bool> {
        self.lock.is_named(&self.store.root, &layout::lock_store())
    }
}

/// The one call that changes the index.
fn record(
    store: &Store,
    ids: &[&str],
    wait: Wait,
    make_durable: &mut dyn FnMut() -> Result<Flushed>,
    edit: &mut Edit<'_>,
) -> Result<()> {
    store.index.update(ids, store.durability(), wait, make_durable, edit)
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

/// Refuses when a newer version has made the store its own since it was opened: it does so under the lock of the store.
fn check_is_ours(store: &Store) -> Result<()> {
    match open::check_store_file(&store.root) {
        Err(error @ Error::UnsupportedFormat { .. }) => Err(error),
        Ok(_) | Err(_) => Ok(()), // one that is damaged or lost is for doctor, and does not keep others from working
    }
}
