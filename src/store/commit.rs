//! The only commit: it publishes blobs, makes views and writes records, and all of it is durable before anything is
//! acknowledged.
//!
//! Staging, repair and doctor pass in [`Unit`]s. In each round, with the store lock held shared, a commit does the
//! following:
//!
//! 1. **publish** each unit's blobs,
//! 2. **show** its files at their places,
//! 3. **record** all units together, once everything that they refer to is durable,
//! 4. check that the lock file is still the one that was locked; if not, a sweep may have run at the same time, and the
//!    commit starts again at 1.
//!
//! If a round finds work missing, that work is done without the lock, because it may read or write hundreds of
//! gigabytes, and the next round begins: a blob that is not known to be good is checked, a private file is synced,
//! copies are made if hardlinks are refused, a file in the way is read. Each unit has its own result: the failure of
//! one does not fail the others.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use super::attempt::{Round, publish_and_show};
use super::chores::Chore;
use super::each::each;
use super::{Shared, Store};
use crate::blob::Sealed;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::{Meta, Session};
use crate::index::{Change, StoredRecord};
use crate::layout;
use crate::view::{Copies, Exhibit, Judged, Tally, View};

/// Rounds before giving up. More than a few are needed only if another process keeps damaging blobs or replacing files.
const ROUNDS: usize = 8;

/// How many rounds may end with the lock file gone.
const LOST_LOCKS: usize = 1000;

/// A unit of a commit, independent of its other units. No two units of a commit have the same id.
pub(crate) struct Unit<'a, 'r> {
    pub(crate) id: &'a str,
    /// Private, hashed files to publish.
    pub(crate) blobs: &'a mut [Sealed<'r>],
    /// The files to show, and where.
    pub(crate) exhibit: Option<Exhibit<'a>>,
    /// Called in each round, under the lock: returns whether the work still has to be done.
    pub(crate) is_due: &'a dyn Fn() -> Result<bool>,
    /// Decides on the new record, given the view that was made and the current record of the id. `None`: nothing is
    /// recorded.
    pub(crate) record: Option<&'a RecordEdit<'a>>,
}

pub(crate) type RecordEdit<'a> = dyn Fn(Option<&View>, Option<StoredRecord>) -> Result<Change> + 'a;

/// The outcome of a unit.
#[derive(Debug)]
pub(crate) struct Done {
    /// The view that was made; `Ok(None)`: there was none to make, or the work was no longer due.
    pub(crate) result: Result<Option<View>>,
    /// Blobs that this commit added to the store, whatever the result.
    pub(crate) stored: BTreeSet<Digest>,
    pub(crate) tally: Tally,
}

/// Commits units and returns one outcome per unit. With `flush`, their blobs are not synced yet, and the whole file
/// system is synced.
pub(crate) fn commit(store: &Store, session: &Session<'_>, units: &mut [Unit<'_, '_>], flush: bool) -> Vec<Done> {
    let mut commit = Commit {
        store,
        session,
        progress: units.iter().map(|_| Progress::default()).collect(),
        settled: BTreeMap::new(),
        flush,
    };
    if let Err(error) = commit.run(units) {
        commit.fail_rest(&error);
    }
    let done = |progress: Progress| Done {
        result: progress.result.unwrap_or(Ok(None)),
        stored: progress.stored,
        tally: progress.tally,
    };
    commit.progress.into_iter().map(done).collect()
}

/// The progress of one unit.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) result: Option<Result<Option<View>>>,
    pub(super) stored: BTreeSet<Digest>,
    pub(super) copies: Option<Copies>,
    /// The users, besides the root's owner, who own files that were published, found good or shown.
    owners: BTreeSet<u32>,
    pub(super) judged: Judged,
    pub(super) tally: Tally,
    /// The view made in this round.
    pub(super) view: Option<View>,
}

impl Progress {
    pub(super) fn note_owner(&mut self, store: &Store, owner: u32) {
        if !store.root.is_trusted_by_all(owner) {
            self.owners.insert(owner);
        }
    }
}

struct Commit<'c> {
    store: &'c Store,
    session: &'c Session<'c>,
    /// One per unit.
    progress: Vec<Progress>,
    /// Blobs that were just read in full and found good, with their metadata from then. If an outboard cannot be
    /// written, for example on a full disk, only this says that the blob is good.
    settled: BTreeMap<Digest, Meta>,
    flush: bool,
}

impl Commit<'_> {
    /// An error applies to all units that have no result yet.
    fn run(&mut self, units: &mut [Unit<'_, '_>]) -> Result<()> {
        // Sync before anything gets a name, because a power cut must not leave a name with other bytes. If the system
        // has no such call, the first round finds the blobs unsynced, and each is synced on its own.
        if self.flush && self.store.root.sync_file_system()? {
            units.iter_mut().flat_map(|unit| &mut *unit.blobs).for_each(Sealed::was_synced);
        }
        // A path that the last round's chores concern, for the error.
        let mut unsettled: Option<PathBuf> = None;
        let (mut rounds, mut lost_locks) = (0, 0);
        while rounds < ROUNDS && lost_locks < LOST_LOCKS {
            if self.progress.iter().all(|progress| progress.result.is_some()) {
                return Ok(());
            }
            let mut shared = Shared::lock(self.store)?;
            let Round { chores, failed } =
                publish_and_show(&mut shared, self.session, units, &mut self.progress, &self.settled, self.store);
            if chores.is_empty() || !failed.is_empty() {
                let failed_numbers: BTreeSet<usize> = failed.iter().map(|(number, _)| *number).collect();
                let recorded = match chores.is_empty() {
                    true => self.record(&mut shared, units, &failed_numbers),
                    false => Vec::new(),
                };
                let results: Vec<_> =
                    failed.into_iter().map(|(number, error)| (number, Err(error))).chain(recorded).collect();
                // A failed sync is final: the data cannot be relied on, even if a later sync succeeds.
                let is_final = results.iter().any(|(_, result)| result.as_ref().is_err_and(Error::is_failed_sync));
                if !is_final && !shared.is_named()? {
                    unsettled = Some(layout::lock_store()); // another process has removed it
                    lost_locks += 1;
                    continue;
                }
                for (number, result) in results {
                    self.conclude(number, result);
                }
            }
            drop(shared);
            unsettled = chores.iter().find_map(|(number, chore)| chore.place(units.get(*number))).or(unsettled);
            self.do_chores(units, chores);
            rounds += 1;
        }
        let path = unsettled.map(|path| self.store.root.absolute(&path)).unwrap_or_default();
        let cause =
            io::Error::other(format!("it was changed, or removed, in each of {} attempts", rounds + lost_locks));
        match self.progress.iter().all(|progress| progress.result.is_some()) {
            true => Ok(()),
            false => Err(Error::io("commit with", path, cause)),
        }
    }

    /// Records the units that are published and shown. Returns a result for each open unit that has not failed in this
    /// round.
    fn record(
        &self,
        shared: &mut Shared<'_>,
        units: &[Unit<'_, '_>],
        failed: &BTreeSet<usize>,
    ) -> Vec<(usize, Result<()>)> {
        let is_ready = |number: usize| self.is_open(number) && !failed.contains(&number);
        let open: Vec<(usize, &Unit<'_, '_>)> =
            units.iter().enumerate().filter(|(number, _)| is_ready(*number)).collect();
        let (due, rest): (Vec<_>, Vec<_>) = open.into_iter().partition(|(_, unit)| unit.record.is_some());
        let mut results = if due.is_empty() { Vec::new() } else { self.record_each(shared, &due) };
        if !rest.is_empty() {
            let synced = shared.sync();
            results.extend(rest.iter().map(|(number, _)| (*number, synced.clone())));
        }
        results
    }

    fn record_each(&self, shared: &mut Shared<'_>, due: &[(usize, &Unit<'_, '_>)]) -> Vec<(usize, Result<()>)> {
        let by_id: BTreeMap<&str, (usize, &Unit<'_, '_>)> =
            due.iter().map(|(number, unit)| (unit.id, (*number, *unit))).collect();
        let ids: Vec<&str> = by_id.keys().copied().collect();
        let is_everybodys = |error: &Error| error.is_failed_sync() || error.is_busy();
        let recorded = each(&ids, &is_everybodys, &mut |ids| {
            shared.record(ids, self.flush, &mut |id, old| match by_id.get(id) {
                Some((number, unit)) => self.edit(*number, unit, old),
                None => Ok(Change::Keep),
            })
        });
        recorded.into_iter().filter_map(|(id, result)| Some((by_id.get(id)?.0, result))).collect()
    }

    /// Returns the change of an open unit's record.
    fn edit(&self, number: usize, unit: &Unit<'_, '_>, old: Option<StoredRecord>) -> Result<Change> {
        let progress = self.progress.get(number);
        let view = progress.and_then(|progress| progress.view.as_ref());
        let mut change = unit.record.map_or(Ok(Change::Keep), |record| record(view, old))?;
        if let (Some(record), Some(progress)) = (change.record_mut(), progress) {
            record.owners.extend(&progress.owners);
        }
        Ok(change)
    }

    fn is_open(&self, number: usize) -> bool {
        self.progress.get(number).is_some_and(|progress| progress.result.is_none())
    }

    fn conclude(&mut self, number: usize, result: Result<()>) {
        if let Some(progress) = self.progress.get_mut(number) {
            progress.result = Some(result.map(|()| progress.view.take()));
        }
    }

    fn do_chores(&mut self, units: &mut [Unit<'_, '_>], chores: Vec<(usize, Chore)>) {
        for (number, chore) in chores {
            let (Some(unit), Some(progress)) = (units.get_mut(number), self.progress.get_mut(number)) else { continue };
            let done = chore.run(self.store, self.session, unit, progress, &mut self.settled);
            if let Err(error) = done {
                progress.result = Some(Err(error));
            }
        }
    }

    fn fail_rest(&mut self, error: &Error) {
        for progress in self.progress.iter_mut().filter(|progress| progress.result.is_none()) {
            progress.result = Some(Err(error.clone()));
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::FsCatalog;
    use crate::fs::Durability;

    // Red when a file that takes a blob's name after the blob was checked is never checked: each round would find the
    // same as the one before.
    #[test]
    fn what_takes_the_place_of_a_blob_that_was_checked_is_checked_too() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = FsCatalog::new(dir.path()).unwrap();
        let store = catalog.store();
        let session = Session::begin(&store.root).unwrap();
        let blob = store.root.absolute(&layout::blob(&Digest::sha256_of(b"bytes")));
        std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
        // As if another process had staged it again and not yet written its outboard.
        let staged_again = || {
            let _ = std::fs::remove_file(&blob);
            std::fs::write(blob.with_extension("new"), b"bytes").unwrap();
            std::fs::rename(blob.with_extension("new"), &blob).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o444);
            std::fs::set_permissions(&blob, mode).unwrap();
            for outboard in [layout::outboard, layout::outboard_groups] {
                let _ = std::fs::remove_file(store.root.absolute(&outboard(&Digest::sha256_of(b"bytes"))));
            }
        };
        let rounds = Cell::new(0);
        let is_due = || {
            rounds.set(rounds.get() + 1);
            if rounds.get() <= 2 {
                staged_again();
            }
            Ok(true)
        };
        let mut blobs = [crate::blob::sealed(&session, b"bytes", Durability::Relaxed)];
        let unit =
            Unit { id: "m", blobs: &mut blobs, exhibit: None, is_due: &is_due, record: Some(&|_, _| Ok(Change::Keep)) };
        let [done] = commit(store, &session, &mut [unit], false).try_into().unwrap();
        assert!(done.result.is_ok(), "{:?}", done.result);
        assert_eq!(rounds.get(), 3);
    }

    // Red when an attempt whose lock file is gone does not count: the commit would never end.
    #[test]
    fn a_commit_whose_lock_file_is_removed_each_time_ends() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = FsCatalog::new(dir.path()).unwrap();
        let store = catalog.store();
        let session = Session::begin(&store.root).unwrap();
        let lock = store.root.absolute(&layout::lock_store());
        let attempts = Cell::new(0);
        let is_due = || {
            attempts.set(attempts.get() + 1);
            assert!(attempts.get() < 2 * LOST_LOCKS, "it goes on for ever");
            std::fs::remove_file(&lock).map_err(|e| Error::io("remove", &lock, e))?;
            Ok(true)
        };
        let unit =
            Unit { id: "m", blobs: &mut [], exhibit: None, is_due: &is_due, record: Some(&|_, _| Ok(Change::Keep)) };
        let [done] = commit(store, &session, &mut [unit], false).try_into().unwrap();
        let error = done.result.unwrap_err().to_string();
        assert!(error.contains("locks/store"), "{error}");
    }
}
