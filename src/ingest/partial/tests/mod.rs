//! Partials after every interruption. Each test creates the state that a kill, a power cut, another process or manual
//! changes would leave in `partials/`, then ingests the same file again: the bytes must be right, and little may be
//! read twice.

mod interrupted;
mod local;
mod meddled;
mod published;
mod pulled;
mod records;
mod told;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::blob::Sealed;
use crate::error::Result;
use crate::fs::{Root, Session};
use crate::hash::groups::GROUP_BYTES;
use crate::ingest::remote::tests::{Fault, Served};
use crate::ingest::tests::{noise, options, root};
use crate::ingest::{ContentFile, Options, Origin, Ranges, ingest_one};
use crate::read_at::ReadAt as _;

const MIB: u64 = GROUP_BYTES as u64;

/// Five chunks, one recorded SHA-256 state, and a last group that is not full.
const SIZE_BYTES: usize = (19 << 20) + 12_345;

/// A root, and a remote file that is ingested into it.
struct Bench {
    _dir: tempfile::TempDir,
    root: Root,
    bytes: Arc<Vec<u8>>,
    digest: Digest,
    blake3: blake3::Hash,
}

impl Bench {
    fn new() -> Self {
        Self::of_size(SIZE_BYTES)
    }

    fn of_size(size_bytes: usize) -> Self {
        let (dir, root) = root();
        let bytes = noise(size_bytes);
        let (digest, blake3) = (Digest::sha256_of(&bytes), blake3::hash(&bytes));
        Bench { _dir: dir, root, bytes: Arc::new(bytes), digest, blake3 }
    }

    fn served(&self, fault: Fault) -> Arc<Served> {
        Served::of(&self.bytes, fault)
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    /// Ingests the served file, which has the same validator each time.
    fn ingest<'r>(&self, session: &Session<'r>, served: &Arc<Served>) -> Result<Sealed<'r>> {
        self.ingest_expecting(session, served, None)
    }

    fn ingest_expecting<'r>(
        &self,
        session: &Session<'r>,
        served: &Arc<Served>,
        expected: Option<Digest>,
    ) -> Result<Sealed<'r>> {
        let origin = Origin::Remote(Ranges { reader: served.clone(), validator: Some("\"v1\"".into()) });
        let file =
            ContentFile { path: String::new(), size_bytes: served.size_bytes(), expected, origin, present: None };
        ingest_one(session, &file, with_partials(options(&|_| {})))
    }

    /// Leaves a complete partial, with its SHA-256 recorded.
    fn leave_complete(&self) {
        let session = Session::begin(&self.root).unwrap();
        drop(self.ingest(&session, &self.served(Fault::Nothing)).unwrap());
    }

    /// Resumes the partial: the bytes must be right, and exactly these groups must be requested again.
    #[track_caller]
    fn assert_goes_on(&self, groups: &[u64], state: &str) {
        let session = Session::begin(&self.root).unwrap();
        let served = self.served(Fault::Nothing);
        let mut sealed = self.ingest(&session, &served).unwrap();
        assert_eq!(sealed.digest(), self.digest(), "{state}");
        assert_eq!(*sealed.groups().unwrap().root(), self.blake3, "{state}");
        let now = self.root.read(sealed.name(), u64::MAX).unwrap().unwrap();
        if now != *self.bytes {
            let first = now.iter().zip(&*self.bytes).position(|(a, b)| a != b);
            panic!("{state}: {} bytes, and the one at {first:?} is another", now.len());
        }
        let mut asked: Vec<u64> = Vec::new();
        for (start, length) in served.asked() {
            asked.extend((start / MIB..).take(length.div_ceil(GROUP_BYTES)));
        }
        assert_eq!(asked, groups, "{state}: what is read again");
        let all = SIZE_BYTES as u64;
        assert_eq!(sealed.resumed_bytes(), all - served.asked_bytes(), "{state}");
        sealed.keep();
        assert_eq!(folders(&self.root), Vec::<PathBuf>::new(), "{state}: a partial that was recorded goes");
    }

    fn folder(&self) -> PathBuf {
        let [folder] = <[PathBuf; 1]>::try_from(folders(&self.root)).unwrap();
        folder
    }

    fn data(&self) -> PathBuf {
        self.root.absolute(&self.folder().join(DATA))
    }

    fn journal(&self) -> PathBuf {
        self.root.absolute(&self.folder().join(JOURNAL))
    }

    /// Identifies the served file.
    fn what(&self) -> What {
        let served = self.served(Fault::Nothing);
        What::remote(served.name(), served.size_bytes(), "\"v1\"")
    }

    fn identity(&self) -> journal::Identity {
        self.what().identity()
    }
}

/// The folders in `partials/`.
fn folders(root: &Root) -> Vec<PathBuf> {
    let names = root.names(Path::new(layout::PARTIALS)).unwrap();
    names.iter().map(|name| Path::new(layout::PARTIALS).join(name)).collect()
}

fn with_partials(options: Options<'_>) -> Options<'_> {
    Options { partial_from_bytes: 2 * MIB, ..options }
}

/// All groups from this one on.
fn from(first: u64) -> Vec<u64> {
    (first..groups::count(SIZE_BYTES as u64)).collect()
}
