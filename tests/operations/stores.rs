//! Executes the operations on a root, through two handles that share nothing but the root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use catalog_core::testing::fuzz_layout;
use catalog_core::{
    CatalogEntry, CatalogStore, Digest, Doctor, Durability, Error, FsCatalog, GcPlan, GcPolicy, Lease, LifecycleState,
    ModelRef, Result, StageOptions, VerificationOutcome, VerifyOptions,
};
use tempfile::TempDir;
use walkdir::WalkDir;

use super::content::{files, is_tree, read, write};
use super::{Answer, Expected, IDS, Model, Operation, Takes};

pub(crate) struct Stores {
    handles: [FsCatalog; 2],
    leases: BTreeMap<u8, Lease>,
    plan: Option<GcPlan>,
    /// How many times the shards were made older; each time sets another time.
    aged: u64,
    dir: TempDir,
}

fn lifecycle(retired: bool) -> LifecycleState {
    if retired { LifecycleState::Retired } else { LifecycleState::Active }
}

impl Stores {
    /// An empty store, in memory if possible.
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        // Fuzzing sets TMPDIR and clears it: an aborted run leaves its root behind.
        let is_told = std::env::var_os("TMPDIR").is_some();
        let dir = if memory.is_dir() && !is_told { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
        fs::create_dir(dir.path().join("sources")).unwrap();
        let handle = || FsCatalog::new(dir.path().join("root")).unwrap().with_durability(Durability::Relaxed);
        Stores { handles: [handle(), handle()], leases: BTreeMap::new(), plan: None, aged: 0, dir }
    }

    /// Executes one operation.
    ///
    /// # Panics
    ///
    /// If it fails in a way that no operation may.
    pub(crate) fn apply(&mut self, handle: usize, operation: &Operation) -> Answer {
        let catalog = self.handles[handle].clone();
        let name = |id: u8| IDS[usize::from(id)];
        let done = |result: Result<()>| match result {
            Ok(()) => Answer::Done,
            Err(error) if error.is_not_found() => Answer::NotFound,
            Err(Error::DigestMismatch { .. }) => Answer::Refused,
            Err(error) => panic!("{operation:?}: {error}"),
        };
        match *operation {
            Operation::Stage { id, content } => {
                let options = StageOptions::default().with_id(Some(name(id).to_owned()));
                done(catalog.stage(&ModelRef::File { path: self.source(id, content) }, &options).map(drop))
            }
            Operation::Put { id, content, retired, digest } => done(catalog.put(&CatalogEntry {
                id: name(id).to_owned(),
                local_path: self.source(id, content),
                lifecycle: lifecycle(retired),
                digest: digest_of(content, digest),
                last_verified_ms: None,
            })),
            Operation::PutBack { id, retired } => match catalog.get(name(id)).unwrap() {
                Some(entry) => done(catalog.put(&CatalogEntry { lifecycle: lifecycle(retired), ..entry })),
                None => Answer::NotFound,
            },
            Operation::Get { id } => catalog.get(name(id)).unwrap().map_or(Answer::NotFound, |entry| shown(&entry)),
            Operation::Path { id } => match catalog.resolve(name(id)) {
                Ok(record) => shown(&record.entry),
                // An id without an entry is looked up as a reference, and not every id can be one.
                Err(error) if error.is_not_found() || error.is_invalid_input() => Answer::NotFound,
                Err(error) => panic!("{operation:?}: {error}"),
            },
            Operation::SetState { id, retired } => done(catalog.set_state(name(id), lifecycle(retired))),
            Operation::Delete { id } => match catalog.delete(name(id)) {
                Err(Error::Pinned { .. }) => Answer::Pinned,
                deleted => Answer::Deleted(deleted.unwrap()),
            },
            Operation::Pin { id, pin } => done(catalog.pin(name(id), &pin.to_string(), None).map(drop)),
            Operation::Unpin { id, pin } => done(catalog.unpin(name(id), Some(&pin.to_string())).map(drop)),
            Operation::Lease { id, lease } => {
                self.leases.remove(&lease);
                done(catalog.lease(name(id)).map(|held| drop(self.leases.insert(lease, held))))
            }
            Operation::Unlease { lease } => {
                self.leases.remove(&lease);
                Answer::Done
            }
            Operation::Plan { takes, at_once } => {
                let now = |is_meant: bool| is_meant.then_some(Duration::ZERO);
                let policy = GcPolicy::default()
                    .with_retired_after(now(takes == Takes::Retired))
                    .with_max_idle(now(takes == Takes::Idle))
                    .with_grace(if at_once { Duration::ZERO } else { Duration::from_secs(3600) });
                self.plan = Some(catalog.plan_gc(&policy).unwrap());
                Answer::Done
            }
            Operation::Execute => {
                let report = self.plan.as_ref().map(|plan| catalog.execute_gc(plan).unwrap());
                Answer::Collected(report.map_or(0, |report| report.entries))
            }
            Operation::AgeShards => {
                self.age_shards();
                Answer::Done
            }
        }
    }

    /// Writes the source of an id: mostly over a file of the same name and size, in the same tick of the clock.
    fn source(&self, id: u8, content: u8) -> PathBuf {
        let kind = if is_tree(content) { "tree" } else { "file" };
        let path = self.dir.path().join(format!("sources/{kind}-{id}"));
        write(&path, content);
        path
    }

    fn age_shards(&mut self) {
        self.aged += 1;
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_600_000_000_123 + self.aged);
        for entry in fs::read_dir(self.dir.path().join("root/index")).unwrap() {
            let shard = File::open(entry.unwrap().path()).unwrap();
            shard.set_times(FileTimes::new().set_modified(time)).unwrap();
        }
    }

    /// Checks that both handles have what the model has, that each entry and each lease shows its bytes, and that the
    /// layout knows everything in the root.
    pub(crate) fn check(&self, model: &Model) {
        self.check_layout();
        (0..self.handles.len()).for_each(|handle| self.check_entries(model, handle));
        let held: BTreeMap<u8, u8> =
            self.leases.iter().map(|(number, lease)| (*number, read(lease.local_path()))).collect();
        assert_eq!(held, model.leases, "what the leases show");
        for (name, bytes) in model.leases.values().flat_map(|content| files(*content)) {
            let hex = Digest::sha256_of(&bytes).to_hex();
            let blob = self.dir.path().join("root/blobs/sha256").join(&hex[..2]).join(&hex);
            assert!(blob.is_file(), "the blob of {name:?} is gone from under a lease");
        }
        for (number, lease) in self.leases.iter().filter(|(number, _)| model.maps(**number)) {
            assert_eq!(lease.map().unwrap()[..], files(model.leases[number])[0].1, "the map of lease {number}");
        }
    }

    // Red when the store makes a name that `layout::classify` does not know: doctor would call it strange, and no
    // collection would remove it.
    fn check_layout(&self) {
        let root = self.dir.path().join("root");
        for entry in WalkDir::new(&root) {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(&root).unwrap().to_str().unwrap();
            assert!(fuzz_layout(path.as_bytes()), "{path} is unknown to the layout");
        }
    }

    fn check_entries(&self, model: &Model, handle: usize) {
        let catalog = &self.handles[handle];
        let records = catalog.records().unwrap();
        let listed: BTreeMap<&str, _> = records
            .iter()
            .map(|record| {
                let pins: BTreeSet<u8> = record.pins.keys().map(|pin| pin.parse().unwrap()).collect();
                let is_retired = record.entry.lifecycle == LifecycleState::Retired;
                (record.entry.id.as_str(), (read(&record.entry.local_path), is_retired, pins))
            })
            .collect();
        let entries = model.entries.iter();
        let expected: BTreeMap<&str, _> = entries
            .map(|(id, entry)| (IDS[usize::from(*id)], (entry.content, entry.retired, entry.pins.clone())))
            .collect();
        assert_eq!(listed, expected, "what handle {handle} has");
        for id in IDS {
            let found = catalog.record(id).unwrap();
            assert_eq!(found.as_ref(), records.iter().find(|record| record.entry.id == id), "of handle {handle}");
        }
    }

    /// Checks that all content is good, and that a collection without any leases leaves nothing that `doctor` would
    /// report.
    pub(crate) fn finish(mut self, model: &Model) {
        let catalog = self.handles[1].clone();
        let ids: Vec<&str> = model.entries.keys().map(|id| IDS[usize::from(*id)]).collect();
        let mut verified = 0;
        catalog.verify_many(&ids, &VerifyOptions::default(), &mut |report| {
            let report = report.unwrap();
            assert!(matches!(report.outcome, VerificationOutcome::Pass { .. }), "{report:?}");
            verified += 1;
        });
        assert_eq!(verified, ids.len());
        self.leases.clear();
        let policy = GcPolicy::default().with_grace(Duration::ZERO);
        let report = catalog.gc(&policy).unwrap();
        assert_eq!(report.entries, 0, "{report:?}");
        let found = Doctor::open(catalog.root()).unwrap().examine().unwrap();
        assert!(found.is_empty(), "{found:#?}");
        let blobs = fs::read_dir(catalog.root().join("trash")).unwrap().count();
        assert_eq!(blobs, 0, "the trash was not emptied");
        self.check_entries(model, 0);
    }
}

fn shown(entry: &CatalogEntry) -> Answer {
    Answer::Shown(read(&entry.local_path), entry.lifecycle == LifecycleState::Retired)
}

fn digest_of(content: u8, expected: Expected) -> Option<Digest> {
    match expected {
        Expected::Nothing => None,
        // A tree's digest is its manifest's, which the store computes.
        Expected::Right if is_tree(content) => None,
        Expected::Right => Some(Digest::sha256_of(&files(content)[0].1)),
        Expected::Wrong => Some(Digest::sha256_of(b"what nobody stages")),
    }
}
