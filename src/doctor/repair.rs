//! Repairs findings: does exactly what each finding says, in an order in which one repair enables the next.

use std::path::Path;

use super::Doctor;
use super::finding::{Finding, Fix, RepairOutcome};
use super::shards::named;
use crate::blob::{Checker, Subject, Verdict};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::{atomic, lock_file, reserve};
use crate::layout;
use crate::observer::Event;
use crate::store::{Exclusive, check_store_file, has_tag, write_tag};
use crate::sum::SumBytes;

impl Doctor {
    /// Repairs those findings that can be repaired, and returns what happened to each, in their order. With
    /// [`Durability::Full`](crate::Durability::Full), the repairs are durable when it returns. Files that are in the
    /// way are moved to `quarantine/`. Nothing is removed, and nothing outside the root is touched.
    ///
    /// One finding can hide others, such as the views of a lost shard's entries. Call [`examine`](Doctor::examine)
    /// again to find those.
    pub fn repair(&self, findings: &[Finding]) -> Vec<RepairOutcome> {
        let mut outcomes: Vec<Option<RepairOutcome>> = findings
            .iter()
            .map(|finding| if finding.fix.is_none() { Some(RepairOutcome::NotOffered) } else { None })
            .collect();
        self.check_blobs(findings, &mut outcomes);
        let mut order: Vec<(u8, usize)> =
            findings.iter().enumerate().filter_map(|(at, finding)| Some((rank(finding.fix.as_ref()?), at))).collect();
        order.sort_unstable();
        let mut rebuilt = std::collections::BTreeMap::new();
        for (_, at) in order {
            let (Some(Finding { fix: Some(fix), .. }), Some(outcome)) = (findings.get(at), outcomes.get_mut(at)) else {
                continue;
            };
            if let (None, Fix::RebuildView(id)) = (&outcome, fix) {
                // Once for all files of the entry.
                *outcome = Some(rebuilt.entry(id.clone()).or_insert_with(|| self.do_one(fix)).clone());
            } else if outcome.is_none() {
                *outcome = Some(self.do_one(fix));
            }
        }
        outcomes.into_iter().map(|outcome| outcome.unwrap_or(RepairOutcome::Gone)).collect()
    }

    fn do_one(&self, fix: &Fix) -> RepairOutcome {
        let done = match fix {
            Fix::MakeFolder(folder) => self.make_folder(folder),
            Fix::MakeProbe => self.make_probe().map(|()| Some("it was made".into())),
            Fix::WriteTag => self.write_tag(),
            Fix::MakeReserve => reserve::make(&self.store.root).map(|is_new| is_new.then(|| "it was made".into())),
            Fix::WriteStoreJson => self.write_store_json(),
            Fix::RestoreShard(number) => self.restore_shard(*number),
            Fix::RenewPrevious(number) => self.renew_previous(*number),
            Fix::SetMode { path, mode, digest } => self.set_mode(path, *mode, *digest),
            Fix::RebuildView(id) => self.rebuild_view(id),
            Fix::CheckBlob(_) => Ok(None), // all were checked before
        };
        outcome_of(done)
    }

    fn make_folder(&self, folder: &Path) -> Result<Option<String>> {
        let root = &self.store.root;
        let mut is_new = false;
        // A missing folder usually means that the folders below it are missing, too.
        for below in layout::FOLDERS.map(Path::new).into_iter().filter(|below| below.starts_with(folder)) {
            for changed in root.make_dirs(below)? {
                root.sync_dir(&changed)?;
                is_new = true;
            }
        }
        if layout::lock_probe().starts_with(folder) {
            self.make_probe()?;
        }
        Ok(is_new.then(|| "it was made".into()))
    }

    fn make_probe(&self) -> Result<()> {
        lock_file::make_probe(&self.store.root, &layout::lock_probe())
    }

    fn write_tag(&self) -> Result<Option<String>> {
        if has_tag(&self.store.root)? {
            return Ok(None);
        }
        write_tag(&self.store.root)?;
        Ok(Some("it was written".into()))
    }

    fn write_store_json(&self) -> Result<Option<String>> {
        let (store, root, name) = (&self.store, &self.store.root, Path::new(layout::STORE_JSON));
        let alone = Exclusive::lock(store)?;
        match check_store_file(root) {
            Ok(true) => return Ok(None),
            Err(error @ Error::UnsupportedFormat { .. }) => return Err(error),
            Ok(false) | Err(_) => {}
        }
        // Only the index shows which format the store has: it must be readable as format 1.
        store.index.all()?;
        if root.meta(name)?.is_some() {
            let to = layout::quarantine_other(layout::STORE_JSON, &atomic::random_name());
            root.rename_new(name, &to).map_err(|e| root.fail("move to quarantine", name, e))?;
            root.sync_dir(Path::new(layout::QUARANTINE))?;
        }
        alone.write_default_store_file()?;
        Ok(Some("it was rewritten, without limits".into()))
    }

    fn restore_shard(&self, number: u8) -> Result<Option<String>> {
        let restored = Exclusive::lock(&self.store)?.restore_shard(number)?;
        Ok(restored.map(|before| format!("{} was restored", named(&before))))
    }

    fn renew_previous(&self, number: u8) -> Result<Option<String>> {
        let is_new = Exclusive::lock(&self.store)?.renew_previous(number)?;
        Ok(is_new.then(|| "it is a second name of the shard now".into()))
    }

    /// Reads blobs in full, on all cores, without a lock. A good one gets a new outboard; a bad one is moved to
    /// quarantine.
    fn check_blobs(&self, findings: &[Finding], outcomes: &mut [Option<RepairOutcome>]) {
        let store = &self.store;
        let due: Vec<(usize, Digest)> = findings
            .iter()
            .enumerate()
            .filter_map(|(at, finding)| match &finding.fix {
                Some(Fix::CheckBlob(digest)) => Some((at, *digest)),
                _ => None,
            })
            .collect();
        let mut subjects: Vec<Subject> = due.iter().map(|(_, digest)| Subject::blob(digest, None)).collect();
        subjects.sort_by_key(|subject| subject.digest);
        subjects.dedup_by_key(|subject| subject.digest);
        if subjects.is_empty() {
            return;
        }
        let size_of = |subject: &Subject| store.root.meta(&subject.path).ok().flatten().map_or(0, |m| m.size_bytes);
        let bytes_total = subjects.iter().map(size_of).sum_bytes();
        self.observer.on(&Event::Started { what: &format!("{} blobs", subjects.len()), bytes_total });
        let advanced = |bytes| self.observer.on(&Event::Advanced { bytes });
        let checker = Checker { advanced: &advanced, ..Checker::quiet(&store.root, store.durability()) };
        checker.run(&subjects, &mut |number, verdict| {
            let Some(subject) = subjects.get(number) else { return };
            let done = verdict.and_then(|verdict| self.conclude(&subject.digest, &verdict));
            let outcome = outcome_of(done);
            for (at, _) in due.iter().filter(|(_, digest)| *digest == subject.digest) {
                outcomes.get_mut(*at).map(|slot| slot.replace(outcome.clone()));
            }
        });
        self.observer.on(&Event::Finished);
    }

    fn conclude(&self, digest: &Digest, verdict: &Verdict) -> Result<Option<String>> {
        match verdict {
            Verdict::Good => Ok(Some("every byte of the blob is good, and that is recorded".into())),
            Verdict::Missing => Ok(None),
            Verdict::Bad { file, .. } => match self.store.take_out_of_service(digest, file)? {
                true => {
                    Ok(Some("the blob is damaged: it is in quarantine, and the entries that show it are marked".into()))
                }
                false => Ok(None),
            },
        }
    }
}

fn outcome_of(done: Result<Option<String>>) -> RepairOutcome {
    match done {
        Ok(Some(what)) => RepairOutcome::Repaired(what),
        Ok(None) => RepairOutcome::Gone,
        Err(error) => RepairOutcome::Failed(error),
    }
}

/// Folders before what goes into them, the index before what needs it, blobs before views.
fn rank(fix: &Fix) -> u8 {
    match fix {
        Fix::MakeFolder(_) | Fix::MakeProbe => 0,
        Fix::RestoreShard(_) => 1,
        Fix::RenewPrevious(_) => 2,
        Fix::WriteStoreJson | Fix::WriteTag | Fix::MakeReserve => 3,
        Fix::SetMode { .. } => 4,
        Fix::CheckBlob(_) => 5,
        Fix::RebuildView(_) => 6,
    }
}
