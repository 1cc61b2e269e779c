//! A plan: making it writes nothing, executing it does what it says, and execution is careful if the store has changed.

use std::fs;

use catalog_core::{CatalogStore as _, IngestMode, LifecycleState, LinkMode};
use rstest::rstest;

use super::*;
use crate::common::{
    assert_readable, assert_sound, blob_bytes, blobs, debris, listing, mode_options, reference, set_mode,
};

/// A store with something for every kind of step.
fn busy_store(host: &Host) -> FsCatalog {
    let catalog = catalog(host);
    let root = catalog.root().to_path_buf();
    for (id, days) in [("a", 3), ("b", 2), ("pinned", 4), ("leased", 5), ("kept", 1)] {
        add(host, &catalog, id);
        set_staged(&root, id, ago(DAY * days));
    }
    catalog.pin("pinned", "p", None).unwrap();
    set_staged(&root, "pinned", ago(DAY * 4));
    add_tree(host, &catalog, "tree", &["a", "only in the tree"]);
    set_staged(&root, "tree", ago(DAY * 6));
    for id in ["in the trash", "orphan"] {
        add(host, &catalog, id);
        edit_shard(&root, id, |entries| drop(entries.remove(id)));
        if id == "in the trash" {
            drop(catalog.gc(&GcPolicy::default()).unwrap());
        }
    }
    fs::create_dir(root.join("ingest/0123456789abcdef")).unwrap();
    fs::write(root.join("ingest/0123456789abcdef/0"), content("ingest")).unwrap();
    catalog
}

#[test]
fn making_a_plan_writes_nothing_and_doing_it_does_what_it_says() {
    let host = Host::new();
    let catalog = busy_store(&host);
    let lease = catalog.lease("leased").unwrap();
    set_staged(catalog.root(), "leased", ago(DAY * 5));
    let (before, bytes_before) = (listing(catalog.root()), blob_bytes(catalog.root()));
    let trash = fs::read_dir(catalog.root().join("trash")).unwrap().count() as u64;
    assert_eq!(trash, 1);
    let policy = room_for(4);
    let plan = catalog.plan_gc(&policy).unwrap();
    assert_eq!(catalog.plan_gc(&policy).unwrap(), plan);
    assert_eq!(listing(catalog.root()), before);
    assert_eq!(plan.used_bytes, bytes_before + SIZE as u64 * 2, "with what is in the trash and what died");
    assert_eq!(evicted(&plan), ["tree", "a"]);

    let report = catalog.execute_gc(&plan).unwrap();
    assert_eq!((report.entries, report.skipped, report.shortfall_bytes), (2, 0, 0));
    assert_eq!(report.logical_bytes, 3 * SIZE as u64);
    assert!(blob_bytes(catalog.root()) <= 4 * SIZE as u64);
    let freed = plan.used_bytes - blob_bytes(catalog.root());
    assert_eq!((plan.freed_bytes, report.physical_bytes), (freed, freed));
    assert_eq!(ids(&catalog), ["b", "kept", "leased", "pinned"]);
    assert_sound(catalog.root());
    assert_eq!(debris(&catalog), Vec::<String>::new());
    drop(lease);
}

#[test]
fn a_plan_that_is_done_twice_does_nothing_the_second_time() {
    let host = Host::new();
    let catalog = busy_store(&host);
    let plan = catalog.plan_gc(&room_for(3)).unwrap();
    drop(catalog.execute_gc(&plan).unwrap());
    let after = listing(&catalog.root().join("blobs"));
    let entries = ids(&catalog);
    let again = catalog.execute_gc(&plan).unwrap();
    assert_eq!((again.entries, again.blobs, again.trashed, again.physical_bytes), (0, 0, 0, 0));
    assert_eq!((listing(&catalog.root().join("blobs")), ids(&catalog)), (after, entries));
    assert_eq!(catalog.plan_gc(&room_for(3)).unwrap().steps, []);
}

/// Removing a dead process's leftovers from `ingest/` does not make up for blobs beyond the budget.
// Red when leftovers count as freed but not as used.
#[test]
fn what_died_does_not_stand_for_room_within_the_budget() {
    let host = Host::new();
    let catalog = catalog(&host);
    for (id, days) in [("a", 3), ("b", 2), ("c", 1)] {
        add(&host, &catalog, id);
        set_staged(catalog.root(), id, ago(DAY * days));
    }
    fs::create_dir(catalog.root().join("ingest/0123456789abcdef")).unwrap();
    fs::write(catalog.root().join("ingest/0123456789abcdef/0"), content("died")).unwrap();
    drop(catalog.gc(&room_for(2)).unwrap());
    assert_eq!(ids(&catalog), ["b", "c"]);
    assert_eq!(blob_bytes(catalog.root()), 2 * SIZE as u64);
}

/// Between plan and execution, `change` happens to the entry that the plan evicts.
// Red when `evict` does not check the record again (`is_due`), or does not claim the root blob.
#[rstest]
#[case::pinned("pin")]
#[case::leased("lease")]
#[case::used("touch")]
#[case::given_new_content("restage")]
#[case::given_the_same_content_again("put")]
#[case::removed("remove")]
#[case::replaced_by_a_path_that_is_not_there_yet("register")]
fn a_plan_takes_nothing_that_was_needed_since(#[case] change: &str) {
    let host = Host::new();
    let catalog = catalog(&host);
    add(&host, &catalog, "a");
    set_staged(catalog.root(), "a", ago(DAY));
    let plan = catalog.plan_gc(&room_for(0).with_grace(HOUR)).unwrap();
    assert_eq!(evicted(&plan), ["a"]);
    let mut lease = None;
    match change {
        "pin" => drop(catalog.pin("a", "p", None).unwrap()),
        "lease" => {
            lease = Some(catalog.lease("a").unwrap());
            // So that the lease protects the entry, and not its recorded use.
            set(catalog.root(), "a", "last_used_ms", Value::Null);
        }
        "touch" => drop(catalog.resolve("a").unwrap()),
        "restage" => drop(add_as(&host, &catalog, "b", "a")),
        "put" => {
            let entry = catalog.get("a").unwrap().unwrap();
            catalog.put(&entry).unwrap();
        }
        "remove" => assert!(catalog.delete("a").unwrap()),
        _ => catalog.put(&crate::common::entry("a", "models/a.gguf")).unwrap(),
    }
    let records = catalog.records().unwrap();
    let report = catalog.execute_gc(&plan).unwrap();
    assert_eq!((report.entries, report.blobs, report.skipped), (0, 0, 1));
    // Without any room, everything here is too much. Red when the report repeats the plan's number, which is 0.
    assert_eq!(report.shortfall_bytes, catalog.plan_gc(&plan.policy).unwrap().used_bytes);
    assert_eq!(catalog.records().unwrap(), records);
    match change {
        "remove" | "register" => {}
        "restage" => assert_readable(&catalog, "a", &content("b")),
        _ => assert_readable(&catalog, "a", &content("a")),
    }
    drop(lease);
}

/// A blob that was unreferenced when the plan was made belongs to an entry again.
// Red when `remove_blob` does not check the roots.
#[test]
fn a_plan_takes_no_blob_that_is_referenced_since() {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add(&host, &catalog, "a");
    edit_shard(catalog.root(), "a", |entries| drop(entries.remove("a")));
    let plan = catalog.plan_gc(&now()).unwrap();
    assert_eq!(plan.steps.len(), 2, "its view, and itself: {plan:?}");
    add(&host, &catalog, "a");
    let report = catalog.execute_gc(&plan).unwrap();
    assert_eq!((report.blobs, report.leftovers, report.skipped), (0, 0, 2));
    assert_eq!(blobs(catalog.root()), [digest.to_hex()].into());
    assert_readable(&catalog, "a", &content("a"));
}

#[test]
fn a_view_that_is_a_copy_counts_and_goes_with_its_entry() {
    let host = Host::new();
    let catalog = catalog(&host);
    for id in ["a", "b"] {
        add(&host, &catalog, id);
        set_staged(catalog.root(), id, ago(DAY));
    }
    // As on a file system that refused the hardlink.
    let path = catalog.get("a").unwrap().unwrap().local_path;
    fs::remove_file(&path).unwrap();
    fs::write(&path, content("a")).unwrap();
    set_mode(&path, 0o444);
    set(catalog.root(), "a", "view", LinkMode::Copy.as_str());
    let size = SIZE as u64;
    let usage = catalog.disk_usage().unwrap();
    assert_eq!((usage.copied_view_bytes, usage.physical_bytes, usage.saved_bytes), (size, 3 * size, 0));
    let plan = catalog.plan_gc(&room_for(1)).unwrap();
    assert_eq!((evicted(&plan), plan.used_bytes, plan.freed_bytes), (vec!["a"], 3 * size, 2 * size));
    let report = catalog.execute_gc(&plan).unwrap();
    assert_eq!((report.blobs, report.physical_bytes), (1, 2 * size));
    assert!(!path.exists());
    // Evicting a copy frees something even if another entry needs the blob.
    add_as(&host, &catalog, "b", "b too");
    catalog.pin("b too", "p", None).unwrap();
    let path = catalog.get("b").unwrap().unwrap().local_path;
    fs::remove_file(&path).unwrap();
    fs::write(&path, content("b")).unwrap();
    set_mode(&path, 0o444);
    set(catalog.root(), "b", "view", LinkMode::Copy.as_str());
    let report = catalog.gc(&room_for(1)).unwrap();
    assert_eq!((report.entries, report.blobs, report.physical_bytes), (1, 0, size));
    assert_readable(&catalog, "b too", &content("b"));
}

/// Row 26: freed bytes are counted by inode.
#[test]
fn a_blob_that_is_the_source_itself_frees_nothing() {
    let host = Host::new();
    let catalog = catalog(&host);
    let file = host.file("mine", content("mine"));
    catalog.stage(&reference(&file), &mode_options("a", IngestMode::Link)).unwrap();
    catalog.set_state("a", LifecycleState::Retired).unwrap();
    let report = catalog.gc(&now().with_retired_after(Some(Duration::ZERO))).unwrap();
    assert_eq!((report.entries, report.blobs), (1, 1));
    assert_eq!((report.logical_bytes, report.physical_bytes), (SIZE as u64, 0));
    assert_eq!(fs::read(file).unwrap(), content("mine"));
}
