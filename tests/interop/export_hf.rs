//! `export --as hf`: each version of huggingface_hub takes the folder for its own cache, and whatever it removes there, the
//! catalog keeps its blobs.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rstest::rstest;
use serde_json::Value;

use crate::common::{blobs, files_below};
use crate::hub::{Hub, models};
use crate::place::{Place, Ran};
use crate::tree::{assert_same, content};
use crate::venv::{Hf, tools};

/// Brings a repository from the Hub, so that its commit is known.
fn stage(place: &Place, hub: &Hub, reference: &str) {
    let mut stage = place.program(assert_cmd::cargo::cargo_bin!("catalog"));
    stage.arg("--root").arg(place.root()).args(["--json", "stage", reference, "--allow-net", &hub.rules()]);
    let ran = Ran::of(&stage.env("HF_ENDPOINT", &hub.hub).output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// What its scan finds, without the warnings that a cache of its own gets too.
fn scanned(place: &Place, version: Hf) -> Value {
    let mut found: Value = serde_json::from_str(&place.hf_does(version, None, &["scan"])).unwrap();
    found["warnings"].as_array_mut().unwrap().retain(|warning| !warning.as_str().unwrap().contains("CACHEDIR.TAG"));
    found
}

fn export(place: &Place, id: &str, more: &[&str]) {
    let to = place.hf();
    place.done(&[&["export", id, "--as", "hf", "--to", to.to_str().unwrap()], more].concat());
    // A symlink would lead `delete_revisions` of versions before 2 to the blobs of the catalog, and it removes them.
    for file in files_below(&to) {
        let real = fs::canonicalize(&file).unwrap();
        assert!(real.starts_with(&to), "{} leads to {}", file.display(), real.display());
    }
}

/// The bytes of every blob of the catalog are there after what `act` does.
#[track_caller]
fn keeps_blobs(place: &Place, what: &str, act: impl FnOnce()) {
    let before = blobs(&place.root());
    act();
    assert_eq!(before, blobs(&place.root()), "{what}");
    place.assert_sound();
}

// The same files as a download leaves, by the tool's own scan and checks. Red when a blob is a symlink into the catalog.
#[rstest]
#[case(Hf::V0_36)]
#[case(Hf::V1_1)]
#[case(Hf::V2_4)]
fn each_version_takes_it_for_its_own(#[case] version: Hf) {
    if version.bin().is_none() {
        return;
    }
    let Some(hub) = Hub::start() else { return };
    let (downloaded, place) = (Place::new(), Place::new());
    for repository in ["tiny/bert", "tiny/llama"] {
        downloaded.hf_does(version, Some(&hub), &["download", repository]);
        stage(&place, &hub, &format!("hf:{repository}"));
        export(&place, &format!("hf:{repository}"), &[]);
    }
    assert_eq!(scanned(&downloaded, version), scanned(&place, version));
    for repository in ["tiny/bert", "tiny/llama"] {
        let offline = place.hf_does(version, None, &["offline", repository]);
        assert_same(&content(&models().unwrap().join(repository)), &files_of(Path::new(offline.trim())));
        assert_eq!(offline.trim(), place.hf_downloads_nothing(version, &hub, repository));
        place.hf_verifies(version, &hub, repository);
    }
    // On one file system, nothing is copied.
    let shared = fs::canonicalize(place.hf().join("models--tiny--bert/blobs")).unwrap();
    assert!(files_below(&shared).iter().all(|blob| fs::metadata(blob).unwrap().nlink() > 1));

    keeps_blobs(&place, "a download by force", || {
        place.hf_does(version, Some(&hub), &["force", "tiny/bert"]);
    });
    if version.has_commands() {
        keeps_blobs(&place, "prune", || {
            place.hf_command(version, None, &["prune", "--yes"]);
        });
        place.hf_does(version, None, &["offline", "tiny/llama"]);
    }
    keeps_blobs(&place, "the removal of a revision", || {
        let commit = fs::read_to_string(place.hf().join("models--tiny--bert/refs/main")).unwrap();
        place.hf_does(version, None, &["delete", &commit]);
    });
    assert_ne!(place.hf_python(version, None, &["offline", "tiny/bert"]).code, 0);
    if version.has_commands() {
        keeps_blobs(&place, "rm", || {
            place.hf_command(version, None, &["rm", "model/tiny/llama", "--yes"]);
        });
        assert!(!place.hf().join("models--tiny--llama").exists());
    }
    // Nothing of it is left, and it can be made again.
    export(&place, "hf:tiny/bert", &[]);
    place.hf_does(version, None, &["offline", "tiny/bert"]);
    place.done(&["export", "--remove", "hf:tiny/bert"]);
    assert!(!place.hf().join("models--tiny--bert").exists());
    place.assert_sound();
}

/// The files of a snapshot, through its symlinks.
fn files_of(snapshot: &Path) -> crate::tree::Tree {
    let copy = tempfile::TempDir::new().unwrap();
    let mut cp = std::process::Command::new("cp");
    cp.args(["-rL", "--preserve=mode"]).arg(snapshot).arg(copy.path().join("files"));
    crate::common::run(cp);
    content(&copy.path().join("files"))
}

// A model that never came from the Hub gets a commit that the Hub does not know. Online, the tool makes the true snapshot
// from the same blobs, and the made-up one is no longer in use.
#[rstest]
#[case(Hf::V0_36)]
#[case(Hf::V1_1)]
#[case(Hf::V2_4)]
fn a_commit_that_nobody_knows(#[case] version: Hf) {
    if version.bin().is_none() {
        return;
    }
    let Some(hub) = Hub::start() else { return };
    let place = Place::new();
    let source = models().unwrap().join("tiny/bert");
    place.done(&["stage", source.to_str().unwrap(), "--id", "mine", "--mode", "copy"]);
    export(&place, "mine", &["--repo", "tiny/bert"]);
    let made_up = place.hf_does(version, None, &["offline", "tiny/bert"]);
    assert_same(&content(&source), &files_of(Path::new(made_up.trim())));
    let truth = place.hf_downloads_nothing(version, &hub, "tiny/bert");
    assert_ne!(made_up.trim(), truth);
    place.hf_verifies(version, &hub, "tiny/bert");
    if version.has_commands() {
        keeps_blobs(&place, "prune", || {
            place.hf_command(version, None, &["prune", "--yes"]);
        });
        assert!(!Path::new(made_up.trim()).exists());
        place.hf_does(version, None, &["offline", "tiny/bert"]);
    }
    // That is no damage, and the true snapshot needs the blobs whatever becomes of the export.
    place.done(&["export", "--list"]);
    place.done(&["export", "--sync"]);
    assert_same(&content(&source), &files_of(Path::new(&truth)));
    place.catalog(&["export", "--remove", "mine"]);
    assert_same(&content(&source), &files_of(Path::new(&truth)));
    place.hf_does(version, None, &["offline", "tiny/bert"]);
    place.assert_sound();
}

// Two revisions share blobs: what is removed with one stays for the other.
#[rstest]
#[case(Hf::V0_36)]
#[case(Hf::V2_4)]
fn two_revisions_of_a_repository(#[case] version: Hf) {
    if version.bin().is_none() {
        return;
    }
    let Some(hub) = Hub::start() else { return };
    let place = Place::new();
    for reference in ["hf:tiny/bert@v1", "hf:tiny/bert"] {
        stage(&place, &hub, reference);
        export(&place, reference, &[]);
    }
    let found = scanned(&place, version);
    assert_eq!(found["revisions"].as_array().unwrap().len(), 2, "{found}");
    let main = fs::read_to_string(place.hf().join("models--tiny--bert/refs/main")).unwrap();
    let offline = place.hf_does(version, None, &["offline", "tiny/bert"]);
    assert!(offline.trim().ends_with(&main), "{offline}");
    let commits = found["revisions"].as_array().unwrap().iter().map(|revision| revision["commit"].as_str().unwrap());
    let older = commits.clone().find(|commit| *commit != main).unwrap();
    keeps_blobs(&place, "the removal of the older revision", || {
        place.hf_does(version, None, &["delete", older]);
    });
    assert_same(&content(&models().unwrap().join("tiny/bert")), &files_of(Path::new(offline.trim())));
}

// The same with the catalog's own removal: a blob that another snapshot leads to stays, whoever made that snapshot.
#[rstest]
#[case::exported(false)]
#[case::downloaded(true)]
fn what_another_revision_needs_is_not_removed(#[case] by_the_tool: bool) {
    let version = Hf::V2_4;
    if version.bin().is_none() {
        return;
    }
    let Some(hub) = Hub::start() else { return };
    let place = Place::new();
    stage(&place, &hub, "hf:tiny/bert@v1");
    export(&place, "hf:tiny/bert@v1", &[]);
    if by_the_tool {
        place.hf_does(version, Some(&hub), &["download", "tiny/bert"]);
    } else {
        stage(&place, &hub, "hf:tiny/bert");
        export(&place, "hf:tiny/bert", &[]);
    }
    let offline = place.hf_does(version, None, &["offline", "tiny/bert"]);
    place.done(&["export", "--remove", "hf:tiny/bert@v1"]);
    assert_same(&content(&models().unwrap().join("tiny/bert")), &files_of(Path::new(offline.trim())));
    place.hf_verifies(version, &hub, "tiny/bert");
    assert_ne!(place.hf_python(version, None, &["offline", "tiny/bert", "v1"]).code, 0);
    place.assert_sound();
}

// A program that reads the cache by the name of the repository, without a request.
#[test]
fn transformers_loads_it() {
    if Hf::V2_4.bin().is_none() || tools().is_none() {
        return;
    }
    let Some(hub) = Hub::start() else { return };
    let place = Place::new();
    stage(&place, &hub, "hf:tiny/bert");
    export(&place, "hf:tiny/bert", &[]);
    let offline = [("HF_HUB_CACHE", place.hf()), ("HF_HUB_OFFLINE", "1".into())];
    let variables: Vec<(&str, &Path)> = offline.iter().map(|(name, value)| (*name, value.as_path())).collect();
    assert_eq!(place.script_does("load.py", &["transformers", "tiny/bert"], &variables).trim(), "bert 100");
}
