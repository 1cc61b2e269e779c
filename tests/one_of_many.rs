//! One failure does not fail the others: in a batch, in a collection, in a store with a damaged part or another user's
//! files.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use catalog_core::{
    CatalogStore, Digest, Durability, Error, Event, FsCatalog, GcPolicy, RepairOptions, StageOptions,
    VerificationOutcome, VerifyOptions, Wait,
};
use common::*;
use rstest::rstest;

const NOBODY: u32 = 65534;

fn no_grace() -> GcPolicy {
    GcPolicy::default().with_grace(Duration::ZERO)
}

/// A folder in the blob's place, which the check of the blob finds, or a file in the place of its folder, which
/// publishing finds.
// Red when an error of one unit ends the round of a commit: its neighbours fail with its path in their messages.
#[test]
fn one_blob_whose_place_is_taken_fails_its_own_artifact_alone() {
    for is_folder in [true, false] {
        let host = Host::new();
        let catalog = host.catalog();
        let place = blob_path(&host.root(), &Digest::sha256_of(b"first"));
        let taken = if is_folder { place.clone() } else { place.parent().unwrap().to_path_buf() };
        match is_folder {
            true => fs::create_dir_all(&taken).unwrap(),
            false => fs::write(&taken, "").unwrap(),
        }
        let items: Vec<_> = ["first", "second", "third"].map(|id| (reference(&host.file(id, id)), options(id))).into();
        let results = catalog.stage_many(&items);
        let error = results[0].as_ref().unwrap_err();
        assert!(error.to_string().contains(&*taken.display().to_string()), "{error}");
        for id in ["second", "third"] {
            assert_readable(&catalog, id, id.as_bytes());
        }
        assert!(catalog.record("first").unwrap().is_none());
        match is_folder {
            true => fs::remove_dir(&taken).unwrap(),
            false => fs::remove_file(&taken).unwrap(),
        }
        assert_no_debris(&host.root());
    }
}

/// The shard fails before the batch starts, or once the bytes of all items are stored and only their records are
/// missing.
// Red when one shard that cannot be written fails the records in the others.
#[test]
fn one_shard_that_cannot_be_written_fails_its_own_entries_alone() {
    for while_it_runs in [false, true] {
        let host = Host::new();
        let catalog = host.catalog();
        // A folder in its place can neither be replaced nor read.
        let shard = shard_path(&host.root(), "b");
        if !while_it_runs {
            fs::create_dir(&shard).unwrap();
        }
        let observer = move |event: &Event<'_>| {
            if while_it_runs && matches!(event, Event::Advanced { .. }) {
                let _ = fs::create_dir(&shard);
            }
        };
        let observed = |id| options(id).with_observer(observer.clone());
        let items: Vec<_> = ["a", "b", "c"].map(|id| (reference(&host.file(id, id)), observed(id))).into();
        let results = catalog.stage_many(&items);
        assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true], "{results:?}");
        for id in ["a", "c"] {
            assert_readable(&catalog, id, id.as_bytes());
        }
    }
}

// Red when each artifact of a failed commit waits separately: 2 s, and once more for each.
#[test]
fn a_busy_store_is_waited_for_once() {
    const LIMIT: Duration = Duration::from_secs(2);
    let host = Host::new();
    let catalog = host.catalog().with_lock_wait(Wait::UpTo(LIMIT));
    let items: Vec<_> =
        (0..6).map(|n| (reference(&host.file(&format!("{n}"), format!("{n}"))), options(&format!("{n}")))).collect();
    let lock =
        fs::File::options().read(true).write(true).create(true).truncate(false).open(host.root().join("locks/store"));
    let lock = lock.unwrap();
    lock.lock().unwrap();
    let begun = Instant::now();
    let results = catalog.stage_many(&items);
    let waited = begun.elapsed();
    assert!(results.iter().all(|result| result.as_ref().is_err_and(Error::is_busy)), "{results:?}");
    // Waiting once takes 2 s, and once for each 14 s.
    assert!(waited < 4 * LIMIT, "it took {waited:?}");
    drop(lock);
    assert!(catalog.stage_many(&items).iter().all(Result::is_ok));
    assert_no_debris(&host.root());
}

/// A quota with enough room, and a tree without its manifest or a damaged shard.
// Red when `make_room` plans an eviction before it knows whether it needs one.
#[test]
fn what_needs_no_eviction_does_not_need_all_roots() {
    for shard_is_damaged in [false, true] {
        let host = Host::new();
        let catalog = host.catalog();
        catalog.change_config(|limits| limits.max_bytes = Some(1 << 30)).unwrap();
        host.file("tree/a", "a");
        let tree = stage(&catalog, &host.path("tree"), "tree").unwrap();
        let single = stage(&catalog, &host.file("single", "single"), "single").unwrap();
        let manifest = blob_path(&host.root(), &tree.digest);
        match shard_is_damaged {
            false => fs::remove_file(&manifest).unwrap(),
            true => fs::write(shard_path(&host.root(), "tree"), "{").unwrap(),
        }
        stage(&catalog, &host.file("unrelated", "unrelated"), "unrelated").unwrap();
        assert_readable(&catalog, "unrelated", b"unrelated");
        fs::remove_file(blob_path(&host.root(), &single.digest)).unwrap();
        fs::remove_file(&single.local_path).unwrap();
        catalog.repair("single", &RepairOptions::default()).unwrap();
        assert_readable(&catalog, "single", b"single");
        if !shard_is_damaged {
            // The tree that lost its manifest can be staged again.
            stage(&catalog, &host.path("tree"), "tree").unwrap();
            catalog.resolve("tree").unwrap();
        }
    }
}

/// In the root of a group, another member's operation is running or was killed: its folder has mode 0700.
// Red when a folder that cannot be read is an error.
#[test]
fn another_members_private_folder_stops_nobody() {
    let Some(words) = as_nobody() else { return };
    let host = Host::new();
    set_mode(host.dir.path(), 0o755);
    fs::create_dir(host.root()).unwrap();
    chown(host.root(), None, Some(NOBODY)).unwrap();
    set_mode(&host.root(), 0o2775);
    let catalog = host.catalog();
    catalog.change_config(|limits| limits.max_bytes = Some(1 << 30)).unwrap();
    stage(&catalog, &host.file("a.gguf", b"a"), "mine").unwrap();
    let session = host.file("root/ingest/0123456789abcdef/0", "half a model");
    set_mode(session.parent().unwrap(), 0o700);

    let as_other = |args: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(host.command().get_program()).args(args);
        command.current_dir("/").env("CATALOG_ROOT", host.root()).env("HOME", "/").output().unwrap()
    };
    let theirs = host.file("b.gguf", b"b");
    for args in [
        &["gc", "--dry-run"][..],
        &["gc"],
        &["du"],
        &["doctor"],
        &["stage", theirs.to_str().unwrap(), "--id", "theirs"],
        &["verify", "--all"],
    ] {
        let output = as_other(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {said}");
        let is_told = matches!(args[0], "gc" | "du");
        assert_eq!(said.contains("note: ") && said.contains("another user"), is_told, "{args:?}: {said}");
    }
    assert!(session.exists(), "it is left alone");
    assert_readable(&catalog, "theirs", b"b");
}

// Red when findings about an entry count although the entry is gone by then.
#[test]
fn verify_says_nothing_bad_of_what_goes_while_it_runs() {
    let host = Host::new();
    let catalog = host.catalog().with_durability(Durability::Relaxed);
    let ids: Vec<String> = (0..40).map(|n| format!("m{n}")).collect();
    for id in &ids {
        stage(&catalog, &host.file(id, vec![id.len() as u8; 1 << 20]), id).unwrap();
        fs::write(host.path(id), id.repeat(50_000)).unwrap();
        stage(&catalog, &host.path(id), id).unwrap();
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let removing = FsCatalog::open(host.root()).unwrap();
        let (ids, done, host) = (&ids, &done, &host);
        scope.spawn(move || {
            for id in ids.iter().rev() {
                removing.remove(id).unwrap();
                if id.ends_with('3') {
                    stage(&removing, &host.file("other", id), id).unwrap();
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let known: Vec<String> = catalog.list().unwrap().into_iter().map(|entry| entry.id).collect();
            catalog.verify_many(&known, &VerifyOptions::default(), &mut |answer| match answer {
                Ok(report) => assert!(
                    !matches!(report.outcome, VerificationOutcome::Fail { .. }) && report.bad.is_empty(),
                    "{report:?}"
                ),
                Err(error) => assert!(error.is_not_found(), "{error}"),
            });
        }
    });
}

// Red when the first failed step ends the collection.
#[test]
fn a_collection_goes_on_past_what_it_cannot_remove() {
    if !is_root() || !has_tool("chattr") {
        return skip("this needs root and chattr");
    }
    let host = Host::new();
    let catalog = host.catalog();
    stage(&catalog, &host.file("m", "m"), "m").unwrap();
    // Leftovers of a killed process, one of which nobody can remove.
    let stuck = host.file("root/ingest/0123456789abcdef/0", "stuck");
    let free = host.file("root/ingest/fedcba9876543210/0", "free");
    let immutable = |on: &str| Command::new("chattr").arg(on).arg(&stuck).status().is_ok_and(|status| status.success());
    if !immutable("+i") {
        return skip("this file system has no immutable files");
    }
    let output = host.command().args(["gc", "--max-bytes", "0", "--grace", "0"]).output().unwrap();
    let report = catalog.gc(&no_grace());
    assert!(immutable("-i"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("could not remove") && said.contains("0123456789abcdef"), "{said}");
    assert!(!free.exists() && catalog.list().unwrap().is_empty(), "the rest was not done");
    let report = report.unwrap();
    assert_eq!(report.failed.len(), 1, "{report:?}");
    let report = catalog.gc(&no_grace()).unwrap();
    assert!(report.failed.is_empty() && report.leftovers == 1 && !stuck.exists(), "{report:?}");
}

/// A collection ends by removing lock files and notes of uses. Here, the folder of lock files is a file, and one note
/// is a folder.
// Red when an error there fails the collection: nobody learns what was evicted.
#[test]
fn a_collection_tells_what_it_has_evicted_whatever_fails_after_it() {
    let host = Host::new();
    let catalog = host.catalog();
    stage(&catalog, &host.file("m", [1; 4096]), "m").unwrap();
    let locks = host.root().join("locks/fetch");
    fs::remove_dir_all(&locks).unwrap();
    fs::write(&locks, "").unwrap();
    let uses = host.root().join("uses");
    let notes = ["0", "1"].map(|digit| uses.join(format!("{}.0", digit.repeat(32))));
    fs::create_dir(&notes[0]).unwrap();
    fs::write(&notes[1], "").unwrap();
    let report = catalog.gc(&no_grace().with_max_bytes(Some(0))).unwrap();
    assert_eq!((report.entries, report.blobs, report.physical_bytes), (1, 1, 4096), "{report:?}");
    let failed: Vec<_> = report.failed.iter().map(|failure| failure.error.to_string()).collect();
    let is_told = |name: &str| failed.iter().any(|error| error.contains(name));
    assert!(failed.len() == 2 && is_told("locks/fetch") && is_told("uses/0000"), "{failed:?}");
    assert!(!notes[1].exists(), "the other note");
}

/// Two entries with the same bytes; the folder of the adopted one now leads out of the root.
// Red when another entry that cannot be shown again fails the repair of the requested one.
#[test]
fn repair_goes_on_past_an_entry_that_cannot_be_shown_again() {
    let host = Host::new();
    let catalog = host.catalog();
    let good = host.file("good.gguf", b"model");
    let adopted = host.file("root/mine/m.gguf", b"model");
    stage(&catalog, &adopted, "adopted").unwrap();
    let digest = stage(&catalog, &good, "asked").unwrap().digest;
    let blob = blob_path(&host.root(), &digest);
    set_mode(&blob, 0o644);
    fs::write(&blob, b"MODEL").unwrap();
    for id in ["adopted", "asked"] {
        assert_eq!(catalog.verify(id, &VerifyOptions::default()).unwrap().outcome.as_str(), "fail");
    }
    fs::rename(host.root().join("mine"), host.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(host.path("elsewhere"), host.root().join("mine")).unwrap();

    let options = RepairOptions::default().with_from(vec![std::sync::Arc::new(catalog_core::LocalSource::new(&good))]);
    let report = catalog.repair("asked", &options).unwrap();
    assert_eq!((report.files, report.shown), (1, vec!["asked".to_owned()]));
    assert_readable(&catalog, "asked", b"model");
    assert!(catalog.record("adopted").unwrap().unwrap().damaged_ms.is_some());
    fs::remove_file(host.root().join("mine")).unwrap();
    fs::create_dir(host.root().join("mine")).unwrap();
    catalog.repair("adopted", &RepairOptions::default()).unwrap();
    assert_eq!(fs::read(adopted).unwrap(), b"model");
}

// Red when an eviction that cannot be recorded fails the others in the same write.
#[test]
fn a_collection_evicts_past_a_shard_that_cannot_be_written() {
    if !is_root() || !has_tool("chattr") {
        return skip("this needs root and chattr");
    }
    let host = Host::new();
    let catalog = host.catalog();
    for id in ["a", "b", "c"] {
        stage(&catalog, &host.file(id, id), id).unwrap();
    }
    let shard = shard_path(&host.root(), "b");
    let immutable = |on: &str| Command::new("chattr").arg(on).arg(&shard).status().is_ok_and(|status| status.success());
    if !immutable("+i") {
        return skip("this file system has no immutable files");
    }
    let policy = no_grace().with_max_bytes(Some(0));
    let report = catalog.gc(&policy);
    assert!(immutable("-i"));
    let report = report.unwrap();
    assert_eq!((report.entries, report.skipped, report.failed.len()), (2, 0, 1), "{report:?}");
    assert_readable(&catalog, "b", b"b");
    assert_eq!(blobs(&host.root()).len(), 1, "the others' bytes are gone");
    assert_eq!(catalog.gc(&policy).unwrap().entries, 1);
}

// Red when one shard that cannot be written keeps all the uses noted with it out of the index.
#[test]
fn one_shard_that_cannot_be_written_keeps_no_other_use_out_of_the_index() {
    let host = Host::new();
    let catalog = host.catalog();
    let items: Vec<_> = ["a", "b", "c"].map(|id| (reference(&host.file(id, id)), options(id))).into();
    catalog.stage_many(&items).into_iter().for_each(|result| drop(result.unwrap()));
    let held = hold_shard(&host.root(), "b");
    catalog.stage_many(&items).into_iter().for_each(|result| drop(result.unwrap()));
    drop(held);
    let is_noted = |id: &str| catalog.record(id).unwrap().unwrap().last_used_ms.is_some();
    assert_eq!(["a", "b", "c"].map(is_noted), [true; 3]);
    assert_eq!(files_below(&host.root().join("uses")).len(), 1, "its own is noted beside the index");
}

/// A batch finds more models unchanged than it notes at once, while a collection holds the store, or another batch all
/// shards.
// Red when each use is tried separately: thousands of locks and reads of `store.json` and of `/proc/locks`. Red when
// each use gets a note.
#[rstest]
#[case::the_store_is_busy(false)]
#[case::all_shards_are_busy(true)]
fn uses_that_cannot_be_recorded_cost_a_few_tries(#[case] of_shards: bool) {
    if !has_tool("strace") {
        return skip("this needs strace");
    }
    const MODELS: usize = 300;
    const AT_ONCE: usize = 256;
    let host = Host::new();
    let catalog = host.catalog().with_durability(Durability::Relaxed);
    let files: Vec<_> = (0..MODELS).map(|n| host.file(&format!("m{n}.gguf"), format!("{n}"))).collect();
    let items: Vec<_> = files.iter().map(|file| (reference(file), StageOptions::default())).collect();
    catalog.stage_many(&items).into_iter().for_each(|result| drop(result.unwrap()));
    let shards = || (0..256).map(|number| format!("index/{number:02x}"));
    let names: Vec<_> = if of_shards { shards().collect() } else { vec!["store".into()] };
    let hold = |name: &String| {
        let lock = fs::File::options().append(true).create(true).open(host.root().join("locks").join(name)).unwrap();
        lock.lock().unwrap();
        lock
    };
    let _held: Vec<_> = names.iter().map(hold).collect();
    let opened = || {
        let log = host.path("opened");
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=open,openat,openat2", "-o"]).arg(&log);
        command.arg(host.command().get_program()).args(["stage", "--quiet"]).args(&files);
        command.env("CATALOG_ROOT", host.root()).env("HOME", host.path("home"));
        run(command);
        let opened = fs::read_to_string(log).unwrap();
        [r#"store""#, r#"store.json""#, "/proc/locks"].map(|name| opened.matches(name).count())
    };
    let [stores, descriptions, holders] = opened();
    assert_eq!(stores, 1);
    assert!(holders <= usize::from(of_shards) && descriptions < 10, "{holders}, {descriptions}");
    let notes = || files_below(&host.root().join("uses")).len();
    assert_eq!(notes(), AT_ONCE);
    // The next batch notes the others.
    opened();
    assert_eq!(notes(), MODELS);
}
