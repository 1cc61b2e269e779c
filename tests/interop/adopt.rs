//! `adopt` of what is there: the tools notice nothing, and the room is used once.

use std::fs;
use std::path::Path;

use rstest::rstest;
use serde_json::Value;

use crate::common::{fixture, mode_of};
use crate::hub::{Hub, models};
use crate::place::{Place, Ran};
use crate::tree::{assert_same, content, total_bytes, tree};
use crate::venv::{Hf, tools};

const XFS: [&str; 4] = ["mkfs.xfs", "-q", "-m", "reflink=1"];

/// Without reflinks.
const EXT4: [&str; 2] = ["mkfs.ext4", "-q"];

/// The ids that `adopt auto` gives to what `Place::fill` puts into the stores.
const IDS: [&str; 9] = [
    "hf:tiny/bert",
    "hf:tiny/llama",
    "hf:tiny/wide",
    "hf:tiny/wide-gguf",
    "lmstudio:tiny/wide-gguf/wide.F32.gguf",
    "modelscope:tiny/sharded",
    "ollama:wide:latest",
    "ramalama:hf://tiny/bert",
    "ramalama:hf://tiny/wide-gguf:F32",
];

// Red when adopt copies: 49 MB of 120 MB more.
#[rstest]
#[case::reflinks(&XFS)]
#[case::hardlinks(&EXT4)]
fn every_tool_keeps_its_store(#[case] mkfs: &[&str]) {
    if Hf::V2_4.bin().is_none() || tools().is_none() {
        return;
    }
    let Some(place) = Place::on(mkfs) else { return };
    let Some(hub) = Hub::start() else { return };
    place.fill(&hub);
    let said = place.opinions(&hub);
    let home = place.path("home");
    let before = tree(&home);
    let theirs_bytes = total_bytes(&home);

    let plan = place.done(&["adopt", "auto", "--dry-run"]);
    assert!(!place.root().exists(), "the dry run has made a catalog");
    assert_same(&before, &tree(&home));

    // An empty catalog reserves 1 MiB, which is no part of what models take.
    place.done(&["stage", fixture().to_str().unwrap(), "--id", "first", "--mode", "copy"]);
    let used_before = place.used_bytes();
    let done = place.done(&["adopt", "auto"]);
    let added = place.used_bytes() - used_before;
    assert!(added * 100 < theirs_bytes, "{added} bytes more for {theirs_bytes} bytes of models");
    assert_eq!(sums(&plan), sums(&done));

    let used_before = place.used_bytes();
    place.done(&["adopt", "auto"]);
    let again = place.used_bytes().saturating_sub(used_before);
    assert!(again <= 64 << 10, "{again} bytes more for what was there");

    let ids = place.ids();
    let missing: Vec<_> = IDS.iter().filter(|id| !ids.iter().any(|is| is.starts_with(**id))).collect();
    assert!(missing.is_empty(), "{missing:?} are not in {ids:?}");
    place.assert_sound();
    for repository in ["tiny/bert", "tiny/wide"] {
        let view = place.shown(&format!("hf:{repository}"));
        assert_same(&content(&models().unwrap().join(repository)), &content(&view));
    }
    let wide = fs::read(models().unwrap().join("tiny/wide-gguf/wide.F32.gguf")).unwrap();
    assert!(fs::read(place.shown("lmstudio:tiny/wide-gguf/wide.F32.gguf")).unwrap() == wide);

    assert_same(&before, &tree(&home));
    assert_eq!(said, place.opinions(&hub));
}

/// What both a plan and its execution say: the sums, each model and what was left out.
fn sums(ran: &Ran) -> Vec<Value> {
    const KEYS: [&str; 10] =
        ["id", "also", "files", "size_bytes", "new_bytes", "deduped_bytes", "models", "skipped", "failed", "path"];
    let strip = |mut line: Value| {
        line.as_object_mut().unwrap().retain(|key, _| KEYS.contains(&key.as_str()));
        line
    };
    ran.lines().into_iter().map(strip).collect()
}

// The layout, the names of unfinished files and the commands differ from version to version.
#[rstest]
#[case(Hf::V0_36)]
#[case(Hf::V1_1)]
#[case(Hf::V2_4)]
fn the_cache_of_each_version(#[case] version: Hf) {
    if version.bin().is_none() {
        return;
    }
    let Some(hub) = Hub::start() else { return };
    let place = Place::new();
    let commits = ["main", "v1"].map(|revision| {
        let folder = place.hf_does(version, Some(&hub), &["download", "tiny/bert", revision]);
        Path::new(folder.trim()).file_name().unwrap().to_str().unwrap().to_owned()
    });
    place.hf_does(version, Some(&hub), &["download", "tiny/sharded"]);
    looks_the_same(&place, &hub, version);
    for (commit, folder) in commits.iter().zip(["tiny/bert", "tiny/bert@v1"]) {
        let view = place.shown(&format!("hf:tiny/bert@{commit}"));
        assert_same(&content(&models().unwrap().join(folder)), &content(&view));
    }
    assert_same(&content(&models().unwrap().join("tiny/bert")), &content(&place.shown("hf:tiny/bert")));
}

/// Adopts the cache of huggingface_hub, and compares it before and after.
#[track_caller]
fn looks_the_same(place: &Place, hub: &Hub, version: Hf) {
    let judge = || {
        let scan = place.hf_does(version, None, &["scan"]);
        let found = ["tiny/bert", "tiny/sharded"].map(|repository| {
            let offline = place.hf_does(version, None, &["offline", repository]);
            assert_eq!(offline.trim(), place.hf_downloads_nothing(version, hub, repository));
            (offline, place.hf_verifies(version, hub, repository))
        });
        (scan, found)
    };
    let said = judge();
    let before = tree(&place.hf());
    place.done(&["adopt", "hf"]);
    assert_same(&before, &tree(&place.hf()));
    assert_eq!(said, judge());
    place.assert_sound();
}

// A repository's blob is a symlink into a folder that all repositories share, under a name that is not its SHA-256.
#[test]
fn the_shared_blobs_of_huggingface_hub() {
    let version = Hf::V2_4;
    if version.bin().is_none() {
        return;
    }
    let Some(hub) = Hub::start() else { return };
    let place = Place::new();
    place.hf_does(version, Some(&hub), &["download", "tiny/bert"]);
    place.hf_does(version, Some(&hub), &["download", "tiny/sharded"]);
    let shared = place.hf_does(version, None, &["share"]);
    assert_eq!(shared.lines().count(), 3, "{shared}");
    looks_the_same(&place, &hub, version);
    assert_same(&content(&models().unwrap().join("tiny/bert")), &content(&place.shown("hf:tiny/bert")));
}

// What a scan can tell about files is not what they are: the digests must be those of a fetch.
#[test]
fn what_is_adopted_is_not_fetched_again() {
    let Some(_) = Hf::V2_4.bin() else { return };
    let Some(hub) = Hub::start() else { return };
    let place = Place::new();
    for repository in ["tiny/bert", "tiny/wide"] {
        place.hf_does(Hf::V2_4, Some(&hub), &["download", repository]);
    }
    place.done(&["adopt", "hf"]);
    hub.forget();
    for reference in ["hf:tiny/bert", "hf:tiny/wide"] {
        let mut stage = place.program(assert_cmd::cargo::cargo_bin!("catalog"));
        stage.arg("--root").arg(place.root()).args(["--json", "stage", reference, "--allow-net", &hub.rules()]);
        let ran = Ran::of(&stage.env("HF_ENDPOINT", &hub.hub).output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(hub.content_bytes(), 0);
    place.assert_sound();
}

// The library's pickles are never read, and nothing is written.
#[test]
fn both_layouts_of_modelscope() {
    if tools().is_none() {
        return;
    }
    let place = Place::new();
    let source = models().unwrap().join("tiny/bert");
    place.modelscope_does("make", &["tiny/bert", source.to_str().unwrap()]);
    place.modelscope_does("make-old", &["tiny/old", source.to_str().unwrap()]);
    let pickle = place.modelscope().join("hub/models/tiny/old/.msc");
    let before = tree(&place.modelscope());
    let read_before = fs::metadata(&pickle).unwrap().accessed().unwrap();
    place.done(&["adopt", "modelscope"]);
    assert_eq!(fs::metadata(&pickle).unwrap().accessed().unwrap(), read_before);
    assert_same(&before, &tree(&place.modelscope()));
    for id in ["modelscope:tiny/bert", "modelscope:tiny/old"] {
        assert_same(&content(&source), &content(&place.shown(id)));
        assert_eq!(place.modelscope_does("offline", &[id.strip_prefix("modelscope:").unwrap()]).lines().count(), 1);
    }
    place.assert_sound();
    place.modelscope_does("clear", &["tiny/bert"]);
    place.assert_sound();
}

// RamaLama writes into the blob of a file again, and its name is the hash of a name. Red when it may be hardlinked.
#[test]
fn what_ramalama_may_write_into_is_never_linked() {
    if tools().is_none() {
        return;
    }
    let place = Place::new();
    let file = models().unwrap().join("tiny/llama/tiny.Q8_0.gguf");
    let reference = format!("file://{}", file.display());
    place.ramalama_does(None, &["pull", &reference]);
    let before = tree(&place.ramalama());
    place.done(&["adopt", "ramalama"]);
    assert_same(&before, &tree(&place.ramalama()));
    let [id] = place.ids().try_into().unwrap();
    assert!(id.starts_with("ramalama:file://"), "{id}");
    place.assert_sound();
    let blobs = crate::common::files_below(&place.ramalama().join("store"));
    assert!(blobs.iter().all(|blob| mode_of(blob) & 0o200 != 0), "a file of RamaLama has become read-only");
    // It writes the file again, in place.
    place.ramalama_does(None, &["pull", &reference]);
    place.assert_sound();
}
