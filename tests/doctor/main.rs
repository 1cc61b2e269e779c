//! `doctor`: each test plants a fault in a sound store and checks that doctor finds it and nothing else, repairs it if
//! that is possible, and changes nothing else.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;

mod command;
mod content;
mod debris;
mod folders;
mod index;
mod live;
mod properties;
mod sound;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use catalog_core::{
    CatalogStore as _, Digest, Doctor, Durability, Finding, FindingKind, FsCatalog, Record, RepairOutcome,
    VerifyOptions,
};
use common::{Host, blob_path, listing, options, outboard_path, reference, set_mode};

/// A store with a bit of everything, all of it sound.
struct Store {
    host: Host,
    catalog: FsCatalog,
}

impl Store {
    fn new() -> Self {
        let host = Host::new();
        let catalog = host.catalog().with_durability(Durability::Relaxed);
        let store = Store { host, catalog };
        // More than one group, so that the outboard has a file of them.
        store.add("file", &big("file"));
        store.add("small", b"small");
        store.add_tree("tree", &[("a.bin", "a"), ("sub/b.json", "b"), ("sub/c.json", "a")]);
        store.add("copied", &big("copied"));
        store.make_copy("copied");
        store.catalog.pin("file", "kept", None).unwrap();
        store
    }

    fn add(&self, id: &str, content: &[u8]) -> Digest {
        let file = self.host.file(&format!("sources/{id}.bin"), content);
        self.catalog.stage(&reference(&file), &options(id)).unwrap().digest
    }

    fn add_tree(&self, id: &str, files: &[(&str, &str)]) -> Digest {
        for (name, content) in files {
            self.host.file(&format!("trees/{id}/{name}"), content);
        }
        self.catalog.stage(&reference(&self.host.path(&format!("trees/{id}"))), &options(id)).unwrap().digest
    }

    /// Replaces an entry's view by a copy, as on a file system without hardlinks.
    fn make_copy(&self, id: &str) {
        let view = self.view(id);
        let blob = self.blob(id);
        fs::remove_file(&view).unwrap();
        fs::copy(&blob, &view).unwrap();
        set_mode(&view, 0o444);
        drop(self.catalog.verify(id, &VerifyOptions::default()).unwrap());
        assert_eq!(self.record(id).view, Some(catalog_core::LinkMode::Copy));
    }

    fn record(&self, id: &str) -> Record {
        self.catalog.record(id).unwrap().unwrap()
    }

    fn view(&self, id: &str) -> PathBuf {
        self.record(id).entry.local_path
    }

    fn blob(&self, id: &str) -> PathBuf {
        blob_path(&self.root(), &self.digest(id))
    }

    fn digest(&self, id: &str) -> Digest {
        self.record(id).entry.digest.unwrap()
    }

    fn outboard(&self, id: &str, ending: &str) -> PathBuf {
        outboard_path(&self.root(), &self.digest(id), ending)
    }

    fn root(&self) -> PathBuf {
        self.catalog.root().to_path_buf()
    }

    fn doctor(&self) -> Doctor {
        Doctor::open(self.root()).unwrap().with_durability(Durability::Relaxed)
    }

    /// Returns what doctor finds, and asserts that it writes nothing.
    #[track_caller]
    fn examine(&self) -> Vec<Finding> {
        let before = listing(&self.root());
        let found = self.doctor().examine().unwrap();
        assert_eq!(changes(&before, &listing(&self.root())), Vec::<PathBuf>::new(), "doctor has written");
        found
    }

    /// Asserts that doctor finds exactly these kinds at these places, apart from the note that a store with a copy
    /// always gets.
    #[track_caller]
    fn finds(&self, expected: &[(FindingKind, &Path)]) -> Vec<Finding> {
        let mut found = self.examine();
        found.retain(|finding| finding.kind != FindingKind::NoHardlinks);
        let mut seen: Vec<(FindingKind, &Path)> =
            found.iter().map(|finding| (finding.kind, finding.path.as_path())).collect();
        let mut expected = expected.to_vec();
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected, "{found:#?}");
        found
    }

    /// Asserts that these are found and repaired, and that only these places changed, and folders whose contents moved.
    /// Returns the findings that are left.
    #[track_caller]
    fn repairs_to(&self, expected: &[(FindingKind, &Path)], may_change: &[&Path]) -> Vec<Finding> {
        let mut found = self.finds(expected);
        assert!(found.iter().all(Finding::is_repairable), "{found:#?}");
        let before = listing(&self.root());
        for _ in 0..3 {
            for (finding, outcome) in found.iter().zip(self.doctor().repair(&found)) {
                assert!(!matches!(outcome, RepairOutcome::Failed(_)), "{finding:#?}\n{outcome:#?}");
            }
            found = self.examine();
            found.retain(|finding| finding.kind != FindingKind::NoHardlinks);
            if !found.iter().any(Finding::is_repairable) {
                break;
            }
        }
        assert!(!found.iter().any(Finding::is_repairable), "a second run finds something to repair: {found:#?}");
        let changed = changes(&before, &listing(&self.root()));
        let allowed = |path: &PathBuf| {
            // Private files come and go there, and a folder changes when its contents do.
            let quiet = [self.root().join("ingest"), self.root().join("quarantine"), self.root()];
            may_change.iter().any(|place| path == place || Some(path.as_path()) == place.parent())
                || quiet.contains(path)
                || path.starts_with(self.root().join("quarantine"))
        };
        let others: Vec<_> = changed.into_iter().filter(|path| !allowed(path)).collect();
        assert!(others.is_empty(), "something else has changed: {others:#?}");
        found
    }

    /// The same, and asserts that no finding is left.
    #[track_caller]
    fn repairs(&self, expected: &[(FindingKind, &Path)], may_change: &[&Path]) {
        let left = self.repairs_to(expected, may_change);
        assert!(left.is_empty(), "{left:#?}");
    }
}

/// Some megabytes that differ for each seed.
fn big(seed: &str) -> Vec<u8> {
    let mut bytes = vec![0; (2 << 20) + 1];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Every path that differs between the two.
fn changes(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) -> Vec<PathBuf> {
    let paths: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
    paths.into_iter().filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
}

/// Writes to a read-only file, as root can.
fn spoil(path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mode = common::mode_of(path);
    set_mode(path, 0o644);
    let mut bytes = fs::read(path).unwrap();
    edit(&mut bytes);
    fs::write(path, bytes).unwrap();
    set_mode(path, mode);
}
