//! A root in the lower layer of an overlay, as in an image, below a writable layer, as in a container. A hardlink or a
//! rename of a lower file first copies the whole file up, and its other names keep the old inode.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;

use catalog_core::{
    Digest, Doctor, FsCatalog, GcPolicy, LinkMode, RepairOptions, Severity, StageReceipt, UsedMode, VerifyDepth,
    VerifyOptions,
};
use common::mount::Mounted;
use common::*;
use rstest::rstest;

const MEGABYTE: usize = 1 << 20;

/// A container. Its fields are dropped in this order.
struct Container {
    overlay: Mounted,
    disk: Mounted,
    host: Host,
}

impl Container {
    /// The image has the file `a` and the tree `t`. `None`: see [`mount::overlay`].
    fn new() -> Option<Self> {
        let host = Host::new();
        let disk = mount::image(128, &["mkfs.ext4", "-q"], "loop")?;
        host.file("a", noise(8 * MEGABYTE, 1));
        host.file("t/x", noise(4 * MEGABYTE, 2));
        host.file("t/sub/y", noise(MEGABYTE / 2, 3));
        let image = FsCatalog::new(disk.path().join("image/root")).unwrap();
        stage(&image, &host.path("a"), "a").unwrap();
        stage(&image, &host.path("t"), "t").unwrap();
        let overlay = mount::overlay(&disk.path().join("image"), disk.path())?;
        Some(Container { overlay, disk, host })
    }

    fn root(&self) -> PathBuf {
        self.overlay.path().join("root")
    }

    fn catalog(&self) -> FsCatalog {
        FsCatalog::open(self.root()).unwrap()
    }

    fn stage(&self, source: &str, id: &str) -> StageReceipt {
        stage(&self.catalog(), &self.host.path(source), id).unwrap()
    }

    /// Files with content in the writable layer, below its root.
    fn copied_up(&self) -> Vec<String> {
        let upper = self.disk.path().join("upper/root");
        let is_large = |path: &PathBuf| fs::symlink_metadata(path).unwrap().size() >= MEGABYTE as u64 / 2;
        let large = files_below(&upper).into_iter().filter(is_large);
        large.map(|path| path.strip_prefix(&upper).unwrap().display().to_string()).collect()
    }

    /// Everything is right, and no content has to be read to know that.
    #[track_caller]
    fn assert_content(&self, ids: &[&str]) {
        let found = Doctor::open(self.root()).unwrap().examine().unwrap();
        let found: Vec<_> = found.iter().filter(|finding| finding.severity() != Severity::Note).collect();
        assert!(found.is_empty(), "{found:?}");
        let catalog = self.catalog();
        for &id in ids {
            let quick = catalog.verify(id, &VerifyOptions::default().with_depth(VerifyDepth::Quick)).unwrap();
            assert_eq!(quick.outcome.as_str(), "pass", "{id}: {quick:?}");
            if has_tool("strace") {
                assert_eq!(content_opened_by_path(&self.root(), id), BTreeSet::new(), "{id}");
            }
            check_artifact(&self.root(), &catalog.record(id).unwrap().unwrap()).unwrap();
        }
    }
}

// Red when `show` hardlinks a file of the lower layer, and when `hold` does (with a digest); `doctor` then calls the
// blob changed, and the view of `a` replaced. Red at `path` when `doubtful_views` does not check the blob behind a
// symlink.
#[rstest]
#[case::under_another_id("a", "b", false, UsedMode::Present)]
#[case::under_another_id_by_its_digest("a", "b", true, UsedMode::Present)]
#[case::under_another_name("other", "a", false, UsedMode::Present)]
#[case::too_small_to_be_compared("t/sub/y", "b", false, UsedMode::Copy)]
#[case::again("a", "a", false, UsedMode::Unchanged)]
#[case::a_tree("t", "u", false, UsedMode::Copy)]
fn a_duplicate_of_a_lower_layer_copies_nothing_up(
    #[case] source: &str,
    #[case] id: &str,
    #[case] by_digest: bool,
    #[case] mode: UsedMode,
) {
    let Some(container) = Container::new() else { return };
    container.host.file("other", noise(8 * MEGABYTE, 1));
    let mut options = options(id);
    options.digest = by_digest.then(|| Digest::sha256_of(&noise(8 * MEGABYTE, 1)));
    let receipt = container.catalog().stage(&reference(&container.host.path(source)), &options).unwrap();
    assert!(receipt.deduplicated || receipt.mode == UsedMode::Unchanged, "{receipt:?}");
    assert_eq!(receipt.mode, mode, "{receipt:?}");
    assert_eq!(container.copied_up(), [""; 0]);
    container.assert_content(&["a", "t", id]);
}

// Red when the new view is a hardlink.
#[rstest]
#[case::by_repair("repair a")]
#[case::by_doctor("doctor --repair")]
#[case::by_stage("stage a --id a")]
fn a_lost_view_of_a_lower_layer_is_made_without_a_copy(#[case] words: &str) {
    let Some(container) = Container::new() else { return };
    fs::remove_file(container.catalog().record("a").unwrap().unwrap().entry.local_path).unwrap();
    let mut command = container.host.command();
    command.args(["--root", container.root().to_str().unwrap()]).args(words.split(' '));
    run(command);
    assert_eq!(container.copied_up(), [""; 0]);
    assert_eq!(container.catalog().record("a").unwrap().unwrap().view, Some(LinkMode::Symlink));
    container.assert_content(&["a", "t"]);
}

// Red when unneeded files are renamed into `trash/`: they are copied up only to be removed.
#[test]
fn what_goes_from_a_lower_layer_is_not_copied_into_trash() {
    let Some(container) = Container::new() else { return };
    let catalog = container.catalog();
    let leased = catalog.lease("t").unwrap();
    let everything = GcPolicy::default().with_max_idle(std::time::Duration::ZERO);
    let report = catalog.gc(&everything).unwrap();
    assert_eq!((report.entries, report.trashed, report.failed.len()), (1, 0, 0), "{report:?}");
    assert_eq!(container.copied_up(), [""; 0]);
    container.assert_content(&["t"]);
    drop(leased);
    catalog.remove("t").unwrap().unwrap();
    assert_eq!(container.copied_up(), [""; 0]);
    container.assert_content(&[]);
    assert_eq!(debris(&catalog), [""; 0]);
}

// Red when a source that is shown in place is replaced by a hardlink of the lower blob.
#[test]
fn a_duplicate_that_is_shown_in_place_is_a_file_of_its_own() {
    let Some(container) = Container::new() else { return };
    let place = container.root().join("mine/a");
    fs::create_dir(place.parent().unwrap()).unwrap();
    fs::write(&place, noise(8 * MEGABYTE, 1)).unwrap();
    set_mtime(&place, long_ago());
    assert_eq!(stage(&container.catalog(), &place, "mine").unwrap().view, LinkMode::Copy);
    assert_eq!(container.copied_up(), ["mine/a"]);
    container.assert_content(&["a", "mine"]);
}

// Red when a file that was just stored is taken for one of the lower layer.
#[test]
fn what_is_stored_in_the_writable_layer_is_shown_by_hardlinks_first() {
    let Some(container) = Container::new() else { return };
    container.host.file("new", noise(MEGABYTE, 5));
    assert_eq!(container.stage("new", "first").view, LinkMode::Hardlink);
    assert_eq!(container.stage("new", "second").view, LinkMode::Symlink);
    container.assert_content(&["first", "second"]);
    let catalog = container.catalog();
    assert_eq!(catalog.remove("first").unwrap().unwrap().blobs_removed, 0);
    container.assert_content(&["second"]);
    let removed = catalog.remove("second").unwrap().unwrap();
    assert_eq!((removed.blobs_removed, removed.bytes_reclaimed), (1, MEGABYTE as u64), "{removed:?}");
    assert_eq!(container.copied_up(), [""; 0]);
    assert_eq!(debris(&catalog), [""; 0]);
}

// Red when `remove_shown` leaves a symlink to a quarantined blob.
#[test]
fn damage_behind_a_symlink_goes_out_of_service_and_is_repaired() {
    let Some(container) = Container::new() else { return };
    let receipt = container.stage("a", "b");
    assert_eq!(receipt.view, LinkMode::Symlink);
    let blob = blob_path(&container.root(), &receipt.digest);
    set_mode(&blob, 0o644);
    File::options().write(true).open(&blob).unwrap().write_all_at(b"?", 3).unwrap();
    set_mode(&blob, 0o444);
    let catalog = container.catalog();
    assert!(catalog.resolve("b").unwrap_err().is_corrupt());
    assert!(fs::symlink_metadata(&receipt.local_path).is_err(), "an engine that opens it gets an error");
    let repaired = catalog.repair("b", &RepairOptions::default()).unwrap(); // from where it was staged
    assert_eq!(repaired.repaired_bytes, MEGABYTE as u64, "{repaired:?}");
    container.assert_content(&["a", "b", "t"]);
}

// Red when `clear` takes the store's own symlink for somebody's file, or removes any other symlink.
#[test]
fn a_symlink_of_older_content_is_collected_and_another_is_kept() {
    let Some(container) = Container::new() else { return };
    let before = container.stage("a", "b").local_path;
    let strange = before.with_file_name("strange");
    symlink("/nowhere", &strange).unwrap();
    container.host.file("new", noise(MEGABYTE, 5));
    container.stage("new", "b");
    let catalog = container.catalog();
    let report = catalog.gc(&GcPolicy::default().with_grace(std::time::Duration::ZERO)).unwrap();
    assert!(report.failed.is_empty(), "{report:?}");
    assert!([&before, &strange].into_iter().all(|path| fs::symlink_metadata(path).is_err()));
    let kept = files_below(&container.root().join("quarantine"));
    assert_eq!(kept.iter().map(|path| fs::read_link(path).unwrap()).collect::<Vec<_>>(), [PathBuf::from("/nowhere")]);
    check_artifact(&container.root(), &catalog.record("b").unwrap().unwrap()).unwrap();
}

// Red when a symlink contains the absolute path of its blob.
#[test]
fn symlinks_go_with_a_root_that_is_copied() {
    let Some(container) = Container::new() else { return };
    container.stage("a", "b");
    container.stage("t", "u");
    let copy = container.host.path("copy");
    let mut command = Command::new("cp");
    command.arg("-a").arg(container.root()).arg(&copy);
    run(command);
    drop(container.overlay);
    let catalog = FsCatalog::open(&copy).unwrap();
    for id in ["b", "u"] {
        catalog.resolve(id).unwrap();
        check_artifact(&copy, &catalog.record(id).unwrap().unwrap()).unwrap();
    }
}
