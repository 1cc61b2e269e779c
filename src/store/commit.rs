//! The one commit: blobs get names, views are made, records are written; all durable before anything is acknowledged.
//!
//! Staging, repair and doctor hand over [`Unit`]s. In one round, under the store lock shared:
//!
//! 1. **publish** each unit's blobs,
//! 2. **show** its files at their places,
//! 3. **record** all units together, once what they refer to is durable,
//! 4. look that the lock file is still the one that was locked; if not, a sweep may have run beside this: again from 1.
//!
//! What a round finds missing is done without the lock, since it may read or write hundreds of gigabytes, and the next
//! round begins: a blob that nobody trusts is checked, a private file is synced, copies are made where hardlinks are
//! refused, a file in the way is read. Each unit has its own result: what fails for one does not fail the others.

use std::collections::{BTreeMap, BTreeSet};

use super::{Shared, Store};
use crate::blob::{Checker, Published, Sealed, Subject, Verdict};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::Meta;
use crate::fs::Session;
use crate::index::{Change, StoredRecord};
use crate::layout;
use crate::view::{self, Copies, Exhibit, Judged, Shown, Tally, View};

/// Rounds before giving up: more than a few only if somebody damages blobs, or replaces files, all the time.
const ROUNDS: usize = 6;

/// What is committed, independent of the other units of the same commit. Ids differ within one commit.
pub(crate) struct Unit<'a, 'r> {
    pub(crate) id: &'a str,
    /// Private, hashed files that get their names.
    pub(crate) blobs: &'a mut [Sealed<'r>],
    /// What is shown, and where.
    pub(crate) exhibit: Option<Exhibit<'a>>,
    /// Asked in each round, under the lock: whether the work is still to be done.
    pub(crate) is_due: &'a dyn Fn() -> Result<bool>,
    /// Decides on the record, given the view that was made and the record that the id has. `None`: nothing is recorded.
    pub(crate) record: Option<&'a RecordEdit<'a>>,
}

pub(crate) type RecordEdit<'a> = dyn Fn(Option<&View>, Option<StoredRecord>) -> Result<Change> + 'a;

/// What became of a unit.
#[derive(Debug)]
pub(crate) struct Done {
    /// The view that was made; `Ok(None)`: there was none to make, or the work was not due any more.
    pub(crate) result: Result<Option<View>>,
    /// Blobs that were not in the store before, whatever the result.
    pub(crate) stored: BTreeSet<Digest>,
    pub(crate) tally: Tally,
}

/// Commits units, each with its own result. With `flush`, their blobs were not synced yet and the whole file system is.
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

/// What is to be done without the lock before the next round.
enum Chore {
    /// Check a blob that is here and that nobody trusts.
    Check(Digest),
    /// Sync a private file: it is the blob of this number.
    Sync(usize),
    /// Make files that stand in for hardlinks.
    Copy,
    /// Read files that are in the way.
    Judge(Vec<Subject>),
}

/// What a round without recording came to.
struct Round {
    chores: Vec<(usize, Chore)>,
    /// Units that failed, unless the lock was lost meanwhile.
    failed: Vec<(usize, Error)>,
}

/// How far one unit is.
#[derive(Default)]
struct Progress {
    result: Option<Result<Option<View>>>,
    stored: BTreeSet<Digest>,
    copies: Option<Copies>,
    judged: Judged,
    tally: Tally,
    /// Made in this round.
    view: Option<View>,
}

struct Commit<'c> {
    store: &'c Store,
    session: &'c Session<'c>,
    /// One for each unit.
    progress: Vec<Progress>,
    /// Blobs that were read in full a moment ago and found good, and what they were then. Where the outboard cannot be
    /// written, as on a full disk, only this says so.
    settled: BTreeMap<Digest, Meta>,
    flush: bool,
}

impl Commit<'_> {
    /// An error is that of all units that have no result yet.
    fn run(&mut self, units: &mut [Unit<'_, '_>]) -> Result<()> {
        if self.flush {
            // Before any of it gets a name: a power cut must not leave a name with other bytes.
            self.store.root.sync_file_system()?;
            units.iter_mut().flat_map(|unit| &mut *unit.blobs).for_each(Sealed::was_synced);
        }
        let mut doubted = None;
        let mut rounds = 0..ROUNDS;
        while self.progress.iter().any(|progress| progress.result.is_none()) {
            let mut shared = Shared::lock(self.store)?;
            let Round { chores, failed } = self.publish_and_show(&mut shared, units);
            if chores.is_empty() || !failed.is_empty() {
                let failed_numbers: BTreeSet<usize> = failed.iter().map(|(number, _)| *number).collect();
                let recorded = match chores.is_empty() {
                    true => self.record(&mut shared, units, &failed_numbers),
                    false => Vec::new(),
                };
                let results: Vec<_> =
                    failed.into_iter().map(|(number, error)| (number, Err(error))).chain(recorded).collect();
                // What could not be synced cannot be relied on, however often it is done again.
                let is_final = results.iter().any(|(_, result)| result.as_ref().is_err_and(Error::is_failed_sync));
                if !is_final && !shared.is_named()? {
                    continue; // somebody has removed the lock file
                }
                for (number, result) in results {
                    self.conclude(number, result);
                }
            }
            drop(shared);
            doubted = chores
                .iter()
                .find_map(|(_, chore)| if let Chore::Check(digest) = chore { Some(*digest) } else { None })
                .or(doubted);
            self.do_chores(units, chores);
            if rounds.next().is_none() && self.progress.iter().any(|progress| progress.result.is_none()) {
                let path = doubted.map(|digest| self.store.root.absolute(&layout::blob(&digest))).unwrap_or_default();
                return Err(Error::CorruptBlob {
                    path,
                    reason: "it was damaged again each time it was replaced".into(),
                });
            }
        }
        Ok(())
    }

    /// Gives all units that are still open their names, each by itself.
    fn publish_and_show(&mut self, shared: &mut Shared<'_>, units: &mut [Unit<'_, '_>]) -> Round {
        let mut round = Round { chores: Vec::new(), failed: Vec::new() };
        for (number, (unit, progress)) in units.iter_mut().zip(&mut self.progress).enumerate() {
            if progress.result.is_some() {
                continue;
            }
            progress.view = None;
            match attempt(shared, self.session, unit, progress, &self.settled, self.store) {
                Ok(chores) => round.chores.extend(chores.into_iter().map(|chore| (number, chore))),
                Err(error) => round.failed.push((number, error)),
            }
        }
        round
    }

    /// Records what is published and shown; returns the result of each open unit that has not failed in this round.
    fn record(
        &self,
        shared: &mut Shared<'_>,
        units: &[Unit<'_, '_>],
        failed: &BTreeSet<usize>,
    ) -> Vec<(usize, Result<()>)> {
        let is_ready = |number: usize| self.is_open(number) && !failed.contains(&number);
        let open: Vec<(usize, &Unit<'_, '_>)> =
            units.iter().enumerate().filter(|(number, _)| is_ready(*number)).collect();
        let due: Vec<(usize, &Unit<'_, '_>)> = open.iter().copied().filter(|(_, unit)| unit.record.is_some()).collect();
        if due.is_empty() {
            let synced = shared.sync();
            return open.iter().map(|(number, _)| (*number, synced.clone())).collect();
        }
        let together = self.record_some(shared, &due);
        let is_one = due.len() == 1;
        let is_everybodys = |error: &Error| error.is_failed_sync() || error.is_busy();
        let results = match together {
            // One shard that is damaged, or one edit that is refused, is not the failure of the others.
            Err(error) if !is_one && !is_everybodys(&error) => {
                due.iter().map(|unit| (unit.0, self.record_some(shared, &[*unit]))).collect::<Vec<_>>()
            }
            result => due.iter().map(|(number, _)| (*number, result.clone())).collect(),
        };
        let rest = open.iter().filter(|(_, unit)| unit.record.is_none()).map(|(number, _)| (*number, Ok(())));
        results.into_iter().chain(rest).collect()
    }

    fn record_some(&self, shared: &mut Shared<'_>, due: &[(usize, &Unit<'_, '_>)]) -> Result<()> {
        let by_id: BTreeMap<&str, (usize, &Unit<'_, '_>)> =
            due.iter().map(|(number, unit)| (unit.id, (*number, *unit))).collect();
        let ids: Vec<&str> = by_id.keys().copied().collect();
        shared.record(&ids, self.flush, &mut |id, old| {
            let Some((number, unit)) = by_id.get(id) else { return Ok(Change::Keep) };
            let view = self.progress.get(*number).and_then(|progress| progress.view.as_ref());
            unit.record.map_or(Ok(Change::Keep), |record| record(view, old))
        })
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
            let done = match chore {
                Chore::Check(digest) if self.settled.contains_key(&digest) => Ok(()), // for another unit, just now
                Chore::Check(digest) => self.store.settle(&digest).map(|good| {
                    self.settled.extend(good.map(|good| (digest, good)));
                }),
                Chore::Sync(blob) => unit.blobs.get_mut(blob).map_or(Ok(()), Sealed::sync),
                Chore::Copy => make_copies(self.store, self.session, unit, progress),
                Chore::Judge(subjects) => judge(self.store, subjects, &mut progress.judged),
            };
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

/// Publishes and shows one unit, as far as that can be done under the lock.
fn attempt(
    shared: &mut Shared<'_>,
    session: &Session<'_>,
    unit: &mut Unit<'_, '_>,
    progress: &mut Progress,
    settled: &BTreeMap<Digest, Meta>,
    store: &Store,
) -> Result<Vec<Chore>> {
    if !(unit.is_due)()? {
        progress.result = Some(Ok(None));
        return Ok(Vec::new());
    }
    let mut chores = Vec::new();
    for (number, incoming) in unit.blobs.iter_mut().enumerate() {
        let digest = incoming.digest();
        match shared.publish(incoming)? {
            Published::New => drop(progress.stored.insert(digest)),
            Published::Existing => {}
            Published::Doubtful if is_as_settled(store, settled.get(&digest), &digest)? => {}
            Published::Doubtful => chores.push(Chore::Check(digest)),
            Published::Unsynced => chores.push(Chore::Sync(number)),
        }
    }
    let Some(exhibit) = unit.exhibit.filter(|_| chores.is_empty()) else { return Ok(chores) };
    let Progress { judged, copies, tally, .. } = progress;
    match shared.show(session, &exhibit, judged, copies.as_ref(), tally)? {
        Shown::Whole(view) => progress.view = Some(view),
        Shown::NeedsCopies => chores.push(Chore::Copy),
        Shown::NeedsJudgement(subjects) => chores.push(Chore::Judge(subjects)),
    }
    Ok(chores)
}

/// Whether a blob is the very file that was read in full a moment ago.
fn is_as_settled(store: &Store, settled: Option<&Meta>, digest: &Digest) -> Result<bool> {
    let Some(then) = settled else { return Ok(false) };
    let now = store.root.meta(&layout::blob(digest))?;
    Ok(now.is_some_and(|now| now.same_inode(then) && now.stamp() == then.stamp()))
}

fn make_copies(store: &Store, session: &Session<'_>, unit: &Unit<'_, '_>, progress: &mut Progress) -> Result<()> {
    if let Some(exhibit) = &unit.exhibit {
        progress.copies = Some(view::copy(&store.root, exhibit.files, session, store.durability())?);
    }
    Ok(())
}

/// Reads files that stand at places of views, and notes whether they have the bytes that belong there.
fn judge(store: &Store, subjects: Vec<Subject>, judged: &mut Judged) -> Result<()> {
    for subject in subjects {
        let Some(before) = store.root.meta(&subject.path)? else { continue }; // the place is free by now
        let path = subject.path.clone();
        match Checker::quiet(&store.root, store.durability()).one(subject)? {
            Verdict::Good => drop(judged.insert(path, (before, true))),
            Verdict::Bad { .. } => drop(judged.insert(path, (before, false))),
            Verdict::Missing => {}
        }
    }
    Ok(())
}

impl Store {
    /// Checks a blob that is here already, and takes a bad one out of the way. Returns what a good one was before.
    fn settle(&self, digest: &Digest) -> Result<Option<Meta>> {
        let before = self.root.meta(&layout::blob(digest))?;
        match Checker::quiet(&self.root, self.durability()).one(Subject::blob(digest, None))? {
            Verdict::Good => Ok(before),
            Verdict::Missing => Ok(None),
            Verdict::Bad { file, .. } => self.take_out_of_service(digest, &file).map(|_| None),
        }
    }
}
