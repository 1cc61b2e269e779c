//! The facts of real models are those that gguf-py and safetensors tell of the same files.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::{files_below, fixture};
use crate::place::Place;
use crate::venv::{models, tools};

/// What the judges say of files, one object each.
fn judged(place: &Place, files: &[PathBuf]) -> Vec<Value> {
    let mut words = vec!["say"];
    words.extend(files.iter().map(|file| file.to_str().unwrap()));
    let said = place.script_does("facts.py", &words, &[]);
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn facts(place: &Place, id: &str) -> Value {
    place.done(&["show", id]).lines()[0]["facts"].clone()
}

/// Compares everything that the judge says.
#[track_caller]
fn assert_agree(facts: &Value, judged: &Value) {
    for (key, value) in judged.as_object().unwrap() {
        let ours = match key.as_str() {
            "dtypes" => {
                let types = facts["dtypes"].as_object().unwrap().iter();
                Value::Object(types.map(|(name, of)| (name.clone(), json!([of["tensors"], of["values"]]))).collect())
            }
            key => facts[key].clone(),
        };
        assert_eq!(&ours, value, "{key}");
    }
}

/// The only file below a folder with this ending.
fn file_in(folder: &Path, ending: &str) -> PathBuf {
    let mut found = files_below(folder);
    found.retain(|file| file.to_str().unwrap().ends_with(ending));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

// Red when a type's size or a count is wrong.
#[test]
fn real_models() {
    let (Some(_), Some(models)) = (tools(), models()) else { return };
    let place = Place::new();
    let files = [fixture(), file_in(&models, "SmolLM2-135M-Instruct.Q4_1.gguf")];
    for (file, judged) in files.iter().zip(judged(&place, &files)) {
        place.done(&["stage", file.to_str().unwrap(), "--id", "m", "--mode", "copy"]);
        let facts = facts(&place, "m");
        assert_agree(&facts, &judged);
        assert_eq!((&facts["completeness"], &facts["missing"]), (&"complete".into(), &json!([])));
    }
    let smol = facts(&place, "m");
    assert_eq!((&smol["parameters"], &smol["tensors"]), (&134_515_008.into(), &272.into()));
    assert_eq!((&smol["needed_bytes"], &smol["quantization"]), (&98_362_432.into(), &"Q4_1".into()));

    // With its configuration, its tokenizer, and the modules of sentence-transformers.
    let weights = file_in(&models, "model.safetensors");
    place.done(&["stage", weights.parent().unwrap().to_str().unwrap(), "--id", "minilm", "--mode", "copy"]);
    let facts = facts(&place, "minilm");
    assert_agree(&facts, &judged(&place, &[weights])[0]);
    assert_eq!((&facts["architecture"], &facts["license"]), (&"bert".into(), &"apache-2.0".into()));
    assert_eq!((&facts["context_length"], &facts["completeness"]), (&512.into(), &"complete".into()), "{facts}");
}

#[test]
fn a_model_that_is_split_and_one_of_another_byte_order() {
    if tools().is_none() {
        return;
    }
    let place = Place::new();
    let split = place.path("split");
    fs::create_dir(&split).unwrap();
    place.script_does("facts.py", &["split", split.to_str().unwrap()], &[]);
    let mut parts = files_below(&split);
    parts.sort();
    assert_eq!(parts.len(), 3, "{parts:?}");
    let stage = |id: &str, more: &[&str]| {
        place.catalog(&[&["stage", split.to_str().unwrap(), "--id", id, "--mode", "copy"], more].concat())
    };
    assert_eq!(stage("split", &["--require-complete"]).code, 0);
    let whole = facts(&place, "split");
    assert_eq!(whole["parts"], json!({"present": 3, "total": 3}));
    assert_eq!((&whole["tensors"], &whole["parameters"]), (&12.into(), &(12 * 256).into()));
    assert_eq!((&whole["completeness"], &whole["context_length"]), (&"complete".into(), &2048.into()));
    // The path that llama.cpp wants is that of the first part.
    let entry = place.done(&["path", "--entry", "split"]).values("local_path").remove(0);
    assert!(entry.ends_with("made-00001-of-00003.gguf") && Path::new(&entry).exists(), "{entry}");

    fs::remove_file(&parts[1]).unwrap();
    let refused = stage("gone", &["--require-complete"]);
    assert!(refused.code == 4 && refused.err.contains("made-00002-of-00003.gguf is missing"), "{refused:?}");
    assert_eq!(place.catalog(&["path", "gone"]).code, 3);
    let warned = stage("gone", &[]);
    assert!(warned.code == 0 && warned.err.contains("made-00002-of-00003.gguf is missing"), "{warned:?}");
    let listed = place.done(&["list", "--long", "gone"]).lines();
    assert_eq!(listed[0]["facts"]["completeness"], "incomplete");
    let found = place.catalog(&["doctor"]);
    assert!(found.out.contains("model_incomplete"), "{found:?}");
    let again = stage("gone", &["--require-complete"]);
    assert_eq!(again.code, 4, "what is here already is looked at too: {again:?}");

    let big = place.path("big.gguf");
    place.script_does("facts.py", &["big", big.to_str().unwrap()], &[]);
    place.done(&["stage", big.to_str().unwrap(), "--id", "big", "--mode", "copy"]);
    let judged = judged(&place, std::slice::from_ref(&big)).remove(0);
    assert_agree(&facts(&place, "big"), &judged);
}
