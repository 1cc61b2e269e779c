//! What engines open: missing, replaced, edited, and next to files that do not belong there.

use catalog_core::{FindingKind as K, LinkMode};
use common::{inode_of, mode_of, shard_path};

use super::*;

fn in_quarantine(store: &Store) -> Vec<Vec<u8>> {
    common::files_below(&store.root().join("quarantine")).iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn a_view_that_is_gone_is_linked_again() {
    let store = Store::new();
    let (view, blob) = (store.view("file"), store.blob("file"));
    fs::remove_file(&view).unwrap();
    store.repairs(&[(K::ViewMissing, &view)], &[&view, &blob]);
    assert_eq!(inode_of(&view), inode_of(&blob));

    // With its folders.
    fs::remove_dir_all(view.parent().unwrap().parent().unwrap()).unwrap();
    let folders = [view.parent().unwrap(), view.parent().unwrap().parent().unwrap()];
    store.repairs(&[(K::ViewMissing, &view)], &[&view, &blob, folders[0], folders[1]]);
}

#[test]
fn a_file_of_a_tree_that_is_gone_is_linked_again() {
    let store = Store::new();
    let (b, c) = (store.view("tree").join("sub/b.json"), store.view("tree").join("sub/c.json"));
    let blobs =
        [blob_path(&store.root(), &Digest::sha256_of(b"a")), blob_path(&store.root(), &Digest::sha256_of(b"b"))];
    fs::remove_file(&b).unwrap();
    fs::remove_file(&c).unwrap();
    let a = store.view("tree").join("a.bin"); // shares c's inode, whose link count changes
    store.repairs(&[(K::ViewMissing, &b), (K::ViewMissing, &c)], &[&a, &b, &c, &blobs[0], &blobs[1]]);
}

// Red when whatever is at the view's place is replaced without being kept.
#[test]
fn a_view_that_was_replaced_is_kept_and_linked_again() {
    let store = Store::new();
    let (view, blob) = (store.view("file"), store.blob("file"));
    let size = fs::metadata(&view).unwrap().len();
    for content in [b"short".to_vec(), vec![0; usize::try_from(size).unwrap()]] {
        fs::remove_file(&view).unwrap();
        fs::write(&view, &content).unwrap();
        let left = store.repairs_to(&[(K::ViewReplaced, &view)], &[&view, &blob]);
        assert_eq!(left.len(), 1, "{left:#?}");
        assert_eq!(in_quarantine(&store), [content]);
        assert_eq!(inode_of(&view), inode_of(&blob));
        fs::remove_dir_all(store.root().join("quarantine")).unwrap();
        fs::create_dir(store.root().join("quarantine")).unwrap();
    }
    // A copy of the same bytes need not be kept.
    fs::remove_file(&view).unwrap();
    fs::copy(&blob, &view).unwrap();
    store.repairs(&[(K::ViewReplaced, &view)], &[&view, &blob]);
    assert_eq!(inode_of(&view), inode_of(&blob));
}

// Red when `rebuild_view` follows or leaves what it finds: nothing outside the root may be touched.
#[test]
fn a_view_that_has_become_a_symlink_or_a_folder_is_kept_and_linked_again() {
    let store = Store::new();
    let (view, blob) = (store.view("file"), store.blob("file"));
    let outside = store.host.file("outside", "untouched");
    fs::remove_file(&view).unwrap();
    std::os::unix::fs::symlink(&outside, &view).unwrap();
    assert_eq!(store.repairs_to(&[(K::ViewReplaced, &view)], &[&view, &blob]).len(), 1);
    fs::remove_file(&view).unwrap();
    fs::create_dir(&view).unwrap();
    fs::write(view.join("inside"), "x").unwrap();
    let found = store.examine();
    store.doctor().repair(&found);
    assert_eq!(inode_of(&view), inode_of(&blob));
    assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
    assert_eq!(fs::read_dir(store.root().join("quarantine")).unwrap().count(), 2);
}

// Red when a view is linked to a blob that was not checked first.
#[test]
fn a_view_is_never_made_of_a_bad_blob() {
    let store = Store::new();
    let (view, blob) = (store.view("file"), store.blob("file"));
    fs::remove_file(&view).unwrap();
    spoil(&blob, |bytes| bytes[7] ^= 1);
    let found = store.finds(&[(K::BlobChanged, &blob), (K::ViewMissing, &view)]);
    let view_alone: Vec<Finding> = found.into_iter().filter(|finding| finding.kind == K::ViewMissing).collect();
    let outcomes = store.doctor().repair(&view_alone);
    assert!(matches!(&outcomes[..], [RepairOutcome::Failed(error)] if error.is_corrupt()), "{outcomes:?}");
    assert!(!view.exists() && !blob.exists());
    let kinds: Vec<K> = store.examine().iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [K::EntryDamaged, K::QuarantineNotEmpty, K::NoHardlinks]);
}

#[test]
fn a_copy_that_was_edited_is_kept_and_made_again() {
    let store = Store::new();
    let (view, blob, shard) = (store.view("copied"), store.blob("copied"), shard_path(&store.root(), "copied"));
    let prev = PathBuf::from(format!("{}.prev", shard.display()));
    let good = fs::read(&view).unwrap();
    spoil(&view, |bytes| bytes[100] ^= 1);
    let left = store.repairs_to(&[(K::ViewChanged, &view)], &[&view, &blob, &shard, &prev]);
    assert_eq!(left.len(), 1, "{left:#?}");
    assert_eq!(fs::read(&view).unwrap(), good);
    assert_eq!(store.record("copied").view, Some(LinkMode::Hardlink), "this file system can");
    assert_eq!(in_quarantine(&store).len(), 1);
}

#[test]
fn a_copy_that_was_only_touched_stays_good() {
    let store = Store::new();
    let (view, blob, shard) = (store.view("copied"), store.blob("copied"), shard_path(&store.root(), "copied"));
    let prev = PathBuf::from(format!("{}.prev", shard.display()));
    let verified = store.record("copied").entry.last_verified_ms;
    common::set_mtime(&view, common::long_ago());
    store.repairs(&[(K::ViewChanged, &view)], &[&view, &blob, &shard, &prev]);
    assert!(in_quarantine(&store).is_empty());
    // Only the view's bytes were checked, not the blob's, so the entry does not count as checked.
    assert_eq!(store.record("copied").entry.last_verified_ms, verified);
}

#[test]
fn a_copy_with_another_mode_gets_its_own() {
    let store = Store::new();
    let view = store.view("copied");
    set_mode(&view, 0o644);
    store.repairs(&[(K::WrongMode, &view)], &[&view]);
    assert_eq!(mode_of(&view), 0o444);
}

#[test]
fn what_does_not_belong_in_a_view_is_named() {
    let store = Store::new();
    let tree = store.view("tree");
    let (extra, below) = (tree.join("extra.txt"), tree.join("sub/extra"));
    fs::write(&extra, "x").unwrap();
    fs::create_dir(&below).unwrap();
    let beside = store.view("file").with_file_name("beside");
    fs::write(&beside, "x").unwrap();
    let found = store.finds(&[(K::ViewExtra, &extra), (K::ViewExtra, &below), (K::ViewExtra, &beside)]);
    assert!(found.iter().all(|finding| finding.id.is_some() && !finding.is_repairable()));
}

#[test]
fn what_an_id_was_called_before_is_no_stranger() {
    let store = Store::new();
    let again = store.host.file("sources/renamed.bin", "small");
    store.catalog.stage(&reference(&again), &options("small")).unwrap();
    assert_eq!(fs::read_dir(store.view("small").parent().unwrap()).unwrap().count(), 2);
    store.finds(&[]);
}

// Red when a file shown in place is treated as one of the store's own: its owner may want another file there.
#[test]
fn a_file_in_place_that_was_replaced_is_left_to_its_owner() {
    let store = Store::new();
    let mine = store.host.file("root/mine/in-place.bin", "in place");
    store.catalog.put(&common::entry("in-place", &mine)).unwrap();
    fs::remove_file(&mine).unwrap();
    fs::write(&mine, "another one").unwrap();
    let found = store.finds(&[(K::ViewReplaced, &mine)]);
    let before = listing(&mine);
    let outcomes = store.doctor().repair(&found);
    assert!(
        matches!(&outcomes[..], [RepairOutcome::Repaired(what)] if what.contains("was left alone")),
        "{outcomes:?}"
    );
    assert_eq!(listing(&mine), before);
    let record = store.catalog.resolve("in-place").unwrap();
    assert!(record.entry.local_path.starts_with(store.catalog.root().join("views")));
    assert_eq!(fs::read_to_string(&record.entry.local_path).unwrap(), "in place");
    store.finds(&[]);
}
