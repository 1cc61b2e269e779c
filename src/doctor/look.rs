//! One look at a store, or a second look at what the first one found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::finding::Finding;
use super::kind::FindingKind;
use super::needed::{GatheredNeeds, Needs};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::Root;
use crate::layout;
use crate::store::{GatheredRoots, Roots, Store};

/// What the first look learned, for use by the second.
#[derive(Default)]
pub(super) struct Known {
    /// The blobs that records need: gathered while these are read, and counted afterwards.
    pub(super) gathered_needs: GatheredNeeds,
    pub(super) needs: Needs,
    /// What records show below `views/`: likewise.
    pub(super) gathered_roots: GatheredRoots,
    pub(super) roots: Roots,
    /// Whether the whole index and every manifest could be read, so that unneeded blobs are known.
    pub(super) is_whole: bool,
    /// Folders of the store that are missing or are not folders: nothing below them was inspected.
    pub(super) broken: Vec<PathBuf>,
    /// Blobs known to be bad by their size or their bytes.
    pub(super) bad: BTreeSet<Digest>,
    /// The file system stores no modes.
    pub(super) no_modes: bool,
    /// The number of entries shown by separate files, and their bytes.
    pub(super) copied: (u64, u64),
}

/// What the second look inspects.
pub(super) struct Suspects {
    kinds: BTreeSet<FindingKind>,
    ids: BTreeSet<String>,
    paths: BTreeSet<PathBuf>,
}

impl Suspects {
    pub(super) fn of(root: &Path, findings: &[Finding]) -> Self {
        let relative = |finding: &Finding| finding.path.strip_prefix(root).unwrap_or(&finding.path).to_path_buf();
        Suspects {
            kinds: findings.iter().map(|finding| finding.kind).collect(),
            ids: findings.iter().filter_map(|finding| finding.id.clone()).collect(),
            paths: findings.iter().map(relative).collect(),
        }
    }
}

pub(super) struct Look<'d> {
    pub(super) store: &'d Store,
    pub(super) root: &'d Root,
    only: Option<&'d Suspects>,
    pub(super) found: Vec<Finding>,
}

impl<'d> Look<'d> {
    pub(super) fn new(store: &'d Store, only: Option<&'d Suspects>) -> Self {
        Look { store, root: &store.root, only, found: Vec::new() }
    }

    pub(super) fn run(mut self, known: &mut Known) -> Vec<Finding> {
        known.broken.clear();
        known.bad.clear();
        self.look_at_folders(known);
        self.look_at_store_json();
        let planned = self.planned_debris(known);
        self.look_at_shards(known);
        if self.is_first() {
            known.needs = std::mem::take(&mut known.gathered_needs).counted();
            known.roots = std::mem::take(&mut known.gathered_roots).counted();
        }
        self.look_at_files(known);
        self.look_at_debris(planned, known);
        self.found
    }

    pub(super) fn is_first(&self) -> bool {
        self.only.is_none()
    }

    pub(super) fn wants_id(&self, id: &str) -> bool {
        self.only.is_none_or(|only| only.ids.contains(id))
    }

    pub(super) fn wants_one_of(&self, kinds: &[FindingKind]) -> bool {
        self.only.is_none_or(|only| kinds.iter().any(|kind| only.kinds.contains(kind)))
    }

    pub(super) fn wants_path(&self, relative: &Path) -> bool {
        self.only.is_none_or(|only| only.paths.contains(relative))
    }

    /// Whether anything directly in this folder is wanted.
    pub(super) fn wants_in(&self, folder: &Path) -> bool {
        // A suspected outboard is judged together with its blob.
        let blobs = folder.strip_prefix(layout::BLOBS).map(|below| Path::new(layout::OUTBOARDS).join(below));
        let folders = [Some(folder.to_path_buf()), blobs.ok()];
        self.only.is_none_or(|only| {
            only.paths.iter().any(|path| folders.iter().flatten().any(|folder| path.parent() == Some(folder)))
        })
    }

    pub(super) fn wants_below(&self, folder: &Path) -> bool {
        self.only.is_none_or(|only| {
            only.paths.range(folder.to_path_buf()..).next().is_some_and(|path| path.starts_with(folder))
        })
    }

    pub(super) fn find(&mut self, kind: FindingKind, path: &Path, what: impl Into<String>) {
        let finding = self.finding(kind, path, what);
        self.found.push(finding);
    }

    pub(super) fn finding(&self, kind: FindingKind, path: &Path, what: impl Into<String>) -> Finding {
        Finding::new(self.root, kind, path, what)
    }

    /// Reports that something could not be inspected, unless the reason is already known.
    pub(super) fn or_say<T>(&mut self, path: &Path, known: &Known, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.found.extend(self.not_examined(path, known, &error))).ok()
    }

    pub(super) fn not_examined(&self, path: &Path, known: &Known, error: &Error) -> Option<Finding> {
        // The unreadable path may be another one than the path being inspected.
        let path = error.path().and_then(|path| path.strip_prefix(self.root.path()).ok()).unwrap_or(path);
        let is_known = known.broken.iter().any(|broken| path.starts_with(broken));
        (!is_known).then(|| self.finding(FindingKind::NotExamined, path, error.to_string()))
    }
}
