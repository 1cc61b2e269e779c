//! Compares the logs of all processes with the final state of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use catalog_core::{FsCatalog, GcPolicy};

use crate::common::{assert_sound, blob_bytes, blobs_of, check_artifact, debris, files_below, inode_of};
use crate::log::{self, Line, Outcome, What};

/// A change of an id, or a possible one.
#[derive(Debug)]
struct Change {
    /// `None` for a removal.
    digest: Option<String>,
    begin_ns: u64,
    end_ns: u64,
    /// Acknowledged, so it has happened.
    is_certain: bool,
}

/// All logs together.
#[derive(Default)]
pub(crate) struct Logs {
    changes: BTreeMap<String, Vec<Change>>,
    violations: Vec<String>,
    /// How often each operation ended in each way.
    pub(crate) counts: BTreeMap<String, BTreeMap<&'static str, u64>>,
}

impl Logs {
    pub(crate) fn read(folder: &Path) -> Self {
        let mut logs = Logs::default();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            logs.add(&name, log::read(&path));
        }
        logs
    }

    pub(crate) fn operations(&self) -> u64 {
        self.counts.values().flat_map(BTreeMap::values).sum()
    }

    /// Operations that may or may not have happened, because their process was killed.
    pub(crate) fn cut_off(&self) -> u64 {
        self.counts.values().filter_map(|outcomes| outcomes.get("cut off")).sum()
    }

    fn add(&mut self, name: &str, lines: Vec<Line>) {
        let mut open: Option<Open> = None;
        for Line { at_ns, what } in lines {
            match what {
                What::Begin { verb, targets } => {
                    // The previous operation was cut off by a kill, at this time at the latest.
                    self.close(open.replace(Open { verb, targets, planned: Vec::new(), begin_ns: at_ns }), None, at_ns);
                }
                What::Planned { ids } => open.as_mut().unwrap().planned = ids,
                What::End { outcomes } => self.close(open.take(), Some(outcomes), at_ns),
                What::Violation { text } => self.violations.push(format!("{name}: {text}")),
            }
        }
        self.close(open, None, u64::MAX);
    }

    fn close(&mut self, open: Option<Open>, outcomes: Option<Vec<Outcome>>, end_ns: u64) {
        let Some(Open { verb, targets, planned, begin_ns }) = open else { return };
        for id in planned {
            let change = Change { digest: None, begin_ns, end_ns, is_certain: false };
            self.changes.entry(id).or_default().push(change);
        }
        let counts = self.counts.entry(verb.clone()).or_default();
        for outcome in outcomes.as_ref().map_or(vec![None], |outcomes| outcomes.iter().map(Some).collect()) {
            *counts.entry(word(outcome)).or_default() += 1;
        }
        for (number, (id, digest)) in targets.into_iter().enumerate() {
            let outcome = outcomes.as_ref().and_then(|outcomes| outcomes.get(number));
            let is_certain = match outcome {
                Some(Outcome::Put(_) | Outcome::Removed) => true,
                Some(Outcome::Done | Outcome::Absent) => continue,
                // After a timeout on a lock, the change did not happen; after a failed last flush, it may have.
                Some(Outcome::Busy | Outcome::Failed(_)) | None => false,
            };
            if digest.is_some() || verb == "remove" {
                let change = Change { digest, begin_ns, end_ns, is_certain };
                self.changes.entry(id).or_default().push(change);
            }
        }
    }

    /// Whether the final state of an id is possible: some change produced it, and no certain change came after that
    /// one.
    fn explains(&self, id: &str, digest: Option<&String>) -> bool {
        let changes = self.changes.get(id).map_or(&[][..], Vec::as_slice);
        let certain: Vec<&Change> = changes.iter().filter(|change| change.is_certain).collect();
        let may_be_last = |change: &Change| !certain.iter().any(|certain| certain.begin_ns > change.end_ns);
        (digest.is_none() && certain.is_empty())
            || changes.iter().any(|change| change.digest.as_ref() == digest && may_be_last(change))
    }

    /// Checks what must hold once no process of the fleet is alive.
    #[track_caller]
    pub(crate) fn judge(&self, catalog: &FsCatalog) {
        assert!(self.violations.is_empty(), "{:#?}", self.violations);
        let records = catalog.records().unwrap();
        let found: BTreeMap<&str, String> =
            records.iter().map(|record| (record.entry.id.as_str(), record.entry.digest.unwrap().to_string())).collect();
        let ids: BTreeSet<&str> = self.changes.keys().map(String::as_str).chain(found.keys().copied()).collect();
        for id in ids {
            let digest = found.get(id);
            assert!(self.explains(id, digest), "{id} is {digest:?} in the end, after {:#?}", self.changes.get(id));
        }
        for record in &records {
            check_artifact(catalog.root(), record).unwrap_or_else(|reason| panic!("{}: {reason}", record.entry.id));
        }
    }
}

struct Open {
    verb: String,
    targets: Vec<(String, Option<String>)>,
    planned: Vec<String>,
    begin_ns: u64,
}

fn word(outcome: Option<&Outcome>) -> &'static str {
    match outcome {
        None => "cut off",
        Some(Outcome::Put(_) | Outcome::Removed | Outcome::Done) => "done",
        Some(Outcome::Absent) => "not there",
        Some(Outcome::Busy) => "busy",
        Some(Outcome::Failed(_)) => "failed",
    }
}

/// Runs a last collection within this budget, and checks what must hold afterwards.
#[track_caller]
pub(crate) fn collect_and_check(catalog: &FsCatalog, budget_bytes: u64) {
    let policy = GcPolicy::default().with_max_bytes(Some(budget_bytes)).with_grace(std::time::Duration::ZERO);
    let before = catalog.records().unwrap();
    let report = catalog.gc(&policy).unwrap();
    let after = catalog.records().unwrap();
    assert_sound(catalog.root());
    assert_eq!(debris(catalog), Vec::<String>::new());
    assert_eq!(catalog.plan_gc(&policy).unwrap().steps, [], "a second collection has something left to do");
    for record in &after {
        check_artifact(catalog.root(), record).unwrap_or_else(|reason| panic!("{}: {reason}", record.entry.id));
    }
    let is_pinned = |record: &catalog_core::Record| !record.pins.is_empty();
    for record in before.iter().filter(|record| is_pinned(record)) {
        assert!(after.contains(record), "{} is pinned and was taken", record.entry.id);
    }
    let bytes = blob_bytes(catalog.root());
    if report.shortfall_bytes == 0 {
        let left = || names_of_blobs(catalog.root());
        assert!(bytes <= budget_bytes, "{bytes} bytes on disk, {budget_bytes} are allowed: {report:?}, {:?}", left());
    } else {
        let needed = |record| blobs_of(catalog.root(), record);
        let pinned: BTreeSet<String> = after.iter().filter(|record| is_pinned(record)).flat_map(needed).collect();
        let is_kept = |record| needed(record).is_subset(&pinned);
        assert!(after.iter().all(is_kept), "{report:?}, and not all that is left is needed by what is pinned");
        assert_eq!(bytes, budget_bytes + report.shortfall_bytes);
    }
}

/// Every name below the root of each blob's inode.
fn names_of_blobs(root: &Path) -> BTreeMap<u64, Vec<PathBuf>> {
    let blobs: BTreeSet<u64> = files_below(&root.join("blobs")).iter().map(|path| inode_of(path)).collect();
    let mut names: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    for path in files_below(root) {
        names.entry(inode_of(&path)).or_default().push(path);
    }
    names.retain(|inode, _| blobs.contains(inode));
    names
}
