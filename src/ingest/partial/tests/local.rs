//! Large local copies, alone and as one of many streams.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::*;
use crate::blob::IngestMode;
use crate::cancel::Cancel;
use crate::ingest::{Job, ingest_all};

/// Several chunks more than are in flight at a time, so that a copy cancelled after the second chunk never finishes.
const SIZE_BYTES: usize = (40 << 20) + 12_345;

struct Local {
    bench: Bench,
    path: PathBuf,
}

impl Local {
    fn new() -> Self {
        let bench = Bench::of_size(SIZE_BYTES);
        let path = bench._dir.path().join("source.gguf");
        let local = Local { bench, path };
        local.write(&local.bench.bytes);
        local
    }

    /// Writes the source, and waits until its stamp can be trusted.
    fn write(&self, bytes: &[u8]) {
        std::fs::write(&self.path, bytes).unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }

    fn file(&self, expected: Option<Digest>) -> ContentFile {
        let origin =
            Origin::Local { path: self.path.clone(), mode: IngestMode::Copy, links: crate::ingest::Links::Followed };
        ContentFile { path: String::new(), size_bytes: SIZE_BYTES as u64, expected, origin, present: None }
    }

    /// Ingests the source alone, and cancels once this many bytes are hashed.
    fn ingest<'r>(&self, session: &Session<'r>, cancel_at: u64) -> Result<Sealed<'r>> {
        let (cancel, told) = (Cancel::new(), AtomicU64::new(0));
        let advanced = |bytes| {
            if told.fetch_add(bytes, Ordering::Relaxed) + bytes >= cancel_at {
                cancel.cancel();
            }
        };
        let options = Options { cancel: &cancel, ..with_partials(options(&advanced)) };
        ingest_one(session, &self.file(None), options)
    }

    /// Ingests the source as several streams, none of which is alone.
    fn ingest_as_streams<'r>(&self, session: &Session<'r>, copies: usize, cancel_at: u64) -> Vec<Result<Sealed<'r>>> {
        let (cancel, told) = (Cancel::new(), AtomicU64::new(0));
        let advanced = |bytes| {
            if told.fetch_add(bytes, Ordering::Relaxed) + bytes >= cancel_at {
                cancel.cancel();
            }
        };
        let options = Options { cancel: &cancel, ..with_partials(options(&advanced)) };
        let failed: Vec<OnceLock<Error>> = (0..copies).map(|_| OnceLock::new()).collect();
        let jobs = failed.iter().map(|failed| Job { file: self.file(None), options, failed });
        ingest_all(session, jobs.collect())
    }
}

/// Never cancelled.
const ON: u64 = u64::MAX;

#[test]
fn a_cancelled_copy_is_gone_on_with() {
    let local = Local::new();
    let session = Session::begin(&local.bench.root).unwrap();
    let error = local.ingest(&session, 8 * MIB).unwrap_err();
    assert!(error.is_cancelled() && error.to_string().contains("source.gguf"), "{error}");
    let sealed = local.ingest(&session, ON).unwrap();
    assert_eq!(sealed.digest(), local.bench.digest());
    assert!(sealed.resumed_bytes() >= 8 * MIB, "{}", sealed.resumed_bytes());
    assert!(local.bench.root.read(sealed.name(), u64::MAX).unwrap().unwrap() == *local.bench.bytes);
    assert_eq!(sealed.source_stamp(), Some(crate::fs::meta_of_path(&local.path).unwrap().stamp()));
}

// Red when the streams of a batch copy again what is already there.
#[test]
fn streams_of_a_batch_go_on_as_well() {
    let local = Local::new();
    let session = Session::begin(&local.bench.root).unwrap();
    let results = local.ingest_as_streams(&session, 4, 10 * MIB);
    assert!(results.iter().all(|result| result.as_ref().is_err_and(Error::is_cancelled)));
    let left = partials(&local.bench.root).unwrap().remove(0);
    assert!(left.done_bytes >= MIB, "{left:?}");
    let results = local.ingest_as_streams(&session, 4, ON);
    let mut resumed_bytes = 0;
    for sealed in results {
        let mut sealed = sealed.unwrap();
        assert_eq!(sealed.digest(), local.bench.digest());
        assert_eq!(*sealed.groups().unwrap().root(), local.bench.blake3);
        assert!(local.bench.root.read(sealed.name(), u64::MAX).unwrap().unwrap() == *local.bench.bytes);
        resumed_bytes += sealed.resumed_bytes();
        sealed.keep();
    }
    assert_eq!(resumed_bytes, left.done_bytes, "one of them has it");
    assert!(folders(&local.bench.root).is_empty());
}

// Red when a stream does not compare what it reads back with the journal, or when the copy does not start over then.
#[test]
fn a_stream_notices_what_is_no_longer_what_it_was() {
    use std::os::unix::fs::FileExt as _;
    let local = Local::new();
    let session = Session::begin(&local.bench.root).unwrap();
    let _ = local.ingest(&session, 12 * MIB);
    let file = std::fs::File::options().write(true).open(local.bench.data()).unwrap();
    file.write_all_at(b"other", 3 * MIB).unwrap();
    for sealed in local.ingest_as_streams(&session, 3, ON) {
        let mut sealed = sealed.unwrap();
        assert_eq!((sealed.digest(), sealed.resumed_bytes()), (local.bench.digest(), 0));
        sealed.keep();
    }
    assert!(folders(&local.bench.root).is_empty(), "what is wrong is of no use to anybody");
}

// Red when a changed source passes for the old one: by size, by its times, or by the change time, which no user can set
// back.
#[test]
fn a_source_that_changed_is_begun_anew() {
    type Change = fn(&Local);
    let changes: [(&str, Change); 3] = [
        ("other bytes", |local| local.write(&noise(SIZE_BYTES + 1)[1..])),
        ("another size", |local| local.write(&local.bench.bytes[..SIZE_BYTES - 1])),
        ("other bytes, and the times set back", |local| {
            let before = std::fs::metadata(&local.path).unwrap().modified().unwrap();
            local.write(&noise(SIZE_BYTES + 1)[1..]);
            std::fs::File::options().write(true).open(&local.path).unwrap().set_modified(before).unwrap();
        }),
    ];
    for (name, change) in changes {
        let local = Local::new();
        let session = Session::begin(&local.bench.root).unwrap();
        local.ingest(&session, 8 * MIB).unwrap_err();
        change(&local);
        let sealed = local.ingest(&session, ON).unwrap();
        let now = std::fs::read(&local.path).unwrap();
        assert_eq!((sealed.digest(), sealed.resumed_bytes()), (Digest::sha256_of(&now), 0), "{name}");
    }
}

// Red when the partial of a local file is named by the expected digest: the bytes of one file would pass for those of
// the other, and `--mode move` would remove the only copy of a file.
#[test]
fn another_file_of_the_same_expected_digest_is_read() {
    let local = Local::new();
    let session = Session::begin(&local.bench.root).unwrap();
    let right = local.file(Some(local.bench.digest()));
    let sealed = ingest_one(&session, &right, with_partials(options(&|_| {}))).unwrap();
    drop(sealed); // not recorded, as when the store is busy: the partial is whole
    local.write(&noise(SIZE_BYTES + 1)[1..]);
    let error = ingest_one(&session, &right, with_partials(options(&|_| {}))).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    let results = [&right, &right, &right].map(|file| file.clone());
    let failed: Vec<OnceLock<Error>> = results.iter().map(|_| OnceLock::new()).collect();
    let jobs = results.into_iter().zip(&failed);
    let jobs = jobs.map(|(file, failed)| Job { file, options: with_partials(options(&|_| {})), failed }).collect();
    let results = ingest_all(&session, jobs);
    assert!(results.iter().all(|result| matches!(result, Err(Error::DigestMismatch { .. }))));
}

// Red when a stream hashes what an earlier process has already hashed to the end.
#[test]
fn a_stream_reads_nothing_of_what_is_whole() {
    use std::os::unix::fs::FileExt as _;
    let local = Local::new();
    let session = Session::begin(&local.bench.root).unwrap();
    drop(local.ingest(&session, ON).unwrap());
    // Only the journal knows the digest.
    let data = std::fs::File::options().write(true).open(local.bench.data()).unwrap();
    data.write_all_at(b"never looked at", 3 * MIB).unwrap();
    let resumed = local.ingest_as_streams(&session, 3, ON).into_iter().map(|sealed| {
        let mut sealed = sealed.unwrap();
        assert_eq!(sealed.digest(), local.bench.digest());
        sealed.keep();
        sealed.resumed_bytes()
    });
    assert_eq!(resumed.sum::<u64>(), SIZE_BYTES as u64, "one of them has it");
}

/// Bytes behind the last SHA-256 state are read back. Before it, the journal is believed.
// Red when `Partial::fill` hashes what it reads back without comparing it.
#[test]
fn a_copy_that_goes_on_notices_what_is_no_longer_what_it_was() {
    use std::os::unix::fs::FileExt as _;
    let local = Local::new();
    let session = Session::begin(&local.bench.root).unwrap();
    let _ = local.ingest(&session, 12 * MIB);
    // As if the copy had been killed before the first state was recorded.
    let journal = std::fs::read(local.bench.journal()).unwrap();
    let records = journal.as_chunks::<{ journal::RECORD_BYTES }>().0;
    let first_state = records.iter().position(|record| record[0] == b'S').unwrap_or(records.len());
    std::fs::write(local.bench.journal(), records[..first_state].concat()).unwrap();
    let file = std::fs::File::options().write(true).open(local.bench.data()).unwrap();
    file.write_all_at(b"other", 3 * MIB).unwrap();
    let sealed = local.ingest(&session, ON).unwrap();
    assert_eq!((sealed.digest(), sealed.resumed_bytes()), (local.bench.digest(), 0));
}

// Red when a source gets a partial although a later change of it might not show.
#[test]
fn a_source_whose_time_is_not_to_be_trusted_has_no_partial() {
    let local = Local::new();
    let file = std::fs::File::options().write(true).open(&local.path).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
    let session = Session::begin(&local.bench.root).unwrap();
    local.ingest(&session, 8 * MIB).unwrap_err();
    assert!(folders(&local.bench.root).is_empty());
}

#[test]
fn a_source_that_changes_while_it_is_copied_leaves_no_partial() {
    let local = Local::new();
    let session = Session::begin(&local.bench.root).unwrap();
    let changing = |_| {
        let file = std::fs::File::options().write(true).open(&local.path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    };
    let error = ingest_one(&session, &local.file(None), with_partials(options(&changing))).unwrap_err();
    assert!(matches!(error, Error::SourceChanged { .. }), "{error}");
    assert!(folders(&local.bench.root).is_empty());
}

#[test]
fn a_copy_that_was_interrupted_has_its_room_already() {
    let local = Local::new();
    let session = Session::begin(&local.bench.root).unwrap();
    let room = || reserved(&local.bench.root, &local.file(None)).map_or(0, |(_, bytes)| bytes);
    assert_eq!(room(), 0);
    local.ingest(&session, 8 * MIB).unwrap_err();
    assert!(room() >= SIZE_BYTES as u64);
    let key = partials(&local.bench.root).unwrap().remove(0).key;
    let filled = crate::fs::owned::OwnedFolder::claim(&local.bench.root, &layout::partial(&key)).unwrap();
    assert_eq!(room(), 0, "another process fills it, so this one makes a private copy");
    drop(filled);
}

#[test]
fn a_small_file_has_no_partial() {
    let local = Local::new();
    let session = Session::begin(&local.bench.root).unwrap();
    let sealed = ingest_one(&session, &local.file(None), options(&|_| {})).unwrap();
    assert!(sealed.name().starts_with(layout::INGEST));
    assert!(folders(&local.bench.root).is_empty());
}
