//! Ingestion: the bytes of any origin, in a private file that is hashed, checked and sealed, ready to be published.
//!
//! ```text
//! batch.rs       many files at once, several on each core
//! duplicate.rs   one local file: a clone, or a copy
//! take.rs        one local file: its own inode
//! remote.rs      ranges of something that is read by offset
//! memory.rs      bytes that are in memory
//! ```
//!
//! Nothing here has a name that anybody else looks at, and nothing here holds a lock of the store: see
//! `docs/concurrency.md`, "Stage".

mod batch;
mod duplicate;
mod memory;
mod remote;
mod take;

pub(crate) use batch::{Job, ingest_all};

use std::path::PathBuf;
use std::sync::Arc;

use crate::blob::{IngestMode, Pending, Sealed};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::{Durability, Session};
use crate::hash::Hashes;
use crate::read_at::ReadAt;

/// Where bytes come from.
#[derive(Clone)]
pub(crate) enum Origin {
    /// A file of this machine, and how its bytes get into the store.
    Local { path: PathBuf, mode: IngestMode },
    /// Something whose parts can be read by offset.
    #[cfg_attr(not(test), expect(dead_code, reason = "the sources that give ranges are to come"))]
    Remote(Arc<dyn ReadAt>),
    /// Bytes that are here.
    Memory(Vec<u8>),
}

/// A file of an artifact, and where to get it.
#[derive(Clone)]
pub(crate) struct ContentFile {
    /// Below the tree, with `/` between the parts; empty when the artifact is this one file.
    pub(crate) path: String,
    /// As it was planned. A local file has the size that it has when it is opened.
    pub(crate) size_bytes: u64,
    /// What its bytes have to hash to. Other bytes are an error, and nothing of them stays.
    pub(crate) expected: Option<Digest>,
    pub(crate) origin: Origin,
}

/// How a file is ingested.
#[derive(Clone, Copy)]
pub(crate) struct Options<'a> {
    /// With `Full` it is synced here, before any lock is taken; a batch passes `Relaxed` and syncs the file system once.
    pub(crate) durability: Durability,
    /// Make the BLAKE3 groups on the way.
    pub(crate) with_groups: bool,
    /// Told of every hashed chunk.
    pub(crate) advanced: &'a (dyn Fn(u64) + Sync),
}

impl ContentFile {
    /// What it is called in an error.
    fn label(&self) -> PathBuf {
        match &self.origin {
            Origin::Local { path, .. } => path.clone(),
            Origin::Remote(ranges) => ranges.name().into(),
            Origin::Memory(_) => PathBuf::from(&self.path),
        }
    }

    /// Whether these are the bytes that were wanted.
    fn check(&self, actual: Digest) -> Result<()> {
        match self.expected {
            Some(expected) if expected != actual => Err(Error::DigestMismatch { path: self.label(), expected, actual }),
            _ => Ok(()),
        }
    }

    /// The last step of every ingestion: what is not what was wanted is never sealed, nor synced.
    fn accept<'r>(&self, pending: Pending<'r>, hashes: Hashes, options: Options<'_>) -> Result<Sealed<'r>> {
        self.check(hashes.digest)?;
        pending.hashed(hashes).seal(options.durability)
    }
}

/// Ingests one file, with all cores for itself.
pub(crate) fn ingest_one<'r>(session: &Session<'r>, file: &ContentFile, options: Options<'_>) -> Result<Sealed<'r>> {
    match &file.origin {
        Origin::Local { path, mode } => duplicate::ingest_local(session, file, path, *mode, options),
        Origin::Remote(ranges) => remote::ingest_ranges(session, file, &**ranges, options),
        Origin::Memory(bytes) => memory::ingest_memory(session, file, bytes, options),
    }
}
