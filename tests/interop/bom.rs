//! Bills of materials, judged by PyPI `cyclonedx-python-lib`: its strict validator of CycloneDX 1.6, and its reader.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::{files_below, fixture, run};
use crate::hub::{Hub, script};
use crate::place::Place;
use crate::venv::{Hf, cyclonedx, models, tools};

impl Place {
    /// Writes the bill of materials of a model, and returns what the judge says of it, and the document itself.
    #[track_caller]
    fn judged_bom(&self, id: &str) -> (Value, Value) {
        let path = self.path("bom.json");
        self.done(&["bom", id, "-o", path.to_str().unwrap()]);
        let mut command = self.program(&cyclonedx().unwrap().join("python"));
        command.arg(script("bom.py")).arg(&path);
        let said = serde_json::from_slice(&run(command).stdout).unwrap();
        (said, serde_json::from_slice(&fs::read(&path).unwrap()).unwrap())
    }

    fn stage(&self, path: &Path, id: &str) {
        self.done(&["stage", path.to_str().unwrap(), "--id", id, "--mode", "copy"]);
    }
}

/// The only file of the real models with this name.
fn real(name: &str) -> Option<PathBuf> {
    let mut found = files_below(&models()?);
    found.retain(|file| file.ends_with(name));
    Some(found.remove(0))
}

fn property<'a>(bom: &'a Value, name: &str) -> &'a Value {
    let all = bom["metadata"]["component"]["properties"].as_array().unwrap();
    &all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name}: {all:?}"))["value"]
}

// Red when a member is not of the schema, such as a licence that is no SPDX id as one.
#[test]
fn real_models_and_odd_ones() {
    let (Some(_), Some(minilm)) = (cyclonedx(), real("model.safetensors")) else { return };
    let place = Place::new();
    place.stage(&fixture(), "tiny");
    let (said, bom) = place.judged_bom("tiny");
    assert_eq!((&said["type"], &said["files"]), (&"machine-learning-model".into(), &0.into()));
    assert_eq!(property(&bom, "catalog:format"), "gguf");
    assert_eq!(bom["metadata"]["component"]["modelCard"]["modelParameters"]["modelArchitecture"], "llama");

    place.stage(&real("SmolLM2-135M-Instruct.Q4_1.gguf").unwrap(), "smol");
    let (_, bom) = place.judged_bom("smol");
    assert_eq!(property(&bom, "catalog:parameters"), "134515008");
    assert_eq!(property(&bom, "catalog:stated:quantization"), "Q4_1");

    place.stage(minilm.parent().unwrap(), "minilm");
    let (said, bom) = place.judged_bom("minilm");
    let digest = bom["metadata"]["component"]["hashes"][0]["content"].clone();
    assert_eq!((&said["licenses"], &said["hashes"]), (&json!(["Apache-2.0"]), &json!([digest])));
    assert_eq!(said["files"], files_below(minilm.parent().unwrap()).len());

    let odd = place.path("odd");
    for name in ["a b", "é/\u{1F600}.json", "\"quote\"", "#?%", "sub/a b"] {
        let file = odd.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, name).unwrap();
    }
    let card = "---\nlicense: other\nlicense_name: \"a \\u{1} <b>\"\nbase_model:\n- org/a b\n- ../x\n---\n";
    fs::write(odd.join("README.md"), card).unwrap();
    place.stage(&odd, "https://user:secret@a.example/é b?secret");
    let (said, bom) = place.judged_bom("https://user:secret@a.example/é b?secret");
    assert_eq!((&said["files"], &said["ancestors"]), (&6.into(), &json!(["../x", "org/a b"])));
    assert!(!bom.to_string().contains("secret"), "{bom}");
}

#[test]
fn a_model_of_a_commit_has_a_package_url() {
    let (Some(_), Some(_)) = (cyclonedx(), tools()) else { return };
    let Some(hub) = Hub::start() else { return };
    let place = Place::new();
    place.hf_does(Hf::V2_4, Some(&hub), &["download", "tiny/bert"]);
    place.done(&["adopt", "hf"]);
    let (said, bom) = place.judged_bom("hf:tiny/bert");
    let commit = bom["metadata"]["component"]["version"].as_str().unwrap();
    assert_eq!(commit.len(), 40, "{bom}");
    assert_eq!(said["purl"], format!("pkg:huggingface/tiny/bert@{commit}"));
}

// Red when the root, the time or the order of a map is in it.
#[test]
fn the_same_bytes_in_two_roots() {
    let (Some(_), Some(minilm)) = (cyclonedx(), real("model.safetensors")) else { return };
    let boms = [Place::new(), Place::new()].map(|place| {
        place.stage(minilm.parent().unwrap(), "minilm");
        let bom = || place.done(&["bom", "minilm"]).out;
        let first = bom();
        assert_eq!(first, bom());
        first
    });
    assert_eq!(boms[0], boms[1]);
}
