//! Out of service: damaged files go to quarantine and stay there, every entry that needs them is marked, and good files
//! are left alone.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use catalog_core::{GcPolicy, LinkMode};

use super::*;
use crate::common::mount::Mounted;
use crate::common::{Running, assert_readable, assert_sound, mount};

const SIZE: u64 = 2 * GROUP + 9;

/// Collects everything that it may.
fn everything() -> GcPolicy {
    GcPolicy::default().with_max_bytes(Some(0)).with_grace(Duration::ZERO)
}

/// Collects what no entry needs.
fn leftovers() -> GcPolicy {
    GcPolicy::default().with_grace(Duration::ZERO)
}

// Red when the manifest's error is passed on as it is: it names a file that users do not know, and not the command that
// repairs it.
#[test]
fn a_tree_whose_manifest_is_damaged_is_not_given_out_and_repair_is_named() {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add_tree(&host, &catalog, "tree", &[("a.bin", b"a"), ("b.bin", b"b")]);
    let manifest = blob(&catalog, &digest);
    rot(&manifest, |file| flip(file, 20));
    for words in [&["path", "tree"], &["lease", "tree"]] {
        let ran = run(&host, words);
        assert_eq!(ran.code, 4, "{words:?}");
        assert!(ran.errors.contains("`catalog repair tree`"), "{}", ran.errors);
    }
}

fn is_damaged(catalog: &FsCatalog, id: &str) -> bool {
    catalog.record(id).unwrap().unwrap().damaged_ms.is_some()
}

#[track_caller]
fn damage(catalog: &FsCatalog, id: &str, digest: &Digest) {
    rot(&blob(catalog, digest), |file| flip(file, GROUP));
    assert!(fails(&check(catalog, id)));
}

// Red when only the requested entry is marked, or when the views of the others stay.
#[test]
fn every_entry_that_needs_the_bytes_is_marked_and_does_not_show_them() {
    let host = Host::new();
    let catalog = catalog(&host);
    let bytes = noise(20, SIZE);
    let digest = add(&host, &catalog, "one", &bytes);
    add(&host, &catalog, "two", &bytes);
    add_tree(&host, &catalog, "tree", &[("model.bin", &bytes), ("config.json", b"{}")]);
    add(&host, &catalog, "other", b"other bytes");
    let ids = ["one", "two", "tree"];
    let before = ids.map(|id| view(&catalog, id));
    damage(&catalog, "one", &digest);

    assert!(!before[0].exists() && !before[1].exists() && !before[2].join("model.bin").exists());
    assert_eq!(fs::read(before[2].join("config.json")).unwrap(), b"{}", "what is good stays");
    for id in ids {
        assert!(is_damaged(&catalog, id), "{id}");
        assert!(catalog.resolve(id).unwrap_err().is_corrupt(), "{id}");
        assert_eq!(run(&host, &["show", id]).object()["damaged"], true);
        assert_eq!(run(&host, &["verify", "--quick", id]).code, 4);
    }
    catalog.resolve("other").unwrap();
    let listed = run(&host, &["list"]).objects;
    let damaged: Vec<_> = listed.iter().filter(|entry| entry["damaged"] == true).map(|entry| &entry["id"]).collect();
    assert_eq!(damaged, ["one", "tree", "two"]);
    let table = host.command().arg("list").output().unwrap().stdout;
    assert_eq!(String::from_utf8(table).unwrap().matches("DAMAGED").count(), 3);
}

// Red when a collection removes quarantined files, or the outboard that says which parts of them are good.
#[test]
fn quarantine_outlives_every_collection_and_removal() {
    let host = Host::new();
    let catalog = catalog(&host);
    let bytes = noise(21, SIZE);
    let digest = add(&host, &catalog, "m", &bytes);
    damage(&catalog, "m", &digest);
    let kept = quarantined(&catalog);
    let outboards = [outboard(&catalog, &digest, "json"), outboard(&catalog, &digest, "groups")];

    drop(catalog.gc(&leftovers()).unwrap());
    assert!(is_damaged(&catalog, "m") && outboards.iter().all(|file| file.exists()));
    // The rest of the file still shows where it is damaged.
    assert_eq!(bad_ranges(&check(&catalog, "m")), [GROUP..2 * GROUP]);

    let removed = catalog.remove("m").unwrap().unwrap();
    assert_eq!((removed.blobs_removed, removed.kept.as_slice()), (0, [].as_slice()));
    drop(catalog.gc(&everything()).unwrap());
    assert!(quarantined(&catalog) == kept && outboards.iter().all(|file| file.exists()));

    // As if an operator had dealt with it.
    fs::remove_file(&kept[0]).unwrap();
    drop(catalog.gc(&leftovers()).unwrap());
    assert!(outboards.iter().all(|file| !file.exists()));
    assert_sound(catalog.root());
}

#[test]
fn a_damaged_entry_is_evicted_as_any_other_and_what_is_in_quarantine_stays() {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add(&host, &catalog, "m", &noise(22, SIZE));
    damage(&catalog, "m", &digest);
    let report = catalog.gc(&everything()).unwrap();
    assert_eq!((report.entries, report.blobs), (1, 0));
    assert!(catalog.record("m").unwrap().is_none());
    assert_eq!(quarantined(&catalog).len(), 1);
    assert_sound(catalog.root());
}

// Red when a blob is taken out of service by deleting or truncating its inode.
#[test]
fn a_lease_goes_on_with_the_file_that_it_has_open() {
    let host = Host::new();
    let catalog = catalog(&host);
    let bytes = noise(23, SIZE);
    let digest = add(&host, &catalog, "m", &bytes);
    let leasing = host.command().args(["lease", "m"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut leasing = Running(leasing);
    let mut path = String::new();
    BufReader::new(leasing.0.stdout.take().unwrap()).read_line(&mut path).unwrap();
    let mut engine = File::open(path.trim_end()).unwrap();
    let own = catalog.lease("m").unwrap();
    let map = own.map().unwrap();

    damage(&catalog, "m", &digest);
    drop(catalog.gc(&everything()).unwrap());
    let mut read = Vec::new();
    engine.read_to_end(&mut read).unwrap();
    assert_eq!(read.len(), bytes.len());
    assert!(read[..GROUP as usize] == bytes[..GROUP as usize] && map[..] == read[..]);
    drop(leasing.0.stdin.take());
    assert!(leasing.0.wait().unwrap().success());
}

#[test]
fn staging_the_same_bytes_again_heals() {
    let host = Host::new();
    let catalog = catalog(&host);
    let bytes = noise(24, SIZE);
    let digest = add(&host, &catalog, "m", &bytes);
    add(&host, &catalog, "same", &bytes);
    damage(&catalog, "m", &digest);
    add(&host, &catalog, "m", &bytes);
    assert!(!is_damaged(&catalog, "m"));
    catalog.resolve("m").unwrap();
    assert_readable(&catalog, "m", &bytes);

    // The bytes of the other entry are good again, but its path is still missing.
    assert!(catalog.resolve("same").unwrap_err().is_corrupt());
    assert!(fails(&check(&catalog, "same")));
    let repaired = run(&host, &["repair", "same"]);
    assert_eq!((repaired.code, &repaired.object()["repaired_bytes"]), (0, &0.into()), "{}", repaired.errors);
    assert_readable(&catalog, "same", &bytes);
    assert!(passes(&check(&catalog, "same")));
}

// Red when `publish` trusts a blob because it exists.
#[test]
fn what_is_staged_over_a_damaged_blob_replaces_it() {
    let host = Host::new();
    let catalog = catalog(&host);
    let bytes = noise(25, SIZE);
    let digest = add(&host, &catalog, "m", &bytes);
    edit(&blob(&catalog, &digest), |file| flip(file, GROUP));
    add(&host, &catalog, "new", &bytes);
    assert_readable(&catalog, "new", &bytes);
    assert!(is_damaged(&catalog, "m") && !is_damaged(&catalog, "new"));
    assert_eq!(quarantined(&catalog).len(), 1);
}

// Red when a collection takes an unreadable manifest for one without files: the tree's blobs would go.
#[test]
fn a_tree_without_its_manifest_stops_collections_until_it_is_removed() {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add_tree(&host, &catalog, "tree", &[("a", b"1"), ("b", b"2")]);
    let other = add(&host, &catalog, "other", b"other");
    rot(&blob(&catalog, &digest), |file| flip(file, 10));
    let report = check(&catalog, "tree");
    assert!(fails(&report) && report.bad[0].quarantined, "{report:?}");
    assert!(is_damaged(&catalog, "tree") && catalog.resolve("tree").unwrap_err().is_corrupt());
    let refused = run(&host, &["gc"]);
    assert_eq!(refused.code, 4, "{}", refused.errors);
    assert_eq!(common::blobs(catalog.root()).len(), 3, "the files of the tree stay");
    assert_eq!(run(&host, &["verify", "other"]).code, 0);

    assert_eq!(run(&host, &["remove", "tree"]).code, 0);
    assert!(catalog.record("tree").unwrap().is_none());
    // No entry needs its files now.
    let collected = run(&host, &["gc", "--grace", "0"]);
    assert_eq!(collected.code, 0, "{}", collected.errors);
    assert_eq!(common::blobs(catalog.root()).into_iter().collect::<Vec<_>>(), [other.to_hex()]);
    assert_eq!(quarantined(&catalog).len(), 1);
    assert_sound(catalog.root());
}

/// A crash between the two steps leaves the blob in quarantine, and no entry that says so.
// Red when `distrust` does nothing: the stamp matches the view, which is the damaged inode.
#[test]
fn a_crash_before_the_entries_are_marked_gives_out_nothing_damaged() {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add(&host, &catalog, "m", &noise(26, SIZE));
    rot(&blob(&catalog, &digest), |file| flip(file, GROUP));
    let (shard, view) = (common::shard_path(catalog.root(), "m"), view(&catalog, "m"));
    let (record, inode) = (fs::read(&shard).unwrap(), host.path("inode"));
    fs::hard_link(&view, &inode).unwrap();
    assert!(fails(&check(&catalog, "m")));
    fs::write(&shard, record).unwrap();
    fs::rename(&inode, &view).unwrap();
    sleep(Duration::from_millis(20));
    assert!(!is_damaged(&catalog, "m"));

    assert!(catalog.resolve("m").unwrap_err().is_corrupt());
    assert!(is_damaged(&catalog, "m") && !view.exists());
}

// Red when removing the stamp needs room (the blob stays), when the view stays because its entry cannot be marked, or
// when nothing marks the entry later.
#[test]
fn on_a_full_disk_what_is_damaged_is_taken_out_of_service_all_the_same() {
    let Some(mounted) = mount::tmpfs("size=20m") else { return };
    let host = Host { dir: tempfile::TempDir::new_in(mounted.path()).unwrap() };
    let catalog = catalog(&host);
    let bytes = noise(29, SIZE);
    let digest = add(&host, &catalog, "m", &bytes);
    rot(&blob(&catalog, &digest), |file| flip(file, GROUP));
    let fill = mounted.path().join("fill");
    let full = std::io::copy(&mut std::io::repeat(1), &mut File::create(&fill).unwrap()).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);

    assert_eq!(bad_ranges(&check(&catalog, "m")), [GROUP..2 * GROUP]);
    assert_eq!(quarantined(&catalog).len(), 1);
    assert!(!view(&catalog, "m").exists());
    assert!(catalog.resolve("m").is_err());

    // The next check marks the entry.
    fs::remove_file(fill).unwrap();
    assert!(fails(&check(&catalog, "m")));
    assert!(is_damaged(&catalog, "m"));
    assert_eq!(bad_ranges(&check(&catalog, "m")), [GROUP..2 * GROUP]);
    let good = host.file("good", &bytes);
    let repaired = run(&host, &["repair", "m", "--from", good.to_str().unwrap()]);
    assert_eq!((repaired.code, &repaired.object()["source_bytes"]), (0, &GROUP.into()), "{}", repaired.errors);
    assert_readable(&catalog, "m", &bytes);
}

/// A root on a file system without hardlinks: every view is a copy.
fn with_copies() -> Option<(Mounted, Host)> {
    let mounted = mount::fat(200)?;
    let host = Host { dir: tempfile::TempDir::new_in(mounted.path()).unwrap() };
    Some((mounted, host))
}

// Red when a check does not read a view that is a copy, or when `path` does not check it.
#[test]
fn a_view_that_is_a_copy_is_checked_and_repaired_by_itself() {
    let Some((_mounted, host)) = with_copies() else { return };
    let catalog = catalog(&host);
    let bytes = noise(27, SIZE);
    let digest = add(&host, &catalog, "one", &bytes);
    add(&host, &catalog, "two", &bytes);
    assert_eq!(catalog.record("one").unwrap().unwrap().view, Some(LinkMode::Copy));
    assert!(passes(&check(&catalog, "one")));
    assert_eq!(run(&host, &["verify", "--quick", "--all"]).code, 0);

    let one = view(&catalog, "one");
    for by_path in [false, true] {
        sleep(Duration::from_secs(2)); // FAT stores times in steps of two seconds
        edit(&one, |file| flip(file, GROUP));
        assert_eq!(run(&host, &["verify", "--quick", "one"]).code, 1);
        if !by_path {
            assert_eq!(bad_ranges(&check(&catalog, "one")), [GROUP..2 * GROUP]);
        }
        assert!(catalog.resolve("one").unwrap_err().is_corrupt());
        assert!(!one.exists() && blob(&catalog, &digest).exists());
        assert!(is_damaged(&catalog, "one") && !is_damaged(&catalog, "two"));
        catalog.resolve("two").unwrap();

        let repaired = run(&host, &["repair", "one"]);
        assert_eq!((repaired.code, &repaired.object()["source_bytes"]), (0, &0.into()), "{}", repaired.errors);
        assert_readable(&catalog, "one", &bytes);
    }
}

#[test]
fn a_blob_is_repaired_from_a_view_that_is_a_copy() {
    let Some((_mounted, host)) = with_copies() else { return };
    let catalog = catalog(&host);
    let bytes = noise(28, SIZE);
    let digest = add(&host, &catalog, "m", &bytes);
    edit(&blob(&catalog, &digest), |file| flip(file, GROUP));
    let report = check(&catalog, "m");
    assert_eq!(bad_ranges(&report), [GROUP..2 * GROUP]);
    assert!(view(&catalog, "m").exists(), "the copy is good");
    let repaired = run(&host, &["repair", "m"]);
    assert_eq!(repaired.code, 0, "{}", repaired.errors);
    let numbers = ["source_bytes", "repaired_bytes"].map(|key| repaired.object()[key].as_u64().unwrap());
    assert_eq!(numbers, [0, GROUP]);
    assert!(fs::read(blob(&catalog, &digest)).unwrap() == bytes);
    assert!(passes(&check(&catalog, "m")));
}

/// As left by a process that died between the two steps.
// Red when only the first of the entries that need the blob is marked.
#[test]
fn what_is_in_quarantine_without_a_mark_is_marked_for_all_that_need_it() {
    let host = Host::new();
    let catalog = catalog(&host);
    let bytes = noise(29, SIZE);
    let digest = add(&host, &catalog, "one", &bytes);
    add(&host, &catalog, "two", &bytes);
    let blob = blob(&catalog, &digest);
    fs::rename(&blob, host.root().join(format!("quarantine/{}.0123456789abcdef", digest.to_hex()))).unwrap();
    let ran = run(&host, &["verify", "--all"]);
    assert_eq!(ran.code, 4, "{}", ran.errors);
    assert!(is_damaged(&catalog, "one") && is_damaged(&catalog, "two"));
}
