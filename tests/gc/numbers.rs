//! What `disk_usage` counts, and a plan for a large store.

use std::fs::{self, File};
use std::io::Write as _;
use std::thread;
use std::time::Instant;

use catalog_core::{CatalogStore as _, EntryUsage, GcAction, GcPlan, GcReason};
use serde_json::json;

use super::*;
use crate::common::{blob_path, blobs_of};

#[test]
fn disk_usage_of_a_store_made_by_hand() {
    let host = Host::new();
    let catalog = catalog(&host);
    let root = catalog.root().to_path_buf();
    let size = SIZE as u64;
    add(&host, &catalog, "alone");
    add_as(&host, &catalog, "shared", "one");
    add_as(&host, &catalog, "shared", "two");
    let manifest = add_tree(&host, &catalog, "tree", &["shared", "only in the tree"]);
    catalog.put(&crate::common::entry("absent", "models/absent.gguf")).unwrap();
    add(&host, &catalog, "trashed");
    edit_shard(&root, "trashed", |entries| drop(entries.remove("trashed")));
    drop(catalog.gc(&GcPolicy::default()).unwrap());
    add(&host, &catalog, "orphan");
    edit_shard(&root, "orphan", |entries| drop(entries.remove("orphan")));
    fs::create_dir(root.join("ingest/fedcba9876543210")).unwrap();
    for path in ["ingest/fedcba9876543210/0", "quarantine/bad"] {
        fs::write(root.join(path), content(path)).unwrap();
    }

    let usage = catalog.disk_usage().unwrap();
    let on_disk = |path: &Path| std::os::unix::fs::MetadataExt::blocks(&fs::metadata(path).unwrap()) * 512;
    let (manifest_size, manifest_bytes) =
        (fs::metadata(blob_path(&root, &manifest)).unwrap().len(), on_disk(&blob_path(&root, &manifest)));
    assert_eq!(usage.blobs, 5, "alone, shared, only in the tree, its manifest, the orphan");
    assert_eq!(usage.logical_bytes, 5 * size);
    // The manifest is no model's content, but it has to be there.
    assert_eq!(usage.saved_bytes, 5 * size - (3 * size + manifest_size));
    assert_eq!((usage.unreferenced_bytes, usage.trash_bytes), (size, size));
    assert_eq!((usage.ingest_bytes, usage.quarantine_bytes, usage.copied_view_bytes), (size, size, 0));
    assert_eq!(usage.physical_bytes, (3 + 1) * size + manifest_bytes + 3 * size);
    let entry = |id: &str, size_bytes, exclusive_bytes| {
        let found = usage.entries.iter().find(|entry| entry.id == id).unwrap();
        assert_eq!((found.size_bytes, found.exclusive_bytes), (size_bytes, exclusive_bytes), "{id}");
    };
    entry("tree", 2 * size, size + manifest_bytes);
    entry("alone", size, size);
    entry("one", size, 0);
    entry("two", size, 0);
    entry("absent", 0, 0);
    let part = |id: &str| usage.entries.iter().find(|entry| entry.id == id).unwrap().proportional_bytes;
    // Three models need the shared blob.
    assert_eq!(
        ["tree", "alone", "one", "two", "absent"].map(part),
        [size + manifest_bytes + size / 3, size, size / 3, size / 3, 0]
    );
    let order: Vec<&str> = usage.entries.iter().map(|EntryUsage { id, .. }| id.as_str()).collect();
    assert_eq!(order, ["tree", "alone", "one", "two", "absent"]);
    let tree = catalog.record("tree").unwrap().unwrap();
    assert_eq!(blobs_of(&root, &tree).len(), 3);
}

// Red when removed leftovers are not counted, or when names of files that stay elsewhere are.
#[test]
fn leftovers_count_for_what_their_removal_frees() {
    let host = Host::new();
    let catalog = catalog(&host);
    let dead = catalog.root().join("ingest/0123456789abcdef");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join("0"), content("0")).unwrap();
    let source = host.file("source", content("1"));
    fs::hard_link(&source, dead.join("1")).unwrap(); // as a killed `--mode link` leaves it

    let plan = catalog.plan_gc(&now()).unwrap();
    let report = catalog.execute_gc(&plan).unwrap();
    assert_eq!((plan.freed_bytes, report.physical_bytes, report.leftovers), (SIZE as u64, SIZE as u64, 1));
    assert!(source.exists());
}

/// `CATALOG_TEST_ENTRIES` sets the number of entries; a root has to bear 100,000.
#[test]
fn a_plan_for_a_large_store() {
    let count: usize = std::env::var("CATALOG_TEST_ENTRIES").map_or(2_000, |text| text.parse().unwrap());
    let host = Host::new();
    let root = catalog(&host).root().to_path_buf();
    let made = Instant::now();
    make_by_hand(&root, count);
    let said = |what: &str, since: Instant| {
        let text = format!("{what} of {count} entries: {:.0} ms\n", since.elapsed().as_secs_f64() * 1000.0);
        let _ = std::io::stderr().write_all(text.as_bytes());
    };
    said("making the store", made);
    let catalog = catalog(&host);
    let order: Vec<String> = (0..count / 2).map(id).collect();
    for what in ["a plan", "a second plan by the same handle"] {
        let began = Instant::now();
        let plan = plan_of_closed(&catalog, &room_half(count).with_grace(Duration::ZERO));
        said(what, began);
        assert_eq!(evicted(&plan), order, "the older half");
        assert!(plan.steps.iter().all(|step| matches!(step.action, GcAction::EvictEntry { .. })));
    }
    let began = Instant::now();
    assert_eq!(catalog.disk_usage().unwrap().blobs, count as u64);
    said("disk usage", began);
    let began = Instant::now();
    catalog.remove(&id(0)).unwrap().unwrap();
    said("one removal", began);
}

/// A plan to which no blob counts as open: while another test starts a program, its child may hold one for a moment.
fn plan_of_closed(catalog: &FsCatalog, policy: &GcPolicy) -> GcPlan {
    for _ in 0..50 {
        let plan = catalog.plan_gc(policy).unwrap();
        if !plan.kept.iter().any(|kept| kept.reason == GcReason::Open) {
            return plan;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("a blob stays open");
}

fn id(number: usize) -> String {
    format!("model-{number:06}")
}

/// Room for half of the blobs, each of which takes one block.
fn room_half(count: usize) -> GcPolicy {
    now().with_max_bytes(Some(((count - count / 2) * 4096) as u64))
}

/// Writes entries and blobs as the library would leave them, without flushing each one: this test is not about staging.
fn make_by_hand(root: &Path, count: usize) {
    let mut shards: Vec<serde_json::Map<String, Value>> = vec![serde_json::Map::new(); 256];
    for first in 0..=255 {
        fs::create_dir_all(root.join(format!("blobs/sha256/{first:02x}"))).unwrap();
    }
    let start_ms = ago(YEAR);
    for number in 0..count {
        let (id, bytes) = (id(number), number.to_le_bytes());
        let digest = Digest::sha256_of(&bytes);
        let mut blob = File::create(blob_path(root, &digest)).unwrap();
        blob.write_all(&bytes).unwrap();
        let at_ms = start_ms + number as u64;
        let home = format!("{id}-{}", &Digest::sha256_of(id.as_bytes()).to_hex()[..16]);
        let path = format!("views/{home}/{}/model.gguf", &digest.to_hex()[..40]);
        fs::create_dir_all(root.join(&path).parent().unwrap()).unwrap();
        fs::hard_link(blob_path(root, &digest), root.join(&path)).unwrap();
        let record = json!({
            "path": path,
            "kind": "file", "digest": digest.to_string(), "size_bytes": 8, "files": 1, "lifecycle": "active",
            "trust": "verified", "view": "hardlink", "source": null, "created_ms": at_ms, "updated_ms": at_ms,
            "last_verified_ms": null, "last_used_ms": null, "retired_ms": null, "pins": {},
        });
        shards[usize::from(Digest::sha256_of(id.as_bytes()).as_bytes()[0])].insert(id, record);
    }
    for (number, entries) in shards.iter().enumerate().filter(|(_, entries)| !entries.is_empty()) {
        let entries = serde_json::to_string(entries).unwrap();
        let checksum = blake3::hash(entries.as_bytes()).to_hex();
        let text = format!(r#"{{"format":1,"generation":1,"checksum":"blake3:{checksum}","entries":{entries}}}"#);
        for name in [format!("{number:02x}.json"), format!("{number:02x}.json.prev")] {
            fs::write(root.join("index").join(name), &text).unwrap();
        }
    }
}
