//! `catalog adopt` as people type it, on stores that these tests make by hand. `tests/interop/` has real ones.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use catalog_core::Digest;

use common::typed::{done, failed, ids};
use common::*;

/// A store of LM Studio with one model, and one of Ollama with another.
fn host() -> Host {
    let host = Host::new();
    host.file("lm/acme/tiny/tiny.gguf", "weights of tiny");
    host.file("lm/acme/tiny/next.gguf.part", "half of it");
    let layer = |kind: &str, bytes: &str| {
        let digest = Digest::sha256_of(bytes.as_bytes());
        host.file(&format!("ollama/blobs/sha256-{}", digest.to_hex()), bytes);
        let kind = format!("application/vnd.ollama.image.{kind}");
        format!(r#"{{"mediaType": "{kind}", "digest": "{digest}", "size": {}}}"#, bytes.len())
    };
    let (model, template) = (layer("model", "weights of llama"), layer("template", "{{ .Prompt }}"));
    let manifest = format!(r#"{{"schemaVersion": 2, "layers": [{model}, {template}]}}"#);
    host.file("ollama/manifests/registry.ollama.ai/library/llama3.2/3b", manifest);
    host
}

#[test]
fn the_plan_is_what_is_done_and_the_second_time_there_is_nothing_to_do() {
    let host = host();
    let plan = done(&host, &["adopt", "lm", "./ollama", "--dry-run"]);
    assert!(plan.contains("would adopt ollama:llama3.2:3b: 29 B in 2 files, 0 B new"), "{plan}");
    assert!(plan.contains("tiny/next.gguf.part: an unfinished download"), "{plan}");
    assert!(plan.ends_with("2 models, 44 B, 0 B new; 1 skipped\n"), "{plan}");
    assert!(!host.root().exists(), "a plan makes no catalog");
    let left: Vec<_> = fs::read_dir(host.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "and leaves nothing beside the two stores: {left:?}");

    let first = done(&host, &["adopt", "lm", "ollama", "./ollama"]);
    assert!(first.ends_with("2 models, 44 B, 0 B new; 1 skipped\n"), "{first}");
    assert_eq!(ids(&host, &[]), ["lmstudio:acme/tiny/tiny.gguf", "ollama:llama3.2:3b"]);
    let tree = done(&host, &["path", "ollama:llama3.2:3b"]);
    let gguf = format!("{}/llama3.2-3b.gguf", tree.trim());
    assert_eq!(fs::read_to_string(gguf).unwrap(), "weights of llama");
    for again in [["adopt", "lm", "ollama", "./ollama", "-n"].as_slice(), &["adopt", "lm", "ollama", "./ollama"]] {
        let again = done(&host, again);
        assert_eq!(again.matches("here already").count(), 2, "{again}");
    }
}

// Red when the first store that cannot be scanned, or the first damaged model, ends the run.
#[test]
fn what_is_wrong_is_told_and_the_rest_is_adopted() {
    let host = host();
    host.file("torn", "no directory");
    let blob = host.path(&format!("ollama/blobs/sha256-{}", Digest::sha256_of(b"weights of llama").to_hex()));
    fs::write(&blob, "weights of lloma").unwrap();
    let error = failed(&host, &["adopt", "hf", "torn", "ollama", "./ollama", "lm"], 1);
    assert!(error.contains("torn") && error.contains("the cache is damaged"), "{error}");
    assert_eq!(ids(&host, &[]), ["lmstudio:acme/tiny/tiny.gguf"], "{error}");
    let error = failed(&host, &["adopt", "./ollama"], 4);
    assert!(error.contains(&blob.display().to_string()), "{error}");
    assert_eq!(fs::read_to_string(&blob).unwrap(), "weights of lloma");
}

#[test]
fn what_is_meant_is_one_tool_a_path_or_everything() {
    let host = host();
    done(&host, &["adopt", "lm", "./ollama", "--only", "ollama:*"]);
    assert_eq!(ids(&host, &[]), ["ollama:llama3.2:3b"]);
    assert!(failed(&host, &["adopt", "oci"], 3).contains("adopt oci PATH"));
    assert!(failed(&host, &["adopt", "olama"], 3).contains("the tools are hf, llamacpp, ollama"));
    fs::create_dir(host.path("empty")).unwrap();
    assert!(failed(&host, &["adopt", "empty"], 2).contains("not the store of a tool"));
    failed(&host, &["adopt", "lm", "--link", "--copy"], 2);
}

#[test]
fn dedupe_says_beforehand_what_it_frees() {
    let host = host();
    // The store has the bytes in an inode of its own.
    host.file("mine.gguf", "weights of llama");
    done(&host, &["stage", "mine.gguf", "--mode", "copy"]);
    let blob = host.path(&format!("ollama/blobs/sha256-{}", Digest::sha256_of(b"weights of llama").to_hex()));
    let before = fs::metadata(&blob).unwrap();
    let plan = done(&host, &["adopt", "./ollama", "--dedupe", "-n"]);
    let adopted = done(&host, &["adopt", "./ollama", "--dedupe"]);
    let freed = format!("{} B freed", before.blocks() * 512);
    let human = |text: &str| text.lines().last().unwrap().replace("to be freed", "freed");
    assert_eq!(human(&plan), human(&adopted), "{freed}");
    let after = fs::metadata(&blob).unwrap();
    assert!(after.ino() != before.ino() && after.nlink() > 1);
    assert_eq!(fs::read_to_string(&blob).unwrap(), "weights of llama");
}
