use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::digest::Digest;
use crate::fs::{Durability, Root};
use crate::layout;

const LARGE_BYTES: usize = 1 << 20;

/// A folder of sources beside a root.
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

fn how(mode: IngestMode) -> How {
    How { mode, durability: Durability::Relaxed, with_groups: true }
}

fn wanted<'a>(
    source: &'a Path,
    size_bytes: usize,
    advanced: &'a (dyn Fn(u64) + Sync),
    failed: &'a OnceLock<Error>,
) -> Wanted<'a> {
    Wanted { source, size_bytes: size_bytes as u64, how: how(IngestMode::Auto), advanced, failed }
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
        let files = sources
            .iter()
            .zip(&failed)
            .map(|((path, bytes), failed)| Wanted { how: how(mode), ..wanted(path, bytes.len(), &advanced, failed) });
        let brought = bring_many(&session, files.collect());
        assert_eq!(told.into_inner(), sizes.iter().sum::<usize>() as u64);
        for ((source, bytes), incoming) in sources.iter().zip(brought) {
            let incoming = incoming.unwrap();
            assert_eq!(incoming.digest(), Digest::of_bytes(bytes), "{mode:?}, {} bytes", bytes.len());
            assert_eq!(*incoming.groups().unwrap().root(), blake3::hash(bytes));
            assert_eq!(bench.root.read(incoming.name()).unwrap().unwrap(), *bytes);
            assert_eq!(incoming.source_stamp(), Some(crate::fs::meta_of_path(source).unwrap().stamp()));
        }
        assert_eq!(bench.private_files(), 0, "what is not published is removed");
    }
}

// Red when the size is not looked at while the file is read, and when its stamp is not looked at afterwards.
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
        let copy = |wanted| Wanted { how: how(IngestMode::Copy), ..wanted };
        let mut files = vec![copy(wanted(&path, LARGE_BYTES, &changing, &failed[3]))];
        files.extend(
            others.iter().zip(&failed).map(|((path, _), failed)| copy(wanted(path, LARGE_BYTES, &|_| {}, failed))),
        );
        let mut brought = bring_many(&session, files).into_iter();
        let error = brought.next().unwrap().unwrap_err();
        assert!(matches!(&error, Error::SourceChanged { path: changed, .. } if *changed == path), "{name}: {error}");
        assert!(failed[3].get().is_some());
        for ((_, bytes), incoming) in others.iter().zip(brought) {
            assert_eq!(incoming.unwrap().digest(), Digest::of_bytes(bytes), "{name}");
        }
    }
}

// Red when `failed` is not asked: the rest of a tree of 400 GB would be read for nothing.
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
    // It is thought to be the largest of those that are begun first.
    let mut files = vec![wanted(&missing, 2 * LARGE_BYTES, &advanced, &failed)];
    files.extend(sources.iter().map(|(path, bytes)| wanted(path, bytes.len(), &advanced, &failed)));
    let brought = bring_many(&session, files);
    assert!(brought.iter().all(|result| matches!(result, Err(Error::SourceMissing { path }) if *path == missing)));
    assert!(matches!(failed.get(), Some(Error::SourceMissing { path }) if *path == missing));
    assert!(told.into_inner() < LARGE_BYTES as u64, "little was read meanwhile");
    drop(brought);
    assert_eq!(bench.private_files(), 0);
}
