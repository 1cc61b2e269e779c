use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::digest::Digest;
use crate::fs::Root;
use crate::ingest::tests::options;
use crate::layout;

const LARGE_BYTES: usize = 1 << 20;

/// A folder of sources next to a root.
struct Bench {
    dir: tempfile::TempDir,
    root: Root,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.make_dirs(Path::new(layout::INGEST)).unwrap();
        Bench { dir, root }
    }

    fn source(&self, name: &str, size_bytes: usize) -> (PathBuf, Vec<u8>) {
        let bytes: Vec<u8> = (0..size_bytes).map(|i| (i % 251) as u8).collect();
        let path = self.dir.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        (path, bytes)
    }

    fn private_files(&self) -> usize {
        walkdir::WalkDir::new(self.dir.path().join(layout::INGEST))
            .into_iter()
            .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.metadata().is_ok_and(|meta| meta.len() > 0)))
            .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_type().is_file()))
            .count()
    }
}

fn job<'a>(
    source: &Path,
    size_bytes: usize,
    mode: IngestMode,
    advanced: &'a (dyn Fn(u64) + Sync),
    failed: &'a OnceLock<Error>,
) -> Job<'a> {
    let origin = Origin::Local { path: source.to_path_buf(), mode, links: crate::ingest::Links::Followed };
    let file =
        ContentFile { path: String::new(), size_bytes: size_bytes as u64, expected: None, origin, present: None };
    Job { file, options: options(advanced), failed }
}

#[test]
fn each_file_has_its_own_bytes_and_hashes() {
    let bench = Bench::new();
    let sizes = [0, 1, 4095, 32 << 10, (32 << 10) + 1, LARGE_BYTES, LARGE_BYTES + 1, 3 * LARGE_BYTES, 100, 9 << 20];
    let sources: Vec<_> =
        sizes.iter().enumerate().map(|(number, size)| bench.source(&number.to_string(), *size)).collect();
    for mode in [IngestMode::Auto, IngestMode::Copy, IngestMode::Link, IngestMode::Move] {
        let session = Session::begin(&bench.root).unwrap();
        let told = AtomicU64::new(0);
        let advanced = |bytes| {
            told.fetch_add(bytes, Ordering::Relaxed);
        };
        let failed: Vec<_> = sources.iter().map(|_| OnceLock::new()).collect();
        let jobs =
            sources.iter().zip(&failed).map(|((path, bytes), failed)| job(path, bytes.len(), mode, &advanced, failed));
        let ingested = ingest_all(&session, jobs.collect());
        assert_eq!(told.into_inner(), sizes.iter().sum::<usize>() as u64);
        for ((source, bytes), sealed) in sources.iter().zip(ingested) {
            let sealed = sealed.unwrap();
            assert_eq!(sealed.digest(), Digest::sha256_of(bytes), "{mode:?}, {} bytes", bytes.len());
            assert_eq!(*sealed.groups().unwrap().root(), blake3::hash(bytes));
            assert_eq!(bench.root.read(sealed.name(), u64::MAX).unwrap().unwrap(), *bytes);
            assert_eq!(sealed.source_stamp(), Some(crate::fs::meta_of_path(source).unwrap().stamp()));
        }
        assert_eq!(bench.private_files(), 0, "what is not published is removed");
    }
}

// Red (for the last change) when `Duplicate::finish` does not check the stamp.
#[test]
fn a_source_that_changes_while_it_is_read_is_an_error_of_its_own() {
    type Change = fn(&std::fs::File);
    let changes: [(&str, Change); 3] = [
        ("shrinks", |file| file.set_len(100 << 10).unwrap()),
        ("grows", |file| file.set_len(2 * LARGE_BYTES as u64).unwrap()),
        ("is written to", |file| file.set_modified(std::time::UNIX_EPOCH).unwrap()),
    ];
    for (name, change) in changes {
        let bench = Bench::new();
        let (path, _) = bench.source("changed", LARGE_BYTES);
        let others: Vec<_> = (0..3).map(|number| bench.source(&number.to_string(), LARGE_BYTES)).collect();
        let session = Session::begin(&bench.root).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let changing = |_| change(&file);
        let failed: Vec<_> = (0..4).map(|_| OnceLock::new()).collect();
        let copy = IngestMode::Copy;
        let mut jobs = vec![job(&path, LARGE_BYTES, copy, &changing, &failed[3])];
        jobs.extend(
            others.iter().zip(&failed).map(|((path, _), failed)| job(path, LARGE_BYTES, copy, &|_| {}, failed)),
        );
        let mut ingested = ingest_all(&session, jobs).into_iter();
        let error = ingested.next().unwrap().unwrap_err();
        assert!(matches!(&error, Error::SourceChanged { path: changed, .. } if *changed == path), "{name}: {error}");
        assert!(failed[3].get().is_some());
        for ((_, bytes), sealed) in others.iter().zip(ingested) {
            assert_eq!(sealed.unwrap().digest(), Digest::sha256_of(bytes), "{name}");
        }
    }
}

// Red when the number of bytes read is not compared with the size, in either direction: these files report the same
// size before and after.
#[cfg(target_os = "linux")]
#[test]
fn a_source_with_more_or_less_than_its_size_is_refused() {
    let bench = Bench::new();
    let (other, bytes) = bench.source("other", LARGE_BYTES);
    let session = Session::begin(&bench.root).unwrap();
    for (source, is_more) in [("/proc/self/status", true), ("/sys/kernel/uevent_seqnum", false)] {
        let source = Path::new(source);
        let size_bytes = std::fs::metadata(source).unwrap().len();
        assert_eq!(std::fs::read(source).unwrap().len() as u64 > size_bytes, is_more);
        let failed = [OnceLock::new(), OnceLock::new(), OnceLock::new()];
        let jobs = vec![
            job(source, 0, IngestMode::Auto, &|_| {}, &failed[0]),
            job(&other, LARGE_BYTES, IngestMode::Auto, &|_| {}, &failed[1]),
            job(&other, LARGE_BYTES, IngestMode::Auto, &|_| {}, &failed[2]),
        ];
        let mut ingested = ingest_all(&session, jobs).into_iter();
        assert!(matches!(ingested.next(), Some(Err(Error::SourceChanged { .. }))), "{}", source.display());
        assert!(ingested.all(|sealed| sealed.unwrap().digest() == Digest::sha256_of(&bytes)));
    }
}

// Red when a file must be larger than all others together: each of four shards on sixteen cores would be copied and
// hashed by one thread, and twelve cores would idle.
#[test]
fn a_file_that_is_more_than_its_share_is_alone() {
    let (source, failed) = (Path::new("file"), OnceLock::new());
    let alone_of = |sizes: &[usize], mode, cores| {
        let jobs: Vec<_> = sizes.iter().map(|size| job(source, *size, mode, &|_| {}, &failed)).collect();
        let is_alone = alone(&jobs, &|| cores);
        jobs.iter().filter(|job| is_alone(job)).count()
    };
    for (sizes, cores, expected) in [
        (&[0][..], 2, 1), // the only file
        (&[9], 1, 1),
        (&[5, 5], 2, 0), // one core each
        (&[5, 5, 5, 5], 16, 4),
        (&[5, 5, 5, 5], 4, 0),
        (&[40, 1, 1, 1], 2, 1),
        (&[40, 1, 1, 1], 1, 0), // nothing else could run next to it
        (&[0, 0, 0], 2, 0),
    ] {
        assert_eq!(alone_of(sizes, IngestMode::Auto, cores), expected, "{sizes:?} on {cores} cores");
        assert_eq!(alone_of(sizes, IngestMode::Link, cores), sizes.len());
    }
}

// Red when `failed` is not checked: the rest of a 400 GB tree would be read for nothing.
#[test]
fn files_that_are_of_no_use_without_each_other_are_given_up_together() {
    let bench = Bench::new();
    let missing = bench.dir.path().join("missing");
    let sources: Vec<_> = (0..20).map(|number| bench.source(&number.to_string(), LARGE_BYTES)).collect();
    let session = Session::begin(&bench.root).unwrap();
    let failed = OnceLock::new();
    let told = AtomicU64::new(0);
    let advanced = |bytes| {
        told.fetch_add(bytes, Ordering::Relaxed);
    };
    // Its assumed size makes it one of the first to begin.
    let mut jobs = vec![job(&missing, 2 * LARGE_BYTES, IngestMode::Auto, &advanced, &failed)];
    jobs.extend(sources.iter().map(|(path, bytes)| job(path, bytes.len(), IngestMode::Auto, &advanced, &failed)));
    let ingested = ingest_all(&session, jobs);
    assert!(ingested.iter().all(|result| matches!(result, Err(Error::SourceMissing { path }) if *path == missing)));
    assert!(matches!(failed.get(), Some(Error::SourceMissing { path }) if *path == missing));
    assert!(told.into_inner() < LARGE_BYTES as u64, "little was read meanwhile");
    drop(ingested);
    assert_eq!(bench.private_files(), 0);
}
