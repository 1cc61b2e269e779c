//! Every file of `fuzz/corpus/` on the stable toolchain: the seeds of the fuzzer, and the inputs that it found.
//!
//! A file's name says what it is and starts with the verdict: `ok-` is accepted, `no-` is refused.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod operations;

use std::panic::catch_unwind;
use std::path::Path;

use catalog_core::testing::{
    fuzz_bundle, fuzz_digest, fuzz_gguf, fuzz_layout, fuzz_manifest, fuzz_model_ref, fuzz_network, fuzz_outboard,
    fuzz_safetensors, fuzz_shard, fuzz_store_json,
};
use operations::fuzz_operations;
use rstest::rstest;

#[rstest]
#[case::model_ref("model_ref", fuzz_model_ref)]
#[case::digest("digest", fuzz_digest)]
#[case::shard("shard", fuzz_shard)]
#[case::store_json("store_json", fuzz_store_json)]
#[case::manifest("manifest", fuzz_manifest)]
#[case::outboard("outboard", fuzz_outboard)]
#[case::layout("layout", fuzz_layout)]
#[case::network("network", fuzz_network)]
#[case::gguf("gguf", fuzz_gguf)]
#[case::safetensors("safetensors", fuzz_safetensors)]
#[case::bundle("bundle", fuzz_bundle)]
#[case::operations("operations", fuzz_operations)]
fn every_file_of_the_corpus_has_its_verdict(#[case] target: &str, #[case] accepts: fn(&[u8]) -> bool) {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    if !corpora.exists() {
        println!("skipped: the published package has no corpora");
        return;
    }
    let mut files: Vec<_> =
        std::fs::read_dir(corpora.join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let expected = name.starts_with("ok-");
        assert!(expected || name.starts_with("no-"), "{name:?} begins neither with ok- nor with no-");
        let bytes = std::fs::read(file).unwrap();
        match catch_unwind(|| accepts(&bytes)) {
            Ok(accepted) if accepted == expected => {}
            Ok(_) => wrong.push(format!("{name}: {}", if expected { "refused" } else { "accepted" })),
            Err(_) => wrong.push(format!("{name}: panicked, see above")),
        }
    }
    assert!(wrong.is_empty(), "{target}: {wrong:#?}");
    assert!(files.len() >= 12, "only {} files", files.len());
    println!("{} files", files.len());
}
