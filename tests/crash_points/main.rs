//! Every operation, with each of its steps in turn failing or being its last.
//!
//! A step is anything that changes something on disk (`src/fs/fault.rs` announces them). For each step of each
//! operation, the test makes a fresh store, starts the operation, and makes the step fail with an error number or kills
//! the process there. Afterwards everything that was acknowledged before is there and reads right; the operation is
//! done wholly or not at all, and it is done if it said so; every blob matches its name; a collection leaves nothing
//! behind; and the operation succeeds when it is repeated.
//!
//! Red, among others, when `try_commit` records before it shows; when the drop of a `Sealed` and `undo` are left out
//! (they leave files that a collection does not know); when `quarantine` does not remove the stamp first (after a kill
//! between the rename and the mark, damage is given out).
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;
mod scenarios;
#[path = "../network/server.rs"]
#[allow(dead_code)]
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use catalog_core::testing::fault::{Fault, inject};
use catalog_core::{
    CatalogStore as _, Digest, Durability, FsCatalog, GcPolicy, IngestMode, LifecycleState, LogEvent, LogEventKind,
    Record, VerificationOutcome, VerifyOptions,
};
use rstest::rstest;
use tempfile::TempDir;

use common::{child_test, debris, files_below, is_child, mode_options, reference};
use scenarios::{ALL, Scenario, base};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A fault is injected into the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A folder where syncing costs nothing, if there is one: durability is for the power-cut tests.
fn fresh() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

fn open(dir: &Path) -> FsCatalog {
    FsCatalog::open(dir.join("root")).unwrap()
}

/// The invariants of every state.
fn check(scenario: &Scenario, dir: &Path, is_acknowledged: bool, state: &str) {
    let state = format!("{}: {state}", scenario.name);
    let catalog = open(dir);
    for blob in files_below(&catalog.root().join("blobs")) {
        let name = blob.file_name().unwrap().to_str().unwrap().to_owned();
        let is_damaged_on_purpose = scenario.leaves_quarantine;
        let is_its_name = Digest::sha256_of(&fs::read(&blob).unwrap()).to_hex() == name;
        assert!(is_its_name || is_damaged_on_purpose, "{state}: {name} is not its name");
    }
    let is_done = (scenario.is_done)(&catalog, dir);
    assert!(is_done || !is_acknowledged, "{state}: acknowledged, and not done");
    whole(&catalog, &state);

    let policy = GcPolicy::default().with_grace(Duration::ZERO);
    drop(catalog.gc(&policy).unwrap_or_else(|error| panic!("{state}: a collection fails: {error}")));
    let left: Vec<String> = debris(&catalog)
        .into_iter()
        .filter(|path| !(scenario.leaves_quarantine && path.starts_with("quarantine")))
        .collect();
    assert!(left.is_empty(), "{state}: a collection leaves {left:?}");
    assert!(catalog.root().join("store.reserve").exists(), "{state}: a collection keeps no reserve");

    let catalog = open(dir);
    (scenario.act)(&catalog, dir).unwrap_or_else(|error| panic!("{state}: it does not succeed again: {error}"));
    assert!((scenario.is_done)(&catalog, dir), "{state}: done again, and not done");
    whole(&catalog, &state);
}

/// Every recorded entry resolves and reads right, except those that are damaged on purpose.
fn whole(catalog: &FsCatalog, state: &str) {
    let records = catalog.records().unwrap_or_else(|error| panic!("{state}: the index cannot be read: {error}"));
    for id in ["kept", "tree"] {
        assert!(records.iter().any(|record| record.entry.id == id), "{state}: {id} is lost");
    }
    for record in records.iter().filter(|record| record.entry.id != "bad" && record.view.is_some()) {
        let id = &record.entry.id;
        catalog.resolve(id).unwrap_or_else(|error| panic!("{state}: {id} does not resolve: {error}"));
        let report = catalog.verify(id, &VerifyOptions::default()).unwrap();
        assert!(matches!(report.outcome, VerificationOutcome::Pass { .. }), "{state}: {id}: {report:?}");
    }
    logged(catalog, &records, state);
}

/// The log is whole, and says of each entry how it came, and nothing of what did not happen.
///
/// Red when a segment is not published before the shard without its events is.
fn logged(catalog: &FsCatalog, records: &[Record], state: &str) {
    let broken: Vec<_> =
        catalog.check_log(None).unwrap().into_iter().filter(|chain| !chain.problems.is_empty()).collect();
    assert!(broken.is_empty(), "{state}: the log is broken: {broken:?}");
    let mut last: BTreeMap<String, LogEvent> = BTreeMap::new();
    for event in catalog.log(None).unwrap() {
        last.insert(event.id.clone(), event);
    }
    let is_gone = |event: &LogEvent| matches!(event.what, LogEventKind::Removed | LogEventKind::Evicted);
    let there: BTreeMap<&str, Option<Digest>> =
        records.iter().map(|record| (record.entry.id.as_str(), record.entry.digest)).collect();
    let said: BTreeMap<&str, Option<Digest>> =
        last.values().filter(|event| !is_gone(event)).map(|event| (event.id.as_str(), event.digest)).collect();
    assert_eq!(said, there, "{state}: the log says otherwise");
}

/// Every step of a scenario in CI (`CATALOG_TEST_ALL`). Otherwise every twentieth, from one that differs from run to run: all of
/// them take six minutes. A failure names its step, and `CATALOG_TEST_SEED` begins at the same one again.
fn steps_to_try(scenario: &Scenario) -> impl Iterator<Item = usize> {
    const SAMPLE: usize = 20;
    if common::runs_all() {
        return (0..).step_by(scenario.every);
    }
    let seed = std::env::var("CATALOG_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos() as usize);
    (seed % SAMPLE..).step_by(scenario.every.max(SAMPLE))
}

fn sweep_errno(errno: i32) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for scenario in ALL {
        for at in steps_to_try(scenario) {
            let dir = fresh();
            (scenario.prepare)(&base(dir.path()), dir.path());
            let catalog = open(dir.path());
            let injection = inject(Some(at), Fault::Errno(errno));
            let outcome = (scenario.act)(&catalog, dir.path());
            let steps = injection.steps();
            drop(injection);
            let Some(step) = steps.get(at) else {
                outcome.unwrap_or_else(|error| panic!("{}: without a fault: {error}", scenario.name));
                assert!(at > 1, "{}: it has no steps", scenario.name);
                break;
            };
            *states.entry(scenario.name).or_default() += 1;
            let state = format!("step {at} ({step}) failed with error {errno}, answer {outcome:?}");
            // Red when `note_good` ignores that its sync failed: bytes that were stored with `Relaxed` are then
            // acknowledged.
            let is_stage = scenario.name.starts_with("stage");
            // (With ENOSPC, a shard is written a second time, to a file that has room.)
            let is_swallowed = is_stage && errno == EIO && step.starts_with("sync") && outcome.is_ok();
            assert!(!is_swallowed, "{}: {state}: not durable", scenario.name);
            // A failed sync leaves open what is on disk. If only room is missing, the result is exact.
            let is_full = errno == ENOSPC && !step.starts_with("sync");
            // Red when `with_reserve` tries its step only once.
            let is_stuck = is_full && scenario.name.starts_with("remove") && outcome.is_err();
            assert!(!is_stuck, "{}: {state}: a removal needs room", scenario.name);
            // Red when a new shard stays although its first `.prev` found no room.
            let is_half = is_full && is_stage && outcome.is_err() && (scenario.is_done)(&open(dir.path()), dir.path());
            assert!(!is_half, "{}: {state}: it has failed, and recorded", scenario.name);
            check(scenario, dir.path(), outcome.is_ok(), &state);
        }
    }
    println!("crash points: error {errno}: {} states, {states:?}", states.values().sum::<usize>());
}

#[test]
fn every_step_fails_with_a_broken_disk() {
    sweep_errno(EIO);
}

// Red when `Hashed::seal`, `Target::give_up` or the commit keeps a partial whose bytes may not be on disk: a later sync
// would not report it, and the journal would be believed.
#[test]
fn a_large_copy_whose_sync_fails_is_nothing_to_go_on_with() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let scenario = ALL.iter().find(|scenario| scenario.name == "stage a large file").unwrap();
    let run = |at: Option<usize>| {
        let dir = fresh();
        (scenario.prepare)(&base(dir.path()), dir.path());
        let injection = inject(at, Fault::Errno(EIO));
        let outcome = (scenario.act)(&open(dir.path()), dir.path());
        let partials = fs::read_dir(dir.path().join("root/partials")).unwrap().count();
        (injection.steps(), outcome, partials)
    };
    let (steps, outcome, _) = run(None);
    outcome.unwrap();
    let is_sync = |steps: &[&str], at: usize| steps.get(at).is_some_and(|step| step.starts_with("sync"));
    // Several threads make steps, so their order varies a little.
    let near = |at: &usize| (at.saturating_sub(2)..=at + 2).any(|at| is_sync(&steps, at));
    let chosen: Vec<usize> = (0..steps.len()).filter(near).collect();
    assert!(chosen.len() > 6, "{steps:?}");
    for at in chosen {
        let (steps, outcome, partials) = run(Some(at));
        if is_sync(&steps, at) {
            assert!(outcome.is_err() && partials == 0, "{} of {steps:?}: {outcome:?}, {partials}", steps[at]);
        }
    }
}

// Red when `seal` relies on the sync of the whole file system: the kernel reports a failed write only to the first who
// asks, and a write that failed for a killed process shows only in a sync of the file itself.
#[test]
fn what_another_process_has_left_is_synced_by_itself_also_in_a_batch() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let scenario = ALL.iter().find(|scenario| scenario.name == "stage a large file").unwrap();
    let dir = fresh();
    (scenario.prepare)(&base(dir.path()), dir.path());
    let batch = |folder: &str| {
        let small = (0..9)
            .map(|n| scenarios::file(dir.path(), &format!("{folder}/{n}.gguf"), [folder, &n.to_string()].concat()));
        let files = small.chain([dir.path().join("huge.gguf")]);
        let item = |path: std::path::PathBuf| {
            let options = mode_options(path.strip_prefix(dir.path()).unwrap().to_str().unwrap(), IngestMode::Copy);
            (reference(&path), options)
        };
        files.map(item).collect::<Vec<_>>()
    };
    let is_synced_alone =
        |steps: &[&str]| steps.iter().take_while(|step| **step != "sync the file system").any(|step| *step == "sync");
    let injection = inject(None, Fault::Errno(0));
    assert!(open(dir.path()).stage_many(&batch("first")).iter().all(Result::is_ok));
    let steps = injection.steps();
    drop(injection);
    assert!(!is_synced_alone(&steps), "nothing was left by anybody: {steps:?}");

    // Several threads make steps, so this number may belong to a step other than a copy. Try until a copy is
    // interrupted.
    let copies = (0..steps.len()).filter(|at| steps[*at] == "copy").skip(3);
    let is_interrupted = copies.into_iter().any(|at| {
        let _ = open(dir.path()).remove("huge.gguf");
        let injection = inject(Some(at), Fault::Errno(EIO));
        let _ = open(dir.path()).stage_many(&batch(&format!("attempt at {at}")));
        drop(injection);
        fs::read_dir(dir.path().join("root/partials")).unwrap().count() == 1
    });
    assert!(is_interrupted, "{steps:?}");
    let injection = inject(None, Fault::Errno(0));
    let staged = open(dir.path()).stage_many(&batch("third"));
    let steps = injection.steps();
    drop(injection);
    assert!(staged.last().unwrap().as_ref().unwrap().resumed_bytes > 0);
    assert!(is_synced_alone(&steps), "{steps:?}");
}

#[test]
fn every_step_fails_with_a_full_disk() {
    sweep_errno(ENOSPC);
}

#[rstest]
#[case::even(0)]
#[case::odd(1)]
fn every_step_is_the_last(#[case] parity: usize) {
    // An operation that is repeated in this process must not meet another test's fault.
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut states = 0;
    for (number, scenario) in ALL.iter().enumerate().filter(|(number, _)| number % 2 == parity) {
        for at in steps_to_try(scenario) {
            let dir = fresh();
            (scenario.prepare)(&base(dir.path()), dir.path());
            let mut child = child_test(&[], "the_one_that_is_killed");
            child.env("CATALOG_TEST_DIR", dir.path());
            child.env("CATALOG_TEST_SCENARIO", number.to_string()).env("CATALOG_TEST_STEP", at.to_string());
            let output = child.output().unwrap();
            if output.status.success() {
                assert!(at > 1, "{}: it has no steps", scenario.name);
                check(scenario, dir.path(), true, "not killed");
                break;
            }
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("panicked"), "{}: step {at}: {said}", scenario.name);
            states += 1;
            check(scenario, dir.path(), false, &format!("killed at step {at}"));
        }
    }
    println!("crash points: killed: {states} states");
}

#[test]
fn the_one_that_is_killed() {
    if !is_child("the_one_that_is_killed") {
        return;
    }
    let value = |name: &str| std::env::var(name).unwrap();
    let dir = value("CATALOG_TEST_DIR");
    let scenario = &ALL[value("CATALOG_TEST_SCENARIO").parse::<usize>().unwrap()];
    let catalog = open(Path::new(&dir)).with_durability(Durability::Full);
    let injection = inject(Some(value("CATALOG_TEST_STEP").parse().unwrap()), Fault::Kill);
    (scenario.act)(&catalog, Path::new(&dir)).unwrap();
    drop(injection);
}

// Red when a single change flushes the whole file system, or a batch does not flush it for its shards; when the folder,
// whose sync makes the new name durable, is not synced last; or when it is synced although nothing needs to be durable.
#[test]
fn a_change_syncs_its_shard_and_its_folder_and_a_batch_the_file_system() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let count = |steps: &[&str], name: &str| steps.iter().filter(|step| **step == name).count();
    let dir = fresh();
    base(dir.path());
    let catalog = open(dir.path());
    let injection = inject(None, Fault::Errno(0));
    catalog.set_state("kept", LifecycleState::Retired).unwrap();
    let steps = injection.steps();
    drop(injection);
    assert_eq!((count(&steps, "sync"), count(&steps, "sync the file system")), (1, 0), "{steps:?}");
    assert_eq!(steps.last(), Some(&"sync a folder"), "{steps:?}");

    let relaxed = open(dir.path()).with_durability(Durability::Relaxed);
    let injection = inject(None, Fault::Errno(0));
    relaxed.set_state("kept", LifecycleState::Active).unwrap();
    let steps = injection.steps();
    drop(injection);
    assert_eq!((count(&steps, "sync"), count(&steps, "sync a folder")), (1, 0), "{steps:?}");

    let scenario = ALL.iter().find(|scenario| scenario.name.contains("batch")).unwrap();
    (scenario.prepare)(&catalog, dir.path());
    let injection = inject(None, Fault::Errno(0));
    (scenario.act)(&catalog, dir.path()).unwrap();
    let steps = injection.steps();
    drop(injection);
    // Once for the bytes of the blobs, once for the shards.
    assert_eq!((count(&steps, "sync"), count(&steps, "sync the file system")), (0, 2), "{steps:?}");
}
