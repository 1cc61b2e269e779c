use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crate::digest::Digest;
use crate::error::Error;
use crate::fs::Root;
use crate::hash::CHUNK_BYTES;
use crate::ingest::tests::{noise, options, root};
use crate::ingest::{ContentFile, Job, Origin, Ranges, ingest_all, ingest_one};
use crate::layout;
use crate::read_at::ReadAt;

/// What goes wrong with a remote file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingest) enum Fault {
    Nothing,
    /// It ends at this offset, although it claims to be longer.
    Short(u64),
    /// The byte at this offset is wrong.
    Wrong(u64),
    /// The same, but only on the first request.
    WrongOnce(u64),
    /// A range that includes this offset fails, as when a connection breaks.
    Broken(u64),
    /// Each range takes this long.
    Slow(Duration),
}

/// A remote file in memory that is read range by range and misbehaves.
pub(in crate::ingest) struct Served {
    bytes: Arc<Vec<u8>>,
    fault: Fault,
    /// Offset and length of each requested range.
    asked: Mutex<Vec<(u64, usize)>>,
}

impl Served {
    pub(in crate::ingest) fn new(bytes: &[u8], fault: Fault) -> Arc<Self> {
        Self::of(&Arc::new(bytes.to_vec()), fault)
    }

    pub(in crate::ingest) fn of(bytes: &Arc<Vec<u8>>, fault: Fault) -> Arc<Self> {
        Arc::new(Served { bytes: bytes.clone(), fault, asked: Mutex::default() })
    }

    pub(in crate::ingest) fn asked(&self) -> Vec<(u64, usize)> {
        self.asked.lock().unwrap().clone()
    }

    pub(in crate::ingest) fn asked_bytes(&self) -> u64 {
        self.asked().iter().map(|(_, length)| *length as u64).sum()
    }
}

impl ReadAt for Served {
    fn name(&self) -> String {
        "https://models.example/a.gguf".into()
    }

    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.asked.lock().unwrap().push((offset, buffer.len()));
        let end = offset + buffer.len() as u64;
        match self.fault {
            Fault::Short(at) if end > at => return Err(io::ErrorKind::UnexpectedEof.into()),
            Fault::Broken(at) if (offset..end).contains(&at) => return Err(io::ErrorKind::ConnectionReset.into()),
            Fault::Slow(pause) => std::thread::sleep(pause),
            _ => {}
        }
        buffer.copy_from_slice(&self.bytes[offset as usize..end as usize]);
        let asked = self.asked();
        let is_first =
            |at| asked.iter().filter(|(start, length)| (*start..start + *length as u64).contains(&at)).count() == 1;
        if let Fault::Wrong(at) | Fault::WrongOnce(at) = self.fault
            && (offset..end).contains(&at)
            && (self.fault == Fault::Wrong(at) || is_first(at))
        {
            buffer[(at - offset) as usize] ^= 1;
        }
        Ok(())
    }
}

fn remote(served: &Arc<Served>) -> Origin {
    Origin::Remote(Ranges { reader: served.clone(), validator: None })
}

fn content(served: &Arc<Served>, expected: Option<Digest>) -> ContentFile {
    let size_bytes = served.size_bytes();
    ContentFile { path: String::new(), size_bytes, expected, origin: remote(served), present: None }
}

/// The number of files in all sessions.
fn left(root: &Root) -> usize {
    let files = walkdir::WalkDir::new(root.absolute(Path::new(layout::INGEST))).into_iter();
    files.filter(|entry| entry.as_ref().unwrap().file_type().is_file()).count()
}

#[test]
fn ranges_are_read_once_in_order_and_hashed_as_they_arrive() {
    let (_dir, root) = root();
    let chunk = CHUNK_BYTES;
    for size in [0, 1, chunk, chunk + 1, 3 * chunk - 7] {
        let bytes = noise(size);
        let session = crate::fs::Session::begin(&root).unwrap();
        let served = Served::new(&bytes, Fault::Slow(Duration::from_millis(1)));
        let told = AtomicU64::new(0);
        let advanced = |bytes| {
            told.fetch_add(bytes, Ordering::Relaxed);
        };
        let expected = Some(Digest::sha256_of(&bytes));
        let sealed = ingest_one(&session, &content(&served, expected), options(&advanced)).unwrap();
        assert_eq!(sealed.digest(), Digest::sha256_of(&bytes), "{size}");
        assert_eq!(*sealed.groups().unwrap().root(), blake3::hash(&bytes), "{size}");
        assert!(root.read(sealed.name(), u64::MAX).unwrap().unwrap() == bytes);
        assert!(sealed.source_stamp().is_none());
        assert_eq!(told.into_inner(), size as u64);
        assert_eq!(served.asked_bytes(), size as u64);
        assert!(served.asked().iter().all(|(_, length)| *length <= chunk), "in pieces of a few MiB");
    }
}

// Red when `accept` does not check: wrong bytes would be sealed under their own digest and published.
#[test]
fn wrong_bytes_are_an_error_and_nothing_of_them_stays() {
    let (_dir, root) = root();
    let bytes = noise(2 * CHUNK_BYTES + 100);
    let size = bytes.len() as u64;
    let session = crate::fs::Session::begin(&root).unwrap();
    for at in [0, CHUNK_BYTES as u64, size - 1] {
        let served = Served::new(&bytes, Fault::Wrong(at));
        let expected = Digest::sha256_of(&bytes);
        let error = ingest_one(&session, &content(&served, Some(expected)), options(&|_| {})).unwrap_err();
        let Error::DigestMismatch { path, expected: wanted, actual } = error else { panic!("{error}") };
        assert_eq!((path.as_path(), wanted), (Path::new("https://models.example/a.gguf"), expected));
        assert_ne!(actual, expected);
        assert_eq!(left(&root), 0);
    }
}

#[test]
fn what_cannot_be_read_to_its_end_is_an_error_and_nothing_of_it_stays() {
    let (_dir, root) = root();
    let bytes = noise(3 * CHUNK_BYTES);
    let size = bytes.len() as u64;
    let session = crate::fs::Session::begin(&root).unwrap();
    for (fault, kind) in [
        (Fault::Short(size - 1), io::ErrorKind::UnexpectedEof),
        (Fault::Short(0), io::ErrorKind::UnexpectedEof),
        (Fault::Broken(size / 2), io::ErrorKind::ConnectionReset),
    ] {
        let served = Served::new(&bytes, fault);
        let error = ingest_one(&session, &content(&served, None), options(&|_| {})).unwrap_err();
        let Error::Io { action: "read", path, source } = &error else { panic!("{error}") };
        assert_eq!((path.as_path(), source.kind()), (Path::new("https://models.example/a.gguf"), kind), "{fault:?}");
        assert_eq!(left(&root), 0, "{fault:?}");
    }
}

// Red when a remote file is handled as the stream of a local one.
#[test]
fn remote_files_and_local_ones_come_together_and_fail_together() {
    let (dir, root) = root();
    let bytes = noise(CHUNK_BYTES + 1);
    let local = dir.path().join("local");
    #[allow(clippy::disallowed_methods)]
    std::fs::write(&local, &bytes).unwrap();
    let session = crate::fs::Session::begin(&root).unwrap();
    let run = |fault| {
        let failed = OnceLock::new();
        let from_path = || Origin::Local {
            path: local.clone(),
            mode: crate::blob::IngestMode::Auto,
            links: crate::ingest::Links::Followed,
        };
        let served = Served::new(&bytes, fault);
        let origins = [from_path(), remote(&served), from_path(), Origin::Memory(bytes.clone())];
        let jobs = origins.into_iter().map(|origin| {
            let size_bytes = bytes.len() as u64;
            let file = ContentFile { path: String::new(), size_bytes, expected: None, origin, present: None };
            Job { file, options: options(&|_| {}), failed: &failed }
        });
        ingest_all(&session, jobs.collect())
    };
    assert!(run(Fault::Nothing).into_iter().all(|sealed| sealed.unwrap().digest() == Digest::sha256_of(&bytes)));
    assert!(run(Fault::Broken(0))[1].is_err());
    assert_eq!(left(&root), 0);
}
