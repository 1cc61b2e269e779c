//! What a file system can and cannot do.

use std::process::Command;

use catalog_core::FindingKind as K;
use common::{child_test, has_tool, is_child, mount, run, skip};

use super::*;

fn kinds(found: &[Finding]) -> Vec<K> {
    found.iter().map(|finding| finding.kind).collect()
}

// Red when modes are checked on a file system without modes: every file would have a wrong one.
#[test]
fn without_hardlinks_and_modes_there_are_two_notes_and_nothing_is_wrong() {
    let Some(mounted) = mount::fat(64) else { return };
    let host = Host::new();
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    for id in ["a", "b"] {
        let file = host.file(&format!("{id}.bin"), id);
        common::stage(&catalog, &file, id).unwrap();
    }
    let doctor = Doctor::open(catalog.root()).unwrap();
    let examine = || {
        let mut found = doctor.examine().unwrap();
        // The mount decides whether others can write.
        found.retain(|finding| finding.kind != K::RootWritable);
        found
    };
    let found = examine();
    assert_eq!(kinds(&found), [K::NoHardlinks, K::NoModes], "{found:#?}");
    assert!(found.iter().all(|finding| !finding.needs_attention()));
    let probed = doctor.probe().unwrap();
    assert_eq!(kinds(&probed), [K::NoHardlinks, K::NoReflinks]);
    assert!(fs::read_dir(catalog.root().join("ingest")).unwrap().next().is_none());

    // A lost view is made again as it was, by a copy.
    let view = catalog.record("a").unwrap().unwrap().entry.local_path;
    fs::remove_file(&view).unwrap();
    let found = examine();
    assert_eq!(found[0].kind, K::ViewMissing);
    assert!(matches!(doctor.repair(&found)[0], RepairOutcome::Repaired(_)));
    assert_eq!(fs::read(&view).unwrap(), b"a");
    assert_eq!(kinds(&examine()), [K::NoHardlinks, K::NoModes]);
}

#[test]
fn with_reflinks_and_hardlinks_a_probe_finds_nothing() {
    let Some(mounted) = mount::image(400, &["mkfs.xfs", "-q"], "loop") else { return };
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    assert_eq!(Doctor::open(catalog.root()).unwrap().probe().unwrap(), []);
}

#[test]
fn a_read_only_root_is_looked_at() {
    let store = Store::new();
    fs::remove_file(store.outboard("file", "json")).unwrap();
    let Some(mounted) = mount::read_only_bind(&store.root()) else { return };
    let doctor = Doctor::open(mounted.path()).unwrap();
    let found = doctor.examine().unwrap();
    assert_eq!(kinds(&found), [K::OutboardMissing, K::NoHardlinks], "{found:#?}");
    // The check runs, but its result cannot be recorded.
    doctor.repair(&found);
    assert_eq!(kinds(&doctor.examine().unwrap()), [K::OutboardMissing, K::NoHardlinks]);
}

#[test]
fn locks_that_do_nothing_are_named() {
    const TEST: &str = "properties::locks_that_do_nothing_are_named";
    if is_child(TEST) {
        let root = std::env::var_os("CATALOG_DOCTOR_ROOT").unwrap();
        let found = Doctor::open(&root).unwrap().examine().unwrap();
        assert_eq!(kinds(&found), [K::LocksDoNothing], "{found:#?}");
        assert!(found[0].needs_attention() && !found[0].is_repairable());
        return;
    }
    if !has_tool("strace") {
        return skip("strace is not installed");
    }
    let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).output().unwrap();
    if !traced.status.success() {
        return skip("strace may not trace here");
    }
    let host = Host::new();
    FsCatalog::new(host.root()).unwrap();
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=flock", "-e", "inject=flock:retval=0"];
    let mut command = child_test(&strace, TEST);
    command.env("CATALOG_DOCTOR_ROOT", host.root());
    run(command);
}
