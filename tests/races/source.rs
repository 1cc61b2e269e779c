//! Somebody truncates, grows and rewrites a source while it is staged (row 12 of docs/testing.md).

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use catalog_core::{CatalogStore, Digest, Durability, Error, Event, IngestMode, Observer};
use rstest::rstest;

use crate::common::*;
use crate::{against, say};

const ROUNDS: usize = 40;

fn content() -> Vec<u8> {
    (0..1_000_000_u32).map(|i| (i % 251) as u8).collect()
}

/// Changes a file in one of five ways.
fn spoil(file: &Path, content: &[u8], step: u64) {
    let open = || File::options().write(true).open(file).unwrap();
    match step % 5 {
        0 => open().set_len(step * 977 % content.len() as u64).unwrap(),
        1 => open().set_len(content.len() as u64 + step % 100_000).unwrap(),
        2 => open().write_all_at(&[step as u8; 4096], step * 4096 % content.len() as u64).unwrap(),
        3 => {
            // Another inode, as an editor leaves it.
            let other = file.with_extension("other");
            fs::write(&other, &content[..content.len() / 2]).unwrap();
            fs::rename(other, file).unwrap();
        }
        _ => {
            fs::write(file, content).unwrap();
            std::thread::sleep(Duration::from_millis(step % 7));
        }
    }
}

/// Not a test: a separate process, because a mapped source would kill it.
#[test]
fn stages_what_changes() {
    if !is_child("source::stages_what_changes") {
        return;
    }
    let what = std::env::var("CATALOG_RACES_WHAT").unwrap();
    let mode = if what == "copy" { IngestMode::Copy } else { IngestMode::Auto };
    let host = Host::new();
    let catalog = host.catalog().with_durability(Durability::Relaxed);
    let content = content();
    let file = host.file("tree/a.gguf", &content);
    host.file("tree/b.gguf", b"b");
    let source = if what == "tree" { host.path("tree") } else { file.clone() };
    let race = |step| spoil(&file, &content, step);
    let ((stored, refused), steps) = against(race, || {
        let (mut stored, mut refused) = (0, 0);
        for _ in 0..ROUNDS {
            match stage_as(&catalog, &source, "a", mode) {
                Ok(receipt) => {
                    let record = catalog.record("a").unwrap().unwrap();
                    assert_eq!(record.entry.digest, Some(receipt.digest));
                    check_artifact(&host.root(), &record).unwrap();
                    stored += 1;
                }
                Err(Error::SourceChanged { .. }) => refused += 1,
                // Between listing a tree and reading it, its files may briefly have other names.
                Err(error) if what == "tree" && error.is_not_found() => refused += 1,
                Err(error) => panic!("{error}"),
            }
            assert_no_debris(&host.root());
        }
        (stored, refused)
    });
    for blob in files_below(&host.root().join("blobs")) {
        assert_eq!(Digest::sha256_of(&fs::read(&blob).unwrap()).to_hex(), *blob.file_name().unwrap().to_str().unwrap());
    }
    say(&format!("a {what} that changes: {ROUNDS} rounds against {steps} changes, {stored} stored, {refused} refused"));
    assert!(refused > 0, "the race was never lost: it shows nothing");
}

// Red, by SIGBUS, when the source itself is mapped (in `copy_and_hash`).
#[rstest]
fn a_source_that_changes_meanwhile_is_refused_or_stored_as_it_was_read(#[values("copy", "auto", "tree")] what: &str) {
    let mut child = child_test(&[], "source::stages_what_changes");
    child.env("CATALOG_RACES_WHAT", what);
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    say(said.lines().find(|line| line.contains("rounds")).unwrap_or_default());
    assert!(output.status.success(), "{}\n{said}", output.status);
}

/// Writes into the source once a part of it was read, without changing its size.
struct Writer(PathBuf);

impl Observer for Writer {
    fn on(&self, event: &Event<'_>) {
        if matches!(event, Event::Advanced { .. }) {
            File::options().write(true).open(&self.0).unwrap().write_all_at(b"changed", 3).unwrap();
        }
    }
}

// Red when `stamp_after` does not compare the times: a mixture that never existed as a file is stored and acknowledged.
#[test]
fn a_source_that_was_written_to_between_two_parts_is_refused() {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("a.gguf", vec![7; 9 << 20]);
    let mut options = mode_options("a", IngestMode::Copy);
    options.observer = Some(Arc::new(Writer(file.clone())));
    let error = catalog.stage(&reference(&file), &options).unwrap_err();
    assert!(matches!(error, Error::SourceChanged { .. }), "{error}");
    assert!(catalog.list().unwrap().is_empty() && blobs(&host.root()).is_empty());
    assert_no_debris(&host.root());
}
