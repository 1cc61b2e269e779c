//! Feeds external text to every parser of the crate: the entry points for fuzzing and for replaying its corpora.
//!
//! Each function takes any bytes, panics if a promise is broken, and returns whether the bytes were accepted.

use std::path::{Component, Path};

use serde_json::Value;
use serde_json::value::RawValue;

use crate::blob::{manifest, outboard};
use crate::catalog::FsCatalog;
use crate::digest::Digest;
use crate::error::Error;
use crate::formats::{Completeness, Facts, ModelFile, ModelFiles, facts_of};
use crate::index::{ShardText, StoredRecord, Unusable};
use crate::layout::{self, FORMAT, Thing};
use crate::model_ref::ModelRef;
use crate::read_at::{InMemory, ReadAt};

/// A model reference: its text and its id parse back to the same reference, and every error is invalid input.
pub fn fuzz_model_ref(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let parsed = match ModelRef::parse(text) {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(error.is_invalid_input(), "{text:?} gives {error}");
            check_refusal(&error);
            return false;
        }
    };
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?} was let through");
    let shown = parsed.to_string();
    let again = ModelRef::parse(&shown).unwrap_or_else(|e| panic!("{text:?} is shown as {shown:?}: {e}"));
    assert_eq!(again, parsed, "{text:?} is shown as {shown:?}");
    assert_eq!(again.to_string(), shown, "{text:?}, shown twice, differs");
    match parsed.id() {
        Ok(id) => {
            let named = ModelRef::parse(&id).unwrap_or_else(|e| panic!("{text:?} has the id {id:?}: {e}"));
            assert_eq!(named.scheme(), parsed.scheme(), "{text:?} has the id {id:?}");
            assert_eq!(named.id().ok(), Some(id), "the id of {text:?} is not its own id");
        }
        Err(error) => check_error(&error),
    }
    if let ModelRef::Hf { org, repo, path } = &parsed {
        let path = path.as_deref().unwrap_or("path");
        let parts = [org.as_str(), repo.as_str()].into_iter().chain(path.split(['/', '\\']));
        assert!(parts.into_iter().all(|part| !["", ".", ".."].contains(&part)), "{text:?} gives {parsed:?}");
    }
    true
}

/// The header of a GGUF file.
pub fn fuzz_gguf(bytes: &[u8]) -> bool {
    check_facts("model.gguf", bytes)
}

/// The header of a safetensors file.
pub fn fuzz_safetensors(bytes: &[u8]) -> bool {
    check_facts("model.safetensors", bytes)
}

/// A model of one file: its facts never fail, are fit to be shown, are the same by any name that the bytes allow, and
/// survive JSON. Returns whether it is whole.
fn check_facts(name: &str, bytes: &[u8]) -> bool {
    let facts_as = |name: &str| {
        let files = [ModelFile { path: name.to_owned(), size_bytes: bytes.len() as u64 }];
        let open = |_| Ok(Box::new(InMemory { name: String::new(), bytes: bytes.to_vec() }) as Box<dyn ReadAt>);
        facts_of(&ModelFiles::new(&files, &open)).unwrap_or_else(|error| panic!("{error}"))
    };
    let facts = facts_as(name);
    let texts = [&facts.name, &facts.architecture, &facts.license, &facts.quantization, &facts.tokenizer];
    let lists = [&facts.base_models, &facts.languages, &facts.missing];
    for text in texts.into_iter().flatten().chain(lists.into_iter().flatten()) {
        assert!(!text.chars().any(char::is_control) && text.len() < 4096, "{text:?}");
    }
    assert!(facts.dtypes.len() <= 65);
    assert_eq!(facts.missing.is_empty(), facts.completeness != Completeness::Incomplete, "{facts:?}");
    if facts.format.is_some() {
        assert_eq!(facts.weight_bytes, bytes.len() as u64);
        let other = facts_as("blob");
        assert_eq!((other.format, other.parameters, &other.dtypes), (facts.format, facts.parameters, &facts.dtypes));
    }
    let text = serde_json::to_string(&facts).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(serde_json::from_str::<Facts>(&text).ok(), Some(facts.clone()));
    facts.completeness == Completeness::Complete
}

/// A digest: each has exactly one text, and `FromStr` and JSON accept the same texts.
pub fn fuzz_digest(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let parsed = text.parse::<Digest>();
    let from_json = serde_json::from_value::<Digest>(text.into());
    // Parse the bytes themselves as JSON, so that escapes are covered, too.
    if let Ok(digest) = serde_json::from_slice::<Digest>(bytes) {
        assert_eq!(digest.to_string().parse::<Digest>().ok(), Some(digest), "{text:?}");
    }
    match parsed {
        Ok(digest) => {
            assert_eq!(digest.to_string(), text, "a second text for one digest");
            assert_eq!(text.len(), 71, "{text:?}");
            assert_eq!(from_json.ok(), Some(digest), "{text:?} as JSON");
            true
        }
        Err(error) => {
            let error = Error::from(error);
            assert!(error.is_invalid_input(), "{text:?} gives {error}");
            check_refusal(&error);
            assert!(from_json.is_err(), "{text:?} is a digest as JSON alone");
            false
        }
    }
}

/// An index shard: what is read is written and read again exactly, and no record leads out of the root.
///
/// The bytes are tried as the whole file, as its `entries` with a correct checksum, which no mutation of a whole file
/// would ever hit, and as its `log`, which makes no difference to the entries.
pub fn fuzz_shard(bytes: &[u8]) -> bool {
    let as_file = check_shard(bytes);
    let as_entries = std::str::from_utf8(bytes).is_ok_and(|entries| {
        let entries = entries.trim_matches([' ', '\t', '\n', '\r']);
        let checksum = blake3::hash(entries.as_bytes()).to_hex();
        let text = format!(
            r#"{{"format":{FORMAT},"generation":1,"checksum":"blake3:{checksum}","later":[1.0],"entries":{entries}}}"#
        );
        // The text may say that they are lines, rightly or not.
        let said = text.replacen("\"later\"", &format!("\"lines\":\"blake3:{checksum}\",\"later\""), 1);
        if let Ok(shard) = ShardText::parse(said.into_bytes()) {
            for record in shard.entries.all().into_values() {
                assert!(entries.contains(record.get()), "{record} was not there");
            }
            shard.render();
        }
        check_shard(text.as_bytes())
    });
    if let Ok(log) = std::str::from_utf8(bytes) {
        let checksum = blake3::hash(b"{}").to_hex();
        check_shard(
            format!(
                r#"{{"format":{FORMAT},"generation":1,"checksum":"blake3:{checksum}","log":{log},"entries":{{}}}}"#
            )
            .as_bytes(),
        );
    }
    as_file || as_entries
}

/// Returns whether every record in it was also accepted, as when a catalog loads it.
fn check_shard(bytes: &[u8]) -> bool {
    let shard = match ShardText::parse(bytes.to_vec()) {
        Ok(shard) => shard,
        Err(Unusable::Newer(format)) => {
            assert_ne!(format, u64::from(FORMAT), "refused as newer");
            return false;
        }
        Err(Unusable::Damaged(reason)) => {
            assert!(!reason.is_empty(), "damaged without a reason");
            return false;
        }
    };
    let rendered = shard.render();
    let again = ShardText::parse(rendered.clone()).unwrap_or_else(|e| panic!("what was written cannot be read: {e:?}"));
    assert_eq!(again.generation, shard.generation, "a rewrite changed the generation");
    assert_eq!(text_of(&again), text_of(&shard), "a rewrite changed entries");
    assert_eq!(again.render(), rendered, "a second rewrite differs");
    let mut all_accepted = true;
    for text in shard.entries.all().into_values() {
        all_accepted &= check_record(text);
    }
    all_accepted
}

fn text_of(shard: &ShardText) -> Vec<(&str, &str)> {
    shard.entries.all().into_iter().map(|(id, record)| (id, record.get())).collect()
}

fn check_record(text: &RawValue) -> bool {
    let record = match StoredRecord::parse(text.get()) {
        Ok(record) => record,
        Err(reason) => {
            assert!(!reason.is_empty(), "refused without a reason");
            return false;
        }
    };
    check_plain_path(&record.path);
    assert!(record.relative_path().is_some(), "{:?} was let through", record.path);
    for old in [None, Some(text)] {
        let rendered = record.render(old).unwrap_or_else(|e| panic!("{text} cannot be written again: {e}"));
        let again = StoredRecord::parse(rendered.get()).unwrap_or_else(|e| panic!("{rendered} cannot be read: {e}"));
        assert_eq!(again, record, "a rewrite changed a record");
        let twice = again.render(Some(&rendered)).unwrap_or_else(|e| panic!("{rendered} cannot be written again: {e}"));
        assert_eq!(twice.get(), rendered.get(), "a second rewrite differs");
    }
    true
}

/// A tree's manifest: only plain relative paths, sorted and unique. What is read is written and read again unchanged.
pub fn fuzz_manifest(bytes: &[u8]) -> bool {
    let files = match manifest::decode(bytes) {
        Ok(files) => files,
        Err(reason) => {
            assert!(!reason.is_empty(), "refused without a reason");
            return false;
        }
    };
    for file in &files {
        check_plain_path(&file.path);
        assert!(!file.path.contains(char::is_control), "{:?} was let through", file.path);
    }
    assert!(files.is_sorted_by(|a, b| a.path < b.path), "unsorted, or one path twice");
    let encoded = manifest::encode(&files).unwrap_or_else(|e| panic!("what was read cannot be written: {e}"));
    let again = manifest::decode(&encoded).unwrap_or_else(|e| panic!("what was written cannot be read: {e}"));
    assert_eq!(again, files, "a rewrite changed the files");
    true
}

/// An outboard: its small file, a zero byte, and the list of its groups. An accepted one is consistent: it has as many
/// groups as its size requires, and they merge to its root.
pub fn fuzz_outboard(bytes: &[u8]) -> bool {
    let at = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (text, list) = bytes.split_at(at);
    let Some((size_bytes, values)) = outboard::probe(text, list.get(1..).unwrap_or_default()) else { return false };
    let expected = if size_bytes <= 1 << 20 { 0 } else { size_bytes.div_ceil(1 << 20) };
    assert_eq!(values.len() as u64, expected, "{size_bytes} bytes");
    assert_eq!(values.concat(), list.get(1..).unwrap_or_default());
    true
}

/// A path in a root: each name has at most one meaning and one place. Accepted paths are those that the store creates;
/// below views, in a session and in quarantine, that is any path.
pub fn fuzz_layout(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let path = Path::new(text);
    let thing = layout::classify(path);
    if let Some(right) = thing.path() {
        assert_eq!(right, path, "{thing:?}");
    }
    if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
        assert_eq!(layout::classify_in(folder, name), thing, "{text:?}");
    }
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        assert_eq!(thing, Thing::Strange, "{text:?} leads elsewhere");
    }
    !matches!(thing, Thing::Strange | Thing::Foreign)
}

/// A signature: no bytes of a bundle, of what it signs or of its certificates make it panic. Accepted are bundles whose
/// statement makes sense, whoever has signed it.
#[cfg(feature = "attest")]
pub fn fuzz_bundle(bytes: &[u8]) -> bool {
    crate::attest::makes_sense(bytes)
}

/// A `store.json`: it is opened only if it says that this version may do so, rejected otherwise, and never written to.
pub fn fuzz_store_json(bytes: &[u8]) -> bool {
    thread_local! {
        static ROOT: tempfile::TempDir = tempfile::tempdir().expect("a temporary folder can be made");
    }
    ROOT.with(|root| check_store_json(root.path(), bytes))
}

#[allow(clippy::disallowed_methods)] // from outside, like an operator's editor
fn check_store_json(root: &Path, bytes: &[u8]) -> bool {
    let path = root.join("store.json");
    std::fs::write(&path, bytes).expect("the temporary folder can be written");
    let opened = FsCatalog::open(root);
    let after = std::fs::read(&path).expect("store.json can be read");
    assert!(after == bytes, "opening wrote to store.json");
    let names = std::fs::read_dir(root).expect("the temporary folder can be read").count();
    assert_eq!(names, 1, "opening made something");
    match opened {
        Ok(_) => {
            // An ignored member may hold what no `Value` can: a number too large, or text that is not UTF-8.
            let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return true };
            let Value::Object(members) = &value else { return true };
            assert_eq!(members.get("format").and_then(Value::as_u64), Some(u64::from(FORMAT)), "opened {value}");
            let incompatible = members.get("features").and_then(|features| features.get("incompatible"));
            let known = |features: &Vec<Value>| features.iter().all(|feature| feature == "signatures");
            assert!(incompatible.and_then(Value::as_array).is_none_or(known), "opened in spite of {incompatible:?}");
            true
        }
        Err(error) => {
            let refused = error.is_corrupt() || matches!(error, Error::UnsupportedFormat { .. });
            assert!(refused, "refused with {error}");
            check_error(&error);
            false
        }
    }
}

/// Checks that the path stays below any folder it is joined to.
fn check_plain_path(text: &str) {
    assert!(!text.is_empty() && !text.contains('\0'), "{text:?} was let through");
    let path = Path::new(text);
    assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{text:?} leads elsewhere");
    let folder = Path::new("folder");
    assert!(folder.join(path).starts_with(folder), "{text:?} leads out");
    assert!(!text.split('/').any(|part| ["", ".", ".."].contains(&part)), "{text:?} has a part that is no name");
}

/// Checks the error for rejected text: one line that quotes only an excerpt of the text.
fn check_refusal(error: &Error) {
    check_error(error);
    assert!(error.to_string().len() < 1024, "the error has {} bytes", error.to_string().len());
}

/// Checks that the error is one line.
fn check_error(error: &Error) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains(char::is_control), "the error {text:?} is not one line");
}
