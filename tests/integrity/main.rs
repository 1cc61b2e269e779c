//! Integrity: damage is found and named, taken out of service, and repaired from a good source; nothing else is called
//! damaged.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod changed;
#[path = "../common/mod.rs"]
mod common;
mod copied;
mod flipped;
mod memory;
mod needed;
mod out_of_service;
mod outboards;
mod page_cache;
mod registered;
mod sources;
mod stamps;
mod verify;

use std::fs::{self, File, Permissions};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use catalog_core::{Digest, Durability, FsCatalog, VerificationOutcome, VerifyOptions, VerifyReport};
use common::{Host, blob_path, files_below, stage};
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// The unit in which damage is named and repaired.
const GROUP: u64 = MIB;

/// Bytes that no two seeds share, and that nothing can compress.
fn noise(seed: u64, size_bytes: u64) -> Vec<u8> {
    let mut bytes = vec![0; size_bytes as usize];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn catalog(host: &Host) -> FsCatalog {
    host.catalog().with_durability(Durability::Relaxed)
}

/// Stages these bytes under an id. The source is removed, so that nothing can be repaired from it.
fn add(host: &Host, catalog: &FsCatalog, id: &str, bytes: &[u8]) -> Digest {
    let file = host.file(&format!("sources/{id}.gguf"), bytes);
    let digest = stage(catalog, &file, id).unwrap().digest;
    fs::remove_file(file).unwrap();
    digest
}

/// Stages a tree of these files, and removes its source.
fn add_tree(host: &Host, catalog: &FsCatalog, id: &str, files: &[(&str, &[u8])]) -> Digest {
    let folder = host.path(&format!("trees/{id}"));
    for (name, bytes) in files {
        host.file(&format!("trees/{id}/{name}"), bytes);
    }
    let digest = stage(catalog, &folder, id).unwrap().digest;
    fs::remove_dir_all(folder).unwrap();
    digest
}

/// The path that an engine opens.
fn view(catalog: &FsCatalog, id: &str) -> PathBuf {
    catalog.record(id).unwrap().unwrap().entry.local_path
}

fn blob(catalog: &FsCatalog, digest: &Digest) -> PathBuf {
    blob_path(catalog.root(), digest)
}

fn outboard(catalog: &FsCatalog, digest: &Digest, ending: &str) -> PathBuf {
    let hex = digest.to_hex();
    catalog.root().join("outboards/sha256").join(&hex[..2]).join(format!("{hex}.{ending}"))
}

/// Changes a file of the store in place, as its owner or root can.
fn edit(path: &Path, change: impl FnOnce(&File)) {
    let mode = fs::metadata(path).unwrap().mode();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    change(&File::options().read(true).write(true).open(path).unwrap());
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Acts like a failing disk: the bytes change, but nothing that `stat` shows.
fn rot(path: &Path, change: impl FnOnce(&File)) {
    let written = fs::metadata(path).unwrap().modified().unwrap();
    edit(path, change);
    common::set_mtime(path, written);
}

fn flip(file: &File, offset: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

/// The group that contains this byte.
fn group_of(offset: u64, size_bytes: u64) -> Range<u64> {
    let start = offset / GROUP * GROUP;
    start..(start + GROUP).min(size_bytes)
}

fn check(catalog: &FsCatalog, id: &str) -> VerifyReport {
    catalog.verify(id, &VerifyOptions::default()).unwrap()
}

fn passes(report: &VerifyReport) -> bool {
    matches!(report.outcome, VerificationOutcome::Pass { .. }) && report.bad.is_empty()
}

fn fails(report: &VerifyReport) -> bool {
    matches!(report.outcome, VerificationOutcome::Fail { .. })
}

/// The damaged ranges of the only damaged file.
#[track_caller]
fn bad_ranges(report: &VerifyReport) -> Vec<Range<u64>> {
    assert!(fails(report), "{report:?}");
    let [bad] = report.bad.as_slice() else { panic!("{report:?}") };
    bad.ranges.clone()
}

fn quarantined(catalog: &FsCatalog) -> Vec<PathBuf> {
    files_below(&catalog.root().join("quarantine"))
}

/// The result of one run of the command.
struct Ran {
    code: i32,
    objects: Vec<Value>,
    text: String,
    errors: String,
}

impl Ran {
    /// The only object that the command printed.
    #[track_caller]
    fn object(&self) -> &Value {
        let [object] = self.objects.as_slice() else { panic!("{} {}", self.text, self.errors) };
        object
    }
}

/// Runs `catalog --json` with these words.
fn run(host: &Host, words: &[&str]) -> Ran {
    let output = host.command().arg("--json").args(words).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    Ran {
        code: output.status.code().unwrap(),
        objects: text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        text,
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The `bad_ranges` in the output of `verify --json`.
fn json_ranges(report: &Value) -> Vec<Range<u64>> {
    let ranges = report["bad_ranges"].as_array().unwrap().iter();
    ranges.map(|range| range["start"].as_u64().unwrap()..range["end"].as_u64().unwrap()).collect()
}
