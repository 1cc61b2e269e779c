//! The facts of a model are kept beside its blob, as advice.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use catalog_core::{Digest, Doctor, Facts, FsCatalog, GcPolicy};
use common::{Host, blob_path, debris, fixture, set_mode, stage};
use rstest::rstest;

/// A model `file`, and one `tree` with the same file in it.
fn host() -> (Host, FsCatalog) {
    let host = Host::new();
    let catalog = host.catalog();
    let model = host.file("tree/model.gguf", fs::read(fixture()).unwrap());
    host.file("tree/config.json", "{}");
    stage(&catalog, &model, "file").unwrap();
    stage(&catalog, &host.path("tree"), "tree").unwrap();
    (host, catalog)
}

/// Where the facts of an entry are kept.
fn kept(catalog: &FsCatalog, id: &str) -> PathBuf {
    let hex = digest(catalog, id).to_hex();
    catalog.root().join(format!("outboards/sha256/{}/{hex}.facts", &hex[..2]))
}

fn digest(catalog: &FsCatalog, id: &str) -> Digest {
    catalog.record(id).unwrap().unwrap().entry.digest.unwrap()
}

fn facts(catalog: &FsCatalog, id: &str) -> Facts {
    catalog.facts(id).unwrap()
}

fn cut(text: &[u8]) -> Vec<u8> {
    text[..text.len() / 2].to_vec()
}

fn of_another_version(text: &[u8]) -> Vec<u8> {
    String::from_utf8(text.to_vec()).unwrap().replacen("{\"version\":1", "{\"version\":2", 1).into_bytes()
}

fn with_other_facts(text: &[u8]) -> Vec<u8> {
    String::from_utf8(text.to_vec()).unwrap().replacen("llama", "gemma", 1).into_bytes()
}

// Red when what is kept is believed although it is torn, changed, of another version or of another blob.
#[rstest]
#[case::torn(cut)]
#[case::of_another_version(of_another_version)]
#[case::changed(with_other_facts)]
#[case::empty(|_: &[u8]| Vec::new())]
#[case::large(|_: &[u8]| vec![b' '; (1 << 20) + 1])]
fn what_does_not_fit_is_read_again(#[case] damage: fn(&[u8]) -> Vec<u8>, #[values("file", "tree")] id: &str) {
    let (_host, catalog) = host();
    let (place, known) = (kept(&catalog, id), facts(&catalog, id));
    let text = fs::read(&place).unwrap();
    let damaged = damage(&text);
    assert_ne!(damaged, text);
    fs::write(&place, damaged).unwrap();
    assert_eq!(facts(&catalog, id), known);
    assert_eq!(fs::read(&place).unwrap(), text, "it is written anew");
    // The facts of another blob.
    let other = if id == "file" { "tree" } else { "file" };
    facts(&catalog, other);
    fs::copy(kept(&catalog, other), &place).unwrap();
    assert_eq!(facts(&catalog, id), known);
    assert_eq!(fs::read(&place).unwrap(), text);
}

// Red when nothing is kept: the bytes of the blob would be read.
#[test]
fn the_headers_are_read_once_for_each_name() {
    let (host, catalog) = host();
    let known = facts(&catalog, "file");
    stage(&catalog, &host.file("other.bin", fs::read(fixture()).unwrap()), "other").unwrap();
    assert_eq!(facts(&catalog, "other").entry.as_deref(), Some("other.bin"));
    let (blob, text) =
        (blob_path(catalog.root(), &digest(&catalog, "file")), fs::read(kept(&catalog, "file")).unwrap());
    set_mode(&blob, 0o644);
    fs::write(&blob, vec![0; fs::read(&blob).unwrap().len()]).unwrap();
    assert_eq!((facts(&catalog, "file"), facts(&catalog, "other").entry), (known, Some("other.bin".into())));
    assert_eq!(fs::read(kept(&catalog, "file")).unwrap(), text);
    // A blob that is lost has none.
    fs::remove_file(&blob).unwrap();
    assert!(catalog.facts("file").is_err());
}

// Red when the stamp of a blob is not asked: damage would be told after the blob is whole again.
#[test]
fn of_a_damaged_blob_nothing_is_kept() {
    let (_host, catalog) = host();
    let blob = blob_path(catalog.root(), &digest(&catalog, "file"));
    let good = fs::read(&blob).unwrap();
    set_mode(&blob, 0o644);
    let mut bad = good.clone();
    let at = bad.windows(5).position(|bytes| bytes == b"llama").unwrap();
    bad[at..at + 5].copy_from_slice(b"gemma");
    fs::write(&blob, bad).unwrap();
    for id in ["file", "tree"] {
        assert_eq!(facts(&catalog, id).architecture.as_deref(), Some("gemma"));
        assert!(!kept(&catalog, id).exists(), "{id}");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_no_error_and_doctor_writes_none() {
    let (_host, catalog) = host();
    let found = Doctor::open(catalog.root()).unwrap().examine().unwrap();
    assert!(found.iter().all(|finding| !finding.needs_attention()), "{found:?}");
    assert!(!kept(&catalog, "file").exists() && !kept(&catalog, "tree").exists());
    fs::create_dir(kept(&catalog, "file")).unwrap();
    assert_eq!(facts(&catalog, "file").architecture.as_deref(), Some("llama"));
    fs::remove_dir(kept(&catalog, "file")).unwrap();
    facts(&catalog, "file");
    facts(&catalog, "tree");
    let found = Doctor::open(catalog.root()).unwrap().examine().unwrap();
    assert!(found.iter().all(|finding| !finding.needs_attention()), "{found:?}");
}

// Red when a removal, or a collection, leaves the facts of a blob that is gone.
#[test]
fn they_go_with_the_blob() {
    let (_host, catalog) = host();
    let places = ["file", "tree"].map(|id| {
        facts(&catalog, id);
        kept(&catalog, id)
    });
    assert!(places.iter().all(|place| place.exists()));
    for id in ["file", "tree"] {
        catalog.remove(id).unwrap().unwrap();
    }
    assert!(places.iter().all(|place| !place.exists()));
    fs::write(&places[0], "of a blob that is gone").unwrap();
    assert_eq!(catalog.gc(&GcPolicy::default().with_grace(Duration::ZERO)).unwrap().leftovers, 1);
    assert_eq!(debris(&catalog), Vec::<String>::new());
}

// Red when our reader counts otherwise than one that others wrote. It reads little-endian files of version 3 alone; gguf-py
// judges the others.
#[test]
fn another_reader_finds_the_same_in_a_header() {
    let models = PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/../interop-models/lib"));
    let is_gguf = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "gguf");
    let real = if models.is_dir() { common::files_below(&models) } else { Vec::new() };
    for path in [fixture()].into_iter().chain(real.into_iter().filter(is_gguf)) {
        let host = Host::new();
        let catalog = host.catalog();
        stage(&catalog, &path, "m").unwrap();
        let facts = catalog.facts("m").unwrap();
        let oracle = gguf_rs_lib::reader::file_reader::open_gguf_file(&path).unwrap();
        let (metadata, tensors) = (oracle.metadata(), oracle.tensor_infos());
        let architecture = metadata.get_string("general.architecture").unwrap();
        assert_eq!(facts.architecture.as_deref(), Some(architecture));
        assert_eq!(facts.context_length, metadata.get_u64(&format!("{architecture}.context_length")));
        assert_eq!(facts.name.as_deref(), metadata.get_string("general.name"));
        assert_eq!(facts.tensors, tensors.len() as u64);
        assert_eq!(facts.parameters, Some(tensors.iter().map(|tensor| tensor.element_count()).sum()));
        let end = |tensor: &gguf_rs_lib::tensor::TensorInfo| tensor.data_offset() + tensor.expected_data_size();
        let needed = oracle.tensor_data_offset() + tensors.iter().map(end).max().unwrap();
        assert_eq!(facts.needed_bytes, Some(needed));
    }
}
