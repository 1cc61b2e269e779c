//! Staging: what it stores, shows and reads again, and what it leaves behind when it fails.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use catalog_core::{
    ArtifactKind, CatalogStore, Digest, Durability, Error, FsCatalog, IngestMode, LifecycleState, LinkMode, ModelRef,
    StageOptions, UsedMode,
};
use common::*;
use rstest::rstest;

#[test]
fn the_fixture_is_shown_as_a_hardlink_of_its_blob() {
    let host = Host::new();
    let catalog = host.catalog();
    let receipt = stage(&catalog, &fixture(), "tiny").unwrap();
    assert!(receipt.local_path.ends_with("tiny-llama-q8_0.gguf"));
    let blob = host.root().join("blobs/sha256/1e").join(FIXTURE_SHA256);
    assert_eq!(inode_of(&receipt.local_path), inode_of(&blob));
    assert_eq!(mode_of(&receipt.local_path), 0o444);
    assert_eq!(fs::read(&receipt.local_path).unwrap(), fs::read(fixture()).unwrap());
    assert_eq!((receipt.view, receipt.size_bytes, receipt.files), (LinkMode::Hardlink, 122_688, 1));
    assert_sound(&host.root());
}

// Red when a blob is published under a name derived from the entry and not from its content.
#[test]
fn ten_names_and_a_directory_are_one_blob() {
    let host = Host::new();
    let catalog = host.catalog();
    let content = fs::read(fixture()).unwrap();
    for number in 0..10 {
        let file = host.file(&format!("names/{number}.gguf"), &content);
        let receipt = stage(&catalog, &file, &format!("name {number}")).unwrap();
        assert_eq!((receipt.deduplicated, receipt.stored_bytes == 0), (number > 0, number > 0));
    }
    assert_eq!(blobs(&host.root()), [FIXTURE_SHA256.to_owned()].into());

    let receipt = stage(&catalog, &host.path("names"), "directory").unwrap();
    assert_eq!((receipt.files, receipt.deduplicated, receipt.kind), (10, true, ArtifactKind::Tree));
    assert_eq!(blobs(&host.root()), [FIXTURE_SHA256.to_owned(), receipt.digest.to_hex()].into());
    let blob = fs::metadata(host.root().join("blobs/sha256/1e").join(FIXTURE_SHA256)).unwrap();
    assert_eq!(blob.nlink(), 1 + 10 + 10, "the blob, a view for each name, and those of the directory");
    assert_sound(&host.root());
}

// Red when bytes that are here are copied, when only size and beginning are compared, or when a list of all blobs delays a
// file that is too small to be worth it.
#[test]
fn bytes_that_are_here_are_not_copied() {
    let host = Host::new();
    let catalog = host.catalog();
    let content: Vec<u8> = (0..2_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let by_copy = |name: &str, content: &[u8]| {
        let file = host.file(&format!("files/{name}.bin"), content);
        stage_as(&catalog, &file, name, IngestMode::Copy).unwrap()
    };
    let first = by_copy("first", &content);
    let again = by_copy("again", &content);
    assert_eq!((first.mode, again.mode, again.digest), (UsedMode::Copy, UsedMode::Present, first.digest));
    let mut other = content.clone();
    *other.last_mut().unwrap() ^= 1;
    assert_eq!(by_copy("other", &other).mode, UsedMode::Copy);
    assert_eq!(by_copy("longer", &[content.as_slice(), b"x"].concat()).mode, UsedMode::Copy);

    for number in 0..1_000 {
        host.file(&format!("many/{number}"), number.to_string());
    }
    stage(&catalog, &host.path("many"), "many").unwrap();
    assert_eq!(by_copy("late", &content).mode, UsedMode::Copy);
    assert_sound(&host.root());
}

/// With `Durability::Relaxed`: this test is about what the index holds, not what a power cut leaves of it, and 10,000
/// waits for the disk would take most of the time of all tests.
#[test]
fn ten_thousand_absent_paths() {
    const COUNT: usize = 10_000;
    let host = Host::new();
    let catalog: Box<dyn CatalogStore> = Box::new(host.catalog().with_durability(Durability::Relaxed));
    let id = |number: usize| format!("model-{number:05}");
    // Not in the order of the list.
    for number in (0..COUNT).map(|number| number * 7_919 % COUNT) {
        catalog.put(&entry(&id(number), format!("models/{number}.gguf"))).unwrap();
    }
    let listed = catalog.list().unwrap();
    assert!(listed.iter().map(|entry| &entry.id).eq((0..COUNT).map(id).collect::<Vec<_>>().iter()));
    let again = host.catalog();
    for (number, listed) in listed.iter().enumerate() {
        let got = again.get(&id(number)).unwrap().unwrap();
        assert_eq!(got.local_path, again.root().join(format!("models/{number}.gguf")));
        assert_eq!(&got, listed);
    }
}

// Red when records contain absolute paths.
#[test]
fn a_root_that_was_moved_works_at_its_new_place() {
    let host = Host::new();
    let catalog = host.catalog();
    let tree = host.path("tree");
    host.file("tree/a.gguf", b"in a tree");
    stage(&catalog, &fixture(), "file").unwrap();
    stage(&catalog, &tree, "tree").unwrap();
    catalog.put(&entry("absent", "models/absent.gguf")).unwrap();
    drop(catalog);
    let moved = Command::new("mv").arg(host.root()).arg(host.path("elsewhere")).status().unwrap();
    assert!(moved.success());

    let catalog = FsCatalog::open(host.path("elsewhere")).unwrap();
    for entry in catalog.list().unwrap() {
        assert!(entry.local_path.starts_with(catalog.root()), "{entry:?}");
    }
    let file = catalog.resolve("file").unwrap().entry;
    assert_eq!(fs::read(file.local_path).unwrap(), fs::read(fixture()).unwrap());
    let path = run({
        let mut command = host.command();
        command.env("CATALOG_ROOT", host.path("elsewhere")).args(["path", "tree"]);
        command
    });
    let path = String::from_utf8(path.stdout).unwrap();
    assert_eq!(fs::read(Path::new(path.trim_end()).join("a.gguf")).unwrap(), b"in a tree");
    assert_eq!(stage(&catalog, &host.file("b", b"b"), "more").unwrap().files, 1);
    catalog.remove("tree").unwrap().unwrap();
    catalog.remove("file").unwrap().unwrap();
    assert_eq!(blobs(catalog.root()), [Digest::sha256_of(b"b").to_hex()].into());
    assert!(!host.root().exists());
}

/// Replaces the bytes, but keeps length and time: only reading them could reveal it.
fn swap_bytes_unseen(file: &Path) {
    let before = fs::metadata(file).unwrap();
    let content = fs::read(file).unwrap().iter().map(|byte| !byte).collect::<Vec<u8>>();
    File::options().write(true).open(file).unwrap().write_all_at(&content, 0).unwrap();
    set_mtime(file, before.modified().unwrap());
    let after = fs::metadata(file).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
}

// Red when `unchanged` does not compare the stamp of the last staging.
#[test]
fn an_unchanged_source_is_not_read_again_and_a_changed_one_is() {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("a.gguf", b"first");
    let first = stage(&catalog, &file, "a").unwrap();
    let again = stage(&catalog, &file, "a").unwrap();
    assert_eq!((again.mode, again.digest, &again.local_path), (UsedMode::Unchanged, first.digest, &first.local_path));
    assert_readable(&catalog, "a", b"first");

    fs::write(&file, b"other").unwrap();
    set_mtime(&file, long_ago() + Duration::from_nanos(1));
    assert_eq!(stage(&catalog, &file, "a").unwrap().digest, Digest::sha256_of(b"other"));
    assert_readable(&catalog, "a", b"other");

    // Another inode with the same time and length, as `rsync -t` or `cp -p` make it.
    let other = host.file("other", b"other");
    set_mtime(&other, fs::metadata(&file).unwrap().modified().unwrap());
    fs::rename(&other, &file).unwrap();
    assert_eq!(stage(&catalog, &file, "a").unwrap().digest, Digest::sha256_of(b"other"));
}

// Red when the change time of a source is not compared, for a file or for one of the files of a tree; and when a source
// that has just changed is read before a later change would show.
#[test]
fn other_bytes_of_the_same_size_and_time_are_read() {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("tree/a.gguf", b"first");
    host.file("tree/b.gguf", b"second");
    for (id, source) in [("file", file.clone()), ("tree", host.path("tree"))] {
        let first = stage(&catalog, &source, id).unwrap();
        assert_eq!(stage(&catalog, &source, id).unwrap().mode, UsedMode::Unchanged, "{id}");
        swap_bytes_unseen(&file);
        let again = stage(&catalog, &source, id).unwrap();
        assert!(again.mode != UsedMode::Unchanged && again.digest != first.digest, "{id}: {again:?}");
        assert_eq!(stage(&catalog, &source, id).unwrap().mode, UsedMode::Unchanged, "{id}");
    }
}

// Red when `lasting_stamp` returns the stamp of a young file too.
#[test]
fn a_source_too_young_to_be_told_apart_is_read_again() {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("a.gguf", b"first");
    set_mtime(&file, SystemTime::now() + Duration::from_secs(60));
    stage(&catalog, &file, "a").unwrap();
    swap_bytes_unseen(&file);
    let changed: Vec<u8> = b"first".iter().map(|byte| !byte).collect();
    assert_eq!(stage(&catalog, &file, "a").unwrap().digest, Digest::sha256_of(&changed));
}

// Red when staging does not wait for the file system's clock to tick: the stamp of such a young file is not reliable.
#[test]
fn a_file_that_was_written_just_now_is_known_the_next_time() {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.path("a.gguf");
    fs::write(&file, "some bytes").unwrap();
    stage(&catalog, &file, "a").unwrap();
    assert_eq!(stage(&catalog, &file, "a").unwrap().mode, UsedMode::Unchanged);
}

// Red when `is_intact` is not called: the entry would still name a path where nothing is.
#[rstest]
#[case::the_view_is_gone(true, false)]
#[case::the_blob_is_gone(false, true)]
#[case::both_are_gone(true, true)]
fn an_unchanged_source_is_read_again_when_what_it_gave_is_gone(#[case] view: bool, #[case] blob: bool) {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("a.gguf", b"a");
    let first = stage(&catalog, &file, "a").unwrap();
    if view {
        fs::remove_file(&first.local_path).unwrap();
    }
    if blob {
        fs::remove_file(blob_path(&host.root(), &first.digest)).unwrap();
    }
    let again = stage(&catalog, &file, "a").unwrap();
    assert_ne!(again.mode, UsedMode::Unchanged);
    assert_eq!(again.local_path, first.local_path);
    assert_readable(&catalog, "a", b"a");
    assert_eq!(inode_of(&again.local_path), inode_of(&blob_path(&host.root(), &again.digest)));
    assert_sound(&host.root());
}

// Red when the manifest contains a time, a mode, or the files in the order of the directory.
#[test]
fn equal_trees_have_equal_digests() {
    let host = Host::new();
    let catalog = host.catalog();
    let names = ["config.json", "part/b.safetensors", "part/a.safetensors", "é"];
    for name in names {
        host.file(&format!("one/{name}"), name);
    }
    for name in names.iter().rev() {
        let file = host.file(&format!("other/place/{name}"), name);
        set_mtime(&file, SystemTime::now());
        set_mode(&file, 0o640);
    }
    fs::create_dir(host.path("other/place/empty")).unwrap();
    let one = stage(&catalog, &host.path("one"), "one").unwrap();
    let other = stage(&catalog, &host.path("other/place"), "other").unwrap();
    assert_eq!(one.digest, other.digest);
    assert!(other.deduplicated);
    // The two directories may list their names in the same order by chance.
    let manifest = fs::read(blob_path(&host.root(), &one.digest)).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let path = |layer: &serde_json::Value| layer["annotations"]["org.cncf.model.filepath"].as_str().unwrap().to_owned();
    let paths: Vec<_> = manifest["layers"].as_array().unwrap().iter().map(path).collect();
    assert_eq!(paths, ["config.json", "part/a.safetensors", "part/b.safetensors", "é"]);
    let elsewhere = FsCatalog::new(host.path("another-root")).unwrap();
    assert_eq!(stage(&elsewhere, &host.path("one"), "x").unwrap().digest, one.digest);

    host.file("one/config.json", b"changed");
    assert_ne!(stage(&catalog, &host.path("one"), "one").unwrap().digest, one.digest);
}

// Red when the path of the view does not contain the digest, and when `record` starts a new record.
#[test]
fn new_content_leaves_the_old_path_readable_and_keeps_what_belongs_to_the_id() {
    let host = Host::new();
    let catalog = host.catalog();
    let old = stage(&catalog, &host.file("a.gguf", b"old"), "a").unwrap();
    edit_shard(&host.root(), "a", |entries| {
        entries["a"]["created_ms"] = 7.into();
        entries["a"]["pins"] = serde_json::json!({"engine": {"created_ms": 1, "expiry_ms": null, "later": "kept"}});
        entries["a"]["of a later version"] = "kept".into();
    });
    catalog.set_state("a", LifecycleState::Retired).unwrap();

    let new = stage(&catalog, &host.file("a.gguf", b"new!"), "a").unwrap();
    assert_ne!(old.local_path, new.local_path);
    assert_eq!(fs::read(&old.local_path).unwrap(), b"old");
    assert_readable(&catalog, "a", b"new!");
    let record = catalog.record("a").unwrap().unwrap();
    assert_eq!((record.created_ms, record.entry.lifecycle), (7, LifecycleState::Active));
    assert_eq!(record.pins.keys().collect::<Vec<_>>(), ["engine"]);
    let shard = fs::read_to_string(shard_path(&host.root(), "a")).unwrap();
    assert!(shard.contains(r#""of a later version":"kept""#) && shard.contains(r#""later":"kept""#), "{shard}");
}

#[test]
fn link_takes_the_sources_own_inode() {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("a.gguf", b"a");
    let receipt = stage_as(&catalog, &file, "a", IngestMode::Link).unwrap();
    assert_eq!(receipt.mode, UsedMode::Link);
    assert_eq!(inode_of(&file), inode_of(&blob_path(&host.root(), &receipt.digest)));
    assert_eq!((mode_of(&file), fs::metadata(&file).unwrap().nlink()), (0o444, 3));
    assert_sound(&host.root());

    let removed = catalog.remove("a").unwrap().unwrap();
    assert_eq!((removed.bytes_reclaimed, removed.blobs_removed), (0, 1), "the source still has the bytes");
    assert_eq!(fs::read(&file).unwrap(), b"a");
}

#[test]
fn move_leaves_nothing_at_the_source() {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("a.gguf", b"a");
    let inode = inode_of(&file);
    let receipt = stage_as(&catalog, &file, "a", IngestMode::Move).unwrap();
    assert_eq!((receipt.mode, file.exists()), (UsedMode::Move, false));
    assert_eq!(inode_of(&receipt.local_path), inode);
    host.file("tree/sub/b", b"b");
    host.file("tree/c", b"c");
    stage_as(&catalog, &host.path("tree"), "tree", IngestMode::Move).unwrap();
    assert!(!host.path("tree").exists());
    assert_sound(&host.root());

    // The bytes are here already; the source goes all the same, because the stage was recorded.
    let file = host.file("again.gguf", b"a");
    assert!(stage_as(&catalog, &file, "again", IngestMode::Move).unwrap().deduplicated);
    assert!(!file.exists());
    assert_readable(&catalog, "again", b"a");
}

// Red without `check_nobody_writes`: a process that has the file open changes the blob.
#[rstest]
#[case(IngestMode::Link)]
#[case(IngestMode::Move)]
fn a_file_that_somebody_writes_to_is_not_taken(#[case] mode: IngestMode) {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("a.gguf", b"a");
    set_mode(&file, 0o664);
    let writer = hold_open_for_writing(&file);
    let before = listing(&file);
    let error = stage_as(&catalog, &file, "a", mode).unwrap_err();
    assert!(matches!(error, Error::SourceInUse { .. }) && error.to_string().contains("sleep"), "{error}");
    assert_eq!(listing(&file), before);
    assert!(catalog.list().unwrap().is_empty() && blobs(&host.root()).is_empty());
    assert_no_debris(&host.root());
    drop(writer);
    stage_as(&catalog, &file, "a", mode).unwrap();
}

// Red when the owner is not compared: the owner can make the file writable again.
#[test]
fn a_file_of_another_user_is_not_taken() {
    if !is_root() {
        return skip("giving a file to another user needs root");
    }
    let host = Host::new();
    let file = host.file("a.gguf", b"a");
    std::os::unix::fs::chown(&file, Some(NOBODY), None).unwrap();
    for mode in [IngestMode::Link, IngestMode::Move] {
        let error = stage_as(&host.catalog(), &file, "a", mode).unwrap_err();
        assert!(matches!(error, Error::SourceInUse { .. }), "{error}");
        assert_eq!((mode_of(&file), fs::metadata(&file).unwrap().nlink()), (0o644, 1));
    }
    stage(&host.catalog(), &file, "a").unwrap();
}

// Red when a `Sealed` does not restore the mode that it changed.
#[test]
fn a_link_that_fails_leaves_the_source_as_it_was() {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("a.gguf", b"a");
    set_mode(&file, 0o664);
    for mode in [IngestMode::Link, IngestMode::Move] {
        let mut options = mode_options("a", mode);
        options.digest = Some(Digest::sha256_of(b"other"));
        let error = catalog.stage(&reference(&file), &options).unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
        assert_eq!((mode_of(&file), fs::metadata(&file).unwrap().nlink()), (0o664, 1));
    }
    assert_eq!(fs::read(&file).unwrap(), b"a");

    // The file is not needed after all, because another file has the same bytes.
    stage(&catalog, &host.file("same.gguf", b"a"), "same").unwrap();
    stage_as(&catalog, &file, "a", IngestMode::Link).unwrap();
    assert_eq!((mode_of(&file), fs::metadata(&file).unwrap().nlink()), (0o664, 1));
}

// Red when `take` ignores the source's mode: everybody can then read the file under its own name, even after the entry
// is removed.
#[test]
fn a_private_file_is_not_opened_to_others_by_a_link() {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("a.gguf", b"a");
    let other = host.path("other name");
    for mode in [0o600, 0o640, 0o400, 0o604] {
        set_mode(&file, mode);
        let before = listing(&file);
        let error = stage_as(&catalog, &file, "a", IngestMode::Link).unwrap_err();
        assert!(matches!(error, Error::SourceInUse { .. }), "{error}");
        assert!(error.to_string().contains(&format!("its mode is {mode:04o}")), "{error}");
        assert_eq!(listing(&file), before);
        // The same for a file of a tree.
        host.file("tree/b", b"b");
        set_mode(&host.file("tree/c", b"c"), mode);
        stage_as(&catalog, &host.path("tree"), "tree", IngestMode::Link).unwrap_err();
        assert_eq!((mode_of(&host.path("tree/b")), mode_of(&host.path("tree/c"))), (0o644, mode));
    }
    assert_no_debris(&host.root());

    // A move opens no other name of the file to others: a name that stays keeps its own inode.
    set_mode(&file, 0o600);
    fs::hard_link(&file, &other).unwrap();
    stage_as(&catalog, &file, "a", IngestMode::Move).unwrap();
    assert_eq!((file.exists(), mode_of(&other)), (false, 0o600));
    assert_readable(&catalog, "a", b"a");
    let alone = host.file("alone.gguf", b"alone");
    set_mode(&alone, 0o600);
    let inode = inode_of(&alone);
    assert_eq!(inode_of(&stage_as(&catalog, &alone, "alone", IngestMode::Move).unwrap().local_path), inode);
    // Behind a symlink, the file keeps its mode.
    let behind = host.file("behind.gguf", b"behind");
    set_mode(&behind, 0o600);
    std::os::unix::fs::symlink(&behind, host.path("symlink.gguf")).unwrap();
    let _ = stage_as(&catalog, &host.path("symlink.gguf"), "behind", IngestMode::Move);
    assert_eq!(mode_of(&behind), 0o600);
    assert_sound(&host.root());
}

// Red when the second of two names restores the mode of an inode that is a blob by then.
#[test]
fn one_inode_linked_in_twice_stays_read_only() {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("tree/a.gguf", b"a");
    fs::hard_link(&file, host.path("tree/b.gguf")).unwrap();
    stage_as(&catalog, &host.path("tree"), "tree", IngestMode::Link).unwrap();
    assert_sound(&host.root());

    set_mode(&file, 0o644);
    stage_as(&catalog, &file, "a", IngestMode::Link).unwrap();
    assert_sound(&host.root());
}

// Red when a move removes whatever it has read: the path of the first entry would be gone.
#[test]
fn a_view_cannot_be_moved_away() {
    let host = Host::new();
    let catalog = host.catalog();
    let shown = stage(&catalog, &host.file("a.gguf", b"a"), "a").unwrap().local_path;
    let error = stage_as(&catalog, &shown, "b", IngestMode::Move).unwrap_err();
    assert!(matches!(error, Error::ReservedPath { .. }), "{error}");
    for mode in [IngestMode::Auto, IngestMode::Link] {
        assert!(stage_as(&catalog, &shown, "b", mode).unwrap().deduplicated);
    }
    assert_readable(&catalog, "a", b"a");
    assert_readable(&catalog, "b", b"a");
    assert_sound(&host.root());
}

// Red when the walk does not look out for the root: a move takes the store apart.
#[rstest]
#[case::auto(IngestMode::Auto)]
#[case::moved(IngestMode::Move)]
fn a_directory_with_the_root_in_it_is_refused(#[case] mode: IngestMode) {
    let host = Host::new();
    let catalog = host.catalog();
    let inside = stage(&catalog, &host.file("a.gguf", b"a"), "a").unwrap().local_path;
    let before = listing(host.dir.path());
    let error = stage_as(&catalog, host.dir.path(), "all", mode).unwrap_err();
    assert!(matches!(error, Error::UnusableTree { .. }), "{error}");
    assert_eq!(listing(host.dir.path()), before);

    // The same through a symlink that leads there.
    host.file("tree/b", b"b");
    let mut options = mode_options("all", mode);
    options.follow_links = true;
    for own in [host.root(), host.root().join("blobs"), host.root().join("views")] {
        symlink(own, host.path("tree/link")).unwrap();
        let error = catalog.stage(&reference(&host.path("tree")), &options).unwrap_err();
        assert!(matches!(error, Error::UnusableTree { .. }), "{error}");
        fs::remove_file(host.path("tree/link")).unwrap();
    }
    // A view can be part of a tree, but the tree may not move it.
    symlink(inside.parent().unwrap(), host.path("tree/link")).unwrap();
    assert_eq!(catalog.stage(&reference(&host.path("tree")), &options).unwrap().files, 2);
    assert_readable(&catalog, "a", b"a");
    assert_sound(&host.root());
}

// Red when the copy stops at the size that the file system reports.
#[test]
fn a_file_that_has_more_bytes_than_its_size_says_is_not_stored_empty() {
    let host = Host::new();
    let mut first = [0];
    File::open("/proc/version").unwrap().read_exact(&mut first).unwrap();
    let error = stage(&host.catalog(), Path::new("/proc/version"), "version").unwrap_err();
    assert!(matches!(error, Error::SourceChanged { .. }), "{error}");
    assert!(blobs(&host.root()).is_empty());
}

// Red when a time that the index cannot hold is written into it. (Here from the year 1600; tmpfs keeps such times, ext4
// does not.)
#[test]
fn a_source_of_any_age_can_be_staged() {
    let Some(tmpfs) = mount::tmpfs("size=1m") else { return };
    let host = Host::new();
    let catalog = host.catalog();
    let file = tmpfs.path().join("a.gguf");
    fs::write(&file, b"a").unwrap();
    for seconds in [11_676_096_000_u64, 100_000_000_000] {
        for time in [
            SystemTime::UNIX_EPOCH - Duration::from_secs(seconds),
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        ] {
            set_mtime(&file, time);
            stage(&catalog, &file, "a").unwrap();
            stage_as(&FsCatalog::new(tmpfs.path().join("root")).unwrap(), &file, "a", IngestMode::Link).unwrap();
            assert_readable(&catalog, "a", b"a");
        }
    }
}

/// Every folder and file of the store has the mode that the format demands.
fn assert_modes(root: &Path, folder: u32, file: u32) {
    for entry in walkdir::WalkDir::new(root).min_depth(1) {
        let entry = entry.unwrap();
        let below = entry.path().strip_prefix(root).unwrap();
        let expected = match entry.file_type().is_dir() {
            // Everybody notes uses here.
            true if below == Path::new("uses") => folder | 0o1777,
            true => folder,
            false if below.starts_with("blobs") || below.starts_with("views") => 0o444,
            false if below.starts_with("locks") && !below.ends_with("probe") => 0o600 | ((file & 0o020) * 3),
            false => file,
        };
        assert_eq!(mode_of(entry.path()), expected, "{}", below.display());
    }
}

// Red when modes are left to `open` and `mkdir`.
#[rstest]
#[case("000")]
#[case("077")]
fn the_umask_does_not_show(#[case] umask: &str) {
    let host = Host::new();
    fs::create_dir(host.root()).unwrap();
    host.file("tree/b", b"b");
    let program = host.command().get_program().to_owned();
    let script =
        format!("umask {umask} && \"$0\" stage \"$1\" --id a && \"$0\" stage \"$2\" --id tree && \"$0\" retire a");
    let mut command = host.command();
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).arg(program).args([host.file("a", b"a"), host.path("tree")]);
    shell.current_dir(host.dir.path()).env("CATALOG_ROOT", host.root()).env("HOME", host.path("home"));
    run(shell);
    assert_modes(&host.root(), 0o755, 0o644);
    command.args(["list", "--json"]);
    assert_eq!(String::from_utf8(run(command).stdout).unwrap().lines().count(), 2);
}

// Red when `shared_mode` is not passed on: the group could read the store, but not add to it.
#[test]
fn a_root_of_a_group_stays_one() {
    let host = Host::new();
    fs::create_dir(host.root()).unwrap();
    set_mode(&host.root(), 0o2775);
    host.file("tree/b", b"b");
    stage(&host.catalog(), &host.file("a", b"a"), "a").unwrap();
    stage(&host.catalog(), &host.path("tree"), "tree").unwrap();
    assert_modes(&host.root(), 0o2775, 0o664);
}

/// Changes the first byte of a read-only file.
fn damage(path: &Path) {
    set_mode(path, 0o644);
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    let mut first = [0];
    file.read_exact(&mut first).unwrap();
    file.write_all_at(&[!first[0]], 0).unwrap();
    set_mode(path, 0o444);
}

// Red when an existing blob is trusted because it exists, or because its size is right.
#[rstest]
#[case::flipped(|path: &Path| damage(path))]
#[case::truncated(|path: &Path| { set_mode(path, 0o644); File::options().write(true).open(path).unwrap().set_len(1).unwrap(); })]
#[case::emptied(|path: &Path| { set_mode(path, 0o644); File::create(path).unwrap(); })]
#[case::replaced_by_another_file(|path: &Path| { fs::remove_file(path).unwrap(); fs::write(path, b"good bytez").unwrap(); })]
fn a_damaged_blob_is_put_aside_and_replaced(#[case] damage: fn(&Path)) {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("a.gguf", b"good bytes");
    let digest = stage(&catalog, &file, "a").unwrap().digest;
    let blob = blob_path(&host.root(), &digest);
    damage(&blob);
    let bad = fs::read(&blob).unwrap();
    let receipt = stage(&catalog, &file, "a").unwrap();
    assert!(!receipt.deduplicated && receipt.stored_bytes == 10);
    assert_readable(&catalog, "a", b"good bytes");
    assert_eq!(inode_of(&receipt.local_path), inode_of(&blob));
    assert_sound(&host.root());
    let aside: Vec<_> = files_below(&host.root().join("quarantine"));
    assert_eq!(aside.len(), 1);
    assert_eq!(fs::read(&aside[0]).unwrap(), bad);
}

// Damage that also sets the time back is for `verify` to find: the stamp says that nothing changed. But it must not
// make staging fail.
#[test]
fn a_damage_that_hides_itself_stays_what_it_is() {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("a.gguf", b"good bytes");
    let digest = stage(&catalog, &file, "a").unwrap().digest;
    let blob = blob_path(&host.root(), &digest);
    let time = fs::metadata(&blob).unwrap().modified().unwrap();
    damage(&blob);
    set_mtime(&blob, time);
    assert!(stage(&catalog, &host.file("b.gguf", b"good bytes"), "b").unwrap().deduplicated);
    // Without its outboard, nothing vouches for the blob, so it is read.
    for outboard in files_below(&host.root().join("outboards")) {
        fs::remove_file(outboard).unwrap();
    }
    assert!(!stage(&catalog, &host.file("c.gguf", b"good bytes"), "c").unwrap().deduplicated);
    assert_readable(&catalog, "c", b"good bytes");
    assert_sound(&host.root());
}

// Red, by hanging, when the walk opens everything that it meets.
#[test]
fn a_tree_with_something_that_is_no_file_is_refused() {
    let host = Host::new();
    let catalog = host.catalog();
    for kind in ["FIFO", "socket", "device"] {
        let tree = host.path(kind);
        host.file(&format!("{kind}/sub/a.gguf"), b"a");
        let odd = tree.join("sub/odd");
        match kind {
            "FIFO" => assert!(Command::new("mkfifo").arg(odd).status().unwrap().success()),
            "socket" => drop(UnixListener::bind(odd).unwrap()),
            _ => symlink("/dev/zero", odd).unwrap(),
        }
        let mut options = options("tree");
        options.follow_links = true;
        let error = catalog.stage(&reference(&tree), &options).unwrap_err();
        assert!(error.to_string().contains(kind) && error.to_string().contains("odd"), "{error}");
        assert!(matches!(error, Error::UnsupportedFileType { .. }), "{error}");
    }
    assert!(blobs(&host.root()).is_empty() && catalog.list().unwrap().is_empty());
    assert_no_debris(&host.root());
}

// Red when the walk accepts more files than a manifest may name: nothing that reads the roots works any more.
#[test]
fn a_tree_with_more_files_than_a_manifest_names_is_refused() {
    let host = Host::new();
    let catalog = host.catalog();
    let first = host.file("tree/0", b"");
    for number in 0..50_000 {
        fs::hard_link(&first, host.path(&format!("tree/a{number}"))).unwrap();
    }
    let second = host.file("tree/1", b"");
    for number in 0..50_000 {
        fs::hard_link(&second, host.path(&format!("tree/b{number}"))).unwrap();
    }
    let error = stage(&catalog, &host.path("tree"), "tree").unwrap_err();
    assert!(matches!(error, Error::UnusableTree { .. }), "{error}");
    assert!(catalog.list().unwrap().is_empty());
}

fn items(paths: &[(&Path, &str)]) -> Vec<(ModelRef, StageOptions)> {
    paths.iter().map(|(path, id)| (reference(path), options(id))).collect()
}

// Red when an error of one item ends the batch.
#[test]
fn one_of_many_that_fails_does_not_hinder_the_others() {
    let host = Host::new();
    let catalog = host.catalog();
    let (a, tree, missing) = (host.file("a", b"a"), host.path("tree"), host.path("missing"));
    host.file("tree/b", b"b");
    let mut batch = items(&[(&a, "a"), (&missing, "missing"), (&tree, "damaged"), (&a, "bad\n"), (&tree, "tree")]);
    let mut wrong = options("wrong");
    wrong.digest = Some(Digest::sha256_of(b"other"));
    batch.push((reference(&a), wrong));
    // An unreadable shard fails the items whose ids are in it.
    fs::write(shard_path(&host.root(), "damaged"), b"damaged").unwrap();
    let results = catalog.stage_many(&batch);
    assert!(results[0].is_ok(), "{:?}", results[0]);
    assert!(matches!(results[1], Err(Error::SourceMissing { .. })));
    assert!(matches!(results[2], Err(Error::CorruptIndex { .. })));
    assert!(matches!(results[3], Err(Error::InvalidId { .. })));
    assert!(results[4].is_ok(), "{:?}", results[4]);
    assert!(matches!(results[5], Err(Error::DigestMismatch { .. })));
    assert_readable(&catalog, "a", b"a");
    assert!(catalog.record("tree").unwrap().is_some() && catalog.record("wrong").unwrap().is_none());
    assert_sound(&host.root());
}

// Red when a batch only checks what is here already, and not what the batch itself brings.
#[test]
fn of_an_id_that_is_there_twice_the_last_one_wins() {
    let host = Host::new();
    let catalog = host.catalog();
    let (one, two) = (host.file("one", b"one"), host.file("two", b"two"));
    stage(&catalog, &one, "x").unwrap();
    let results = catalog.stage_many(&items(&[(&two, "x"), (&one, "x")]));
    assert!(results.iter().all(Result::is_ok));
    assert_readable(&catalog, "x", b"one");
    catalog.stage_many(&items(&[(&one, "x"), (&one, "y"), (&two, "x"), (&two, "y"), (&two, "x")]));
    assert_readable(&catalog, "x", b"two");
    assert_readable(&catalog, "y", b"two");

    let registered = entry("x", "models/later.gguf");
    catalog.put_many(&[entry("x", &one), registered.clone()]).unwrap();
    assert_eq!(
        catalog.get("x").unwrap().unwrap().local_path,
        host.root().canonicalize().unwrap().join("models/later.gguf")
    );
    catalog.put_many(&[registered, entry("x", &one)]).unwrap();
    assert_readable(&catalog, "x", b"one");
    let x = catalog.get("x").unwrap().unwrap();
    let retired = catalog_core::CatalogEntry { lifecycle: LifecycleState::Retired, ..x };
    catalog.put_many(&[entry("x", &two), retired]).unwrap();
    assert_readable(&catalog, "x", b"one");
    assert_eq!(catalog.get("x").unwrap().unwrap().lifecycle, LifecycleState::Retired);
    assert_sound(&host.root());
}

/// More files than are synced one by one: one flush of the file system makes them durable.
#[test]
fn a_large_batch_is_all_there() {
    let host = Host::new();
    let catalog = host.catalog();
    let sources: Vec<_> =
        (0..300).map(|n| (host.file(&format!("many/{n}"), n.to_string()), format!("id {n}"))).collect();
    let batch: Vec<_> = sources.iter().map(|(path, id)| (path.as_path(), id.as_str())).collect();
    for result in catalog.stage_many(&items(&batch)) {
        assert_eq!(result.unwrap().mode.as_str(), "copy");
    }
    for (number, (_, id)) in sources.iter().enumerate() {
        assert_readable(&catalog, id, number.to_string().as_bytes());
    }
    assert_eq!(blobs(&host.root()).len(), 300);
    assert_sound(&host.root());
}

// Red when a source is opened before it is examined: opening a FIFO waits for a writer.
#[test]
fn a_fifo_put_in_the_place_of_a_file_does_not_block() {
    let host = Host::new();
    let catalog = host.catalog().with_durability(Durability::Relaxed);
    let (file, fifo) = (host.file("a", b"a"), host.path("fifo"));
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &file, rustix::fs::CWD, &fifo, flags).unwrap();
            }
        });
        let results: Vec<_> = (0..200).map(|_| stage(&catalog, &file, "a")).collect();
        stop.store(true, Ordering::Relaxed);
        for result in results {
            assert!(
                matches!(result, Ok(_) | Err(Error::UnsupportedFileType { .. } | Error::SourceChanged { .. })),
                "{result:?}"
            );
        }
    });
    let mut sink = File::create(host.path("sink")).unwrap();
    sink.write_all(b"done").unwrap();
    assert_sound(&host.root());
}

// Red when a view always has the source's own name: other tools name a blob after its digest.
#[test]
fn a_view_has_the_name_that_is_asked_for() {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("sha256-0123", "bytes");
    let named = |name: &str| options("m").with_name(name.to_owned());
    let receipt = catalog.stage(&reference(&file), &named("model.gguf")).unwrap();
    assert!(receipt.local_path.ends_with("model.gguf"));
    assert_readable(&catalog, "m", b"bytes");
    let again = catalog.stage(&reference(&file), &named("model.gguf")).unwrap();
    assert_eq!(again.mode, UsedMode::Unchanged);
    let other = catalog.stage(&reference(&file), &named("other.gguf")).unwrap();
    assert!(other.local_path.ends_with("other.gguf") && other.mode != UsedMode::Unchanged);
    for bad in ["", ".", "..", "a/b", "/a", "a\nb", "a\0b"] {
        catalog.stage(&reference(&file), &named(bad)).expect_err(bad);
    }
}

// Red when each use is a separate write.
#[test]
fn the_uses_of_a_batch_that_is_here_are_one_write_a_shard() {
    let host = Host::new();
    let catalog = host.catalog().with_durability(Durability::Relaxed);
    let items: Vec<_> = (0..400)
        .map(|number| (reference(&host.file(&format!("{number}"), number.to_string())), options(&number.to_string())))
        .collect();
    let generations = || -> BTreeMap<PathBuf, u64> {
        let shards = files_below(&host.root().join("index"));
        let shards = shards.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        let generation = |path: PathBuf| {
            let text = fs::read_to_string(&path).unwrap();
            let digits = text.split("\"generation\":").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
            (path, digits)
        };
        shards.map(generation).collect()
    };
    catalog.stage_many(&items).into_iter().for_each(|result| drop(result.unwrap()));
    let before = generations();
    assert!(before.len() < 256 && before.len() > 100, "several ids are in one shard");
    catalog.stage_many(&items).into_iter().for_each(|result| assert_eq!(result.unwrap().mode, UsedMode::Unchanged));
    for (path, generation) in generations() {
        assert_eq!(generation, before[&path] + 1, "{}", path.display());
    }
    assert!(catalog.records().unwrap().iter().all(|record| record.last_used_ms.is_some()));
}
