//! A newer binary upgrades the store while an older one, this one, works on it (row 27 of docs/testing.md).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use catalog_core::{CatalogStore, Durability, Error, FsCatalog, GcPolicy, LifecycleState, MinFree};
use rstest::rstest;

use crate::common::*;
use crate::{against, say};

const ROUNDS: usize = 10;
/// The racer has raised the format long before this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Upgrades as a newer version does: under the store lock, in one step.
fn upgrade(root: &Path, store_json: &str) -> BTreeMap<PathBuf, String> {
    let lock = File::open(root.join("locks/store")).unwrap();
    fs2::FileExt::lock_exclusive(&lock).unwrap();
    fs::write(root.join("store.json.other"), store_json).unwrap();
    fs::rename(root.join("store.json.other"), root.join("store.json")).unwrap();
    content(root)
}

/// Every file except those that are private to an operation or only locked, with its inode, mode, size and time. An
/// operation still removes the second, private name of a blob after it has released the store, so links and ctime do
/// not count.
fn content(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).min_depth(2) {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(root).unwrap().to_path_buf();
        if !["ingest", "locks"].iter().any(|folder| path.starts_with(folder)) {
            let meta = entry.path().symlink_metadata().unwrap();
            all.insert(path, format!("{:?}", (meta.ino(), meta.mode(), meta.size(), meta.mtime(), meta.mtime_nsec())));
        }
    }
    all
}

fn everything() -> GcPolicy {
    let now = Some(Duration::ZERO);
    GcPolicy::default()
        .with_max_idle(now)
        .with_retired_after(now)
        .with_min_free(MinFree::percent(100))
        .with_grace(Duration::ZERO)
}

/// Each way to change something, in turn.
fn change(catalog: &FsCatalog, host: &Host, number: usize) -> catalog_core::Result<()> {
    match number % 6 {
        0 => stage(catalog, &host.path("a"), "a").map(drop),
        1 => catalog.put(&entry("registered", format!("models/{number}"))),
        2 => catalog
            .set_state("kept", if number.is_multiple_of(4) { LifecycleState::Active } else { LifecycleState::Retired }),
        3 => catalog.pin("kept", &format!("pin {number}"), None).map(drop),
        4 => catalog.gc(&GcPolicy::default().with_grace(Duration::ZERO)).map(drop),
        _ => catalog.delete("a").map(drop),
    }
}

const NEWER: [&str; 2] = [r#"{"format":2}"#, r#"{"format":1,"features":{"incompatible":["packs"]}}"#];

fn host() -> Host {
    let host = Host::new();
    host.file("a", b"a");
    stage(&host.catalog(), &host.file("kept", b"kept"), "kept").unwrap();
    host
}

// Red when only `FsCatalog::open` checks `store.json`.
#[rstest]
fn a_handle_that_was_opened_before_changes_nothing(#[values(0, 1)] newer: usize) {
    let host = host();
    let catalog = host.catalog();
    stage(&catalog, &host.path("a"), "a").unwrap();
    let before = upgrade(&host.root(), NEWER[newer]);
    let refused = |result: catalog_core::Result<()>| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::UnsupportedFormat { .. }), "{error}");
    };
    host.file("a", b"other");
    for number in 0..6 {
        refused(change(&catalog, &host, number));
    }
    refused(catalog.gc(&everything()).map(drop));
    refused(catalog.change_config(|_| {}).map(drop));
    let after = content(&host.root());
    assert_eq!(after, before);
    assert_no_debris(&host.root());
}

/// The store is upgraded at some moment during or between the operations of this process.
// Red when only `FsCatalog::open` checks `store.json`.
#[test]
fn from_the_moment_that_the_format_is_raised_an_older_process_changes_nothing() {
    let host = host();
    let (mut done, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let catalog = host.catalog().with_durability(Durability::Relaxed);
        let raised = std::sync::Mutex::new(None);
        let race = |step: u64| {
            std::thread::sleep(Duration::from_millis(3 + 2 * round as u64));
            if step == 1 {
                *raised.lock().unwrap() = Some(upgrade(&host.root(), NEWER[round % 2]));
            }
        };
        let ((), _) = against(race, || {
            let (mut refusals, began) = (0, Instant::now());
            for number in 0.. {
                match change(&catalog, &host, number) {
                    // An operation that has nothing to do, such as removing something that is not there, may still
                    // succeed.
                    Ok(()) => done += usize::from(refusals == 0),
                    Err(Error::UnsupportedFormat { .. }) => refusals += 1,
                    Err(error) => panic!("{error}"),
                }
                if refusals >= 12 {
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "the format was raised, and nothing is refused");
            }
            refused += refusals;
        });
        let before = raised.into_inner().unwrap().unwrap();
        let after = content(&host.root());
        // Files that were moved to `trash/` before are unlinked without a lock, and then their outboards.
        let is_meant = |path: &&PathBuf| !path.starts_with("trash") && !path.starts_with("outboards");
        let paths: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).filter(is_meant).collect();
        let changed: Vec<_> = paths.iter().filter(|path| after.get(**path) != before.get(**path)).collect();
        assert!(changed.is_empty(), "changed after the format was raised: {changed:?}");
        upgrade(&host.root(), r#"{"format":1}"#);
    }
    let catalog = host.catalog();
    drop(catalog.gc(&GcPolicy::default().with_grace(Duration::ZERO)).unwrap());
    assert_readable(&catalog, "kept", b"kept");
    assert_sound(&host.root());
    say(&format!("the format raised {ROUNDS} times: {done} operations before it, {refused} refused"));
}

// Red when `Doctor::open` or `FsCatalog::open` does not call `check_store_file`: see also `src/catalog/open.rs`.
#[cfg(feature = "cli")]
#[rstest]
fn no_command_touches_a_newer_store(#[values(0, 1)] newer: usize) {
    let host = host();
    upgrade(&host.root(), NEWER[newer]);
    let before = listing(&host.root());
    let file = host.path("a");
    let file = file.to_str().unwrap();
    let commands: [&[&str]; 12] = [
        &["list"],
        &["path", "kept"],
        &["show", "kept"],
        &["stage", file],
        &["remove", "kept"],
        &["retire", "kept"],
        &["pin", "kept"],
        &["gc", "--grace", "0"],
        &["gc", "--dry-run"],
        &["verify", "--all"],
        &["doctor"],
        &["doctor", "--repair"],
    ];
    for words in commands {
        let output = host.command().args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{words:?} was done");
        assert!(said.contains("format 2") || said.contains("packs"), "{words:?}: {said}");
        assert_eq!(listing(&host.root()), before, "{words:?}");
    }
}
