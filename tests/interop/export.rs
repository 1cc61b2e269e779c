//! `export` for the other tools: each finds the model, reads it, and removes only its own names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{FIXTURE_SHA256, files_below, fixture, run};
use crate::hub::models;
use crate::place::{Place, has};
use crate::tree::{assert_same, content};
use crate::venv::tools;

/// With the fixture as `hf:tiny/llama`, or `None` if the tools are not installed.
fn with_gguf() -> Option<Place> {
    tools()?;
    let place = Place::new();
    place.done(&["stage", fixture().to_str().unwrap(), "--id", "tiny", "--mode", "copy"]);
    Some(place)
}

fn export(place: &Place, id: &str, tool: &str, to: &Path, more: &[&str]) {
    place.done(&[&["export", id, "--as", tool, "--to", to.to_str().unwrap()], more].concat());
    for file in files_below(to) {
        let real = fs::canonicalize(&file).unwrap();
        assert!(!real.starts_with(place.root()), "{} leads to {}", file.display(), real.display());
    }
}

/// llama.cpp loads the file and completes a prompt.
#[track_caller]
fn loads(place: &Place, file: &Path) {
    let said = place.script_does("load.py", &["llamacpp", file.to_str().unwrap()], &[]);
    assert!(said.contains("completed"), "{said}");
}

#[test]
fn ramalama() {
    let Some(place) = with_gguf() else { return };
    export(&place, "tiny", "ramalama", &place.ramalama(), &["--repo", "tiny/llama"]);
    let listed = place.ramalama_does(None, &["ls", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let [model] = listed.as_array().unwrap().as_slice() else { panic!("{listed}") };
    let name = model["name"].as_str().unwrap();
    assert!(name.starts_with("hf://tiny/llama"), "{listed}");
    assert_eq!(model["size"], fs::metadata(fixture()).unwrap().len());
    let about = place.ramalama_does(None, &["inspect", name]);
    assert!(about.contains("Format: GGUF") && about.contains("Tensors: 21 entries"), "{about}");
    let snapshot =
        files_below(&place.ramalama()).into_iter().find(|file| file.extension().is_some_and(|e| e == "gguf"));
    loads(&place, &snapshot.unwrap());

    // What it adopts again is the same file.
    place.done(&["adopt", place.ramalama().to_str().unwrap()]);
    place.ramalama_does(None, &["rm", name]);
    place.assert_sound();
    place.done(&["export", "--sync"]);
    place.done(&["export", "--list"]);
}

#[test]
fn ollama() {
    let Some(place) = with_gguf() else { return };
    export(&place, "tiny", "ollama", &place.ollama(), &["--repo", "library/tiny"]);
    let found = place.script_does("load.py", &["ollama", "tiny", "latest"], &[("OLLAMA_MODELS", &place.ollama())]);
    assert!(found.trim().ends_with(&format!("sha256-{FIXTURE_SHA256}")), "{found}");
    loads(&place, Path::new(found.trim()));
    // Its own start removes every other name in `blobs/`, and takes every file four levels below `manifests/` for one.
    for blob in files_below(&place.ollama().join("blobs")) {
        let name = blob.file_name().unwrap().to_str().unwrap().to_owned();
        let digest = catalog_core::Digest::sha256_of(&fs::read(&blob).unwrap()).to_hex();
        assert_eq!(name, format!("sha256-{digest}"));
    }
    let manifests = files_below(&place.ollama().join("manifests"));
    let [manifest] = manifests.as_slice() else { panic!("{manifests:?}") };
    assert!(manifest.ends_with("registry.ollama.ai/library/tiny/latest"), "{manifest:?}");
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    let config = manifest["config"]["digest"].as_str().unwrap().replace(':', "-");
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(place.ollama().join("blobs").join(config)).unwrap()).unwrap();
    assert_eq!(
        (&config["model_format"], &config["model_family"], &config["file_type"]),
        (&"gguf".into(), &"llama".into(), &"Q8_0".into())
    );

    // And a model of Ollama comes back as it was.
    let before = content(&place.ollama());
    let other = Place::new();
    other.done(&["adopt", place.ollama().to_str().unwrap()]);
    assert_eq!(other.ids(), ["ollama:tiny:latest"]);
    other.done(&["export", "ollama:tiny:latest", "--as", "ollama", "--to", other.ollama().to_str().unwrap()]);
    assert_same(&before, &content(&other.ollama()));
    place.assert_sound();
}

// Ollama keeps a blob once, whichever model names it.
#[test]
fn a_blob_that_another_model_of_ollama_names_is_not_removed() {
    let Some(place) = with_gguf() else { return };
    export(&place, "tiny", "ollama", &place.ollama(), &["--repo", "library/tiny"]);
    place.fill_ollama("other", "tiny/llama/tiny.Q8_0.gguf", &[]);
    place.done(&["export", "--remove", "tiny"]);
    let blob = |name| place.script_does("load.py", &["ollama", name, "latest"], &[("OLLAMA_MODELS", &place.ollama())]);
    assert_eq!(blob("tiny").trim(), "");
    assert!(blob("other").trim().ends_with(&format!("sha256-{FIXTURE_SHA256}")), "the blob of another model is gone");
}

#[test]
fn lm_studio_and_a_view() {
    let Some(place) = with_gguf() else { return };
    export(&place, "tiny", "lmstudio", &place.lmstudio(), &["--repo", "tiny/llama"]);
    let files = files_below(&place.lmstudio());
    let [file] = files.as_slice() else { panic!("{files:?}") };
    assert_eq!(file.parent().unwrap(), place.lmstudio().join("tiny/llama"));
    loads(&place, file);
    loads(&place, &place.shown("tiny"));
    let split = models().unwrap().join("tiny/llama/split");
    place.done(&["stage", split.to_str().unwrap(), "--id", "split"]);
    loads(&place, &place.shown("split").join("tiny-00001-of-00003.gguf"));
    place.assert_sound();
}

#[test]
fn modelscope() {
    if tools().is_none() {
        return;
    }
    let place = Place::new();
    let source = models().unwrap().join("tiny/bert");
    let source_text = source.to_str().unwrap();
    place.done(&["stage", source_text, "--id", "bert", "--mode", "copy"]);
    export(&place, "bert", "modelscope", &place.modelscope(), &["--repo", "tiny/bert"]);
    let found = place.modelscope_does("scan", &[]);
    assert!(found.contains("tiny/bert"), "{found}");
    let said = place.modelscope_does("verify", &["tiny/bert", source_text]);
    assert!(said.contains("checked_count=7, mismatches=[], missing_paths=[], extra_paths=[]"), "{said}");
    let offline = place.modelscope_does("offline", &["tiny/bert"]);
    assert_same(&content(&source), &content(Path::new(offline.trim())));
    place.modelscope_does("clear", &["tiny/bert"]);
    place.assert_sound();
}

#[test]
fn skopeo_reads_the_oci_layout() {
    if !has("skopeo") {
        return;
    }
    let Some(place) = with_gguf() else { return };
    let source = models().unwrap().join("tiny/bert");
    place.done(&["stage", source.to_str().unwrap(), "--id", "bert", "--mode", "copy"]);
    let layout = place.path("layout");
    export(&place, "bert", "oci", &layout, &[]);
    export(&place, "tiny", "oci", &layout, &[]);
    let skopeo = |words: &[&str]| {
        let mut command = Command::new("skopeo");
        command.args(words).current_dir(place.path(""));
        String::from_utf8(run(command).stdout).unwrap()
    };
    let index: serde_json::Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let manifests = index["manifests"].as_array().unwrap();
    assert_eq!(manifests.len(), 2, "{index}");
    for (number, manifest) in manifests.iter().enumerate() {
        let name = manifest["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap();
        let from = format!("oci:layout:{name}");
        let raw = skopeo(&["inspect", "--raw", &from]);
        let digest = catalog_core::Digest::sha256_of(raw.as_bytes()).to_hex();
        assert_eq!(manifest["digest"].as_str().unwrap(), format!("sha256:{digest}"));
        skopeo(&["copy", "--quiet", &from, &format!("oci:copy-{number}:{name}")]);
    }
    let mut digests = Vec::new();
    for layout in ["layout", "copy-0", "copy-1"] {
        let other = Place::new();
        other.done(&["adopt", place.path(layout).to_str().unwrap()]);
        digests.push(other.done(&["list"]).values("digest"));
        other.assert_sound();
    }
    // As a tree, the model has the digest of the catalog that it came from.
    let mine = place.done(&["list"]).values("digest");
    assert_eq!(digests[0].len(), 2, "{digests:?}");
    assert!(digests[0].contains(&mine[0]) && mine.iter().any(|mine| digests[0].contains(mine)), "{mine:?} {digests:?}");
    let mut copied = [digests[1].clone(), digests[2].clone()].concat();
    copied.sort();
    digests[0].sort();
    assert_eq!(copied, digests[0]);
    place.assert_sound();
}

// A folder may be written to by anybody, so it has no inode of the catalog.
#[test]
fn a_folder() {
    let Some(place) = with_gguf() else { return };
    let to = place.path("folder");
    export(&place, "tiny", "dir", &to, &[]);
    let files: Vec<PathBuf> = files_below(&to);
    let [file] = files.as_slice() else { panic!("{files:?}") };
    assert!(fs::read(file).unwrap() == fs::read(fixture()).unwrap());
    fs::write(file, "other bytes").unwrap();
    place.assert_sound();
    loads(&place, &place.shown("tiny"));
}
