//! Blobs, outboards, manifests, and entries known to be damaged.

use catalog_core::FindingKind as K;

use super::*;

fn kinds(found: &[Finding]) -> Vec<K> {
    found.iter().map(|finding| finding.kind).collect()
}

#[test]
fn outboards_that_are_lost_or_damaged_are_made_again() {
    let store = Store::new();
    let (json, groups) = (store.outboard("file", "json"), store.outboard("file", "groups"));
    let text = fs::read(&groups).unwrap();
    let both: [&Path; 2] = [&json, &groups];

    fs::remove_file(&json).unwrap();
    store.repairs(&[(K::OutboardMissing, &json)], &both);
    fs::write(&json, "{").unwrap();
    store.repairs(&[(K::OutboardDamaged, &json)], &both);
    fs::remove_file(&groups).unwrap();
    store.repairs(&[(K::OutboardDamaged, &json)], &both);
    let mut wrong = text.clone();
    wrong[40] ^= 1;
    fs::write(&groups, wrong).unwrap();
    store.repairs(&[(K::OutboardDamaged, &json)], &both);
    assert_eq!(fs::read(&groups).unwrap(), text);
}

#[test]
fn an_outboard_whose_groups_were_left_for_later_gets_them() {
    let store = Store::new();
    let file = store.host.file("sources/later", big("later"));
    let mut options = options("later");
    options.defer_outboard = true;
    store.catalog.stage(&reference(&file), &options).unwrap();
    let (json, groups) = (store.outboard("later", "json"), store.outboard("later", "groups"));
    store.repairs(&[(K::OutboardMissing, &json)], &[&json, &groups]);
    assert!(groups.exists());
}

// Red when a stamp that does not match is only recorded again: damage would pass as good.
#[test]
fn a_blob_that_was_written_to_is_checked() {
    let store = Store::new();
    let (blob, json, groups) = (store.blob("file"), store.outboard("file", "json"), store.outboard("file", "groups"));
    common::set_mtime(&blob, common::long_ago());
    store.repairs(&[(K::BlobChanged, &blob)], &[&json, &groups]);

    // A user with write permission writes through the view.
    spoil(&store.view("file"), |bytes| bytes[5] ^= 1);
    let (view, shard) = (store.view("file"), common::shard_path(&store.root(), "file"));
    let prev = PathBuf::from(format!("{}.prev", shard.display()));
    let left = store.repairs_to(&[(K::BlobChanged, &blob)], &[&blob, &json, &view, &shard, &prev]);
    assert_eq!(kinds(&left), [K::EntryDamaged, K::QuarantineNotEmpty]);
    assert!(left[0].what.contains("quarantine/") && left[0].id.as_deref() == Some("file"), "{left:#?}");
    assert!(!blob.exists() && !view.exists());
}

#[test]
fn a_blob_of_another_size_is_checked_and_taken_out_of_service() {
    let store = Store::new();
    let (blob, json) = (store.blob("file"), store.outboard("file", "json"));
    spoil(&blob, |bytes| bytes.truncate(1000));
    let (view, shard) = (store.view("file"), common::shard_path(&store.root(), "file"));
    let prev = PathBuf::from(format!("{}.prev", shard.display()));
    let left = store.repairs_to(&[(K::BlobSize, &blob)], &[&blob, &json, &view, &shard, &prev]);
    assert_eq!(kinds(&left), [K::EntryDamaged, K::QuarantineNotEmpty]);
}

#[test]
fn a_record_of_another_size_is_not_the_blobs_fault() {
    let store = Store::new();
    common::edit_shard(&store.root(), "small", |entries| entries["small"]["size_bytes"] = 7.into());
    let found = store.finds(&[(K::BlobSize, &store.blob("small"))]);
    assert!(!found[0].is_repairable() && found[0].advice.contains("the record"), "{found:#?}");
}

#[test]
fn an_entry_that_is_marked_damaged_is_named_and_repaired_by_repair() {
    let store = Store::new();
    let view = store.view("file");
    spoil(&store.blob("file"), |bytes| bytes[0] ^= 1);
    drop(store.catalog.verify("file", &VerifyOptions::default()).unwrap());
    let found = store.finds(&[(K::EntryDamaged, &view), (K::QuarantineNotEmpty, &store.root().join("quarantine"))]);
    assert!(found[0].advice.contains("catalog repair") && !found[0].is_repairable(), "{found:#?}");
    store.catalog.repair("file", &catalog_core::RepairOptions::default()).unwrap();
    store.finds(&[(K::QuarantineNotEmpty, &store.root().join("quarantine"))]);
}

#[test]
fn a_blob_that_is_gone_is_named_with_each_entry_that_needs_it() {
    let store = Store::new();
    let blob = store.blob("small");
    let other = store.host.file("sources/other.bin", "small");
    store.catalog.stage(&reference(&other), &options("other")).unwrap();
    let away = store.host.path("away");
    fs::rename(&blob, &away).unwrap();
    // The outboard stays until the next collection.
    let stray = store.outboard("small", "json");
    let found = store.finds(&[(K::BlobMissing, &blob), (K::BlobMissing, &blob), (K::StrayOutboard, &stray)]);
    let ids: BTreeSet<_> = found.iter().filter_map(|finding| finding.id.as_deref()).collect();
    assert_eq!(ids, BTreeSet::from(["small", "other"]));
    assert!(found.iter().all(|finding| !finding.is_repairable()));
    fs::rename(&away, store.root().join("trash").join(format!("{}.1", store.digest("small").to_hex()))).unwrap();
    let found = store.examine();
    assert!(found.iter().any(|finding| finding.kind == K::BlobMissing && finding.what.contains("trash")), "{found:#?}");
}

#[test]
fn a_blob_that_is_in_quarantine_is_said_to_be() {
    let store = Store::new();
    let blob = store.blob("small");
    let kept = store.root().join("quarantine").join(format!("{}.0123456789abcdef", store.digest("small").to_hex()));
    fs::rename(&blob, &kept).unwrap();
    let found = store.finds(&[(K::BlobMissing, &blob), (K::QuarantineNotEmpty, &store.root().join("quarantine"))]);
    assert!(found[0].what.contains(kept.to_str().unwrap()), "{found:#?}");
}

// Red when `check_record` does not check what a record needs, or does not note that the record needs it.
#[test]
fn a_document_that_an_entry_needs_is_named_when_it_is_lost_or_changed() {
    let store = Store::new();
    let signature = store.add("signature", b"a signature");
    let needs = serde_json::json!([signature.to_string()]);
    common::edit_shard(&store.root(), "small", |entries| {
        entries["small"].as_object_mut().unwrap().insert("needs".into(), needs);
    });
    let shard = common::shard_path(&store.root(), "small");
    fs::copy(&shard, format!("{}.prev", shard.display())).unwrap();
    store.catalog.remove("signature").unwrap().unwrap();
    store.finds(&[]);
    let blob = blob_path(&store.root(), &signature);
    spoil(&blob, |bytes| bytes[0] ^= 1);
    let left =
        store.repairs_to(&[(K::BlobChanged, &blob)], &[&blob, &outboard_path(&store.root(), &signature, "json")]);
    assert_eq!(kinds(&left), [K::NeededBlobMissing, K::QuarantineNotEmpty]);
    assert_eq!((left[0].id.as_deref(), left[0].path.as_path()), (Some("small"), blob.as_path()));
    assert!(left[0].what.contains("in quarantine"), "{left:#?}");
    // The model can still be leased.
    drop(store.catalog.lease("small").unwrap());
}

#[test]
fn a_manifest_that_is_gone() {
    let store = Store::new();
    let manifest = store.blob("tree");
    fs::rename(&manifest, store.host.path("away")).unwrap();
    // Nobody knows which files the tree has, so nothing is called debris.
    let found = store.finds(&[(K::ManifestMissing, &manifest)]);
    assert!(found[0].id.as_deref() == Some("tree") && !found[0].is_repairable(), "{found:#?}");
}

// Red when the manifest's bytes are not compared with its name.
#[test]
fn a_manifest_with_other_bytes_is_taken_out_of_service() {
    let store = Store::new();
    let (manifest, json) = (store.blob("tree"), store.outboard("tree", "json"));
    let stamp = fs::metadata(&manifest).unwrap().modified().unwrap();
    spoil(&manifest, |bytes| bytes[10] ^= 1);
    common::set_mtime(&manifest, stamp); // so that its stamp reveals nothing
    let shard = common::shard_path(&store.root(), "tree");
    let prev = PathBuf::from(format!("{}.prev", shard.display()));
    let left = store.repairs_to(&[(K::ManifestDamaged, &manifest)], &[&manifest, &json, &shard, &prev]);
    assert_eq!(kinds(&left), [K::EntryDamaged, K::QuarantineNotEmpty]);
}
