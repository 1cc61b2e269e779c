//! `stage_from`: stages what a reader returns, whose length is not known beforehand.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::io::{self, Read};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use catalog_core::{
    ArtifactKind, Cancel, CatalogStore as _, Digest, Durability, Error, FsCatalog, GcPolicy, LinkMode, Record,
    StageOptions, TrustState, VerifyOptions,
};
use common::memory::peak_kb;
use common::{
    Host, Running, assert_no_debris, assert_readable, assert_sound, blobs, child_test, debris, is_child, noise, stage,
};
use rstest::rstest;

/// The bytes that one chaining value in an outboard covers.
const GROUP: usize = 1 << 20;
/// The bytes that are read and written at a time.
const CHUNK: usize = 4 << 20;

/// Returns bytes in pieces of odd sizes, as a pipe does, and is interrupted now and then.
struct Pieces<'a> {
    rest: &'a [u8],
    step: usize,
    /// Called with the number of bytes that are left.
    each: &'a mut dyn FnMut(usize) -> io::Result<()>,
}

impl<'a> Pieces<'a> {
    fn of(bytes: &'a [u8], each: &'a mut dyn FnMut(usize) -> io::Result<()>) -> Self {
        Pieces { rest: bytes, step: 0, each }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.step += 1;
        if self.step.is_multiple_of(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        (self.each)(self.rest.len())?;
        let length = buffer.len().min(self.rest.len()).min(65_537 * (1 + self.step % 3));
        buffer[..length].copy_from_slice(&self.rest[..length]);
        self.rest = &self.rest[length..];
        Ok(length)
    }
}

fn no_options() -> StageOptions {
    StageOptions::default()
}

/// Checks that the store looks as if nothing had ever been staged.
#[track_caller]
fn assert_empty(catalog: &FsCatalog) {
    assert!(catalog.records().unwrap().is_empty());
    assert!(blobs(catalog.root()).is_empty());
    assert_eq!(fs::read_dir(catalog.root().join("views")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(catalog.root().join("partials")).unwrap().count(), 0);
    assert_no_debris(catalog.root());
}

#[rstest]
#[case::empty(0)]
#[case::one_byte(1)]
#[case::below_a_group(GROUP - 1)]
#[case::a_group(GROUP)]
#[case::above_a_group(GROUP + 1)]
#[case::a_part(CHUNK)]
#[case::above_a_part(CHUNK + 1)]
#[case::more_than_a_step_of_room((64 << 20) + 1)]
fn a_stream_becomes_what_its_file_would(#[case] size: usize) {
    let host = Host::new();
    let catalog = host.catalog();
    let bytes = noise(size, 7);
    let staged = catalog.stage_from(Pieces::of(&bytes, &mut |_| Ok(())), "m.gguf", &no_options()).unwrap();
    assert_eq!((staged.digest, staged.size_bytes), (Digest::sha256_of(&bytes), size as u64));
    assert_eq!((staged.stored_bytes, staged.files, staged.deduplicated), (size as u64, 1, false));
    assert_eq!(fs::read_dir(host.root().join("partials")).unwrap().count(), 0);
    assert_readable(&catalog, "m.gguf", &bytes);
    let record = catalog.resolve("m.gguf").unwrap();
    assert_eq!(
        (record.kind, record.trust, record.view),
        (ArtifactKind::File, TrustState::Warned, Some(LinkMode::Hardlink))
    );
    assert_eq!((record.size_bytes, record.source), (size as u64, None));
    // The outboard is the same, so it is checked like a file.
    let other = Host::new();
    stage(&other.catalog(), &other.file("m.gguf", &bytes), "m.gguf").unwrap();
    let groups = |host: &Host| fs::read(common::outboard_path(&host.root(), &staged.digest, "groups")).ok();
    assert_eq!(groups(&host), groups(&other));
    assert!(catalog.verify("m.gguf", &VerifyOptions::default()).unwrap().outcome.is_pass());
    assert_sound(&host.root());
}

#[test]
fn bytes_that_are_here_are_stored_once() {
    let host = Host::new();
    let catalog = host.catalog();
    stage(&catalog, &host.file("m.gguf", "model"), "m").unwrap();
    let options = no_options().with_digest(Digest::sha256_of(b"model")).with_name("named.gguf".to_owned());
    let staged = catalog.stage_from(&b"model"[..], "again", &options).unwrap();
    assert!(staged.deduplicated && staged.stored_bytes == 0);
    assert_eq!(staged.local_path.file_name().unwrap(), "named.gguf");
    assert_eq!(catalog.record("again").unwrap().unwrap().trust, TrustState::Verified);
    assert_eq!(blobs(&host.root()).len(), 1);
    assert_sound(&host.root());
}

/// The reader fails in the middle of a part, and after several parts.
#[rstest]
fn a_reader_that_fails_leaves_nothing(#[values(1000, 9 << 20)] after: usize) {
    let host = Host::new();
    let catalog = host.catalog();
    let bytes = noise(12 << 20, 3);
    let mut fail = |left: usize| match bytes.len() - left < after {
        true => Ok(()),
        false => Err(io::Error::other("the other end has gone")),
    };
    let error = catalog.stage_from(Pieces::of(&bytes, &mut fail), "m", &no_options()).unwrap_err();
    assert_eq!(error.to_string(), "could not read m: the other end has gone");
    assert_empty(&catalog);
    // An existing entry with this id is unchanged.
    stage(&catalog, &host.file("old.gguf", "old"), "m").unwrap();
    let before = catalog.record("m").unwrap();
    catalog.stage_from(Pieces::of(&bytes, &mut fail), "m", &no_options()).unwrap_err();
    assert_eq!(catalog.record("m").unwrap(), before);
    assert_eq!(blobs(&host.root()).len(), 1);
    assert_sound(&host.root());
}

// Red when the digest is compared only after the blob has its name.
#[rstest]
fn bytes_of_another_digest_leave_nothing(#[values(5, 9 << 20)] size: usize) {
    let host = Host::new();
    let catalog = host.catalog();
    let options = no_options().with_digest(Digest::sha256_of(b"other"));
    let error = catalog.stage_from(&noise(size, 1)[..], "m", &options).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert_empty(&catalog);
    assert!(catalog.stage_from(&b"other"[..], "m", &options).is_ok());
}

#[test]
fn a_cancelled_run_leaves_nothing() {
    let host = Host::new();
    let catalog = host.catalog();
    let (bytes, cancel) = (noise(12 << 20, 3), Cancel::new());
    let options = no_options().with_cancel(cancel.clone());
    let (mut reads, size) = (0, bytes.len());
    let mut stop = |left: usize| {
        reads += 1;
        if size - left > 5 << 20 {
            cancel.cancel();
        }
        Ok(())
    };
    let error = catalog.stage_from(Pieces::of(&bytes, &mut stop), "m", &options).unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    assert!(reads < 100, "it was read to its end: {reads}");
    assert_empty(&catalog);
}

/// A reader that never ends, and counts the bytes.
struct Counted<'a>(&'a mut u64);

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill(7);
        *self.0 += buffer.len() as u64;
        assert!(*self.0 < 1 << 30, "it goes on for ever");
        Ok(buffer.len())
    }
}

// Red when room is made only before the first byte, or only after the last.
#[test]
fn a_stream_without_end_is_given_up_when_there_is_no_room() {
    let host = Host::new();
    let catalog = host.catalog();
    catalog.change_config(|config| config.max_bytes = Some(10 << 20)).unwrap();
    let mut read_bytes = 0;
    let error = catalog.stage_from(Counted(&mut read_bytes), "m", &no_options()).unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "{error}");
    assert!(read_bytes <= 16 << 20, "{read_bytes}");
    assert_empty(&catalog);
    // A stream that fits is staged.
    catalog.stage_from(&noise(9 << 20, 1)[..], "m", &no_options()).unwrap();
}

// Red when nothing is evicted for a stream, or when the bytes that are already written do not count: then the second
// entry would stay.
#[test]
fn room_is_made_as_the_stream_grows() {
    let host = Host::new();
    let catalog = host.catalog().with_durability(Durability::Relaxed);
    for (id, number) in [("a", 1), ("b", 2)] {
        stage(&catalog, &host.file(id, noise(6 << 20, number)), id).unwrap();
        common::edit_shard(&host.root(), id, |entries| {
            for time in ["created_ms", "updated_ms", "last_used_ms"] {
                entries[id][time] = number.into();
            }
        });
    }
    catalog.change_config(|config| config.max_bytes = Some(15 << 20)).unwrap();
    let catalog = FsCatalog::open(host.root()).unwrap();
    let staged = catalog.stage_from(&noise(14 << 20, 9)[..], "new", &no_options()).unwrap();
    assert_eq!(staged.size_bytes, 14 << 20);
    let ids: Vec<String> = catalog.list().unwrap().into_iter().map(|entry| entry.id).collect();
    assert_eq!(ids, ["new"]);
}

/// Not a test: stages more than the memory that it may use.
#[test]
fn stages_much() {
    if !is_child("stages_much") {
        return;
    }
    let catalog = FsCatalog::open(std::env::var_os("CATALOG_TEST_ROOT").unwrap()).unwrap();
    catalog.stage_from(io::repeat(7).take(300 << 20), "m", &no_options()).unwrap();
}

// Red when the stream is kept in memory.
#[test]
#[cfg(target_os = "linux")]
fn a_stream_takes_little_memory() {
    let host = Host::new();
    let catalog = host.catalog();
    let mut child = child_test(&[], "stages_much");
    let mut running = Running(child.env("CATALOG_TEST_ROOT", host.root()).spawn().unwrap());
    let ([peak_kb], status) = peak_kb(&mut running, ["RssAnon:"]);
    assert!(status.success(), "{status}");
    assert_eq!(catalog.resolve("m").unwrap().size_bytes, 300 << 20);
    assert!((1..64 << 10).contains(&peak_kb), "{peak_kb} kB");
}

#[test]
fn several_streams_of_one_id_are_each_whole() {
    let host = Host::new();
    host.catalog();
    let contents: Vec<Vec<u8>> = (0..4).map(|number| noise(5 << 20, number % 3)).collect();
    for round in 0..8 {
        let begin = Barrier::new(contents.len());
        thread::scope(|scope| {
            for content in &contents {
                scope.spawn(|| {
                    let catalog = FsCatalog::open(host.root()).unwrap().with_durability(Durability::Relaxed);
                    begin.wait();
                    let staged = catalog.stage_from(Pieces::of(content, &mut |_| Ok(())), "m", &no_options()).unwrap();
                    assert_eq!(staged.digest, Digest::sha256_of(content));
                });
            }
        });
        let catalog = FsCatalog::open(host.root()).unwrap();
        let record: Record = catalog.resolve("m").unwrap();
        let content = contents.iter().find(|content| record.entry.digest == Some(Digest::sha256_of(content))).unwrap();
        assert_readable(&catalog, "m", content);
        assert_sound(&host.root());
        if round == 7 {
            drop(catalog.gc(&GcPolicy::default().with_grace(Duration::ZERO)).unwrap());
            assert_eq!(debris(&catalog), Vec::<String>::new());
            assert_eq!(blobs(&host.root()).len(), 1);
        }
    }
}

#[test]
fn the_view_is_called_like_the_last_part_of_the_id() {
    let host = Host::new();
    let catalog = host.catalog();
    let name = |id: &str| {
        let staged = catalog.stage_from(id.as_bytes(), id, &no_options()).unwrap();
        assert_readable(&catalog, id, id.as_bytes());
        staged.local_path.file_name().unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(name("hf:org/repo/model.gguf"), "model.gguf");
    assert_eq!(name("llama3:8b"), "llama3:8b");
    assert_eq!(name("folder/"), "folder");
    assert_eq!(name(".."), "model");
    assert_eq!(name("/"), "model");
    let (long, longer) = ("x".repeat(255), "y".repeat(1024));
    assert_eq!(name(&long), long);
    assert!(name(&longer).starts_with("yyyy") && name(&longer).len() < 100);

    for id in ["", "a\nb"] {
        assert!(catalog.stage_from(&b"x"[..], id, &no_options()).unwrap_err().is_invalid_input());
    }
    let options = no_options().with_name("a/b".to_owned());
    assert!(matches!(catalog.stage_from(&b"x"[..], "m", &options), Err(Error::InvalidPath { .. })));
}

#[test]
fn an_id_whose_shard_is_damaged_takes_nothing_from_the_stream() {
    let host = Host::new();
    let catalog = host.catalog();
    fs::write(common::shard_path(&host.root(), "m"), "{").unwrap();
    let mut read = |_| -> io::Result<()> { panic!("it was read") };
    assert!(catalog.stage_from(Pieces::of(b"x", &mut read), "m", &no_options()).unwrap_err().is_corrupt());
}
