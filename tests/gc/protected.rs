//! What no policy takes: what is pinned, leased, or would free nothing; and clocks that jump.

use std::collections::BTreeSet;
use std::fs;

use catalog_core::{CatalogStore as _, Error, GcReason, LifecycleState, RepairOptions};
use rstest::rstest;

use super::*;
use crate::common::{assert_readable, assert_sound, blob_bytes, blob_path, blobs, check_artifact, debris};

/// Row 26: the collection ends, and reports how much is missing.
#[test]
fn when_everything_is_pinned_or_leased_the_shortfall_is_told() {
    let host = Host::new();
    let catalog = catalog(&host);
    for id in ["a", "b", "c"] {
        add(&host, &catalog, id);
    }
    catalog.pin("a", "pool-7", None).unwrap();
    catalog.pin("b", "pool-7", Some(HOUR)).unwrap();
    let lease = catalog.lease("c").unwrap();
    let policy = room_for(1).with_max_idle(Some(Duration::ZERO));
    let plan = catalog.plan_gc(&policy).unwrap();
    let pinned = || GcReason::Pinned("pool-7".into());
    assert_eq!(kept(&plan), [("a", pinned()), ("b", pinned()), ("c", GcReason::Leased)]);
    assert_eq!((plan.steps.len(), plan.used_bytes, plan.freed_bytes), (0, 3 * SIZE as u64, 0));
    assert_eq!(plan.shortfall_bytes, 2 * SIZE as u64);
    let report = catalog.execute_gc(&plan).unwrap();
    assert_eq!((report.entries, report.physical_bytes, report.shortfall_bytes), (0, 0, 2 * SIZE as u64));
    drop(lease);
    catalog.unpin("a", Some("pool-7")).unwrap();
    assert_eq!(catalog.gc(&policy).unwrap().shortfall_bytes, 0);
    assert_eq!(ids(&catalog), ["b"]);
    assert_eq!(blob_bytes(catalog.root()), SIZE as u64);
}

#[test]
fn a_pin_protects_until_it_expires() {
    let host = Host::new();
    let catalog = catalog(&host);
    add(&host, &catalog, "a");
    let pin = |expiry_ms: u64| {
        let pins = serde_json::json!({"p": {"created_ms": 1, "expiry_ms": expiry_ms}});
        set(catalog.root(), "a", "pins", pins);
    };
    pin(ahead(HOUR));
    assert_eq!(evicted(&catalog.plan_gc(&room_for(0)).unwrap()), Vec::<&str>::new());
    pin(ago(Duration::from_millis(1)));
    assert_eq!(evicted(&catalog.plan_gc(&room_for(0)).unwrap()), ["a"]);
    // One valid pin is enough, even if others have expired.
    catalog.pin("a", "q", None).unwrap();
    assert_eq!(kept(&catalog.plan_gc(&room_for(0)).unwrap()), [("a", GcReason::Pinned("q".into()))]);
}

/// A collection takes only files that the layout knows as a dead process's.
// Red when `leftovers` takes every folder in `ingest/` for a session, or every one in `partials/` for a partial
// (`layout::classify`).
#[test]
fn what_has_no_name_of_the_store_is_left_alone() {
    let host = Host::new();
    let catalog = catalog(&host);
    add(&host, &catalog, "a");
    let strange =
        ["ingest/notes/0", "partials/notes/data", "index/.3f.07.tmp", "outboards/sha256/00/notes.json", ".3f.7.tmp"];
    for path in strange {
        std::fs::create_dir_all(catalog.root().join(path).parent().unwrap()).unwrap();
        std::fs::write(catalog.root().join(path), content("notes")).unwrap();
    }
    assert_eq!(catalog.gc(&now()).unwrap().leftovers, 0);
    assert!(strange.iter().all(|path| catalog.root().join(path).is_file()));
}

/// A record can name blobs beyond its content: signatures, documents.
// Red when `blobs_of` leaves out what a record needs: the blob then goes with the entry that brought it.
#[rstest]
#[case::of_a_file(false)]
#[case::of_a_tree(true)]
fn a_blob_that_a_record_needs_stays_as_long_as_the_record(#[case] is_tree: bool) {
    let host = Host::new();
    let catalog = catalog(&host);
    let stage_model = |name: &str| match is_tree {
        true => add_tree(&host, &catalog, "model", &[name]),
        false => add_as(&host, &catalog, name, "model"),
    };
    stage_model("content");
    let content_blobs = blobs(catalog.root()).len();
    let signature = add(&host, &catalog, "signature");
    let needs = |catalog: &FsCatalog| catalog.record("model").unwrap().unwrap().needs;
    set(catalog.root(), "model", "needs", serde_json::json!([signature]));
    assert_eq!(needs(&catalog), BTreeSet::from([signature]));

    let receipt = catalog.remove("signature").unwrap().unwrap();
    assert_eq!((receipt.blobs_removed, receipt.kept[0].digest), (0, signature));
    assert_eq!(catalog.gc(&now()).unwrap().physical_bytes, 0);
    assert_eq!(blobs(catalog.root()).len(), content_blobs + 1);
    // Staged again, the content is the same, and the blobs that belong to it stay.
    host.file("elsewhere/content", content("content"));
    let again = match is_tree {
        true => stage(&catalog, &host.path("elsewhere"), "model"),
        false => stage(&catalog, &host.path("elsewhere/content"), "model"),
    };
    again.unwrap();
    assert_eq!(needs(&catalog), BTreeSet::from([signature]));
    assert_sound(catalog.root());

    // The blob goes with the record.
    let receipt = catalog.remove("model").unwrap().unwrap();
    assert_eq!((receipt.blobs_removed, receipt.kept.len()), (content_blobs as u64 + 1, 0));
    assert_eq!(blobs(catalog.root()).len(), 0);
    // It also goes when the record gets other content, and when the record is evicted.
    for other in [true, false] {
        stage_model("content");
        add(&host, &catalog, "signature");
        set(catalog.root(), "model", "needs", serde_json::json!([signature]));
        catalog.remove("signature").unwrap().unwrap();
        if other {
            stage_model("other content");
            assert_eq!(needs(&catalog), BTreeSet::new());
            drop(catalog.gc(&now()).unwrap());
            assert!(!blob_path(catalog.root(), &signature).exists());
            catalog.remove("model").unwrap().unwrap();
        } else {
            assert_eq!(catalog.gc(&room_for(0)).unwrap().entries, 1);
        }
        assert_eq!(debris(&catalog), Vec::<String>::new());
        assert_eq!(blobs(catalog.root()).len(), 0);
    }
}

/// Row 19. Every time in the records is this far from now.
// Red when times in the future are not clamped, or when expiry ignores pins and leases.
#[rstest]
#[case::years_in_the_future(ahead(YEAR * 10), false)]
#[case::at_the_end_of_time(u64::MAX, false)]
#[case::years_in_the_past(ago(YEAR * 10), true)]
#[case::at_the_beginning_of_time(0, true)]
fn a_clock_that_jumps_takes_nothing_that_is_in_use(#[case] at_ms: u64, #[case] is_old: bool) {
    let host = Host::new();
    let catalog = catalog(&host);
    let root = catalog.root().to_path_buf();
    for id in ["leased", "pinned", "plain", "retired"] {
        add(&host, &catalog, id);
        set_staged(&root, id, at_ms);
        set(&root, id, "last_used_ms", at_ms);
    }
    catalog.pin("pinned", "p", None).unwrap();
    set_staged(&root, "pinned", at_ms);
    catalog.set_state("retired", LifecycleState::Retired).unwrap();
    set(&root, "retired", "retired_ms", at_ms);
    let lease = catalog.lease("leased").unwrap();
    set_staged(&root, "leased", at_ms);
    set(&root, "leased", "last_used_ms", at_ms);

    let policy =
        GcPolicy::default().with_max_idle(Some(DAY * 30)).with_retired_after(Some(DAY * 30)).with_max_bytes(Some(0));
    let plan = catalog.plan_gc(&policy).unwrap();
    let taken: BTreeSet<&str> = if is_old { ["plain", "retired"].into() } else { BTreeSet::new() };
    assert_eq!(evicted(&plan).into_iter().collect::<BTreeSet<_>>(), taken);
    // Without a grace, only what is in use survives a budget of zero, whatever the clock says.
    let plan = catalog.plan_gc(&room_for(0)).unwrap();
    assert_eq!(evicted(&plan).len(), 2);
    let pinned = GcReason::Pinned("p".into());
    assert_eq!(kept(&plan), [("leased", GcReason::Leased), ("pinned", pinned)]);
    drop(catalog.execute_gc(&plan).unwrap());
    assert_readable(&catalog, "leased", &content("leased"));
    assert_readable(&catalog, "pinned", &content("pinned"));
    drop(lease);
}

// Red when undoing an eviction miscounts the references: the next eviction would be in vain.
#[test]
fn evicting_all_but_one_of_those_that_share_their_bytes_frees_nothing() {
    let host = Host::new();
    let catalog = catalog(&host);
    for id in ["one", "two", "three", "four"] {
        add_as(&host, &catalog, "same", id);
    }
    catalog.pin("four", "p", None).unwrap();
    let plan = catalog.plan_gc(&room_for(0)).unwrap();
    let shared = |id| (id, GcReason::Shared);
    let pinned = ("four", GcReason::Pinned("p".into()));
    assert_eq!(kept(&plan), [pinned, shared("one"), shared("three"), shared("two")]);
    assert_eq!((plan.steps.len(), plan.freed_bytes, plan.shortfall_bytes), (0, 0, SIZE as u64));
}

// Red when an eviction that frees nothing is not undone.
#[test]
fn evicting_one_of_two_that_share_their_bytes_frees_nothing() {
    let host = Host::new();
    let catalog = catalog(&host);
    for id in ["one", "two"] {
        add_as(&host, &catalog, "same", id);
    }
    catalog.pin("two", "p", None).unwrap();
    let plan = catalog.plan_gc(&room_for(0)).unwrap();
    assert_eq!(kept(&plan), [("one", GcReason::Shared), ("two", GcReason::Pinned("p".into()))]);
    assert_eq!((plan.steps.len(), plan.shortfall_bytes), (0, SIZE as u64));
    catalog.unpin("two", None).unwrap();
    // Evicting both frees the bytes.
    let plan = catalog.plan_gc(&room_for(0)).unwrap();
    assert_eq!((evicted(&plan).len(), plan.freed_bytes, plan.shortfall_bytes), (2, SIZE as u64, 0));
    // A policy that is not about room still takes its entries, although that frees nothing.
    catalog.set_state("one", LifecycleState::Retired).unwrap();
    let retired = now().with_retired_after(Some(Duration::ZERO));
    let report = catalog.gc(&retired).unwrap();
    assert_eq!((report.entries, report.blobs, report.physical_bytes), (1, 0, 0));
    assert_readable(&catalog, "two", &content("same"));
}

#[test]
fn an_evicted_tree_leaves_the_files_that_others_need() {
    let host = Host::new();
    let catalog = catalog(&host);
    add_tree(&host, &catalog, "left", &["shared", "only left"]);
    add_tree(&host, &catalog, "right", &["shared", "only right"]);
    add_as(&host, &catalog, "only left", "a file");
    set_staged(catalog.root(), "left", ago(DAY));
    catalog.pin("right", "p", None).unwrap();
    catalog.pin("a file", "p", None).unwrap();
    let before = blobs(catalog.root()).len();
    // Evicting it frees only its manifest.
    let plan = catalog.plan_gc(&room_for(0)).unwrap();
    assert_eq!(evicted(&plan), ["left"]);
    assert!(plan.freed_bytes < SIZE as u64 && plan.freed_bytes > 0);
    let report = catalog.execute_gc(&plan).unwrap();
    assert_eq!((report.blobs, report.physical_bytes), (1, plan.freed_bytes));
    assert_eq!(blobs(catalog.root()).len(), before - 1);
    check_artifact(catalog.root(), &catalog.resolve("right").unwrap()).unwrap();
    assert_readable(&catalog, "a file", &content("only left"));
    assert_sound(catalog.root());
    assert_eq!(debris(&catalog), Vec::<String>::new());
}

/// No record names the tree any more, and only its lease still holds the manifest.
// Red when `leased_orphans` does not read manifests: the tree's files go.
#[test]
fn a_leased_tree_keeps_its_files_when_its_entry_is_gone() {
    let host = Host::new();
    let catalog = catalog(&host);
    add_tree(&host, &catalog, "tree", &["a", "b"]);
    let lease = catalog.lease("tree").unwrap();
    let receipt = catalog.remove("tree").unwrap().unwrap();
    assert_eq!((receipt.blobs_removed, receipt.kept.len()), (0, 1));
    for _ in 0..2 {
        let report = catalog.gc(&room_for(0)).unwrap();
        assert_eq!((report.blobs, report.leftovers), (0, 0));
        check_artifact(catalog.root(), lease.record()).unwrap();
    }
    drop(lease);
    let report = catalog.gc(&now()).unwrap();
    assert_eq!((report.blobs, report.leftovers), (3, 1));
    assert_eq!(debris(&catalog), Vec::<String>::new());
    assert_eq!(fs::read_dir(catalog.root().join("views")).unwrap().count(), 0);
}

/// An id gets new content while its old content is leased. Another entry has the old bytes too, so they are not
/// orphaned. The path that the lease gave out has to stay.
// Red when the sweep keeps only those views of leased blobs that no record references.
#[test]
fn the_view_of_a_lease_stays_when_another_entry_has_the_same_bytes() {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add_as(&host, &catalog, "old", "a");
    add_as(&host, &catalog, "old", "b");
    let lease = catalog.lease("a").unwrap();
    add_as(&host, &catalog, "new", "a");
    let view = lease.local_path().to_path_buf();
    let is_there = || Digest::sha256_of(&fs::read(&view).unwrap()) == digest;
    assert_eq!(catalog.plan_gc(&now()).unwrap().steps, []);
    drop(catalog.gc(&room_for(1)).unwrap());
    assert!(is_there());
    catalog.remove("a").unwrap();
    assert!(is_there());
    drop(lease);
    assert_eq!(catalog.gc(&now()).unwrap().leftovers, 1);
    assert!(!view.exists());
    assert_eq!(debris(&catalog), Vec::<String>::new());
}

/// Otherwise, evicting the rest of the tree would make room for its lost file.
// Red when the entry that needs the room does not count as used.
#[test]
fn room_for_a_repair_is_not_made_by_evicting_what_is_repaired() {
    let host = Host::new();
    let catalog = catalog(&host);
    add(&host, &catalog, "other");
    catalog.pin("other", "p", None).unwrap();
    add_tree(&host, &catalog, "tree", &["a", "b"]);
    set_staged(&host.root(), "tree", ago(YEAR));
    set(&host.root(), "tree", "last_used_ms", ago(YEAR));
    fs::remove_file(blob_path(&host.root(), &Digest::sha256_of(&content("a")))).unwrap();
    catalog.change_config(|limits| limits.max_bytes = Some(5 * SIZE as u64 / 2)).unwrap();
    let error = catalog.repair("tree", &RepairOptions::default()).unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "{error}");
    assert_eq!(ids(&catalog), ["other", "tree"]);
}
