//! Room for what comes in: the store asks for exactly as much as it needs, before it writes and before it evicts
//! anything.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use catalog_core::{
    Cancel, CatalogStore as _, Digest, Error, Event, FsCatalog, GcPolicy, IngestMode, LinkMode, LocalSource, MinFree,
    RepairOptions, UsedMode, VerifyOptions,
};
use common::*;
use rstest::rstest;

const MEGABYTE: usize = 1 << 20;

/// The free space according to `df`.
fn free_bytes(at: &Path) -> u64 {
    assert!(Command::new("sync").arg("-f").arg(at).status().unwrap().success());
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(at).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().nth(1).unwrap().trim().parse().unwrap()
}

/// Makes an entry look as if it had last been used long ago.
fn age(root: &Path, id: &str) {
    edit_shard(root, id, |entries| {
        for member in ["created_ms", "updated_ms"] {
            entries[id][member] = 1.into();
        }
    });
}

#[track_caller]
fn no_room(result: catalog_core::Result<impl std::fmt::Debug>) -> Error {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "{error}");
    error
}

/// A file system that can share blocks, and a source that cannot be shared.
// Red when what the root's file system can do is assumed for this source: the disk then has less free than demanded.
#[rstest]
#[case::xfs(&["mkfs.xfs", "-q"])]
#[case::btrfs(&["mkfs.btrfs", "-q"])]
fn what_is_copied_leaves_free_what_has_to_be(#[case] mkfs: &[&str], #[values(false, true)] from_elsewhere: bool) {
    let Some(mounted) = mount::image(400, mkfs, "loop") else { return };
    let host = Host::new();
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    let (source, mode) = match from_elsewhere {
        true => (host.file("m.gguf", noise(16 * MEGABYTE, 1)), IngestMode::Auto),
        false => (mounted.path().join("m.gguf"), IngestMode::Copy),
    };
    fs::write(&source, noise(16 * MEGABYTE, 1)).unwrap();
    let free = free_bytes(mounted.path());
    let min_free = free - (8 << 20);
    catalog.change_config(|limits| limits.min_free = Some(MinFree::bytes(min_free))).unwrap();
    no_room(stage_as(&catalog, &source, "m", mode));
    assert!(free_bytes(mounted.path()) >= min_free && catalog.list().unwrap().is_empty());

    // Sharing blocks with the source needs no room.
    if !from_elsewhere {
        let receipt = stage_as(&catalog, &source, "m", IngestMode::Auto).unwrap();
        assert_eq!(receipt.mode, UsedMode::Reflink);
        assert!(free_bytes(mounted.path()) >= min_free);
    }
    // A copy evicts to make room.
    let old = mounted.path().join("old.gguf");
    fs::write(&old, noise(24 * MEGABYTE, 2)).unwrap();
    catalog.change_config(|limits| limits.min_free = None).unwrap();
    stage_as(&catalog, &old, "old", IngestMode::Auto).unwrap();
    fs::remove_file(&old).unwrap();
    age(catalog.root(), "old");
    let min_free = free_bytes(mounted.path()) - (8 << 20);
    catalog.change_config(|limits| limits.min_free = Some(MinFree::bytes(min_free))).unwrap();
    fs::write(&source, noise(16 * MEGABYTE, 3)).unwrap();
    stage_as(&catalog, &source, "new", mode).unwrap();
    assert!(catalog.record("old").unwrap().is_none());
}

/// A quota without room for another model.
// Red when bytes that are here count as new: the other model is evicted for them.
#[rstest]
#[case::of_unknown_digest(false, false)]
#[case::of_a_digest_that_is_given(true, false)]
#[case::of_a_tree(false, true)]
fn bytes_that_are_here_evict_nobody(#[case] is_digest_given: bool, #[case] is_tree: bool) {
    let host = Host::new();
    let catalog = host.catalog();
    let bytes = noise(3 * MEGABYTE + 5, 1);
    stage(&catalog, &host.file("a.gguf", &bytes), "a").unwrap();
    stage(&catalog, &host.file("b.gguf", noise(3 * MEGABYTE, 2)), "b").unwrap();
    for id in ["a", "b"] {
        age(catalog.root(), id);
    }
    catalog.change_config(|limits| limits.max_bytes = Some(7 << 20)).unwrap();
    let again = host.file(if is_tree { "tree/again.gguf" } else { "again.gguf" }, &bytes);
    let source = if is_tree { host.path("tree") } else { again };
    let digest = is_digest_given.then(|| Digest::sha256_of(&bytes));
    let receipt = catalog.stage(&reference(&source), &options("again").with_digest(digest)).unwrap();
    assert_eq!((receipt.mode, receipt.deduplicated, receipt.stored_bytes), (UsedMode::Present, true, 0));
    assert_eq!(catalog.list().unwrap().len(), 3);
    assert_readable(&catalog, "b", &noise(3 * MEGABYTE, 2));
    assert_sound(catalog.root());

    // One byte differs, in the last group.
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    let receipt = stage(&catalog, &host.file("other.gguf", &other), "other").unwrap();
    assert!(!receipt.deduplicated && catalog.record("b").unwrap().is_none(), "nobody was evicted for new bytes");
}

// Red when content that is here and needed counts like any other entry's: the oldest entry is evicted, which frees
// nothing.
#[test]
fn what_is_needed_is_not_evicted_for_the_rest() {
    let host = Host::new();
    let catalog = host.catalog();
    let bytes = noise(3 * MEGABYTE, 1);
    stage(&catalog, &host.file("a.gguf", &bytes), "a").unwrap();
    stage(&catalog, &host.file("b.gguf", noise(3 * MEGABYTE, 2)), "b").unwrap();
    age(catalog.root(), "a");
    edit_shard(catalog.root(), "b", |entries| entries["b"]["created_ms"] = 2.into());
    edit_shard(catalog.root(), "b", |entries| entries["b"]["updated_ms"] = 2.into());
    catalog.change_config(|limits| limits.max_bytes = Some(7 << 20)).unwrap();
    host.file("tree/a.gguf", &bytes);
    host.file("tree/new.gguf", noise(2 * MEGABYTE, 3));
    stage(&catalog, &host.path("tree"), "tree").unwrap();
    assert_readable(&catalog, "a", &bytes);
    assert!(catalog.record("b").unwrap().is_none());
}

/// Previous content of an id, which no entry needs any more.
// Red when only entries protect a needed blob: it is collected to make room, and copied again without room for it.
#[test]
fn what_is_needed_is_not_collected_though_no_entry_has_it() {
    let host = Host::new();
    let catalog = host.catalog();
    let bytes = noise(3 * MEGABYTE, 1);
    let digest = stage(&catalog, &host.file("a.gguf", &bytes), "id").unwrap().digest;
    stage(&catalog, &host.file("b.gguf", noise(3 * MEGABYTE, 2)), "id").unwrap();
    age(catalog.root(), "id");
    catalog.change_config(|limits| limits.max_bytes = Some(13 << 19)).unwrap();
    let inode = inode_of(&blob_path(catalog.root(), &digest));
    host.file("tree/a.gguf", &bytes);
    host.file("tree/new.gguf", noise(MEGABYTE, 3));
    let receipt = stage(&catalog, &host.path("tree"), "tree").unwrap();
    assert!(receipt.stored_bytes < 2 * MEGABYTE as u64, "{receipt:?}");
    assert_eq!(inode_of(&blob_path(catalog.root(), &digest)), inode);
    assert!(catalog.record("id").unwrap().is_none(), "the other one made room");
}

// Red when a cancelled comparison counts as one that found nothing: others are evicted for bytes that are here.
#[test]
fn nobody_is_evicted_for_what_is_cancelled() {
    let host = Host::new();
    let catalog = host.catalog();
    let bytes = noise(3 * MEGABYTE, 1);
    stage(&catalog, &host.file("a.gguf", &bytes), "a").unwrap();
    age(catalog.root(), "a");
    catalog.change_config(|limits| limits.max_bytes = Some(4 << 20)).unwrap();
    let cancel = Cancel::new();
    let (used, cancelled) = (cancel.clone(), cancel.clone());
    let items: Vec<_> = [("again", bytes), ("new", noise(MEGABYTE, 2))]
        .into_iter()
        .map(|(id, bytes)| {
            let used = used.clone();
            let at_start = move |event: &Event<'_>| {
                if matches!(event, Event::Started { .. }) {
                    used.cancel();
                }
            };
            let options = options(id).with_cancel(cancelled.clone()).with_observer(at_start);
            (reference(&host.file(id, bytes)), options)
        })
        .collect();
    for result in catalog.stage_many(&items) {
        assert!(result.unwrap_err().is_cancelled());
    }
    assert!(catalog.record("a").unwrap().is_some());
}

/// On xfs: the rest of an interrupted clone, and another file that has to be copied.
// Red when a partial counts as room for other content.
#[test]
fn what_is_left_of_a_clone_is_no_room_for_a_copy() {
    let Some(mounted) = mount::image(500, &["mkfs.xfs", "-q"], "loop") else { return };
    let host = Host::new();
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    let cloned = mounted.path().join("cloned.gguf");
    fs::write(&cloned, noise(100 * MEGABYTE, 1)).unwrap();
    set_mtime(&cloned, long_ago());
    let cancel = Cancel::new();
    let used = cancel.clone();
    let soon = move |event: &Event<'_>| {
        if matches!(event, Event::Advanced { .. }) {
            used.cancel();
        }
    };
    let cut = options("cloned").with_cancel(cancel).with_observer(soon);
    assert!(catalog.stage(&reference(&cloned), &cut).unwrap_err().is_cancelled());
    assert!(fs::read_dir(catalog.root().join("partials")).unwrap().next().is_some());
    let min_free = free_bytes(mounted.path()) - (50 << 20);
    catalog.change_config(|limits| limits.min_free = Some(MinFree::bytes(min_free))).unwrap();
    let copied = host.file("copied.gguf", noise(100 * MEGABYTE, 2));
    let items = [(reference(&cloned), options("cloned")), (reference(&copied), options("copied"))];
    for result in catalog.stage_many(&items) {
        no_room(result);
    }
    assert_eq!(catalog.stage(&items[0].0, &items[0].1).unwrap().mode, UsedMode::Reflink);
}

// Red when finding out that the bytes are here takes a copy, for which the disk has no room.
#[test]
fn bytes_that_are_here_are_staged_on_a_disk_that_is_almost_full() {
    let Some(mounted) = mount::image(64, &["mkfs.ext4", "-q", "-m", "0"], "loop") else { return };
    let host = Host::new();
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    let bytes = noise(20 * MEGABYTE, 1);
    stage(&catalog, &host.file("a.gguf", &bytes), "a").unwrap();
    let filler = free_bytes(mounted.path()) as usize - 4 * MEGABYTE;
    fs::write(mounted.path().join("filler"), noise(filler, 2)).unwrap();
    let before = free_bytes(mounted.path());
    for mode in [IngestMode::Auto, IngestMode::Copy, IngestMode::Move] {
        let source = host.file("again.gguf", &bytes);
        let receipt = stage_as(&catalog, &source, mode.as_str(), mode).unwrap();
        let used = if mode == IngestMode::Move { UsedMode::Move } else { UsedMode::Present };
        assert_eq!((receipt.mode, receipt.deduplicated, receipt.view), (used, true, LinkMode::Hardlink));
        assert_eq!(source.exists(), mode != IngestMode::Move);
        assert_readable(&catalog, mode.as_str(), &bytes);
    }
    assert!(before - free_bytes(mounted.path()) < MEGABYTE as u64);
    // Other bytes of that size are refused before anything is written.
    let other = host.file("other.gguf", noise(20 * MEGABYTE, 3));
    let error = no_room(stage(&catalog, &other, "other"));
    assert_sound(catalog.root());

    // Nobody has allowed evictions, and the error names the collection that makes room.
    let Error::NoRoom { collection: Some(collection), .. } = error else { panic!("{error}") };
    assert!(collection.without_grace && collection.max_bytes.is_none());
    let policy = GcPolicy::default().with_grace(Duration::ZERO);
    let report = catalog.gc(&policy.with_min_free(MinFree::bytes(collection.min_free_bytes.unwrap()))).unwrap();
    assert_eq!(report.entries, 4, "all of them have the same bytes: {report:?}");
    stage(&catalog, &other, "other").unwrap();
}

/// The blob was changed since its last full check, so nothing is known about it, and the source is ingested.
// Red when the record of a blob is believed although its stamp does not match.
#[test]
fn a_blob_that_was_changed_is_not_taken_for_the_source() {
    let host = Host::new();
    let catalog = host.catalog();
    let bytes = noise(2 * MEGABYTE, 1);
    let digest = stage(&catalog, &host.file("a.gguf", &bytes), "a").unwrap().digest;
    let blob = blob_path(catalog.root(), &digest);
    set_mode(&blob, 0o644);
    fs::write(&blob, noise(2 * MEGABYTE, 9)).unwrap();
    let options = options("again").with_digest(digest);
    let receipt = catalog.stage(&reference(&host.file("again.gguf", &bytes)), &options).unwrap();
    assert!(!receipt.deduplicated, "{receipt:?}");
    assert_readable(&catalog, "again", &bytes);
}

/// A blob, and a view that is a copy of it.
// Red when room is requested only once: the second copy then fails half way, or evicts nothing.
#[test]
fn where_views_are_copies_twice_the_room_is_asked_for() {
    let Some(mounted) = mount::fat(64) else { return };
    let host = Host::new();
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    let free = free_bytes(mounted.path());
    let size = usize::try_from(free).unwrap() * 2 / 3;
    let error = no_room(stage(&catalog, &host.file("m.gguf", noise(size, 1)), "m"));
    assert!(error.to_string().contains(&format!("{} bytes are needed", 2 * size)), "{error}");
    assert!(free_bytes(mounted.path()) + (1 << 20) > free);
    let receipt = stage(&catalog, &host.file("m.gguf", noise(size / 2, 1)), "m").unwrap();
    assert_eq!(receipt.view, LinkMode::Copy);
    // The same within a quota.
    catalog.change_config(|limits| limits.max_bytes = Some(size as u64 + 3 * MEGABYTE as u64)).unwrap();
    no_room(stage(&catalog, &host.file("n.gguf", noise(2 * MEGABYTE, 2)), "n"));
    stage(&catalog, &host.file("n.gguf", noise(MEGABYTE, 2)), "n").unwrap();
}

/// A damaged model, in a store whose quota has room for hardly anything else.
fn with_quarantine(host: &Host) -> (FsCatalog, PathBuf) {
    let catalog = host.catalog();
    let good = host.file("m.gguf", noise(3 * MEGABYTE, 1));
    let digest = stage(&catalog, &good, "m").unwrap().digest;
    let blob = blob_path(catalog.root(), &digest);
    set_mode(&blob, 0o644);
    fs::write(&blob, noise(3 * MEGABYTE, 2)).unwrap();
    assert_eq!(catalog.verify("m", &VerifyOptions::default()).unwrap().outcome.as_str(), "fail");
    catalog.change_config(|limits| limits.max_bytes = Some(4 << 20)).unwrap();
    (catalog, good)
}

// Red when quarantined files count against a repair: the suggested remedy then has no room.
#[test]
fn quarantine_does_not_block_a_repair() {
    let host = Host::new();
    let (catalog, good) = with_quarantine(&host);
    let options = RepairOptions::default().with_from(vec![std::sync::Arc::new(LocalSource::new(&good))]);
    assert_eq!(catalog.repair("m", &options).unwrap().files, 1);
    assert_readable(&catalog, "m", &noise(3 * MEGABYTE, 1));
}

// Red when room is made for one lost file after the other: a model is evicted for the first, and the second still has
// no room.
#[test]
fn nobody_is_evicted_for_a_part_of_what_is_repaired() {
    let host = Host::new();
    let catalog = host.catalog();
    let tree = host.path("tree");
    for name in ["a", "b"] {
        let bytes = noise(3 * MEGABYTE, name.as_bytes()[0].into());
        host.file(&format!("tree/{name}"), &bytes);
    }
    stage(&catalog, &tree, "tree").unwrap();
    stage(&catalog, &host.file("other.gguf", noise(3 * MEGABYTE, 9)), "other").unwrap();
    for name in ["a", "b"] {
        let digest = Digest::sha256_of(&fs::read(tree.join(name)).unwrap());
        fs::remove_file(blob_path(catalog.root(), &digest)).unwrap();
        fs::remove_file(catalog.record("tree").unwrap().unwrap().entry.local_path.join(name)).unwrap();
    }
    age(catalog.root(), "other");
    let max_bytes = |bytes| catalog.change_config(|limits| limits.max_bytes = Some(bytes)).unwrap();
    max_bytes(5 << 20);
    let error = no_room(catalog.repair("tree", &RepairOptions::default()));
    assert!(error.to_string().contains(&format!("{} bytes are needed", 6 * MEGABYTE)), "{error}");
    assert!(catalog.record("other").unwrap().is_some());
    // If there is room for both, the model is evicted for both.
    max_bytes(8 << 20);
    assert_eq!(catalog.repair("tree", &RepairOptions::default()).unwrap().files, 2);
    assert!(catalog.record("other").unwrap().is_none());
}

// Red when no message names the quarantine, or when nothing empties it.
#[test]
fn quarantine_is_named_where_it_takes_the_room_and_goes_when_it_is_asked_for() {
    let host = Host::new();
    let (catalog, _) = with_quarantine(&host);
    let other = host.file("other.gguf", noise(2 * MEGABYTE, 3));
    let error = no_room(stage(&catalog, &other, "other"));
    assert!(error.to_string().contains(&format!("{} are in quarantine", 3 * MEGABYTE)), "{error}");
    let said = host.command().args(["stage", "other.gguf", "--id", "other"]).output().unwrap().stderr;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("gc --quarantine-after 0`"), "{said}");

    // The quarantine has its own age limit.
    let collect = |age: Option<u64>| {
        catalog.gc(&GcPolicy::default().with_quarantine_after(age.map(Duration::from_secs))).unwrap()
    };
    assert_eq!((collect(None).quarantined, collect(Some(3600)).quarantined), (0, 0));
    let output = host.command().args(["gc", "--quarantine-after", "0"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("1 file of quarantine removed"), "{said}");
    assert!(fs::read_dir(host.root().join("quarantine")).unwrap().next().is_none());
    stage(&catalog, &other, "other").unwrap();
}

// Red when the error only says what can be evicted.
#[test]
fn the_grace_is_named_where_it_is_why_nothing_can_be_evicted() {
    let host = Host::new();
    let catalog = host.catalog();
    stage(&catalog, &host.file("m.gguf", noise(3 * MEGABYTE, 1)), "m").unwrap();
    catalog.change_config(|limits| limits.max_bytes = Some(4 << 20)).unwrap();
    let other = host.file("other.gguf", noise(2 * MEGABYTE, 2));
    let error = no_room(stage(&catalog, &other, "other"));
    assert!(error.to_string().contains("staged or used within the last hour"), "{error}");
    let said = host.command().args(["stage", "other.gguf"]).output().unwrap().stderr;
    let said = String::from_utf8(said).unwrap();
    // The suggested command makes room.
    let words = said.split('`').nth(1).unwrap().split("gc ").nth(1).unwrap();
    let output = host.command().arg("gc").args(words.split(' ')).output().unwrap();
    assert!(output.status.success() && words.contains("--grace 0 --max-bytes"), "{words}: {output:?}");
    stage(&catalog, &other, "other").unwrap();
}

// Red when any limit is accepted: the next stage then evicts everything.
#[test]
fn a_limit_under_which_nothing_could_stay_is_refused() {
    let host = Host::new();
    let catalog = host.catalog();
    stage(&catalog, &host.file("m.gguf", b"m"), "m").unwrap();
    for (key, value) in [("max_bytes", "0"), ("min_free", "100%"), ("min_free", "1000PB")] {
        let output = host.command().args(["config", "set", key, value]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("config unset {key}`")), "{said}");
    }
    assert_eq!(catalog.config().unwrap(), catalog_core::Config::default());
    catalog.change_config(|limits| limits.min_free = MinFree::percent(1)).unwrap();
}

/// An older version accepted a limit that is refused now, or the root has moved to a smaller disk.
// Red when all limits are checked, and not only those that change.
#[test]
fn a_limit_that_is_out_of_range_does_not_forbid_to_change_another() {
    for (limit, value) in [("max_bytes", "0"), ("min_free", "\"100%\"")] {
        let host = Host::new();
        let catalog = host.catalog();
        let store_json = host.root().join("store.json");
        let text = fs::read_to_string(&store_json).unwrap();
        let quota = format!("\"quota\":{{\"{limit}\":{value}}}}}");
        let text = text.trim_end().strip_suffix('}').unwrap().to_owned() + "," + &quota;
        fs::write(&store_json, text).unwrap();
        assert_ne!(catalog.config().unwrap(), catalog_core::Config::default(), "{limit}");
        for (other, value) in [("sealed", "true"), ("max_bytes", "5GB"), ("min_free", "1%")] {
            let output = host.command().args(["config", "set", other, value]).output().unwrap();
            assert!(output.status.success(), "{limit}, {other}: {output:?}");
        }
    }
}

/// The file that a process was ingesting when it was killed.
// Red when only a collection removes it: staging the same again needs the room twice.
#[test]
fn what_a_dead_process_has_left_goes_with_the_next_stage() {
    let host = Host::new();
    let catalog = host.catalog();
    let left = host.file("root/ingest/0123456789abcdef/0", "half a model");
    let alive = host.file("root/ingest/fedcba9876543210/0", "a model that is being brought in");
    for file in [&left, &alive] {
        set_mtime(file.parent().unwrap(), long_ago());
    }
    let owner = File::open(alive.parent().unwrap()).unwrap();
    owner.lock().unwrap();
    stage(&catalog, &host.file("m.gguf", b"m"), "m").unwrap();
    assert!(!left.exists() && alive.exists());
}

// Red when they stay for ever, or when one that a process holds is removed; and when `du` counts everything below
// `locks/`.
#[test]
fn lock_files_of_references_go_when_nobody_holds_them() {
    let host = Host::new();
    let catalog = host.catalog();
    for name in ["a", "b", "c"] {
        stage(&catalog, &host.file(name, name), name).unwrap();
    }
    let locks = || files_below(&host.root().join("locks/fetch"));
    assert_eq!(locks().len(), 3);
    // No collection removes this one.
    host.file("root/locks/store", [0; 8192]);
    let on_disk: u64 = locks().iter().map(|lock| fs::metadata(lock).unwrap().blocks() * 512).sum();
    assert_eq!(catalog.disk_usage().unwrap().lock_bytes, on_disk);
    let held = File::open(&locks()[0]).unwrap();
    held.lock().unwrap();
    assert_eq!(catalog.gc(&GcPolicy::default()).unwrap().locks, 0, "within the grace");
    let no_grace = GcPolicy::default().with_grace(Duration::ZERO);
    assert_eq!(catalog.gc(&no_grace).unwrap().locks, 2);
    assert_eq!(locks().len(), 1);
    drop(held);
    assert_eq!(catalog.gc(&no_grace).unwrap().locks, 1);
    stage(&catalog, &host.file("d", "d"), "d").unwrap();
}
