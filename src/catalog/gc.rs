//! `plan_gc`: the facts, gathered without a write. `execute_gc`: the plan, done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::FsCatalog;
use super::roots::Roots;
use super::sweep::{Fate, Sweep, short_digest};
use crate::blob::{self, Claim, Freed};
use crate::digest::Digest;
use crate::entry::{LinkMode, Record};
use crate::error::Result;
use crate::fs::space::space;
use crate::fs::{Kind, Meta, Session, now_ms, reserve};
use crate::gc::{
    BlobFacts, EntryFacts, Facts, GcAction, GcPlan, GcPolicy, GcReport, GcStep, TrashFacts, TrashedBlob, ViewFacts,
    is_due, make_plan, shortfall,
};
use crate::index::{Change, StoredRecord};
use crate::layout;
use crate::threads::ready_for_rayon;

/// Entries that are evicted in one write of the index. Each holds a descriptor until its blobs are out of the way.
const EVICTIONS_AT_ONCE: usize = 200;

impl FsCatalog {
    /// Says what a collection by this policy would do now, and why. Writes nothing, so it works on a read-only root.
    /// Fails when any part of the index or any tree's manifest cannot be read: what they name is unknown then.
    pub fn plan_gc(&self, policy: &GcPolicy) -> Result<GcPlan> {
        let facts = self.gc_facts()?;
        let mut failed = None;
        let plan = make_plan(&facts, policy, &mut |digest| match blob::claim(&self.root, digest) {
            Ok(claim) => matches!(claim, Claim::Leased),
            Err(error) => {
                failed.get_or_insert(error);
                true
            }
        });
        failed.map_or(Ok(plan), Err)
    }

    /// [`plan_gc`](FsCatalog::plan_gc), then [`execute_gc`](FsCatalog::execute_gc).
    pub fn gc(&self, policy: &GcPolicy) -> Result<GcReport> {
        self.execute_gc(&self.plan_gc(policy)?)
    }

    /// Does what a plan says, but for what has been leased, pinned, used or staged since it was made. A plan that is done
    /// twice does nothing the second time.
    pub fn execute_gc(&self, plan: &GcPlan) -> Result<GcReport> {
        let mut report = GcReport { shortfall_bytes: plan.shortfall_bytes, ..GcReport::default() };
        let mut sweep = self.sweep()?;
        let mut evictions = Vec::new();
        for step in &plan.steps {
            match &step.action {
                GcAction::RemoveLeftover { path } => self.remove_leftover(path, &mut report)?,
                GcAction::RemoveView { path } => match sweep.remove_stray_view(path)? {
                    true => report.leftovers += 1,
                    false => report.skipped += 1,
                },
                GcAction::RemoveBlob { digest } => count(sweep.remove_blob(digest, step.at_once)?, step, &mut report),
                GcAction::EvictEntry { .. } => evictions.push(step),
                GcAction::EmptyTrash { .. } => {}
            }
            sweep.forget_claims();
        }
        for steps in evictions.chunks(EVICTIONS_AT_ONCE) {
            let before = report.clone();
            match self.evict(steps, &plan.policy, &mut sweep, &mut report) {
                // Each that is out makes room for the next one.
                Err(error) if error.is_no_space() && !error.is_failed_sync() && steps.len() > 1 => {
                    report = before;
                    for step in steps {
                        self.evict(&[step], &plan.policy, &mut sweep, &mut report)?;
                    }
                }
                done => done?,
            }
        }
        let freed = sweep.finish()?;
        freed.iter().for_each(|freed| report.add(freed));
        self.empty_trash(plan, &mut report)?;
        reserve::make_if_it_fits(&self.root);
        if report.skipped > 0 {
            // What the plan counted on did not come free.
            report.shortfall_bytes = shortfall(&self.gc_facts()?, &plan.policy);
        }
        tracing::debug!(entries = report.entries, bytes = report.physical_bytes, "collected");
        Ok(report)
    }

    /// Removes entries whose eviction is still due, and what only they needed. Their root blobs are claimed first: a lease
    /// that comes now waits, and then finds the entry gone.
    fn evict(&self, steps: &[&GcStep], policy: &GcPolicy, sweep: &mut Sweep<'_>, report: &mut GcReport) -> Result<()> {
        let mut due: BTreeMap<&str, &GcStep> = BTreeMap::new();
        for step in steps {
            match &step.action {
                GcAction::EvictEntry { id, digest }
                    if digest.is_none_or(|digest| sweep.claim(&digest).unwrap_or(false)) =>
                {
                    due.insert(id, step);
                }
                _ => report.skipped += 1,
            }
        }
        let ids: Vec<&str> = due.keys().copied().collect();
        let mut evicted: BTreeMap<String, (StoredRecord, &GcStep)> = BTreeMap::new();
        self.update_for_sweep(&ids, &mut |id, old| {
            evicted.remove(id);
            let (Some(record), Some(step)) = (old, due.get(id)) else { return Ok(Change::Keep) };
            let facts = entry_facts(&record.clone().into_record(id.to_owned(), &self.root), Vec::new(), now_ms());
            let GcAction::EvictEntry { digest, .. } = &step.action else { return Ok(Change::Keep) };
            if record.digest != *digest || !is_due(&facts, &step.reason, policy, now_ms()) {
                return Ok(Change::Keep);
            }
            evicted.insert(id.to_owned(), (record, step));
            Ok(Change::Remove)
        })?;
        report.skipped += (ids.len() - evicted.len()) as u64;
        let relocked = sweep.relocked;
        for (id, (stored, step)) in evicted {
            let files = match stored.digest {
                Some(digest) => self.files_of(stored.kind, digest, stored.size_bytes)?,
                None => Vec::new(),
            };
            let record = stored.clone().into_record(id.clone(), &self.root);
            let blobs = self.blobs_of(&record)?;
            // Roots that were read again since know nothing of these records.
            if sweep.relocked == relocked {
                sweep.roots.release(self.relative(&record.entry.local_path), &blobs);
            }
            report.physical_bytes += sweep.remove_views(&id, &stored, &files)?.disk_bytes;
            for digest in &blobs {
                count(sweep.remove_blob(digest, step.at_once)?, step, report);
            }
            report.entries += 1;
            report.logical_bytes += record.size_bytes;
        }
        sweep.forget_claims();
        Ok(())
    }

    fn remove_leftover(&self, path: &Path, report: &mut GcReport) -> Result<()> {
        // A folder of an operation that lives is locked; a file of one is gone by now, since no commit runs.
        // The lock is held until it is gone: an owner that has made it and not locked it yet then begins again.
        let dead = if path.starts_with(layout::INGEST) { Session::claim_dead(&self.root, path)? } else { None };
        if path.starts_with(layout::INGEST) && dead.is_none() {
            report.skipped += 1;
            return Ok(());
        }
        if path.starts_with("outboards") && self.has_blob_of(path)? {
            report.skipped += 1;
            return Ok(());
        }
        let freed_bytes = self.bytes_freed_below(path)?;
        self.root.remove_all(path)?;
        report.leftovers += 1;
        report.physical_bytes += freed_bytes;
        Ok(())
    }

    fn empty_trash(&self, plan: &GcPlan, report: &mut GcReport) -> Result<()> {
        let trash = blob::trash(&self.root)?;
        for step in &plan.steps {
            let GcAction::EmptyTrash { digest } = &step.action else { continue };
            match trash.get(digest) {
                Some(trashed_ms) => {
                    report.add(&blob::empty_trash(&self.root, digest, &layout::trash(digest, *trashed_ms))?);
                }
                None => report.skipped += 1, // it was needed again, or somebody else was faster
            }
        }
        Ok(())
    }

    fn gc_facts(&self) -> Result<Facts> {
        let now_ms = now_ms();
        let space = space(&self.root)?;
        let mut facts =
            Facts { now_ms, free_bytes: space.available_bytes, total_bytes: space.total_bytes, ..Facts::default() };
        let mut roots = Roots::default();
        self.for_each_record(&mut |record, blobs| {
            roots.add(self.relative(&record.entry.local_path), &blobs);
            facts.entries.push(entry_facts(record, blobs, now_ms));
            Ok(())
        })?;
        for (digest, meta) in blob::all_with_meta(&self.root)? {
            facts.blobs.insert(digest, BlobFacts { bytes: meta.allocated_bytes });
        }
        facts.other_bytes = facts.entries.iter().map(|entry| entry.view_bytes).sum::<u64>()
            + self.disk_bytes_below(Path::new(layout::QUARANTINE))?;
        for (digest, trashed_ms) in blob::trash(&self.root)? {
            if let Some(meta) = self.root.meta(&layout::trash(&digest, trashed_ms))? {
                let blob = TrashedBlob { digest, trashed_ms };
                facts.trash.push(TrashFacts { blob, bytes: meta.allocated_bytes });
            }
        }
        facts.leased_orphans = self.leased_orphans(&roots)?;
        for path in self.leftovers(&facts)? {
            let bytes = self.bytes_freed_below(&path)?;
            facts.leftovers.push((path, bytes));
        }
        facts.views = self.stray_views(&roots)?;
        Ok(facts)
    }

    /// What dead processes have left: their folders below `ingest/`, unfinished small files, outboards without a blob.
    /// A small file that is being written just now is among them; it is gone when a sweep looks again.
    fn leftovers(&self, facts: &Facts) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for name in self.root.names(Path::new(layout::INGEST))? {
            let folder = Path::new(layout::INGEST).join(name);
            if Session::claim_dead(&self.root, &folder)?.is_some() {
                found.push(folder);
            }
        }
        for folder in [Path::new(""), Path::new(layout::INDEX)] {
            let names = self.root.names(folder)?;
            found.extend(names.iter().filter(|name| layout::is_temporary(name)).map(|name| folder.join(name)));
        }
        // What is in quarantine is mended with the help of its outboard.
        let quarantined = self.root.names(Path::new(layout::QUARANTINE))?;
        let elsewhere: BTreeSet<Digest> = facts
            .trash
            .iter()
            .map(|trash| trash.blob.digest)
            .chain(quarantined.iter().filter_map(|name| layout::parse_quarantine(name)))
            .collect();
        for folder in layout::fan_out_folders("outboards") {
            for name in self.root.names(&folder)? {
                let digest = layout::parse_fan_out(&folder, &name);
                let is_needed =
                    digest.is_some_and(|digest| facts.blobs.contains_key(&digest) || elsewhere.contains(&digest));
                if !is_needed && (digest.is_some() || layout::is_temporary(&name)) {
                    found.push(folder.join(name));
                }
            }
        }
        Ok(found)
    }

    fn has_blob_of(&self, outboard: &Path) -> Result<bool> {
        let stem = outboard.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next());
        match stem.and_then(layout::parse_blob) {
            Some(digest) => {
                Ok(self.root.meta(&layout::blob(&digest))?.is_some() || !self.quarantined(&digest)?.is_empty())
            }
            None => Ok(false),
        }
    }

    /// Folders `views/<slug>/<12 hex>` that no record names and no lease holds, and folders `views/<slug>` without any.
    fn stray_views(&self, roots: &Roots) -> Result<Vec<ViewFacts>> {
        let homes = self.root.entries(Path::new(layout::VIEWS))?;
        ready_for_rayon();
        let stray: Result<Vec<Vec<ViewFacts>>> = homes
            .into_par_iter()
            .map(|(slug, meta)| {
                let home = Path::new(layout::VIEWS).join(slug);
                if meta.kind != Kind::Dir {
                    return Ok(Vec::new()); // nothing that this crate has put there
                }
                // Two links of its own and one for each folder in it: with just one view, and that one a record's, there
                // is nothing to look for. Where folders do not count so, it is looked into.
                let has_only_its_own = meta.links == 3 && roots.claims(&home);
                if has_only_its_own { Ok(Vec::new()) } else { self.stray_views_in(&home, roots) }
            })
            .collect();
        Ok(stray?.into_iter().flatten().collect())
    }

    fn stray_views_in(&self, home: &Path, roots: &Roots) -> Result<Vec<ViewFacts>> {
        let mut stray = Vec::new();
        let names = self.root.names(home)?;
        let empty = names.is_empty().then(|| home.to_path_buf());
        for folder in names.iter().map(|name| home.join(name)).chain(empty) {
            if !roots.claims(&folder) && !self.is_leased_view(&folder)? {
                let mtime_ns = self.root.meta(&folder)?.map_or(0, |meta| meta.mtime_ns);
                let changed_ms = u64::try_from(mtime_ns / 1_000_000).unwrap_or(0);
                stray.push(ViewFacts { path: folder, changed_ms });
            }
        }
        Ok(stray)
    }

    fn is_leased_view(&self, folder: &Path) -> Result<bool> {
        for digest in blob::starting_with(&self.root, short_digest(folder))? {
            if matches!(blob::claim(&self.root, &digest)?, Claim::Leased) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Bytes on disk of all files at or below a path.
    pub(super) fn disk_bytes_below(&self, path: &Path) -> Result<u64> {
        self.sum_below(path, &|file| file.allocated_bytes)
    }

    /// Bytes on disk that come free when all at or below a path is removed: none of a file that has another name.
    fn bytes_freed_below(&self, path: &Path) -> Result<u64> {
        self.sum_below(path, &|file| if file.links == 1 { file.allocated_bytes } else { 0 })
    }

    fn sum_below(&self, path: &Path, bytes_of: &dyn Fn(&Meta) -> u64) -> Result<u64> {
        match self.root.meta(path)? {
            Some(meta) if meta.kind == Kind::Dir => {
                let names = self.root.names(path)?;
                names.iter().map(|name| self.sum_below(&path.join(name), bytes_of)).sum()
            }
            Some(meta) => Ok(bytes_of(&meta)),
            None => Ok(0),
        }
    }
}

fn entry_facts(record: &Record, blobs: Vec<Digest>, now_ms: u64) -> EntryFacts {
    let pin = record.pins.iter().find(|(_, pin)| pin.holds_at(now_ms)).map(|(name, _)| name.clone());
    EntryFacts {
        view_bytes: if record.view == Some(LinkMode::Copy) { record.size_bytes } else { 0 },
        id: record.entry.id.clone(),
        digest: record.entry.digest,
        blobs,
        size_bytes: record.size_bytes,
        retired_ms: record.retired_ms,
        staged_ms: record.updated_ms,
        last_used_ms: record.last_used_ms,
        pin,
    }
}

fn count(fate: Fate, step: &GcStep, report: &mut GcReport) {
    match fate {
        Fate::Trashed if !step.at_once => report.trashed += 1,
        Fate::Trashed | Fate::Gone => {}
        // Of an evicted entry, some blobs may well be needed by another one.
        Fate::Referenced | Fate::Leased if matches!(step.action, GcAction::EvictEntry { .. }) => {}
        Fate::Referenced | Fate::Leased => report.skipped += 1,
    }
}

impl GcReport {
    fn add(&mut self, freed: &Freed) {
        self.blobs += u64::from(freed.removed);
        self.physical_bytes += freed.disk_bytes;
    }
}
