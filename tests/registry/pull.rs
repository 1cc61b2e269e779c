//! What others have pushed arrives unchanged, and only once.

use std::fs;

use catalog_core::{ArtifactKind, Digest, OciOptions, StageOptions, UsedMode};

use crate::common::{Host, noise};
use crate::server::Registry;
use crate::{catalog, reference};

fn files(host: &Host) -> Vec<(&'static str, Vec<u8>)> {
    let files = vec![
        ("config.json", noise(2_000, 1)),
        ("model-00001-of-00002.safetensors", noise(9 << 20, 2)),
        ("model-00002-of-00002.safetensors", noise(70_000, 3)),
    ];
    for (name, bytes) in &files {
        host.file(name, bytes);
    }
    files
}

// Red when a layer gets another name, when a tag that has not moved is fetched again, or when a digest is asked about.
#[test]
fn a_tree_that_oras_has_pushed() {
    let Some(registry) = Registry::open() else { return };
    let host = Host::new();
    let files = files(&host);
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    if !registry.push("acme/tiny:v1", host.dir.path(), &names) {
        return;
    }
    let catalog = catalog(&host, &[&registry.host()], OciOptions::default());
    let tag = reference(&registry.reference("acme/tiny:v1"));
    let receipt = catalog.stage(&tag, &StageOptions::default()).unwrap();
    assert_eq!((receipt.kind, receipt.files), (ArtifactKind::Tree, files.len() as u64));
    for (name, bytes) in &files {
        assert!(fs::read(receipt.local_path.join(name)).unwrap() == *bytes, "{name}");
    }
    assert_eq!(receipt.fetched_bytes, files.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
    let show = catalog.record(&receipt.id).unwrap().unwrap();
    let pinned = show.source.unwrap().pinned.unwrap();
    pinned.parse::<Digest>().unwrap();

    // The tag has not moved: one HEAD.
    let counts = || (registry.asked("\"HEAD "), registry.asked("\"GET "));
    let (before, blobs) = (counts(), registry.asked("/blobs/"));
    assert_eq!(catalog.stage(&tag, &StageOptions::default()).unwrap().mode, UsedMode::Unchanged);
    assert_eq!(counts(), (before.0 + 1, before.1));
    // By digest, under another reference, no bytes are fetched; the second time, no request is made.
    let digest = reference(&registry.reference(&format!("acme/tiny@{pinned}")));
    let again = catalog.stage(&digest, &StageOptions::default()).unwrap();
    assert_eq!((again.digest, again.fetched_bytes), (receipt.digest, 0));
    assert_eq!(registry.asked("/blobs/"), blobs);
    let asked = registry.asked("");
    assert_eq!(catalog.stage(&digest, &StageOptions::default()).unwrap().mode, UsedMode::Unchanged);
    assert_eq!(registry.asked(""), asked);
    // The tag now has another meaning.
    host.file("config.json", noise(3_000, 9));
    registry.push("acme/tiny:v1", host.dir.path(), &names);
    let moved = catalog.stage(&tag, &StageOptions::default()).unwrap();
    assert_eq!((moved.replaced, moved.fetched_bytes), (Some(receipt.digest), 3_000));
}

// Red when a single file is staged as a tree.
#[test]
fn one_file_is_a_file() {
    let Some(registry) = Registry::open() else { return };
    let host = Host::new();
    let bytes = noise((9 << 20) + 5, 4);
    host.file("tiny-q4.gguf", &bytes);
    if !registry.push("acme/models/tiny", host.dir.path(), &["tiny-q4.gguf"]) {
        return;
    }
    let catalog = catalog(&host, &[&registry.host()], OciOptions::default());
    let receipt = catalog.stage(&reference(&registry.reference("acme/models/tiny")), &StageOptions::default()).unwrap();
    assert_eq!((receipt.kind, receipt.digest), (ArtifactKind::File, Digest::sha256_of(&bytes)));
    assert_eq!(receipt.local_path.file_name().unwrap(), "tiny-q4.gguf");
}

// Red when the registry's bytes are believed without a check.
#[test]
fn bytes_that_the_registry_has_lost_are_not_stored() {
    let Some(registry) = Registry::open() else { return };
    let host = Host::new();
    let bytes = noise(3 << 20, 5);
    host.file("a.gguf", &bytes);
    if !registry.push("acme/a", host.dir.path(), &["a.gguf"]) {
        return;
    }
    let mut wrong = bytes.clone();
    wrong[1 << 20] ^= 1;
    fs::write(registry.blob(&Digest::sha256_of(&bytes).to_hex()), &wrong).unwrap();
    let catalog = catalog(&host, &[&registry.host()], OciOptions::default());
    let error = catalog.stage(&reference(&registry.reference("acme/a")), &StageOptions::default()).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    assert!(catalog.records().unwrap().is_empty());
}
