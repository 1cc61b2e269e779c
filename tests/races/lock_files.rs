//! Somebody removes or replaces the lock files again and again while processes put (row 18 of docs/testing.md).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use catalog_core::{CatalogStore, Digest, Durability, FsCatalog, GcPolicy};
use rstest::rstest;

use crate::common::*;
use crate::{against, say};

const PROCESSES: usize = 3;
const ENTRIES: usize = 40;

/// An id in the shard that all processes use.
fn id(process: usize, number: usize) -> String {
    let mut ids = (0..).map(|n| format!("{process} {number} {n}"));
    ids.find(|id| Digest::sha256_of(id.as_bytes()).as_bytes()[0] == 7).unwrap()
}

/// Not a test: one of the processes.
#[test]
fn puts() {
    if !is_child("lock_files::puts") {
        return;
    }
    let variable = |name: &str| std::env::var(name).unwrap();
    let (dir, process) = (PathBuf::from(variable("CATALOG_RACES_DIR")), variable("CATALOG_RACES_NUMBER"));
    let process: usize = process.parse().unwrap();
    let catalog = FsCatalog::new(dir.join("root")).unwrap().with_durability(Durability::Relaxed);
    for number in 0..ENTRIES {
        catalog.put(&entry(&id(process, number), dir.join(format!("content-{}", number % 4)))).unwrap();
        if number % 8 == 7 {
            assert!(catalog.delete(&id(process, number)).unwrap());
        }
    }
}

fn run(folder: &Path, race: impl FnMut(u64) + Send, what: &str) {
    let host = Host::new();
    for number in 0..4 {
        host.file(&format!("content-{number}"), number.to_string().repeat(1000));
    }
    let catalog = host.catalog();
    catalog.put(&entry("first", host.path("content-0"))).unwrap();
    let link = folder.join("locks");
    std::os::unix::fs::symlink(host.root().join("locks"), &link).unwrap();
    let ((), times) = against(race, || {
        let start = |process: usize| {
            let mut command = child_test(&[], "lock_files::puts");
            command.env("CATALOG_RACES_DIR", host.dir.path()).env("CATALOG_RACES_NUMBER", process.to_string());
            let errors = File::create(host.path(&format!("{process}.errors"))).unwrap();
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
            Running(command.spawn().unwrap())
        };
        let running: Vec<Running> = (0..PROCESSES).map(start).collect();
        for (process, mut running) in running.into_iter().enumerate() {
            let status = running.0.wait().unwrap();
            let said = fs::read_to_string(host.path(&format!("{process}.errors"))).unwrap();
            assert!(status.success(), "{process}: {status}\n{said}");
        }
    });
    let mut expected: Vec<String> = (0..PROCESSES)
        .flat_map(|process| (0..ENTRIES).filter(|number| number % 8 != 7).map(move |number| id(process, number)))
        .chain(["first".to_owned()])
        .collect();
    expected.sort();
    let listed: Vec<String> = catalog.list().unwrap().into_iter().map(|entry| entry.id).collect();
    let lost: Vec<&String> = expected.iter().filter(|id| !listed.contains(id)).collect();
    assert!(lost.is_empty(), "acknowledged, and lost: {lost:?}");
    assert_eq!(listed, expected);
    for record in catalog.records().unwrap() {
        check_artifact(&host.root(), &record).unwrap();
    }
    say(&format!("lock files {what}: {} changes of one shard against {times} rounds", PROCESSES * ENTRIES));
    assert!(times > 10, "the racer was too slow: it shows nothing");
    fs::remove_file(link).unwrap();
}

const LOCKS: [&str; 3] = ["index/07", "store", "gate"];

// Red when the last check of `Index::replace` before its rename is taken out: of two processes that lock one shard
// through different files, the slower one then writes what it had read before. Without the comparison of inodes in
// `fs::lock`, that check still remains, and is enough here; `src/fs/lock.rs` shows what the comparison does alone.
#[rstest]
#[case::removed("removed")]
#[case::replaced("replaced")]
fn nothing_is_lost_when_lock_files_are(#[case] what: &str) {
    let dir = tempfile::tempdir().unwrap();
    let locks = dir.path().join("locks");
    let race = |step: u64| {
        for name in LOCKS {
            let path = locks.join(name);
            if what == "removed" {
                let _ = fs::remove_file(path);
            } else {
                let other = path.with_extension("other");
                if fs::write(&other, "").is_ok() {
                    let _ = fs::rename(other, path);
                }
            }
        }
        // So often that most changes lose a lock, and rarely enough that each one succeeds in the end.
        std::thread::sleep(std::time::Duration::from_millis(step * 7 % 16));
    };
    run(dir.path(), race, what);
}

/// Collects everything that it may, at once.
fn all() -> GcPolicy {
    GcPolicy::default().with_max_bytes(Some(0)).with_grace(Duration::ZERO)
}

fn check_whole(host: &Host, id: &str) {
    let record = host.catalog().record(id).unwrap().unwrap();
    check_artifact(&host.root(), &record).unwrap();
    assert!(blob_path(&host.root(), &record.entry.digest.unwrap()).exists(), "its blob was taken");
}

// Red when a commit does not check at its end whether its lock file still exists.
#[test]
fn a_sweep_that_ran_beside_a_commit_has_taken_nothing() {
    let host = Host::new();
    let content = host.file("content", "some bytes");
    let catalog = host.catalog().with_durability(Durability::Relaxed);
    let blob = blob_path(&host.root(), &Digest::sha256_of(b"some bytes"));
    thread::scope(|scope| {
        let shard = hold_shard(&host.root(), "a");
        let commit = scope.spawn(|| catalog.put(&entry("a", &content)));
        wait_until("the commit has the store", || blob.exists()); // and waits for the shard
        fs::remove_file(host.root().join("locks/store")).unwrap();
        // Everything unreferenced is removed.
        drop(host.catalog().gc(&all()).unwrap());
        assert!(!blob.exists());
        drop(shard);
        commit.join().unwrap().unwrap();
    });
    check_whole(&host, "a");
}

// Red when a sweep does not check before each step whether its lock file still exists, or when it removes the second of
// two evicted records from roots that it has read since.
#[test]
fn a_commit_that_ran_beside_a_sweep_keeps_what_it_has_found() {
    let host = Host::new();
    let content = host.file("content", "some bytes");
    let catalog = host.catalog();
    for id in ["a", "c"] {
        catalog.put(&entry(id, &content)).unwrap();
    }
    let plan = catalog.plan_gc(&all()).unwrap();
    thread::scope(|scope| {
        let shard = hold_shard(&host.root(), "a");
        let sweep = scope.spawn(|| catalog.execute_gc(&plan));
        let store = host.root().join("locks/store");
        wait_until("the sweep has the store", || File::open(&store).unwrap().try_lock_shared().is_err());
        thread::sleep(Duration::from_millis(100)); // it has read the roots, and waits for the shard
        fs::remove_file(&store).unwrap();
        host.catalog().put(&entry("b", &content)).unwrap();
        drop(shard);
        assert_eq!(sweep.join().unwrap().unwrap().entries, 2);
    });
    check_whole(&host, "b");
}
