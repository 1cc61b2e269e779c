//! Another file at an entry's path: its bytes survive every verb, and the entry's own content is not called damaged.
//!
//! A user stages `ROOT/mine/m.gguf`, which becomes a view where it lies. Later, the user moves a newer file over it,
//! perhaps its only copy. Or somebody moves a file over a path below `views/`. The tests try every verb on both.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use catalog_core::{
    CatalogStore, Doctor, Error, FsCatalog, GcPolicy, LifecycleState, RepairOptions, VerificationOutcome, VerifyDepth,
    VerifyOptions,
};
use common::*;
use rstest::rstest;

const STAGED: &[u8] = b"what was staged";
const NEWER: &[u8] = b"a newer file of the user's own, and its only copy";

/// A catalog with the entry `m`, and another file at its path.
struct Scene {
    host: Host,
    catalog: FsCatalog,
    /// Where `m` was shown, and where the other file is now.
    at: PathBuf,
}

impl Scene {
    /// At a path of the user's own.
    fn in_place() -> Self {
        let host = Host::new();
        let catalog = host.catalog();
        let at = host.file("root/mine/m.gguf", STAGED);
        stage(&catalog, &at, "m").unwrap();
        Self::with_other_file(host, catalog, at)
    }

    /// Below `views/`. The source is gone, so that only the blob has the bytes.
    fn in_views() -> Self {
        let host = Host::new();
        let catalog = host.catalog();
        let source = host.file("m.gguf", STAGED);
        let at = stage(&catalog, &source, "m").unwrap().local_path;
        fs::remove_file(source).unwrap();
        Self::with_other_file(host, catalog, at)
    }

    fn with_other_file(host: Host, catalog: FsCatalog, at: PathBuf) -> Self {
        fs::rename(host.file("newer.gguf", NEWER), &at).unwrap();
        Scene { host, catalog, at }
    }

    /// Where the other file is now, if it still exists.
    fn newer(&self) -> Option<PathBuf> {
        files_below(&self.host.root()).into_iter().find(|path| fs::read(path).unwrap() == NEWER)
    }

    fn is_in_quarantine(&self) -> bool {
        self.newer().is_some_and(|path| path.starts_with(self.host.root().join("quarantine")))
    }
}

type Verb = fn(&Scene);

/// Every verb that looks at an entry's path, or restores it.
const VERBS: [(&str, Verb); 13] = [
    ("path", |scene| drop(scene.catalog.resolve("m"))),
    ("lease", |scene| drop(scene.catalog.lease("m"))),
    ("verify", |scene| drop(scene.catalog.verify("m", &VerifyOptions::default()))),
    ("verify quick", |scene| {
        drop(scene.catalog.verify("m", &VerifyOptions::default().with_depth(VerifyDepth::Quick)));
    }),
    ("repair", |scene| drop(scene.catalog.repair("m", &RepairOptions::default()))),
    ("stage again", |scene| drop(stage(&scene.catalog, &scene.host.file("again/m.gguf", STAGED), "m"))),
    ("stage other content", |scene| drop(stage(&scene.catalog, &scene.host.file("other/m.gguf", "other"), "m"))),
    ("put", |scene| drop(scene.catalog.put(&entry("m", scene.host.file("put/m.gguf", STAGED))))),
    ("doctor --repair", |scene| {
        let doctor = Doctor::open(scene.host.root()).unwrap();
        drop(doctor.repair(&doctor.examine().unwrap()));
    }),
    ("gc", |scene| drop(scene.catalog.gc(&GcPolicy::default().with_grace(std::time::Duration::ZERO)))),
    ("evict", |scene| {
        drop(scene.catalog.gc(&GcPolicy::default().with_max_bytes(0).with_grace(std::time::Duration::ZERO)));
    }),
    ("remove", |scene| drop(scene.catalog.remove("m"))),
    ("retire", |scene| drop(scene.catalog.set_state("m", LifecycleState::Retired))),
];

// Red when `view::show` replaces what it finds, when `take_bad_out_of_service` moves something that is not its own
// view, or when `remove_in_place` only compares mode and size.
#[test]
fn no_verb_moves_or_changes_another_file_at_a_place_of_the_users_own() {
    for (name, verb) in VERBS {
        let scene = Scene::in_place();
        let before = listing(&scene.at);
        verb(&scene);
        assert_eq!(scene.newer().as_deref(), Some(&*scene.at), "{name}: it is not where it was");
        assert_eq!(listing(&scene.at), before, "{name}");
        // A second time, with whatever the first run recorded.
        verb(&scene);
        assert_eq!(listing(&scene.at), before, "{name}, twice");
    }
}

// Red when removing a view removes everything in its folder.
#[test]
fn no_verb_loses_another_file_below_views() {
    for (name, verb) in VERBS {
        let scene = Scene::in_views();
        verb(&scene);
        assert!(scene.newer().is_some(), "{name}: its bytes are nowhere");
    }
}

#[test]
fn a_reading_verb_says_what_is_at_a_place_of_the_users_own() {
    let Scene { host, catalog, at } = Scene::in_place();
    for error in [catalog.resolve("m").map(drop), catalog.lease("m").map(drop)].map(Result::unwrap_err) {
        assert!(matches!(&error, Error::Occupied { id, path, .. } if id == "m" && *path == at), "{error}");
    }
    for depth in [VerifyDepth::Full, VerifyDepth::ByName] {
        let report = catalog.verify("m", &VerifyOptions::default().with_depth(depth)).unwrap();
        let VerificationOutcome::Fail { reason } = &report.outcome else { panic!("{report:?}") };
        assert!(reason.starts_with("its content is whole, but ") && reason.contains("m.gguf"), "{reason}");
        assert_eq!(report.bad, [], "nothing of its content is damaged");
    }
    let record = catalog.record("m").unwrap().unwrap();
    assert_eq!(record.damaged_ms, None, "its blob is good");
    assert_sound(&host.root());
}

#[test]
fn repair_gives_the_entry_a_view_of_its_own() {
    let Scene { host, catalog, at } = Scene::in_place();
    let report = catalog.repair("m", &RepairOptions::default()).unwrap();
    assert_eq!((report.occupied, report.shown, report.files), (vec![at], vec!["m".to_owned()], 0));
    let resolved = catalog.resolve("m").unwrap();
    assert!(resolved.entry.local_path.starts_with(host.root().join("views")));
    assert_readable(&catalog, "m", STAGED);
    assert!(catalog.verify("m", &VerifyOptions::default()).unwrap().bad.is_empty());
    assert!(catalog.lease("m").is_ok());
    // Nothing is left to do.
    let report = catalog.repair("m", &RepairOptions::default()).unwrap();
    assert!(report.occupied.is_empty() && report.shown.is_empty(), "{report:?}");
}

/// Staging the path asks for the file that is there, which is no accident: its bytes become the blob.
#[test]
fn staging_the_place_takes_in_the_file_that_is_there() {
    let Scene { host: _host, catalog, at } = Scene::in_place();
    let receipt = stage(&catalog, &at, "m").unwrap();
    assert_eq!(receipt.local_path, at);
    assert_readable(&catalog, "m", NEWER);
}

#[rstest]
#[case::repair(4)]
#[case::stage(5)]
#[case::put(7)]
fn what_makes_a_view_anew_keeps_the_other_file_in_quarantine(#[case] verb: usize) {
    let (name, verb) = VERBS[verb];
    let scene = Scene::in_views();
    verb(&scene);
    assert!(scene.is_in_quarantine(), "{name}: {:?}", scene.newer());
    assert_readable(&scene.catalog, "m", STAGED);
    assert_sound(&scene.host.root());
}

#[test]
fn repair_says_that_it_made_a_path_anew() {
    let scene = Scene::in_views();
    let report = scene.catalog.repair("m", &RepairOptions::default()).unwrap();
    assert_eq!((report.quarantined, report.shown), (1, vec!["m".to_owned()]));
    let words = scene.host.command().args(["repair", "m"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&words.stdout), "m is whole: nothing to repair\n");
    fs::remove_file(&scene.at).unwrap();
    let words = scene.host.command().args(["repair", "m"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&words.stdout), "m is whole, and its path was made anew\n");
}

/// A file with the right bytes is not in the way: at a path of the user's own it stays, and below `views/` a link
/// replaces it.
#[test]
fn a_copy_of_the_content_is_not_in_the_way() {
    for in_views in [false, true] {
        let Scene { host, catalog, at } = if in_views { Scene::in_views() } else { Scene::in_place() };
        fs::write(&at, STAGED).unwrap();
        let before = inode_of(&at);
        let report = catalog.repair("m", &RepairOptions::default()).unwrap();
        assert!(report.occupied.is_empty() && report.quarantined == 0, "{report:?}");
        assert_eq!(inode_of(&at) == before, !in_views);
        assert_readable(&catalog, "m", STAGED);
        assert_eq!(catalog.resolve("m").unwrap().entry.local_path, at);
        assert!(host.root().join("quarantine").read_dir().unwrap().next().is_none());
    }
}

fn make(kind: &str, at: &Path) {
    match kind {
        "folder" => fs::create_dir(at).unwrap(),
        "symlink" => std::os::unix::fs::symlink("/etc/hostname", at).unwrap(),
        "FIFO" => assert!(std::process::Command::new("mkfifo").arg(at).status().unwrap().success()),
        _ => fs::write(at, "").unwrap(),
    }
}

/// Anything can stand in a view's place.
#[rstest]
fn anything_below_views_is_moved_out_of_the_way(#[values("folder", "symlink", "FIFO", "empty file")] kind: &str) {
    let scene = Scene::in_views();
    fs::remove_file(&scene.at).unwrap();
    make(kind, &scene.at);
    let report = scene.catalog.repair("m", &RepairOptions::default()).unwrap();
    assert_eq!(report.quarantined, 1);
    assert_readable(&scene.catalog, "m", STAGED);
    assert_eq!(host_quarantine(&scene.host), 1);
    if kind != "folder" {
        // The same where a folder of the view should be.
        let folder = scene.at.parent().unwrap();
        fs::remove_dir_all(folder).unwrap();
        make(kind, folder);
        scene.catalog.repair("m", &RepairOptions::default()).unwrap();
        assert_readable(&scene.catalog, "m", STAGED);
    }
}

fn host_quarantine(host: &Host) -> usize {
    host.root().join("quarantine").read_dir().unwrap().count()
}

// Red when `extras` is not called: an engine that reads the folder would load the file too.
#[test]
fn a_file_more_than_the_tree_has_is_found_and_moved_by_repair() {
    let host = Host::new();
    let catalog = host.catalog();
    host.file("tree/a.gguf", "a");
    host.file("tree/sub/b.json", "{}");
    let at = stage(&catalog, &host.path("tree"), "t").unwrap().local_path;
    catalog.resolve("t").unwrap();
    let extra = at.join("sub/c.bin");
    fs::write(&extra, NEWER).unwrap();

    let found = |error: Error| matches!(&error, Error::Occupied { path, .. } if *path == extra);
    assert!(found(catalog.resolve("t").unwrap_err()) && found(catalog.lease("t").unwrap_err()));
    for depth in [VerifyDepth::Quick, VerifyDepth::Full] {
        let report = catalog.verify("t", &VerifyOptions::default().with_depth(depth)).unwrap();
        assert!(
            matches!(&report.outcome, VerificationOutcome::Fail { reason } if reason.contains("c.bin")),
            "{report:?}"
        );
    }
    assert_eq!(catalog.repair("t", &RepairOptions::default()).unwrap().quarantined, 1);
    catalog.resolve("t").unwrap();
    assert!(!extra.exists() && host_quarantine(&host) == 1);
    // Under a name of its own: if it were named after a blob, a repair of that blob would read it.
    let kept = host.root().join("quarantine").read_dir().unwrap().next().unwrap().unwrap().file_name();
    assert!(kept.to_str().unwrap().starts_with("stranger."), "{kept:?}");
}
