//! Files that a collection removes are reported as such, and are gone after it.

use catalog_core::{FindingKind as K, GcPolicy, Remedy};

use super::*;

#[test]
fn what_dead_processes_have_left_is_for_the_next_collection() {
    let store = Store::new();
    let root = store.root();
    let hex = "ab".repeat(32);
    let session = root.join("ingest/0123456789abcdef");
    fs::create_dir(&session).unwrap();
    fs::write(session.join("0"), "half").unwrap();
    let fan_out = root.join("outboards/sha256/ab");
    fs::create_dir_all(&fan_out).unwrap();
    let temporary =
        [root.join(".0123456789abcdef.tmp"), root.join("index/.07.3.tmp"), fan_out.join(".fedcba9876543210.tmp")];
    for path in &temporary {
        fs::write(path, "x").unwrap();
    }
    let outboard = fan_out.join(format!("{hex}.json"));
    fs::write(&outboard, "{}").unwrap();
    // An entry that was removed while its outboard, view and blob stayed, as after a kill.
    let (view, blob) = (store.view("small"), store.blob("small"));
    common::edit_shard(&root, "small", |entries| drop(entries.remove("small")));
    let home = view.parent().unwrap();
    let expected = [
        (K::DeadSession, session.as_path()),
        (K::UnfinishedFile, &temporary[0]),
        (K::UnfinishedFile, &temporary[1]),
        (K::UnfinishedFile, &temporary[2]),
        (K::StrayOutboard, &outboard),
        (K::StrayView, home),
        (K::UnreferencedBlob, &blob),
    ];
    let found = store.finds(&expected);
    assert!(found.iter().all(|finding| finding.remedy == Remedy::Collection && !finding.needs_attention()));
    drop(store.catalog.gc(&GcPolicy::default().with_grace(std::time::Duration::ZERO)).unwrap());
    store.finds(&[]);
}

// Red when locks are not checked: files of a live process are called debris.
#[test]
fn what_live_processes_have_is_no_debris() {
    let store = Store::new();
    let session = store.root().join("ingest/0123456789abcdef");
    fs::create_dir(&session).unwrap();
    set_mode(&session, 0o700);
    let alive = fs::File::open(&session).unwrap();
    fs2::FileExt::lock_exclusive(&alive).unwrap();
    let lease = store.catalog.lease("tree").unwrap();
    let record = store.record("tree");
    store.catalog.remove("tree").unwrap();
    assert!(record.entry.local_path.exists());
    store.finds(&[]);
    drop(lease);
    assert!(store.examine().iter().any(|finding| finding.kind == K::StrayView));
}

#[test]
fn trash_is_normal_within_its_grace_and_a_note_after_it() {
    let store = Store::new();
    let digest = Digest::sha256_of(b"gone");
    let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let name = |ms| store.root().join("trash").join(format!("{}.{ms}", digest.to_hex()));
    fs::write(name(now_ms), "gone").unwrap();
    store.finds(&[]);
    fs::rename(name(now_ms), name(now_ms - 2 * 3_600_000)).unwrap();
    let found = store.finds(&[(K::TrashOverdue, &store.root().join("trash"))]);
    assert!(found[0].what.contains(": 1 blob, ") && found[0].remedy == Remedy::Collection);
}

#[test]
fn what_is_in_quarantine_is_a_note_with_its_bytes() {
    let store = Store::new();
    let quarantine = store.root().join("quarantine");
    let hex = "ab".repeat(32);
    for name in
        [format!("{hex}.0123456789abcdef"), "3f.json.0123456789abcdef".into(), "store.json.0123456789abcdef".into()]
    {
        fs::write(quarantine.join(name), vec![1; 10_000]).unwrap();
    }
    let found = store.finds(&[(K::QuarantineNotEmpty, &quarantine)]);
    assert!(found[0].what.starts_with("3 files, ") && !found[0].needs_attention(), "{found:#?}");
}

// Red when `blob::all_with_meta` or the search for stray outboards accepts any name of 64 digits, in whatever folder it
// is: a collection then promises more than it does, or removes what doctor leaves to the operator.
#[test]
fn what_lies_in_another_folder_is_no_blob_to_anybody() {
    let store = Store::new();
    let sha256 = |folder: &str| store.root().join(folder).join("sha256");
    let hex = Digest::sha256_of(b"misplaced").to_hex();
    let other = if hex.starts_with("ff") { "00" } else { "ff" };
    let blob = sha256("blobs").join(other).join(&hex);
    let outboard = sha256("outboards").join(other).join(format!("{hex}.json"));
    // A misplaced file with the name of a good blob: the finding must be about this file, not about the blob.
    let needed = store.blob("file");
    let second = sha256("blobs").join(other).join(needed.file_name().unwrap());
    for path in [&blob, &outboard, &second] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "misplaced").unwrap();
    }
    store.finds(&[(K::StrangeFile, &blob), (K::StrangeFile, &outboard), (K::StrangeFile, &second)]);
    let policy = GcPolicy::default().with_grace(std::time::Duration::ZERO);
    let plan = store.catalog.plan_gc(&policy).unwrap();
    assert!(plan.steps.is_empty(), "{:#?}", plan.steps);
    drop(store.catalog.execute_gc(&plan).unwrap());
    assert!([&blob, &outboard, &second].iter().all(|path| path.exists()));
}
