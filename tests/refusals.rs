//! File systems that refuse another name for a file, or cannot share blocks: the work is done in another way. A failing
//! disk is not such a file system.
//!
//! Each link and each reflink of an operation fails once, with every error number that is a refusal and with some that
//! are not; `src/fs/fault.rs` makes them fail.
//!
//! Red when `show`, `publish_new`, `reflink` or `keep_previous` takes a failed disk for a refusal, or a refusal for a
//! failed disk; and when `publish_new` treats a private file that it could not rename as renamed.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use catalog_core::testing::fault::{Fault, inject};
use catalog_core::{
    CatalogStore as _, Digest, Doctor, Error, FindingKind, FsCatalog, IngestMode, LifecycleState, LinkMode,
    RepairOutcome, Result,
};
use rstest::rstest;

use common::{
    Host, assert_readable, assert_sound, blob_path, hold_shard, options, reference, shard_path, stage_as, wait_until,
};

const NO_LINK: [i32; 5] = [libc::EMLINK, libc::EXDEV, libc::EPERM, libc::EOPNOTSUPP, libc::EACCES];
const NO_REFLINK: [i32; 9] = [
    libc::EOPNOTSUPP,
    libc::ENOSYS,
    libc::EXDEV,
    libc::EINVAL,
    libc::ENOTTY,
    libc::EPERM,
    libc::ETXTBSY,
    libc::EAGAIN,
    libc::EINTR,
];
const FAILED: [i32; 3] = [libc::EIO, libc::ENOSPC, libc::EMFILE];

const CONTENT: &[u8] = b"the bytes of a model";

/// A fault is injected into the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What exists before the operation, which is always a stage of `m` under the id "m".
#[derive(Clone, Copy)]
enum Before {
    /// Neither the blob nor the view.
    Nothing,
    /// The blob, which belongs to another entry.
    Blob,
    /// Everything, with another file at the view's path.
    OtherView,
}

fn prepare(host: &Host, before: Before) -> FsCatalog {
    let catalog = host.catalog();
    let source = host.file("m", CONTENT);
    match before {
        Before::Nothing => {}
        Before::Blob => drop(stage_as(&catalog, &source, "other", IngestMode::Auto).unwrap()),
        Before::OtherView => {
            stage_as(&catalog, &source, "m", IngestMode::Auto).unwrap();
            let view = catalog.record("m").unwrap().unwrap().entry.local_path;
            fs::remove_file(&view).unwrap();
            fs::write(&view, "other bytes").unwrap();
        }
    }
    catalog
}

fn act(host: &Host, catalog: &FsCatalog) -> Result<()> {
    stage_as(catalog, &host.path("m"), "m", IngestMode::Auto).map(drop)
}

/// The numbers of the operation's steps with this name.
fn steps(before: Before, name: &str) -> Vec<usize> {
    let host = Host::new();
    let catalog = prepare(&host, before);
    let injection = inject(None, Fault::Errno(0));
    act(&host, &catalog).unwrap();
    let steps = injection.steps();
    steps.iter().enumerate().filter(|(_, step)| **step == name).map(|(at, _)| at).collect()
}

#[rstest]
#[case::a_new_blob(Before::Nothing)]
#[case::a_blob_that_is_here(Before::Blob)]
#[case::a_view_of_other_bytes(Before::OtherView)]
fn what_is_refused_is_done_otherwise_and_what_fails_fails(#[case] before: Before) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, refusals) in [("link", &NO_LINK[..]), ("reflink", &NO_REFLINK[..])] {
        let steps = steps(before, name);
        assert!(!steps.is_empty(), "it has no {name}");
        for at in steps {
            for (errno, is_refusal) in refusals.iter().map(|e| (e, true)).chain(FAILED.iter().map(|e| (e, false))) {
                let state = format!("{name} at step {at}, error {errno}");
                let host = Host::new();
                let catalog = prepare(&host, before);
                let shard = shard_path(catalog.root(), "m");
                let shard_before = fs::read(&shard).ok();
                let injection = inject(Some(at), Fault::Errno(*errno));
                let outcome = act(&host, &catalog);
                drop(injection);
                assert_eq!(outcome.is_ok(), is_refusal, "{state}: {outcome:?}");
                // Red when `write_previous` writes nothing.
                if outcome.is_ok() && shard_before.is_some() {
                    assert_eq!(fs::read(shard.with_extension("json.prev")).ok(), shard_before, "{state}");
                }
                if !is_refusal {
                    act(&host, &catalog).unwrap();
                }
                assert_readable(&catalog, "m", CONTENT);
                assert_sound(catalog.root());
                let record = catalog.record("m").unwrap().unwrap();
                let links = fs::metadata(&record.entry.local_path).unwrap().nlink();
                assert_eq!(record.view == Some(LinkMode::Hardlink), links > 1, "{state}: the record says {record:?}");
            }
        }
    }
}

/// Stages `m` in this mode into a fresh store while step `at` fails. Returns the steps too.
fn stage_failing(mode: IngestMode, at: Option<usize>, errno: i32) -> (Result<()>, Vec<&'static str>) {
    let host = Host::new();
    let catalog = prepare(&host, Before::Nothing);
    let injection = inject(at, Fault::Errno(errno));
    let outcome = stage_as(&catalog, &host.path("m"), "m", mode).map(drop);
    let steps = injection.steps();
    drop(injection);
    if outcome.is_ok() {
        assert_readable(&catalog, "m", CONTENT);
    } else {
        assert_eq!(fs::read(host.path("m")).unwrap(), CONTENT);
    }
    assert_sound(catalog.root());
    (outcome, steps)
}

fn first(name: &str, mode: IngestMode) -> usize {
    let (_, steps) = stage_failing(mode, None, 0);
    steps.iter().position(|step| *step == name).unwrap_or_else(|| panic!("no {name} among {steps:?}"))
}

// Red when `take` takes a failed disk for a file system without links, or a refusal for a failed disk.
#[test]
fn a_source_that_cannot_be_taken_as_it_is_is_moved_by_a_copy_and_not_linked() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for mode in [IngestMode::Link, IngestMode::Move] {
        let at = first("link", mode);
        for errno in NO_LINK {
            let (outcome, _) = stage_failing(mode, Some(at), errno);
            match mode {
                IngestMode::Move => outcome.unwrap(),
                _ => assert!(matches!(&outcome, Err(Error::SourceInUse { .. })), "error {errno}: {outcome:?}"),
            }
        }
        for errno in FAILED {
            let (outcome, _) = stage_failing(mode, Some(at), errno);
            assert!(
                matches!(&outcome, Err(error) if !matches!(error, Error::SourceInUse { .. })),
                "{errno}: {outcome:?}"
            );
        }
    }
}

// Red when `space::reserve` takes a full disk for one that cannot reserve, or the other way round; and when a copy
// reserves nothing.
#[test]
fn a_copy_asks_for_its_room_first_where_that_can_be_asked_for() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let at = first("allocate", IngestMode::Copy);
    stage_failing(IngestMode::Copy, Some(at), libc::EOPNOTSUPP).0.unwrap();
    for errno in FAILED {
        let (outcome, steps) = stage_failing(IngestMode::Copy, Some(at), errno);
        assert!(outcome.is_err() && !steps.contains(&"copy"), "error {errno}: {outcome:?}, {steps:?}");
    }
}

// Red when a batch relies on a refused `syncfs`: none of it is on disk when it is acknowledged.
#[test]
fn where_the_file_system_cannot_be_synced_as_a_whole_each_file_of_a_batch_is() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    const FILES: usize = 20;
    let stage_batch = |at, errno| {
        let host = Host::new();
        let catalog = host.catalog();
        let items = (0..FILES).map(|n| (reference(&host.file(&n.to_string(), n.to_string())), options(&n.to_string())));
        let items: Vec<_> = items.collect();
        let injection = inject(at, Fault::Errno(errno));
        let failed = catalog.stage_many(&items).into_iter().find_map(Result::err);
        (failed, injection.steps())
    };
    let count = |steps: &[&str], name: &str| steps.iter().filter(|step| **step == name).count();
    let (failed, usual) = stage_batch(None, 0);
    assert!(failed.is_none(), "{failed:?}");
    let flushes: Vec<usize> =
        usual.iter().enumerate().filter(|(_, step)| **step == "sync the file system").map(|(at, _)| at).collect();
    assert_eq!(flushes.len(), 2, "one for the blobs, one for the rest: {usual:?}");
    for errno in [libc::EPERM, libc::ENOSYS] {
        let (failed, steps) = stage_batch(Some(flushes[0]), errno);
        assert!(failed.is_none(), "{failed:?}");
        assert!(count(&steps, "sync") >= count(&usual, "sync") + FILES, "each blob: {steps:?}");
        let (failed, steps) = stage_batch(Some(flushes[1]), errno);
        assert!(failed.is_none(), "{failed:?}");
        assert!(count(&steps, "sync a folder") > count(&usual, "sync a folder"), "each folder: {steps:?}");
    }
    assert!(stage_batch(Some(flushes[0]), libc::EIO).0.is_some_and(|error| error.to_string().contains("durable")));
}

// Red when a folder that the file system cannot sync fails the work in it, and when a failed sync of a folder does not.
#[test]
fn a_folder_that_cannot_be_synced_is_no_failure_and_one_that_could_not_be_is() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let steps = steps(Before::Blob, "sync a folder");
    assert!(steps.len() > 1, "{steps:?}");
    let mut seen = 0;
    for at in steps[0]..=steps[steps.len() - 1] {
        for (errno, is_refusal) in [(libc::EINVAL, true), (libc::EOPNOTSUPP, true), (libc::EIO, false)] {
            let host = Host::new();
            let catalog = prepare(&host, Before::Blob);
            let injection = inject(Some(at), Fault::Errno(errno));
            let outcome = act(&host, &catalog);
            // They are synced side by side with the new shard, in another order each time.
            let is_folder = injection.steps().get(at) == Some(&"sync a folder");
            drop(injection);
            if !is_folder {
                continue;
            }
            seen += 1;
            assert_eq!(outcome.is_ok(), is_refusal, "step {at}, error {errno}: {outcome:?}");
            act(&host, &catalog).unwrap();
            assert_readable(&catalog, "m", CONTENT);
            assert_sound(catalog.root());
        }
    }
    assert!(seen >= steps.len(), "{seen} of {steps:?}");
}

/// Has a damaged shard restored while step `at` fails. Returns the steps, and whether the previous generation is in
/// place.
fn restore_failing(at: Option<usize>, errno: i32) -> (Vec<&'static str>, bool) {
    let host = Host::new();
    let catalog = prepare(&host, Before::Blob);
    for state in [LifecycleState::Retired, LifecycleState::Active] {
        catalog.set_state("other", state).unwrap();
    }
    let shard = shard_path(catalog.root(), "other");
    let before = fs::read(shard.with_extension("json.prev")).unwrap();
    fs::write(&shard, "{").unwrap();
    let doctor = Doctor::open(catalog.root()).unwrap();
    let mut found = doctor.examine().unwrap();
    found.retain(|finding| finding.kind == FindingKind::ShardDamaged);
    assert_eq!(found.len(), 1);
    let injection = inject(at, Fault::Errno(errno));
    let outcomes = doctor.repair(&found);
    let steps = injection.steps();
    drop(injection);
    let is_restored = fs::read(&shard).is_ok_and(|text| text == before);
    assert_eq!(matches!(outcomes[..], [RepairOutcome::Repaired(_)]), is_restored, "error {errno}: {outcomes:?}");
    (steps, is_restored)
}

// Red when `restore_previous` takes a refusal for a failed disk, or a failed disk for a refusal.
#[test]
fn a_shard_is_restored_also_where_its_generation_before_gets_no_second_name() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (steps, is_restored) = restore_failing(None, 0);
    assert!(is_restored);
    let at = steps.iter().position(|step| *step == "link").unwrap();
    for errno in NO_LINK {
        assert!(restore_failing(Some(at), errno).1, "error {errno}");
    }
    for errno in FAILED {
        assert!(!restore_failing(Some(at), errno).1, "error {errno}");
    }
}

/// Stages `m` while its shard is held, so that the stage has every lock but that one. Then the store's lock file is
/// removed, and step `at` of the rest fails.
fn stage_losing_the_lock(at: Option<usize>) -> (Result<()>, Vec<&'static str>) {
    let host = Host::new();
    let catalog = prepare(&host, Before::Nothing);
    let shard = hold_shard(&host.root(), "m");
    let (outcome, steps) = thread::scope(|scope| {
        let staging = scope.spawn(|| act(&host, &catalog));
        wait_until("it has the store", || blob_path(&host.root(), &Digest::sha256_of(CONTENT)).exists());
        thread::sleep(Duration::from_millis(50)); // it waits for the shard
        fs::remove_file(host.root().join("locks/store")).unwrap();
        let injection = inject(at, Fault::Errno(libc::EIO));
        drop(shard);
        (staging.join().unwrap(), injection.steps())
    });
    assert_sound(catalog.root());
    (outcome, steps)
}

// Red when a commit that lost its lock file is repeated whatever has failed: a second sync of data that could not be
// written reports success.
#[test]
fn what_could_not_be_synced_fails_also_when_the_lock_was_lost() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (outcome, steps) = stage_losing_the_lock(None);
    outcome.unwrap();
    // The syncs of the first attempt, whose last step is the sync of the index.
    let renamed = steps.iter().position(|step| step.starts_with("rename")).unwrap();
    let syncs = steps[..renamed].iter().enumerate().filter(|(_, step)| step.starts_with("sync"));
    let syncs: Vec<usize> = syncs.map(|(at, _)| at).collect();
    assert!(syncs.len() > 1, "{steps:?}");
    for at in syncs {
        let (outcome, steps) = stage_losing_the_lock(Some(at));
        assert!(outcome.is_err(), "a failed {} of {steps:?}", steps[at]);
    }
}
