//! Bytes shared with files outside the store: they do not count towards any limit, and nothing is evicted in vain.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;

use catalog_core::{CatalogStore as _, IngestMode, LinkMode, MinFree, UsedMode};
use rstest::rstest;

use super::*;
use crate::common::mount::{self, Mounted};
use crate::common::{assert_readable, noise, options, reference, wait_until};

const MODEL: usize = 8 << 20;
/// Room for folders and small files.
const SLACK: u64 = 1 << 20;

/// A file system with a store, and with models outside it that the store shares by `mode`.
struct Shared {
    catalog: FsCatalog,
    mounted: Mounted,
    mode: IngestMode,
}

impl Shared {
    fn new(mkfs: &[&str], mode: IngestMode) -> Option<Self> {
        let mounted = mount::image(400, mkfs, "loop")?;
        fs::create_dir(mounted.path().join("downloads")).unwrap();
        let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
        Some(Shared { catalog, mounted, mode })
    }

    fn source(&self, name: &str) -> PathBuf {
        self.mounted.path().join("downloads").join(name)
    }

    /// Stages a model and keeps its source.
    fn add(&self, name: &str) {
        let source = self.source(name);
        fs::write(&source, noise(MODEL, u64::from(name.as_bytes()[0]))).unwrap();
        self.sync();
        let receipt = self.catalog.stage(&reference(&source), &options(name).with_mode(self.mode)).unwrap();
        let expected = if self.mode == IngestMode::Link { UsedMode::Link } else { UsedMode::Reflink };
        assert_eq!((receipt.mode, receipt.view), (expected, LinkMode::Hardlink));
    }

    /// Waits until only `shared` models share their bytes: xfs frees the blocks of a file in the background.
    fn remove_source(&self, name: &str, shared: u64) {
        fs::remove_file(self.source(name)).unwrap();
        self.sync();
        wait_until("its blocks are free", || self.catalog.disk_usage().unwrap().shared_bytes == shared * MODEL as u64);
    }

    fn sync(&self) {
        assert!(Command::new("sync").arg("-f").arg(self.mounted.path()).status().unwrap().success());
    }

    /// The free space according to `df`.
    fn free_bytes(&self) -> u64 {
        self.sync();
        let output = Command::new("df").args(["--output=avail", "-B1"]).arg(self.mounted.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().nth(1).unwrap().trim().parse().unwrap()
    }

    /// Tries for a while: file systems free blocks in the background.
    #[track_caller]
    fn assert_freed_since(&self, before: u64, bytes: u64) {
        for _ in 0..50 {
            if self.free_bytes() >= before + bytes - SLACK {
                break;
            }
            sleep(Duration::from_millis(200));
        }
        let freed = self.free_bytes().saturating_sub(before);
        assert!(freed.abs_diff(bytes) <= SLACK, "{freed} came free, and not {bytes}");
    }

    fn exclusive_bytes(&self, id: &str) -> u64 {
        let usage = self.catalog.disk_usage().unwrap();
        usage.entries.iter().find(|entry| entry.id == id).unwrap().exclusive_bytes
    }
}

// Red when all bytes on disk count as freed: the two models whose bytes stay are evicted first.
#[rstest]
#[case::reflink_xfs(&["mkfs.xfs", "-q"], IngestMode::Auto)]
#[case::reflink_btrfs(&["mkfs.btrfs", "-q"], IngestMode::Auto)]
#[case::link_ext4(&["mkfs.ext4", "-q", "-m", "0"], IngestMode::Link)]
#[case::link_xfs(&["mkfs.xfs", "-q"], IngestMode::Link)]
fn what_frees_nothing_is_not_evicted_and_counts_for_no_limit(#[case] mkfs: &[&str], #[case] mode: IngestMode) {
    let Some(scene) = Shared::new(mkfs, mode) else { return };
    let Shared { catalog, .. } = &scene;
    for name in ["a", "b", "own"] {
        scene.add(name);
    }
    scene.remove_source("own", 2);
    let size = MODEL as u64;
    let usage = catalog.disk_usage().unwrap();
    assert_eq!((usage.physical_bytes, usage.shared_bytes), (3 * size, 2 * size));
    assert_eq!(["a", "b", "own"].map(|id| scene.exclusive_bytes(id)), [0, 0, size]);

    // The store is within a limit that the blobs alone would exceed.
    let plan = catalog.plan_gc(&now().with_max_bytes(size)).unwrap();
    assert_eq!((plan.used_bytes, plan.shared_bytes, plan.steps.len()), (size, 2 * size, 0), "{plan:?}");

    // Only the most recently used model frees any room.
    let free = scene.free_bytes();
    let policy = now().with_min_free(MinFree::bytes(free + size + (4 << 20)));
    let plan = catalog.plan_gc(&policy).unwrap();
    assert_eq!(evicted(&plan), ["own"]);
    assert_eq!(kept(&plan), [("a", GcReason::SharedOutside), ("b", GcReason::SharedOutside)]);
    let report = catalog.execute_gc(&plan).unwrap();
    assert_eq!((report.physical_bytes, report.shared_bytes), (size, 0), "{report:?}");
    assert!(plan.shortfall_bytes > 0);
    scene.assert_freed_since(free, size);
    for name in ["a", "b"] {
        assert_readable(catalog, name, &noise(MODEL, u64::from(name.as_bytes()[0])));
    }

    // A removal that frees nothing says so.
    let free = scene.free_bytes();
    let removed = catalog.remove("a").unwrap().unwrap();
    assert_eq!((removed.bytes_reclaimed, removed.shared_bytes, removed.blobs_removed), (0, size, 1));
    scene.assert_freed_since(free, 0);

    // Without its source, the model is worth its size.
    scene.remove_source("b", 0);
    let free = scene.free_bytes();
    let report = catalog.gc(&now().with_max_bytes(Some(0))).unwrap();
    assert_eq!((report.entries, report.physical_bytes), (1, size), "{report:?}");
    scene.assert_freed_since(free, size);
    assert!(catalog.list().unwrap().is_empty());
}

// Red when only the last use decides the order.
#[test]
fn what_frees_a_part_of_its_bytes_is_evicted_last() {
    let Some(scene) = Shared::new(&["mkfs.ext4", "-q", "-m", "0"], IngestMode::Link) else { return };
    let Shared { catalog, .. } = &scene;
    let tree = scene.source("tree");
    fs::create_dir(&tree).unwrap();
    for (name, seed) in [("kept", 1), ("gone", 2)] {
        fs::write(tree.join(name), noise(MODEL, seed)).unwrap();
    }
    catalog.stage(&reference(&tree), &options("tree").with_mode(IngestMode::Link)).unwrap();
    fs::remove_file(tree.join("gone")).unwrap();
    scene.add("own");
    fs::remove_file(scene.source("own")).unwrap();
    let wanted = MinFree::bytes(scene.free_bytes() + MODEL as u64 / 2);
    assert_eq!(evicted(&catalog.plan_gc(&now().with_min_free(wanted)).unwrap()), ["own"]);
    let wanted = MinFree::bytes(scene.free_bytes() + 3 * MODEL as u64 / 2);
    let plan = catalog.plan_gc(&now().with_min_free(wanted)).unwrap();
    assert_eq!((evicted(&plan), plan.shortfall_bytes), (vec!["own", "tree"], 0));
}

/// When a tree changes, its unchanged files also keep their names in the previous view, until a collection.
// Red when names in a view that belongs to no entry count as the entry's too: the file outside is overlooked, and the
// tree is evicted first.
#[test]
fn a_file_outside_is_seen_beside_a_view_of_the_tree_before() {
    let Some(scene) = Shared::new(&["mkfs.ext4", "-q", "-m", "0"], IngestMode::Link) else { return };
    let Shared { catalog, .. } = &scene;
    let tree = scene.source("tree");
    fs::create_dir(&tree).unwrap();
    let stage = |name: &str, seed| {
        fs::write(tree.join(name), noise(MODEL, seed)).unwrap();
        catalog.stage(&reference(&tree), &options("tree").with_mode(IngestMode::Link)).unwrap();
    };
    stage("same", 1);
    stage("before", 2);
    fs::remove_file(tree.join("before")).unwrap();
    stage("after", 3);
    scene.add("own");
    fs::remove_file(scene.source("own")).unwrap();
    let size = MODEL as u64;
    // Only the store has the trees' manifests.
    assert_eq!(["tree", "own"].map(|id| scene.exclusive_bytes(id) / SLACK), [0, size / SLACK]);

    let free = scene.free_bytes();
    let plan = catalog.plan_gc(&now().with_min_free(MinFree::bytes(free + 3 * size / 2))).unwrap();
    assert_eq!((evicted(&plan), plan.shortfall_bytes), (vec!["own"], 0), "{plan:?}");
    let report = catalog.execute_gc(&plan).unwrap();
    assert_eq!((report.physical_bytes / SLACK, report.shared_bytes), (2 * size / SLACK, 0), "{report:?}");
    scene.assert_freed_since(free, 2 * size);
}

/// A process that is killed between publishing a blob and removing its private name leaves that name behind.
// Red when names in `ingest/` and `partials/` count as files outside: their blobs are then not evicted.
#[test]
fn what_is_being_brought_in_is_no_file_outside() {
    let host = Host::new();
    let catalog = catalog(&host);
    for name in ["a", "b"] {
        let digest = add(&host, &catalog, name);
        let left = catalog.root().join(if name == "a" { "ingest/0123456789abcdef" } else { "partials/x" });
        fs::create_dir_all(&left).unwrap();
        fs::hard_link(crate::common::blob_path(catalog.root(), &digest), left.join("0")).unwrap();
    }
    assert_eq!(catalog.disk_usage().unwrap().shared_bytes, 0);
    assert_eq!(evicted(&catalog.plan_gc(&room_for(0)).unwrap()), ["a", "b"]);
}

/// The same bytes, staged under the same id from a file with another name: both names are in one folder.
// Red when only the name in the record counts as the store's own.
#[test]
fn a_second_name_in_a_view_is_no_file_outside() {
    let host = Host::new();
    let catalog = catalog(&host);
    add_as(&host, &catalog, "a", "id");
    let other = host.file("other/b", content("a"));
    crate::common::stage(&catalog, &other, "id").unwrap();
    let view = catalog.record("id").unwrap().unwrap().entry.local_path;
    assert_eq!(fs::read_dir(view.parent().unwrap()).unwrap().count(), 2);
    assert_eq!((catalog.disk_usage().unwrap().shared_bytes, scene_bytes(&catalog)), (0, SIZE as u64));
    let report = catalog.gc(&room_for(0)).unwrap();
    assert_eq!((report.entries, report.physical_bytes), (1, SIZE as u64), "{report:?}");
}

fn scene_bytes(catalog: &FsCatalog) -> u64 {
    catalog.disk_usage().unwrap().entries[0].exclusive_bytes
}
