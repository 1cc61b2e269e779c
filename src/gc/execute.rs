//! Executes a plan. Each step is judged again when its turn comes, and a step that fails does not stop the others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::entries::Entries;
use super::gather::{add_entry, gather};
use super::in_use::is_open;
use super::plan::{is_due, shortfall};
use super::usage::bytes_freed_below;
use super::{GcAction, GcFailure, GcPlan, GcPolicy, GcReport, GcStep};
use crate::blob::{self, Freed};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, LogEventKind};
use crate::error::{Error, Result};
use crate::fs::Session;
use crate::fs::lock::{Hold, try_lock_file};
use crate::fs::{now_ms, spare_descriptors};
use crate::index::{Change, Happened, StoredRecord};
use crate::ingest;
use crate::layout::{self, LockFile, Thing};
use crate::store::{Fate, NotedUses, Store, Sweep, each_once, stray_notes};

/// The most entries that one write of the index evicts. Each holds a descriptor until its blobs are removed.
const EVICTIONS_AT_ONCE: usize = 200;

/// Does what a plan says, except for anything that was leased, pinned, used or staged since the plan was made.
pub(crate) fn execute(store: &Store, plan: &GcPlan) -> Result<GcReport> {
    let mut run = Run {
        store,
        policy: &plan.policy,
        report: GcReport { shortfall_bytes: plan.shortfall_bytes, ..GcReport::default() },
    };
    let mut sweep = Sweep::begin(store)?;
    let mut evictions = Vec::new();
    for step in &plan.steps {
        match &step.action {
            GcAction::EvictEntry { .. } => evictions.push(step),
            GcAction::EmptyTrash { .. } => {} // done below, when commits may run again
            _ => {
                let done = run.take(step, &mut sweep);
                run.note(&step.action, done)?;
            }
        }
        sweep.unblock_leases();
    }
    let at_once = (spare_descriptors() / 4).clamp(1, EVICTIONS_AT_ONCE);
    for steps in evictions.chunks(at_once) {
        run.evict_some(steps, &mut sweep)?;
    }
    let swept = sweep.finish()?;
    swept.freed.iter().for_each(|freed| run.report.add(freed));
    run.report.failed.extend(swept.failed.into_iter().map(|error| GcFailure { action: None, error }));
    run.empty_trash(plan)?;
    // All steps above are done by now, and are reported even if these fail.
    for done in [run.remove_locks(), run.remove_stray_notes()] {
        run.report.failed.extend(done.err().map(|error| GcFailure { action: None, error }));
    }
    let mut report = run.report;
    store.complete();
    if report.skipped > 0 || !report.failed.is_empty() {
        // Less was freed than the plan counted on.
        match gather(store) {
            Ok(facts) => report.shortfall_bytes = shortfall(&facts, &plan.policy),
            Err(error) => report.failed.push(GcFailure { action: None, error }),
        }
    }
    tracing::debug!(entries = report.entries, bytes = report.physical_bytes, "collected");
    Ok(report)
}

struct Run<'a> {
    store: &'a Store,
    policy: &'a GcPolicy,
    report: GcReport,
}

impl Run<'_> {
    /// Does one step that is not an eviction.
    fn take(&mut self, step: &GcStep, sweep: &mut Sweep<'_>) -> Result<()> {
        match &step.action {
            GcAction::RemoveLeftover { path } => self.remove_leftover(path),
            GcAction::RemoveQuarantined { path } => self.remove_quarantined(path),
            GcAction::RemoveView { path } => {
                match sweep.remove_stray_view(path)? {
                    true => self.report.leftovers += 1,
                    false => self.report.skipped += 1,
                }
                Ok(())
            }
            GcAction::RemoveBlob { digest } => {
                count(sweep.remove_blob(digest, step.at_once)?, step, &mut self.report);
                Ok(())
            }
            GcAction::EvictEntry { .. } | GcAction::EmptyTrash { .. } => Ok(()),
        }
    }

    /// Records the result of a step. What cannot be removed is reported and stays. If the store cannot be swept any
    /// more, because its roots cannot be read or its lock cannot be taken, the collection ends.
    fn note(&mut self, action: &GcAction, done: Result<()>) -> Result<()> {
        match done {
            Err(error) if error.is_of_one_file() => {
                tracing::warn!(%error, "a step of the collection failed");
                self.report.failed.push(GcFailure { action: Some(action.clone()), error });
                Ok(())
            }
            done => done,
        }
    }

    /// Evicts these entries in one write of the index. If that fails, evicts them one by one: each eviction makes room
    /// for the next, and the fault of one entry does not fail the others.
    fn evict_some(&mut self, steps: &[&GcStep], sweep: &mut Sweep<'_>) -> Result<()> {
        match (self.evict(steps, sweep), steps) {
            (Err(error), [_, _, ..]) if error.is_of_one_file() => {
                for step in steps {
                    let is_gone = matches!(&step.action, GcAction::EvictEntry { id, .. } if self.is_gone(id));
                    let done = if is_gone { Ok(()) } else { self.evict(&[step], sweep) };
                    self.note(&step.action, done)?;
                }
                Ok(())
            }
            (done, [step, ..]) => self.note(&step.action, done),
            (done, []) => done,
        }
    }

    fn is_gone(&self, id: &str) -> bool {
        matches!(self.store.record(id), Ok(None))
    }

    fn is_open(&self, id: &str) -> bool {
        matches!(self.store.record(id), Ok(Some(record)) if is_open(self.store, &record))
    }

    /// Removes entries whose eviction is still due, and what only they needed. Blocks leases on their root blobs first:
    /// a new lease then waits, and finds the entry gone.
    fn evict(&mut self, steps: &[&GcStep], sweep: &mut Sweep<'_>) -> Result<()> {
        let store = self.store;
        let uses = NotedUses::read(&store.root);
        // Ask before leases are blocked, because that opens the blob here.
        let opened: BTreeSet<&str> =
            steps.iter().filter_map(|step| step.action.id()).filter(|id| self.is_open(id)).collect();
        let mut due: BTreeMap<&str, &GcStep> = BTreeMap::new();
        for step in steps {
            if let GcAction::EvictEntry { id, digest } = &step.action
                && !opened.contains(id.as_str())
                && digest.is_none_or(|digest| sweep.block_leases(&digest).unwrap_or(false))
            {
                due.insert(id, step);
            }
        }
        let ids: Vec<&str> = due.keys().copied().collect();
        let mut evicted: BTreeMap<String, (StoredRecord, &GcStep)> = BTreeMap::new();
        let policy = self.policy;
        let recorded = sweep.record(&ids, &mut |id, old| {
            evicted.remove(id);
            let (Some(record), Some(step)) = (old, due.get(id)) else { return Ok(Change::Keep) };
            let mut one = Entries::default();
            let now = record.clone().into_record(id.to_owned(), &store.root);
            add_entry(&mut one, &now, Vec::new(), &uses, now_ms());
            let is_due = one.iter().all(|entry| is_due(entry, &step.reason, policy, now_ms()));
            let GcAction::EvictEntry { digest, .. } = &step.action else { return Ok(Change::Keep) };
            if record.digest != *digest || !is_due {
                return Ok(Change::Keep);
            }
            evicted.insert(id.to_owned(), (record, step));
            Ok(Change::Remove(Happened::with_note(LogEventKind::Evicted, step.reason.to_string())))
        });
        match &recorded {
            Ok(()) => self.report.skipped += (steps.len() - evicted.len()) as u64,
            // Some shards may be written. Remove nothing of an entry that a power cut could bring back.
            Err(error) if error.is_failed_sync() || store.root.sync_dir(Path::new(layout::INDEX)).is_err() => {
                evicted.clear();
            }
            Err(_) => evicted.retain(|id, _| self.is_gone(id)),
        }
        let relocked = sweep.relocked;
        for (id, (stored, step)) in evicted {
            let is_known = sweep.relocked == relocked;
            let done = self.remove_evicted(&id, &stored, step, is_known, sweep);
            self.note(&step.action, done)?;
        }
        sweep.unblock_leases();
        recorded
    }

    /// Removes the views and blobs of an entry whose record is gone. `is_known`: the sweep read its roots while the
    /// record was still there, and counts it among them.
    fn remove_evicted(
        &mut self,
        id: &str,
        stored: &StoredRecord,
        step: &GcStep,
        is_known: bool,
        sweep: &mut Sweep<'_>,
    ) -> Result<()> {
        let store = self.store;
        self.report.entries += 1;
        self.report.logical_bytes = self.report.logical_bytes.saturating_add(stored.size_bytes);
        let digest = stored.digest.filter(|_| stored.kind != ArtifactKind::Registered);
        // If the sweep has locked the store again, it may have stopped blocking leases in between: an entry that is
        // leased by now is left for a later collection.
        if let Some(digest) = digest
            && !sweep.block_leases(&digest)?
        {
            self.report.skipped += 1;
            return Ok(());
        }
        let files = match digest {
            Some(digest) => store.files_of(stored.kind, digest, stored.size_bytes)?,
            None => Vec::new(),
        };
        let content = files.iter().map(|file| file.digest).chain(digest);
        let blobs = each_once(content.chain(stored.needs.iter().copied()));
        if is_known && let Some(path) = stored.relative_path() {
            sweep.roots.release(&path, &blobs);
        }
        // Remove the blobs even if a view cannot be removed.
        let views = sweep
            .remove_views(id, stored, &files)
            .map(|freed| self.report.physical_bytes = self.report.physical_bytes.saturating_add(freed.disk_bytes));
        self.note(&step.action, views)?;
        for digest in &blobs {
            let removed = sweep.remove_blob(digest, step.at_once).map(|fate| count(fate, step, &mut self.report));
            self.note(&step.action, removed)?;
        }
        Ok(())
    }

    fn remove_leftover(&mut self, path: &Path) -> Result<()> {
        let root = &self.store.root;
        let thing = layout::classify(path);
        if let Thing::Partial(key) = &thing {
            match ingest::remove_partial(root, key)? {
                Some(bytes) => {
                    self.report.leftovers += 1;
                    self.report.physical_bytes = self.report.physical_bytes.saturating_add(bytes);
                }
                None => self.report.skipped += 1, // another process continues with it
            }
            return Ok(());
        }
        // The folder of a live operation is locked, and its unfinished files are gone by now, since no commit runs.
        // Keep the lock until the folder is gone: an owner that has created it and not yet locked it then starts over.
        let dead = if thing == Thing::Session { Session::claim_dead(root, path)? } else { None };
        let is_leftover = match thing.outboard_of() {
            Some(digest) => !self.has_blob(&digest)?,
            None => dead.is_some() || thing.is_unfinished(),
        };
        if !is_leftover {
            self.report.skipped += 1;
            return Ok(());
        }
        let freed = bytes_freed_below(root, path)?;
        root.remove_all(path)?;
        self.report.leftovers += 1;
        self.report.physical_bytes = self.report.physical_bytes.saturating_add(freed.bytes);
        Ok(())
    }

    fn remove_quarantined(&mut self, path: &Path) -> Result<()> {
        let root = &self.store.root;
        let is_there = matches!(layout::classify(path), Thing::Quarantined(_)) && root.meta(path)?.is_some();
        if !is_there {
            self.report.skipped += 1;
            return Ok(());
        }
        let freed = bytes_freed_below(root, path)?;
        root.remove_all(path)?;
        self.report.quarantined += 1;
        self.report.physical_bytes = self.report.physical_bytes.saturating_add(freed.bytes);
        Ok(())
    }

    /// Removes the lock files of references that no process holds. This needs no store lock: a process that is about to
    /// lock such a file finds its name gone, and creates another one.
    fn remove_locks(&mut self) -> Result<()> {
        let folder = layout::locks_fetch();
        for (name, meta) in self.store.root.entries(&folder)? {
            let path = folder.join(name);
            if layout::classify(&path) != Thing::Lock(LockFile::Fetch) || meta.age() < self.policy.grace {
                continue;
            }
            match self.remove_lock(&path) {
                Ok(is_removed) => self.report.locks += u64::from(is_removed),
                Err(error) if error.is_permission_denied() => {} // another user's, who may be working on it
                Err(error) => self.report.failed.push(GcFailure { action: None, error }),
            }
        }
        Ok(())
    }

    /// Removes notes of uses that no entry needs. Only the root's owner and the superuser can remove those of other
    /// users.
    fn remove_stray_notes(&mut self) -> Result<()> {
        for note in stray_notes(self.store, self.policy.grace)? {
            match self.store.root.remove_file(&note) {
                Ok(is_removed) => self.report.leftovers += u64::from(is_removed),
                Err(error) if error.is_permission_denied() => {}
                Err(error) => self.report.failed.push(GcFailure { action: None, error }),
            }
        }
        Ok(())
    }

    fn remove_lock(&self, path: &Path) -> Result<bool> {
        let root = &self.store.root;
        let Some(file) = root.open_file(path)? else { return Ok(false) };
        match try_lock_file(root, file, path, Hold::Exclusive)? {
            Some(lock) if lock.is_named(root, path)? => root.remove_file(path),
            _ => Ok(false),
        }
    }

    /// Whether the blob is in the store, or in quarantine, where `repair` still needs its outboard.
    fn has_blob(&self, digest: &Digest) -> Result<bool> {
        Ok(self.store.root.meta(&layout::blob(digest))?.is_some() || !self.store.quarantined(digest)?.is_empty())
    }

    fn empty_trash(&mut self, plan: &GcPlan) -> Result<()> {
        let root = &self.store.root;
        let trash = blob::trash(root)?;
        for step in &plan.steps {
            let GcAction::EmptyTrash { digest } = &step.action else { continue };
            match trash.get(digest) {
                Some(trashed_ms) => {
                    let path: PathBuf = layout::trash(digest, *trashed_ms);
                    let freed = blob::empty_trash(root, digest, &path).map(|freed| self.report.add(&freed));
                    self.note(&step.action, freed)?;
                }
                None => self.report.skipped += 1, // it was needed again, or another process was faster
            }
        }
        Ok(())
    }
}

fn count(fate: Fate, step: &GcStep, report: &mut GcReport) {
    match fate {
        Fate::Trashed if !step.at_once => report.trashed += 1,
        Fate::Trashed | Fate::Gone | Fate::Removed => {}
        // An evicted entry may share some of its blobs with other entries.
        Fate::Referenced | Fate::Leased if matches!(step.action, GcAction::EvictEntry { .. }) => {}
        Fate::Referenced | Fate::Leased => report.skipped += 1,
    }
}

impl GcReport {
    fn add(&mut self, freed: &Freed) {
        self.blobs += u64::from(freed.removed);
        self.physical_bytes = self.physical_bytes.saturating_add(freed.disk_bytes);
        self.shared_bytes = self.shared_bytes.saturating_add(freed.shared_bytes);
    }
}

impl Error {
    /// Whether the error concerns one file and not the store as a whole.
    fn is_of_one_file(&self) -> bool {
        !self.is_failed_sync()
            && (matches!(self, Error::Io { .. } | Error::PathEscapesRoot { .. } | Error::InvalidPath { .. })
                || matches!(self, Error::CorruptBlob { .. }))
    }
}
