//! `remove`: what it refuses, what it announces, and what it keeps of other people's files.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use catalog_core::{CatalogStore, Error, FsCatalog, GcPolicy, IngestMode, LifecycleState, RemoveOptions};
use common::*;

// Red when a removal ignores pins, or respects expired ones.
#[test]
fn a_pinned_model_is_removed_by_force_alone() {
    let host = Host::new();
    let catalog = host.catalog();
    stage(&catalog, &host.file("a.gguf", b"a"), "a").unwrap();
    catalog.pin("a", "over", Some(Duration::ZERO)).unwrap();
    catalog.pin("a", "pool-7", None).unwrap();
    catalog.pin("a", "night job", Some(Duration::from_secs(3600))).unwrap();
    let before = listing(&host.root());
    let error = catalog.remove("a").unwrap_err();
    assert!(matches!(error, Error::Pinned { .. }), "{error}");
    assert!(error.to_string().ends_with(r#"it is pinned as "night job", "pool-7""#), "{error}");
    assert!(catalog.delete("a").is_err());
    for args in [&["remove", "a"][..], &["remove", "a", "--dry-run"]] {
        let refused = host.command().args(args).output().unwrap();
        let words = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && words.contains("catalog unpin a"), "{refused:?}");
    }
    let (before, after) = (before.keys().collect::<Vec<_>>(), listing(&host.root()));
    assert_eq!(before, after.keys().collect::<Vec<_>>());

    run({
        let mut command = host.command();
        command.args(["remove", "a", "--force"]);
        command
    });
    assert!(catalog.get("a").unwrap().is_none() && blobs(&host.root()).is_empty());
    // An expired pin does not matter.
    stage(&catalog, &host.path("a.gguf"), "a").unwrap();
    catalog.pin("a", "over", Some(Duration::ZERO)).unwrap();
    assert!(catalog.remove("a").unwrap().is_some());
}

// Red when the dry run counts what another entry, a lease or a name outside the root keeps; or when it writes.
#[test]
fn a_dry_run_says_what_the_removal_does() {
    let host = Host::new();
    let catalog = host.catalog();
    let bytes = |seed: u8| vec![seed; 100_000 + usize::from(seed)];
    fs::create_dir(host.path("outside")).unwrap();
    for (seed, id) in [(1, "alone"), (2, "shared"), (2, "shared too"), (3, "leased"), (5, "in place")] {
        let place = if id == "in place" { "root/mine/in place".to_owned() } else { format!("from/{id}") };
        stage(&catalog, &host.file(&place, bytes(seed)), id).unwrap();
    }
    stage_as(&catalog, &host.file("outside/linked", bytes(4)), "linked", IngestMode::Link).unwrap();
    for (name, seed) in [("x", 6), ("y", 6), ("sub/z", 7), ("sub/shared", 2)] {
        host.file(&format!("tree/{name}"), bytes(seed));
    }
    for id in ["tree", "tree too"] {
        stage(&catalog, &host.path("tree"), id).unwrap();
    }
    catalog.put(&entry("registered", host.root().join("nothing yet"))).unwrap();
    let lease = catalog.lease("leased").unwrap();
    for id in ["registered", "alone", "shared", "leased", "linked", "in place", "tree", "tree too", "shared too"] {
        let before = listing(&host.root());
        let plan = catalog.remove_with(id, &RemoveOptions::default().with_dry_run(true)).unwrap().unwrap();
        assert_eq!(listing(&host.root()), before, "{id}");
        let bytes_before = model_bytes(&host);
        let done = catalog.remove(id).unwrap().unwrap();
        assert_eq!((plan.removed, done.removed), (false, true));
        let facts = |receipt: &catalog_core::RemoveReceipt| {
            let kept = receipt.kept.iter().map(|kept| (kept.digest, kept.bytes)).collect::<BTreeSet<_>>();
            (receipt.bytes_reclaimed, receipt.blobs_removed, kept)
        };
        assert_eq!(facts(&plan), facts(&done), "{id}");
        assert_eq!(done.bytes_reclaimed, bytes_before - model_bytes(&host), "{id}");
    }
    drop(lease);
    let command = host.command().args(["remove", "nobody", "--dry-run"]).output().unwrap();
    assert_eq!(command.status.code(), Some(3));
}

/// The bytes that models take, by inode: everything except the index, the outboards and the other small files of the
/// store.
fn model_bytes(host: &Host) -> u64 {
    let mut inodes = BTreeSet::new();
    let places = ["root/blobs", "root/views", "root/trash", "root/mine", "outside"].map(|name| host.path(name));
    let files = places.iter().filter(|place| place.exists()).flat_map(|place| files_below(place));
    files.map(|path| path.metadata().unwrap()).filter(|meta| inodes.insert(meta.ino())).map(|meta| meta.len()).sum()
}

type Verb = fn(&FsCatalog);

// Red when only the mode decides whose a file is: a read-only file of the user's own is deleted with the view.
#[test]
fn other_files_in_the_folder_of_a_view_are_kept() {
    let verbs: [(&str, Verb); 3] = [
        ("remove", |catalog| drop(catalog.remove("m").unwrap().unwrap())),
        ("evict", |catalog| {
            catalog.set_state("m", LifecycleState::Retired).unwrap();
            let policy = GcPolicy::default().with_max_bytes(0).with_grace(Duration::ZERO);
            assert_eq!(catalog.gc(&policy).unwrap().entries, 1);
        }),
        ("collect an older view", |catalog| {
            let other = catalog.root().parent().unwrap().join("other.gguf");
            fs::write(&other, "other").unwrap();
            stage(catalog, &other, "m").unwrap();
            drop(catalog.gc(&GcPolicy::default().with_grace(Duration::ZERO)).unwrap());
        }),
    ];
    for (verb, act) in verbs {
        for kind in ["file", "tree"] {
            for mode in [0o444, 0o644] {
                let host = Host::new();
                let catalog = host.catalog();
                host.file("tree/x", b"x");
                host.file("tree/sub/y", b"y");
                let source = if kind == "tree" { host.path("tree") } else { host.file("m.gguf", b"m") };
                let at = stage(&catalog, &source, "m").unwrap().local_path;
                let (own, home) = (at.parent().unwrap(), at.parent().unwrap().parent().unwrap());
                let folder = if kind == "tree" { at.clone() } else { own.to_path_buf() };
                fs::create_dir_all(folder.join("notes")).unwrap();
                fs::create_dir_all(home.join("mine")).unwrap();
                let mut places =
                    vec![folder.join("a note"), folder.join("notes/b"), home.join("mine/c"), home.join("d")];
                if kind == "tree" {
                    places.push(at.join("sub/e"));
                }
                for (number, place) in places.iter().enumerate() {
                    fs::write(place, format!("of the user: {number}")).unwrap();
                    set_mode(place, mode);
                }
                act(&catalog);
                let kept: BTreeSet<_> =
                    files_below(&host.root()).iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
                for (number, place) in places.iter().enumerate() {
                    let text = format!("of the user: {number}");
                    assert!(kept.contains(&text), "{verb} of a {kind}, {mode:o}: {} is gone", place.display());
                }
                // The catalog's own files are gone, and not kept with the others.
                let in_quarantine = files_below(&host.root().join("quarantine")).len();
                assert!(in_quarantine <= places.len(), "{verb} of a {kind}: {in_quarantine}");
                assert!(!at.exists() || kind == "tree" && files_below(&at).is_empty(), "{verb} of a {kind}");
            }
        }
    }
}

// Red when names that fold to the same text count as one file, or when an unreadable manifest turns the files that it
// showed into strangers.
#[test]
fn the_files_of_a_tree_are_its_own() {
    for is_damaged in [false, true] {
        let host = Host::new();
        let catalog = host.catalog();
        for (name, bytes) in
            [("\u{65e5}\u{672c}.txt", &b"one"[..]), ("\u{4e2d}\u{56fd}.txt", b"another"), ("sub/x", b"x")]
        {
            host.file(&format!("tree/{name}"), bytes);
        }
        let digest = stage(&catalog, &host.path("tree"), "t").unwrap().digest;
        if is_damaged {
            let manifest = blob_path(&host.root(), &digest);
            set_mode(&manifest, 0o644);
            fs::write(&manifest, "no manifest").unwrap();
        }
        assert!(catalog.remove("t").unwrap().is_some());
        let report = catalog.gc(&GcPolicy::default().with_grace(Duration::ZERO)).unwrap();
        assert!(report.failed.is_empty(), "{report:?}");
        assert!(fs::read_dir(host.root().join("quarantine")).unwrap().next().is_none());
        assert!(files_below(&host.root().join("views")).is_empty() && blobs(&host.root()).is_empty());
    }
}
