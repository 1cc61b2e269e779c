//! `adopt --dedupe`: several stores share one copy, and the tools notice nothing.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::common::{Running, fixture, inode_of};
use crate::hub::{Hub, models, script};
use crate::place::Place;
use crate::tree::{assert_same, content};
use crate::venv::{Hf, tools};

/// The bytes of a file of weights that `Place::fill` makes.
const WIDE_BYTES: u64 = 24_000_000;

// On ext4 only hardlinks can win anything. Red when the copies stay, and when a file is replaced by one with other bytes.
#[test]
fn several_stores_share_one_copy() {
    if Hf::V2_4.bin().is_none() || tools().is_none() {
        return;
    }
    let Some(place) = Place::on(&["mkfs.ext4", "-q"]) else { return };
    let Some(hub) = Hub::start() else { return };
    place.fill(&hub);
    let said = place.opinions(&hub);
    let home = place.path("home");
    let before = content(&home);
    // An empty catalog reserves 1 MiB.
    place.done(&["stage", fixture().to_str().unwrap(), "--id", "first", "--mode", "copy"]);
    let used = place.used_bytes();

    let done = place.done(&["adopt", "auto", "--dedupe"]);
    let won = used.saturating_sub(place.used_bytes());
    // The same weights were there four times. RamaLama's have two names in its own store, so they stay.
    assert!(won > 2 * WIDE_BYTES * 98 / 100, "{won} bytes are won");
    let lines = done.lines();
    let said_bytes = lines.last().unwrap()["deduped_bytes"].as_u64().unwrap();
    assert!(said_bytes.abs_diff(won) < 1 << 20, "{won} bytes are won, and it says {said_bytes}");
    assert_same(&before, &content(&home));
    assert_eq!(said, place.opinions(&hub));
    place.assert_sound();

    // What they remove now are their own names.
    place.hf_command(Hf::V2_4, None, &["rm", "model/tiny/wide-gguf", "--yes"]);
    place.ramalama_does(None, &["rm", "hf://tiny/wide-gguf:F32"]);
    place.assert_sound();
    let wide = fs::read(models().unwrap().join("tiny/wide-gguf/wide.F32.gguf")).unwrap();
    assert!(fs::read(place.shown("ollama:wide:latest").join("wide-latest.gguf")).unwrap() == wide);
}

// huggingface_hub holds this lock while it writes the blob. Red when the lock is not taken.
#[test]
fn a_file_is_not_replaced_under_the_lock_of_huggingface_hub() {
    if Hf::V2_4.bin().is_none() {
        return;
    }
    let Some(hub) = Hub::start() else { return };
    let place = Place::new();
    place.hf_does(Hf::V2_4, Some(&hub), &["download", "tiny/bert"]);
    // The catalog has a copy, so that there is something to replace.
    place.done(&["adopt", "hf", "--copy"]);
    let blob = large_blob(&place);
    let name = blob.file_name().unwrap().to_str().unwrap();
    let lock = place.hf().join(format!(".locks/models--tiny--bert/{name}.lock"));
    assert!(lock.exists());
    let (inode, before) = (inode_of(&blob), content(&place.hf()));

    let mut hold = place.program(&Hf::V2_4.bin().unwrap().join("python"));
    hold.arg(script("hf_cache.py")).arg("hold").arg(&lock).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut held = Running(hold.spawn().unwrap());
    BufReader::new(held.0.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let ran = place.catalog(&["adopt", "hf", "--dedupe"]);
    assert_eq!(inode_of(&blob), inode, "it was replaced under the lock: {ran:?}");
    assert!((ran.out.clone() + &ran.err).contains(name) || ran.code == 5, "nothing is said about it: {ran:?}");
    drop(held);

    place.done(&["adopt", "hf", "--dedupe"]);
    assert_ne!(inode_of(&blob), inode, "it is not replaced once the lock is free");
    assert_same(&before, &content(&place.hf()));
    place.hf_verifies(Hf::V2_4, &hub, "tiny/bert");
    place.assert_sound();
}

fn large_blob(place: &Place) -> PathBuf {
    let folder = place.hf_does(Hf::V2_4, None, &["offline", "tiny/bert"]);
    fs::canonicalize(Path::new(folder.trim()).join("model.safetensors")).unwrap()
}
