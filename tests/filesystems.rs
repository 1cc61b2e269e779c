//! The store on different file systems: with reflinks and without, without hardlinks, full, read-only, and with the
//! source on another one.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use catalog_core::{
    CatalogStore, Digest, Error, FsCatalog, GcPolicy, GcReason, IngestMode, LifecycleState, LinkMode, MinFree,
    RepairOptions, StageReceipt, UsedMode,
};
use common::mount::Mounted;
use common::*;
use rstest::rstest;

const MEGABYTE: usize = 1 << 20;

fn ext4() -> Option<Mounted> {
    mount::image(64, &["mkfs.ext4", "-q"], "loop")
}

fn free_bytes(at: &Path) -> u64 {
    // Delayed allocation: data that has no blocks yet counts as free until it is synced.
    assert!(Command::new("sync").arg("-f").arg(at).status().unwrap().success());
    let stat = rustix::fs::statvfs(at).unwrap();
    stat.f_bavail * stat.f_frsize
}

// Red when a reflink is not tried: free space shrinks by the size of the file.
#[rstest]
#[case::xfs(&["mkfs.xfs", "-q"])]
#[case::btrfs(&["mkfs.btrfs", "-q"])]
fn a_reflink_shares_its_blocks(#[case] mkfs: &[&str]) {
    let Some(mounted) = mount::image(400, mkfs, "loop") else { return };
    let content = noise(32 * MEGABYTE, 1);
    let file = mounted.path().join("a.gguf");
    fs::write(&file, &content).unwrap();
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    let before = free_bytes(mounted.path());
    for mode in [IngestMode::Auto, IngestMode::Reflink] {
        let receipt = stage_as(&catalog, &file, "a", mode).unwrap();
        assert_eq!((receipt.mode, receipt.view), (UsedMode::Reflink, LinkMode::Hardlink));
        catalog.remove("a").unwrap().unwrap();
    }
    stage(&catalog, &file, "a").unwrap();
    let used = before.saturating_sub(free_bytes(mounted.path()));
    assert!(used < 8 * MEGABYTE as u64, "{used} bytes were used");

    // The clone is not the source: a write to the source does not show in it.
    let mut source = File::options().write(true).open(&file).unwrap();
    source.write_all(&noise(MEGABYTE, 2)).unwrap();
    assert_readable(&catalog, "a", &content);
    assert_sound(catalog.root());
}

// Red when the room that a copy needs on the same file system is not reckoned with.
#[test]
fn a_copy_on_request_shares_nothing_with_the_source() {
    let Some(mounted) = mount::image(400, &["mkfs.xfs", "-q"], "loop") else { return };
    let file = mounted.path().join("a.gguf");
    fs::write(&file, noise(MEGABYTE, 1)).unwrap();
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    let receipt = stage_as(&catalog, &file, "a", IngestMode::Copy).unwrap();
    assert_eq!(receipt.mode, UsedMode::Copy);
    fs::write(&file, b"other").unwrap();
    assert_readable(&catalog, "a", &noise(MEGABYTE, 1));
}

// Red when EXDEV does not count as a refusal.
#[test]
fn a_source_on_another_file_system_is_copied() {
    let (Some(tmpfs), Some(ext4)) = (mount::tmpfs("size=4m"), ext4()) else { return };
    let file = tmpfs.path().join("a.gguf");
    fs::write(&file, b"a").unwrap();
    let catalog = FsCatalog::new(ext4.path().join("root")).unwrap();
    let receipt = stage(&catalog, &file, "a").unwrap();
    assert_eq!((receipt.mode, receipt.view), (UsedMode::Copy, LinkMode::Hardlink));
    let error = stage_as(&catalog, &file, "link", IngestMode::Link).unwrap_err();
    assert!(matches!(error, Error::SourceInUse { .. }), "{error}");
    stage_as(&catalog, &file, "reflink", IngestMode::Reflink).unwrap_err();
    assert!(file.exists() && mode_of(&file) == 0o644);

    assert_eq!(stage_as(&catalog, &file, "moved", IngestMode::Move).unwrap().mode, UsedMode::Move);
    assert!(!file.exists());
    assert_readable(&catalog, "moved", b"a");
    assert_eq!(catalog.list().unwrap().len(), 2);
    assert_sound(catalog.root());
}

/// Every blob matches its name, and the folder for private files is empty. (FAT has no modes to check.)
fn assert_whole(catalog: &FsCatalog) {
    for blob in files_below(&catalog.root().join("blobs")) {
        assert_eq!(Digest::sha256_of(&fs::read(&blob).unwrap()).to_hex(), *blob.file_name().unwrap().to_str().unwrap());
    }
    assert_no_debris(catalog.root());
}

// Red when a link that is not permitted is an error, and when publishing has no other way.
#[test]
fn a_file_system_without_hardlinks() {
    let Some(mounted) = mount::fat(64) else { return };
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    let content = noise(3 * MEGABYTE, 1);
    let host = Host::new();
    let receipt = stage(&catalog, &host.file("a.gguf", &content), "a").unwrap();
    assert_eq!((receipt.mode, receipt.view), (UsedMode::Copy, LinkMode::Copy));
    assert_eq!(catalog.record("a").unwrap().unwrap().view, Some(LinkMode::Copy));
    assert_readable(&catalog, "a", &content);

    // The same bytes again; an entry that is replaced; one that is changed; one that is removed.
    let again = stage(&catalog, &host.file("b.gguf", &content), "b").unwrap();
    assert!(again.deduplicated, "what is here already is found");
    stage(&catalog, &host.file("c.gguf", b"c"), "c").unwrap();
    stage(&catalog, &host.file("c.gguf", b"other c"), "c").unwrap();
    assert_readable(&catalog, "c", b"other c");
    catalog.set_state("a", LifecycleState::Retired).unwrap();
    let removed = catalog.remove("b").unwrap().unwrap();
    assert_eq!((removed.bytes_reclaimed, removed.blobs_removed), (content.len() as u64, 0), "{removed:?}");
    assert_readable(&catalog, "a", &content);
    let removed = catalog.remove("a").unwrap().unwrap();
    assert_eq!((removed.bytes_reclaimed, removed.blobs_removed), (2 * content.len() as u64, 1), "{removed:?}");
    assert_whole(&catalog);

    host.file("tree/sub/x", b"x");
    host.file("tree/y", b"y");
    let tree = stage(&catalog, &host.path("tree"), "tree").unwrap();
    assert_eq!((tree.view, fs::read(tree.local_path.join("sub/x")).unwrap()), (LinkMode::Copy, b"x".to_vec()));
    assert_eq!(catalog.list().unwrap().len(), 2);
    assert_whole(&catalog);
}

// Red when only blobs are checked for open files, or only the files at the top of a tree's copy: what an engine opens
// here is a copy.
#[test]
fn a_copy_that_an_engine_has_open_is_not_evicted() {
    let Some(mounted) = mount::fat(64) else { return };
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    let host = Host::new();
    host.file("tree/sub/x", b"x");
    let views = [("a", host.file("a.gguf", b"a"), ""), ("tree", host.path("tree"), "sub/x")]
        .map(|(id, source, opened)| stage(&catalog, &source, id).unwrap().local_path.join(opened));
    let policy = GcPolicy::default().with_grace(std::time::Duration::ZERO).with_max_bytes(Some(1));
    for (number, id) in ["a", "tree"].into_iter().enumerate() {
        let path = views[number].to_str().unwrap().trim_end_matches('/');
        let engine = fs::File::open(path).unwrap();
        let plan = catalog.plan_gc(&policy).unwrap();
        assert_eq!((plan.kept.len(), &*plan.kept[0].id, &plan.kept[0].reason), (1, id, &GcReason::Open));
        drop(engine);
    }
    assert!(catalog.plan_gc(&policy).unwrap().kept.is_empty());
}

/// A file system that treats `A` and `a` as the same name.
fn case_folding() -> Option<Mounted> {
    // The kernel's own case folding first, if it was built with the tables for it.
    if let Ok(mounted) = mount::try_image(64, &["mkfs.ext4", "-q", "-O", "casefold"], &["-o", "loop"]) {
        let folder = mounted.path().join("folded");
        fs::create_dir(&folder).unwrap();
        if Command::new("chattr").arg("+F").arg(&folder).status().is_ok_and(|status| status.success()) {
            return Some(mounted);
        }
    }
    let mounted = mount::fat(64)?;
    fs::create_dir(mounted.path().join("folded")).unwrap();
    Some(mounted)
}

// Red when nobody counts the names in a view: one of the two files would be missing without a word. Red when one of
// them is taken for something in the other's way.
#[rstest]
#[case::two_files(&["model/A", "model/a", "model/other"])]
#[case::two_folders(&["model/A/x", "model/a/y"])]
#[case::a_file_in_two_folders(&["model/A/x", "model/a/x"])]
#[case::further_down(&["model/x/y/Config.json", "model/x/y/config.json"])]
fn names_that_the_file_system_cannot_keep_apart(#[case] names: &[&str]) {
    let Some(mounted) = case_folding() else { return };
    let catalog = FsCatalog::new(mounted.path().join("folded/root")).unwrap();
    let host = Host::new();
    stage(&catalog, &host.file("kept", b"kept"), "kept").unwrap();
    let before: Vec<_> = files_below(catalog.root());
    for name in names {
        host.file(name, name);
    }
    let error = stage(&catalog, &host.path("model"), "model").unwrap_err();
    assert!(matches!(error, Error::NameCollision { .. }), "{error}");
    let new: Vec<_> = files_below(catalog.root()).into_iter().filter(|path| !before.contains(path)).collect();
    let new: Vec<_> = new.into_iter().filter(|path| !path.starts_with(catalog.root().join("locks"))).collect();
    assert!(new.is_empty(), "{new:?}");
    assert_eq!(catalog.list().unwrap().len(), 1);
    assert_readable(&catalog, "kept", b"kept");
}

// Red when EMLINK does not count as a refusal.
#[test]
fn a_blob_with_all_the_names_that_it_can_have() {
    let Some(mounted) = ext4() else { return };
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    let host = Host::new();
    let file = host.file("a.gguf", b"a");
    let blob = blob_path(catalog.root(), &stage(&catalog, &file, "first").unwrap().digest);
    let links = mounted.path().join("links");
    fs::create_dir(&links).unwrap();
    let count = (0..70_000).take_while(|number| fs::hard_link(&blob, links.join(number.to_string())).is_ok()).count();
    assert!((60_000..70_000).contains(&count), "{count}");

    let receipt = stage(&catalog, &file, "second").unwrap();
    assert_eq!((receipt.deduplicated, receipt.view), (true, LinkMode::Copy));
    let record = catalog.record("second").unwrap().unwrap();
    assert_eq!(record.view, Some(LinkMode::Copy));
    assert_ne!(inode_of(&receipt.local_path), inode_of(&blob));
    assert_eq!(mode_of(&receipt.local_path), 0o444);
    assert_readable(&catalog, "second", b"a");
    assert_sound(catalog.root());

    // One name is free again: the next view is a hardlink.
    fs::remove_file(links.join("0")).unwrap();
    assert_eq!(stage(&catalog, &file, "third").unwrap().view, LinkMode::Hardlink);
    assert_eq!(catalog.remove("second").unwrap().unwrap().bytes_reclaimed, 1, "the copy");
    assert!(!receipt.local_path.exists());
}

/// Writes until not one more byte fits.
fn fill(at: &Path) {
    for (number, size) in [MEGABYTE, 4096, 1].into_iter().enumerate() {
        let mut file = File::create(at.join(format!("filler-{number}"))).unwrap();
        let block = noise(size, 9);
        while file.write_all(&block).is_ok() {}
        let _ = file.sync_all();
    }
    assert_eq!(free_bytes(at), 0);
}

fn assert_no_space(error: &Error) {
    assert!(error.is_no_space(), "{error}");
    assert!(error.hint().is_some() && error.to_string().lines().count() == 1, "{error}");
}

/// A catalog of a few entries on a file system of its own.
fn catalog_on(mounted: &Mounted, host: &Host) -> (FsCatalog, StageReceipt) {
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    let kept = stage(&catalog, &host.file("kept.gguf", noise(MEGABYTE, 1)), "kept").unwrap();
    host.file("tree/a", noise(5_000, 2));
    stage(&catalog, &host.path("tree"), "tree").unwrap();
    stage(&catalog, &host.file("gone", noise(2 * MEGABYTE, 3)), "gone").unwrap();
    (catalog, kept)
}

/// Nothing can be staged for lack of room, everything that was there is unchanged, and nothing is left behind.
fn assert_nothing_more_fits(catalog: &FsCatalog, host: &Host) {
    let new = host.file("new", noise(100_000, 4));
    host.file("more/x", noise(100, 5));
    // Lock files are permanent: there is one for each reference that a process worked on.
    let files = || -> Vec<_> {
        let locks = catalog.root().join("locks/fetch");
        files_below(catalog.root()).into_iter().filter(|file| !file.starts_with(&locks)).collect()
    };
    let before = files();
    for _ in 0..2 {
        assert_no_space(&stage(catalog, &new, "new").unwrap_err());
        assert_no_space(&stage(catalog, &new, "kept").unwrap_err());
        assert_no_space(&stage(catalog, &host.path("more"), "more").unwrap_err());
    }
    assert_eq!(files(), before);
    assert_eq!(catalog.list().unwrap().len(), 3);
    assert_readable(catalog, "kept", &noise(MEGABYTE, 1));
    assert_sound(catalog.root());
}

// Red when a removal needs more room for the new shard: nobody could free anything on a full disk.
#[test]
fn a_full_disk() {
    let (Some(mounted), host) = (mount::image(64, &["mkfs.ext4", "-q", "-m", "0"], "loop"), Host::new()) else {
        return;
    };
    let (catalog, kept) = catalog_on(&mounted, &host);
    fill(mounted.path());
    assert_nothing_more_fits(&catalog, &host);

    let removed = catalog.remove("gone").unwrap().unwrap();
    assert_eq!((removed.bytes_reclaimed, removed.blobs_removed), (2 * MEGABYTE as u64, 1), "{removed:?}");
    assert!(free_bytes(mounted.path()) > MEGABYTE as u64);
    stage(&catalog, &host.file("new", noise(100_000, 4)), "new").unwrap();
    fill(mounted.path());
    assert!(catalog.delete("tree").unwrap());
    assert_eq!(fs::read(&kept.local_path).unwrap(), noise(MEGABYTE, 1));
    assert_eq!(ids_on_disk(&catalog), ["kept", "new"]);
    assert_sound(catalog.root());
}

// Red when a file system with 0 blocks counts as full, and when the note is left out or printed for each file.
#[test]
fn a_file_system_that_does_not_tell_its_room_has_no_limit_but_the_quota() {
    let Some(mounted) = mount::ramfs() else { return };
    let host = Host::new();
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    assert_eq!(catalog.free_bytes(), None);
    catalog
        .change_config(|config| {
            config.min_free = MinFree::percent(10);
            config.max_bytes = Some(3 * MEGABYTE as u64);
        })
        .unwrap();
    let files = ["a", "b"].map(|name| host.file(name, noise(MEGABYTE, u64::from(name.as_bytes()[0]))));
    let notes = |args: &[&Path]| {
        let mut command = host.command();
        command.arg("--root").arg(catalog.root()).args(args);
        let output = run(command);
        String::from_utf8(output.stderr).unwrap().matches("does not tell how much room it has").count()
    };
    assert_eq!(notes(&[Path::new("stage"), &files[0], &files[1]]), 1);
    assert_eq!(notes(&[Path::new("gc"), Path::new("--min-free"), Path::new("50%")]), 1);
    assert_eq!(notes(&[Path::new("list")]), 0);
    assert_eq!(catalog.list().unwrap().len(), 2, "nothing is evicted for a room that is not known");

    let error = stage(&catalog, &host.file("large", noise(4 * MEGABYTE, 2)), "large").unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "the quota holds: {error}");
    assert_sound(catalog.root());
}

fn disk_bytes(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// A file with three small islands of data.
fn with_holes(path: &Path, size_bytes: u64) {
    let mut file = File::create(path).unwrap();
    file.set_len(size_bytes).unwrap();
    for (number, at) in [1, size_bytes / 2, size_bytes - 10_000].into_iter().enumerate() {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&noise(9_000, number as u64)).unwrap();
    }
    set_mtime(path, long_ago());
}

// Red when room is reserved for the holes of a source, and when zeros are written for them: by a copy that outlives its
// process, by one that does not, by one of many streams, or by a repair.
#[rstest]
#[case::xfs(&["mkfs.xfs", "-q"])]
#[case::ext4(&["mkfs.ext4", "-q"])]
fn what_has_holes_is_stored_with_them(#[case] mkfs: &[&str]) {
    let Some(mounted) = mount::image(400, mkfs, "loop") else { return };
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    let tree = mounted.path().join("tree");
    fs::create_dir(&tree).unwrap();
    for (name, size) in [("partial", 300 << 20), ("private", 20 << 20), ("tree/one", 9 << 20), ("tree/two", 1 << 20)] {
        with_holes(&mounted.path().join(name), size);
    }
    for name in ["partial", "private", "tree"] {
        stage_as(&catalog, &mounted.path().join(name), name, IngestMode::Copy).unwrap();
    }
    for blob in files_below(&catalog.root().join("blobs")) {
        assert!(disk_bytes(&blob) < MEGABYTE as u64, "{}: {} bytes", blob.display(), disk_bytes(&blob));
        assert_eq!(Digest::sha256_of(&fs::read(&blob).unwrap()).to_hex(), *blob.file_name().unwrap().to_str().unwrap());
    }

    // A byte of an island has changed: the repair takes the good parts from the damaged file, with its holes.
    let record = catalog.record("private").unwrap().unwrap();
    let blob = blob_path(catalog.root(), &record.entry.digest.unwrap());
    set_mode(&blob, 0o644);
    let mut file = File::options().write(true).open(&blob).unwrap();
    file.seek(SeekFrom::Start(10 << 20)).unwrap();
    file.write_all(b"?").unwrap();
    drop(file);
    set_mode(&blob, 0o444);
    let repaired = catalog.repair("private", &RepairOptions::default()).unwrap();
    assert_eq!((repaired.files, repaired.repaired_bytes), (1, MEGABYTE as u64));
    assert!(disk_bytes(&blob) < 3 * MEGABYTE as u64, "{} bytes", disk_bytes(&blob));
    assert_sound(catalog.root());
}

fn ids_on_disk(catalog: &FsCatalog) -> Vec<String> {
    FsCatalog::open(catalog.root()).unwrap().list().unwrap().into_iter().map(|entry| entry.id).collect()
}

// Red as above: the new shard needs an inode. (On tmpfs, every further name needs one too, so this is not enough
// there.)
#[test]
fn no_inodes_left() {
    let Some(mounted) = mount::image(64, &["mkfs.ext4", "-q", "-m", "0", "-N", "128"], "loop") else { return };
    let host = Host::new();
    let (catalog, _) = catalog_on(&mounted, &host);
    let fillers = mounted.path().join("fillers");
    fs::create_dir(&fillers).unwrap();
    while File::create(fillers.join(files_below(&fillers).len().to_string())).is_ok() {}
    assert_eq!(rustix::fs::statvfs(mounted.path()).unwrap().f_ffree, 0);
    assert_nothing_more_fits(&catalog, &host);

    let removed = catalog.remove("gone").unwrap().unwrap();
    assert_eq!(removed.blobs_removed, 1, "{removed:?}");
    assert_eq!(ids_on_disk(&catalog), ["kept", "tree"]);
    assert_sound(catalog.root());
}

// Red when a read takes a lock.
#[test]
fn a_file_system_that_became_read_only() {
    let Some(mounted) = ext4() else { return };
    let host = Host::new();
    let (catalog, kept) = catalog_on(&mounted, &host);
    mounted.remount("ro");
    let before = listing(mounted.path());
    for catalog in [catalog.clone(), FsCatalog::new(catalog.root()).unwrap(), FsCatalog::open(catalog.root()).unwrap()]
    {
        assert_eq!(catalog.list().unwrap().len(), 3);
        assert_eq!(catalog.resolve("kept").unwrap().entry.local_path, kept.local_path);
        assert_eq!(stage(&catalog, &host.path("kept.gguf"), "kept").unwrap().mode, UsedMode::Unchanged);
    }
    let command = |words: &[&str]| {
        let mut command = host.command();
        command.args(words).env("CATALOG_ROOT", catalog.root());
        command.output().unwrap()
    };
    for words in [&["list"] as &[_], &["path", "kept"], &["show", "kept"]] {
        assert!(command(words).status.success(), "{words:?}");
    }
    let new = host.file("new", b"new");
    for words in [&["stage", new.to_str().unwrap()] as &[_], &["remove", "kept"], &["retire", "kept"]] {
        let output = command(words);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{words:?}: {error}");
        assert!(error.contains("can be read here but not changed"), "{words:?}: {error}");
    }
    assert_eq!(listing(mounted.path()), before);
    mounted.remount("rw");
    stage(&catalog, &new, "new").unwrap();
}

/// If the kernel protects hardlinks, a user cannot link a file that they neither own nor may write: another user's
/// blob, for example.
// Red when EPERM does not count as a refusal.
#[test]
fn the_blob_of_another_user_of_the_group() {
    let protected = fs::read_to_string("/proc/sys/fs/protected_hardlinks").is_ok_and(|value| value.trim() == "1");
    if !protected {
        return skip("the kernel does not protect hardlinks here (fs.protected_hardlinks is not 1)");
    }
    let Some(words) = as_nobody() else { return };
    let host = Host::new();
    set_mode(host.dir.path(), 0o755);
    fs::create_dir(host.root()).unwrap();
    std::os::unix::fs::chown(host.root(), None, Some(NOBODY)).unwrap();
    set_mode(&host.root(), 0o2775);
    let catalog = host.catalog();
    let file = host.file("a.gguf", b"a");
    stage(&catalog, &file, "mine").unwrap();

    let as_other = |args: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(host.command().get_program()).args(args);
        command.current_dir("/").env("CATALOG_ROOT", host.root()).env("HOME", "/");
        run(command)
    };
    as_other(&["stage", file.to_str().unwrap(), "--id", "theirs"]);
    let record = catalog.record("theirs").unwrap().unwrap();
    assert_eq!(record.view, Some(LinkMode::Copy));
    assert_readable(&catalog, "theirs", b"a");
    as_other(&["retire", "mine"]);
    as_other(&["remove", "mine"]);
    assert_readable(&catalog, "theirs", b"a");
    assert!(catalog.delete("theirs").unwrap());
    assert!(blobs(&host.root()).is_empty());
    assert_no_debris(&host.root());
}
