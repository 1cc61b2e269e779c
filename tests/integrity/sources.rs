//! Repair: where it finds good bytes, and that it refuses bad ones.

use std::sync::Arc;
use std::time::Duration;

use catalog_core::{Error, LocalSource, RepairOptions, RepairReport, Result};
use rstest::rstest;

use super::*;
use crate::common::{assert_readable, assert_sound, listing, mount, options};

const SIZE: u64 = 10 * GROUP + 3;

struct Damaged {
    host: Host,
    catalog: FsCatalog,
    bytes: Vec<u8>,
    digest: Digest,
}

/// A model that `change` damages.
fn damaged(change: impl FnOnce(&File)) -> Damaged {
    let host = Host::new();
    let catalog = catalog(&host);
    let bytes = noise(30, SIZE);
    let digest = add(&host, &catalog, "m", &bytes);
    rot(&blob(&catalog, &digest), change);
    Damaged { host, catalog, bytes, digest }
}

fn flipped(groups: &'static [u64]) -> Damaged {
    damaged(|file| groups.iter().for_each(|number| flip(file, number * GROUP + 7)))
}

pub(super) fn from(sources: &[&Path]) -> RepairOptions {
    let sources = sources.iter().map(|path| Arc::new(LocalSource::new(*path)) as Arc<_>);
    RepairOptions::default().with_from(sources.collect())
}

// Red when `note_shown` always reports the record as changed: for the age and the grace in a collection, a repair would
// then count as a stage.
#[test]
fn a_repair_of_what_is_good_changes_nothing_but_when_it_was_checked() {
    let host = Host::new();
    let catalog = catalog(&host);
    add(&host, &catalog, "m", &noise(31, SIZE));
    let before = catalog.record("m").unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(5));
    let report = catalog.repair("m", &RepairOptions::default()).unwrap();
    assert_eq!((report.files, report.repaired_bytes), (0, 0));
    let mut after = catalog.record("m").unwrap().unwrap();
    assert!(after.entry.last_verified_ms > before.entry.last_verified_ms, "{after:?}");
    after.entry.last_verified_ms = before.entry.last_verified_ms;
    assert_eq!(after, before);
}

impl Damaged {
    fn repair(&self, sources: &[&Path]) -> Result<RepairReport> {
        self.catalog.repair("m", &from(sources))
    }

    /// A file with the model's bytes, except in these groups.
    fn source(&self, name: &str, bad: &[u64]) -> PathBuf {
        let path = self.host.file(name, &self.bytes);
        let file = File::options().read(true).write(true).open(&path).unwrap();
        bad.iter().for_each(|number| flip(&file, number * GROUP + 9));
        path
    }

    #[track_caller]
    fn assert_whole(&self) {
        assert!(fs::read(blob(&self.catalog, &self.digest)).unwrap() == self.bytes);
        assert_readable(&self.catalog, "m", &self.bytes);
        self.catalog.resolve("m").unwrap();
        assert!(passes(&check(&self.catalog, "m")));
        assert_sound(self.catalog.root());
    }
}

#[test]
fn two_sources_that_are_bad_in_different_places_make_one_good_one() {
    let damaged = flipped(&[1, 5]);
    let (first, second) = (damaged.source("first", &[1]), damaged.source("second", &[5]));
    let report = damaged.repair(&[&first, &second]).unwrap();
    // The first source is asked for both groups, the second only for the group that the first does not have.
    assert_eq!((report.repaired_bytes, report.source_bytes), (2 * GROUP, 3 * GROUP));
    damaged.assert_whole();
}

// Red when a group that was read is not compared: the whole is then refused, with another error.
#[test]
fn a_source_that_is_bad_in_the_same_place_is_refused_and_nothing_changes() {
    let damaged = flipped(&[5]);
    drop(check(&damaged.catalog, "m")); // now it is in quarantine
    let before = listing(&damaged.host.root());
    let bad = damaged.source("bad", &[5]);
    let error = damaged.repair(&[&bad]).unwrap_err();
    let Error::NoGoodSource { range, tried, .. } = &error else { panic!("{error}") };
    assert_eq!((range.clone(), tried.len()), (5 * GROUP..6 * GROUP, 1));
    assert!(error.to_string().contains(bad.to_str().unwrap()), "{error}");
    let refused = run(&damaged.host, &["repair", "m", "--from", bad.to_str().unwrap()]);
    assert_eq!((refused.code, refused.objects.len()), (4, 0), "{}", refused.errors);

    let after = listing(&damaged.host.root());
    let of = |all: &std::collections::BTreeMap<PathBuf, String>| {
        let kept =
            all.iter().filter(|(path, _)| !path.starts_with(damaged.host.root().join("ingest")) && path.is_file());
        kept.map(|(path, what)| (path.clone(), what.clone())).collect::<Vec<_>>()
    };
    assert_eq!(of(&after), of(&before));
    assert_sound(damaged.catalog.root());

    let good = damaged.source("good", &[]);
    damaged.repair(&[&bad, &good]).unwrap();
    damaged.assert_whole();
}

#[test]
fn a_shorter_source_serves_what_it_has() {
    let damaged = flipped(&[1]);
    let path = damaged.host.file("short", &damaged.bytes[..2 * GROUP as usize]);
    damaged.repair(&[&path]).unwrap();
    damaged.assert_whole();

    let damaged = flipped(&[1]);
    let path = damaged.host.file("short", &damaged.bytes[..2 * GROUP as usize - 1]);
    assert!(matches!(damaged.repair(&[&path]).unwrap_err(), Error::NoGoodSource { .. }));
}

// Red when an incomplete group counts as good.
#[rstest]
#[case::truncated(|file: &File| file.set_len(3 * GROUP + 1).unwrap(), SIZE - 3 * GROUP)]
#[case::empty(|file: &File| file.set_len(0).unwrap(), SIZE)]
#[case::extended(|file: &File| file.set_len(SIZE + 20 * GROUP).unwrap(), 0)]
#[case::extended_in_its_last_group(|file: &File| file.write_all_at(b"more", SIZE).unwrap(), 0)]
fn the_size_is_repaired_too(#[case] change: fn(&File), #[case] source_bytes: u64) {
    let damaged = damaged(change);
    let good = damaged.source("good", &[]);
    assert_eq!(damaged.repair(&[&good]).unwrap().source_bytes, source_bytes);
    damaged.assert_whole();
}

#[test]
fn a_blob_that_is_missing_is_read_from_the_source_or_from_its_view() {
    let damaged = damaged(|_| {});
    fs::remove_file(blob(&damaged.catalog, &damaged.digest)).unwrap();
    assert_eq!(bad_ranges(&check(&damaged.catalog, "m")), [0..SIZE]);
    assert_eq!(damaged.repair(&[]).unwrap().source_bytes, 0, "its view is there");
    damaged.assert_whole();

    fs::remove_file(blob(&damaged.catalog, &damaged.digest)).unwrap();
    fs::remove_file(view(&damaged.catalog, "m")).unwrap();
    assert!(damaged.catalog.resolve("m").unwrap_err().is_not_found());
    assert!(matches!(damaged.repair(&[]).unwrap_err(), Error::NoGoodSource { .. }));
    let good = damaged.source("good", &[]);
    assert_eq!(damaged.repair(&[&good]).unwrap().source_bytes, SIZE);
    damaged.assert_whole();
}

// Red when bytes that were read as a whole are published without comparing their digest.
#[test]
fn without_an_outboard_one_source_has_to_have_all_of_it() {
    let damaged = flipped(&[5]);
    for ending in ["json", "groups"] {
        fs::remove_file(outboard(&damaged.catalog, &damaged.digest, ending)).unwrap();
    }
    assert_eq!(bad_ranges(&check(&damaged.catalog, "m")), [0..SIZE]);
    let (first, second) = (damaged.source("first", &[1]), damaged.source("second", &[2]));
    let error = damaged.repair(&[&first, &second]).unwrap_err();
    assert!(matches!(&error, Error::NoGoodSource { range, .. } if range.is_empty()), "{error}");
    let good = damaged.source("good", &[]);
    let report = damaged.repair(&[&first, &good]).unwrap();
    // Red when the bytes of a whole source are not counted. The first source was read in vain, and counts too.
    assert_eq!((report.repaired_bytes, report.source_bytes), (SIZE, 2 * SIZE));
    damaged.assert_whole();
    assert!(outboard(&damaged.catalog, &damaged.digest, "groups").exists(), "it has one again");
}

#[test]
fn the_path_that_it_was_staged_from_is_a_source() {
    let damaged = flipped(&[5]);
    let source = damaged.host.file("sources/m.gguf", &damaged.bytes); // where it was
    let repaired = run(&damaged.host, &["repair", "m"]);
    assert_eq!((repaired.code, &repaired.object()["source_bytes"]), (0, &GROUP.into()), "{}", repaired.errors);
    damaged.assert_whole();
    assert!(fs::read(source).unwrap() == damaged.bytes);
}

#[test]
fn another_catalog_is_a_source() {
    let damaged = flipped(&[5]);
    let other = Host::new();
    add(&other, &catalog(&other), "another-id", &damaged.bytes);
    let before = listing(&other.root());
    let words = ["repair", "m", "--from", other.root().to_str().unwrap()].map(str::to_owned);
    let repaired = run(&damaged.host, &words.each_ref().map(String::as_str));
    assert_eq!((repaired.code, &repaired.object()["source_bytes"]), (0, &GROUP.into()), "{}", repaired.errors);
    damaged.assert_whole();
    assert_eq!(listing(&other.root()), before);
}

#[test]
fn another_entry_of_the_same_bytes_is_shown_again_too() {
    let damaged = flipped(&[5]);
    let tree = [("model.bin", damaged.bytes.as_slice()), ("config.json", b"{}")];
    // Staging compares stamps, which match, so it does not see the damage.
    add_tree(&damaged.host, &damaged.catalog, "tree", &tree);
    drop(check(&damaged.catalog, "m"));
    let good = damaged.source("good", &[]);
    let report = damaged.repair(&[&good]).unwrap();
    assert_eq!(report.shown, ["m", "tree"]);
    damaged.assert_whole();
    let shown = view(&damaged.catalog, "tree").join("model.bin");
    assert!(fs::read(shown).unwrap() == damaged.bytes);
    assert!(passes(&check(&damaged.catalog, "tree")));
}

/// A tree with a large file in a folder, and two files with the same bytes.
fn tree() -> (Host, FsCatalog, Digest, Vec<u8>) {
    let host = Host::new();
    let catalog = catalog(&host);
    let large = noise(31, 3 * GROUP);
    let files: [(&str, &[u8]); 4] = [("sub/large.bin", &large), ("a.json", b"same"), ("b.json", b"same"), ("c", b"c")];
    let digest = add_tree(&host, &catalog, "tree", &files);
    (host, catalog, digest, large)
}

#[test]
fn a_file_of_a_tree_is_repaired_from_a_directory_that_has_it() {
    let (host, catalog, _, large) = tree();
    let shown = view(&catalog, "tree").join("sub/large.bin");
    rot(&shown, |file| flip(file, GROUP));
    let report = check(&catalog, "tree");
    assert_eq!(report.bad[0].path, "sub/large.bin");
    assert_eq!(bad_ranges(&report), [GROUP..2 * GROUP]);
    let verified = run(&host, &["verify", "tree"]);
    assert_eq!(verified.object()["bad_ranges"][0]["path"], "sub/large.bin");

    host.file("backup/sub/large.bin", &large);
    let repaired = run(&host, &["repair", "tree", "--from", host.path("backup").to_str().unwrap()]);
    assert_eq!((repaired.code, &repaired.object()["source_bytes"]), (0, &GROUP.into()), "{}", repaired.errors);
    assert!(fs::read(&shown).unwrap() == large);
    assert!(passes(&check(&catalog, "tree")));

    // The directory that it was staged from is a source too.
    rot(&shown, |file| flip(file, GROUP));
    host.file("trees/tree/sub/large.bin", &large);
    assert_eq!(catalog.repair("tree", &RepairOptions::default()).unwrap().source_bytes, GROUP);
    assert!(fs::read(&shown).unwrap() == large);
}

// Red when a directory with only one of a catalog's two marks is taken for a catalog.
#[rstest]
#[case::a_file_of_that_name("store.json")]
#[case::a_folder_of_that_name("blobs/weights")]
fn a_directory_that_looks_a_little_like_a_catalog_is_none(#[case] file: &str) {
    let (host, catalog, _, large) = tree();
    rot(&view(&catalog, "tree").join("sub/large.bin"), |file| flip(file, GROUP));
    host.file("backup/sub/large.bin", &large);
    host.file(&format!("backup/{file}"), "{}");
    assert_eq!(catalog.repair("tree", &from(&[&host.path("backup")])).unwrap().source_bytes, GROUP);
}

// Red when a source that cannot be read is taken for one that has nothing.
#[test]
fn a_source_that_cannot_be_read_is_an_error_that_names_it() {
    let (host, catalog, _, _) = tree();
    rot(&view(&catalog, "tree").join("sub/large.bin"), |file| flip(file, GROUP));
    let backup = host.path("backup");
    fs::create_dir_all(backup.join("sub")).unwrap();
    std::os::unix::fs::symlink("large.bin", backup.join("sub/large.bin")).unwrap(); // to itself
    let error = catalog.repair("tree", &from(&[&backup])).unwrap_err();
    assert!(!matches!(error, Error::NoGoodSource { .. }), "{error}");
    assert!(error.to_string().contains(backup.join("sub/large.bin").to_str().unwrap()), "{error}");
}

// Red when a damaged file is reported under the path of the first file with the same bytes.
#[test]
fn of_two_files_with_the_same_bytes_both_are_named() {
    let (_host, catalog, _, _) = tree();
    rot(&view(&catalog, "tree").join("b.json"), |file| flip(file, 1));
    let report = check(&catalog, "tree");
    let paths: Vec<_> = report.bad.iter().map(|bad| bad.path.as_str()).collect();
    assert_eq!(paths, ["a.json", "b.json"]);
}

#[test]
fn the_manifest_of_a_tree_is_repaired_from_another_catalog() {
    let (_host, catalog, digest, large) = tree();
    let (other, _, same, _) = tree();
    assert_eq!(digest, same);
    rot(&blob(&catalog, &digest), |file| flip(file, 30));
    assert!(fails(&check(&catalog, "tree")));
    let nowhere = catalog.repair("tree", &RepairOptions::default()).unwrap_err();
    assert!(matches!(nowhere, Error::NoGoodSource { .. }), "{nowhere}");
    let report = catalog.repair("tree", &from(&[&other.root()])).unwrap();
    assert_eq!((report.files, report.shown.as_slice()), (1, ["tree".to_owned()].as_slice()));
    assert!(fs::read(view(&catalog, "tree").join("sub/large.bin")).unwrap() == large);
    assert!(passes(&check(&catalog, "tree")));
    drop(catalog.gc(&catalog_core::GcPolicy::default().with_grace(Duration::ZERO)).unwrap());
    assert!(passes(&check(&catalog, "tree")));
}

// Red when the good part is read and written, rather than cloned or copied by the kernel, which shares blocks too: the
// blob then takes its size again. Red when the clone is not cut to the blob's size.
#[test]
fn where_the_file_system_can_the_good_part_is_shared() {
    let Some(mounted) = mount::image(400, &["mkfs.xfs", "-q"], "loop") else { return };
    let size = 64 * MIB;
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    let (file, good) = (mounted.path().join("m.gguf"), Host::new());
    let bytes = noise(32, size);
    fs::write(&file, &bytes).unwrap();
    let good = good.file("good", &bytes);
    let digest = catalog.stage(&common::reference(&file), &options("m")).unwrap().digest;
    fs::remove_file(&file).unwrap();
    rot(&blob(&catalog, &digest), |file| {
        flip(file, 5 * GROUP);
        file.set_len(size + 3 * GROUP).unwrap();
    });
    let used = || {
        assert!(std::process::Command::new("sync").arg("-f").arg(mounted.path()).status().unwrap().success());
        let stat = rustix::fs::statvfs(mounted.path()).unwrap();
        (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    };
    let before = used();
    let report = catalog.repair("m", &from(&[&good])).unwrap();
    assert_eq!(report.repaired_bytes, GROUP);
    let more = used().saturating_sub(before);
    assert!(more < 8 * MIB, "{more} bytes more are used");
    assert!(fs::read(view(&catalog, "m")).unwrap() == bytes);
    assert_eq!(quarantined(&catalog).len(), 1);
}
