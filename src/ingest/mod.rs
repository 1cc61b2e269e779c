//! Ingestion: puts the bytes of any origin into a private file, then hashes, checks and seals it for publishing.
//!
//! ```text
//! batch.rs       many files at once, several on each core
//! stream.rs      one of those
//! duplicate.rs   one local file: a clone, or a copy
//! take.rs        one local file: its own inode
//! present.rs     one local file whose bytes the store has: compared, and not brought in
//! remote.rs      ranges of something that is read by offset
//! fetched.rs     many of those at once
//! memory.rs      bytes that are in memory
//! to_end.rs      a stream whose length nobody knows
//! reader.rs      where the parts of a copy come from
//! target.rs      the private file that they go to
//! partial/       a private file that outlives its process
//! ```
//!
//! Nothing here has a name that another process looks at, and nothing here holds a store lock: see
//! `docs/concurrency.md`, "Stage".

mod batch;
mod duplicate;
mod fetched;
mod memory;
mod partial;
mod present;
mod reader;
mod remote;
mod stream;
mod take;
mod target;
mod to_end;

pub(crate) use batch::{Job, ingest_all};
#[cfg(all(feature = "testing", feature = "hf"))]
pub(crate) use partial::is_journal;
pub use partial::{PartialInfo, PartialState};
pub(crate) use partial::{bytes_of_partials, partial, partials, remove_partial};
pub(crate) use partial::{partials_of, remove_left, reserved};
pub(crate) use present::{Candidates, Present};
pub(crate) use take::may_be_taken;
pub(crate) use target::PARTIAL_FROM_BYTES;
pub(crate) use to_end::{ToEnd, ingest_to_end};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blob::{self, IngestMode, Pending, Sealed};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::source::Foreign;
use crate::fs::{Durability, Session};
use crate::hash::Hashes;
use crate::read_at::ReadAt;

/// Where the bytes of a file come from.
#[derive(Clone)]
pub(crate) enum Origin {
    /// A local file, and how its bytes get into the store.
    Local { path: PathBuf, mode: IngestMode, links: Links },
    /// A source whose parts can be read by offset.
    Remote(Ranges),
    /// Bytes in memory.
    Memory(Vec<u8>),
}

/// Whether the path of a local file may lead through symlinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    Followed,
    /// There were none when the path was found; if there are some by now, its owner may want to have another file read.
    Refused,
}

impl Links {
    fn open(self, path: &Path) -> Result<Foreign> {
        match self {
            Links::Followed => Foreign::open(path),
            Links::Refused => Foreign::open_real(path),
        }
    }
}

/// A remote file.
#[derive(Clone)]
pub(crate) struct Ranges {
    pub(crate) reader: Arc<dyn ReadAt>,
    /// A value that the origin promises to change with every byte, such as a strong entity tag.
    pub(crate) validator: Option<String>,
}

/// A file of an artifact, and where to get it.
#[derive(Clone)]
pub(crate) struct ContentFile {
    /// Path below the tree, with `/` between the parts. Empty if the artifact is this one file.
    pub(crate) path: String,
    /// The planned size. For a local file, its size when it is opened counts.
    pub(crate) size_bytes: u64,
    /// The digest that the bytes must have. Other bytes are an error, and none of them are kept.
    pub(crate) expected: Option<Digest>,
    pub(crate) origin: Origin,
    /// Set if the store already has the bytes.
    pub(crate) present: Option<Present>,
}

/// How a file is ingested.
#[derive(Clone, Copy)]
pub(crate) struct Options<'a> {
    /// `Full`: sync the file here, before any lock is taken. A batch passes `Relaxed` and syncs the file system once.
    pub(crate) durability: Durability,
    /// Compute the BLAKE3 groups along the way.
    pub(crate) with_groups: bool,
    /// A copy of at least this size outlives this process: [`PARTIAL_FROM_BYTES`].
    pub(crate) partial_from_bytes: u64,
    /// Checked before every chunk.
    pub(crate) cancel: &'a Cancel,
    /// Called for every hashed chunk with its size.
    pub(crate) advanced: &'a (dyn Fn(u64) + Sync),
}

impl ContentFile {
    /// The name of the file in errors.
    fn label(&self) -> PathBuf {
        match &self.origin {
            Origin::Local { path, .. } => path.clone(),
            Origin::Remote(ranges) => ranges.reader.name().into(),
            Origin::Memory(_) => PathBuf::from(&self.path),
        }
    }

    fn check_cancelled(&self, options: Options<'_>) -> Result<()> {
        options.cancel.check(|| format!("reading {}", self.label().display()))
    }

    /// Checks that the bytes have the expected digest.
    fn check(&self, actual: Digest) -> Result<()> {
        check_digest(|| self.label(), self.expected, actual)
    }

    /// The last step of every ingestion: bytes other than the expected ones are never sealed or synced.
    fn accept<'r>(&self, pending: Pending<'r>, hashes: Hashes, options: Options<'_>) -> Result<Sealed<'r>> {
        self.check(hashes.digest)?;
        pending.hashed(hashes).seal(options.durability)
    }
}

fn check_digest(label: impl FnOnce() -> PathBuf, expected: Option<Digest>, actual: Digest) -> Result<()> {
    match expected {
        Some(expected) if expected != actual => Err(Error::DigestMismatch { path: label(), expected, actual }),
        _ => Ok(()),
    }
}

/// Ingests bytes that are in memory.
pub(crate) fn ingest_bytes<'r>(session: &Session<'r>, bytes: Vec<u8>, durability: Durability) -> Result<Sealed<'r>> {
    let size_bytes = bytes.len() as u64;
    let (path, origin) = (String::new(), Origin::Memory(bytes));
    let file = ContentFile { path, size_bytes, expected: None, origin, present: None };
    let (cancel, advanced) = (Cancel::new(), |_| {});
    let options = Options {
        durability,
        with_groups: true,
        partial_from_bytes: PARTIAL_FROM_BYTES,
        cancel: &cancel,
        advanced: &advanced,
    };
    ingest_one(session, &file, options)
}

/// Ingests one file, using all cores.
pub(crate) fn ingest_one<'r>(session: &Session<'r>, file: &ContentFile, options: Options<'_>) -> Result<Sealed<'r>> {
    if let Some(sealed) = try_ingest(session, file, options)? {
        return Ok(sealed);
    }
    tracing::info!(path = %file.label().display(), "starting over: an interrupted copy has left other bytes");
    let anew = Options { partial_from_bytes: target::NO_PARTIAL, ..options };
    Ok(try_ingest(session, file, anew)?.expect("a copy that is begun anew takes nothing over"))
}

/// `None`: see [`target::Target::seal`].
fn try_ingest<'r>(session: &Session<'r>, file: &ContentFile, options: Options<'_>) -> Result<Option<Sealed<'r>>> {
    if let Some(present) = &file.present
        && let Some(held) = blob::hold(session, &present.digest, present.source)?
    {
        return file.check(present.digest).map(|()| Some(held));
    }
    match &file.origin {
        Origin::Local { path, mode, links } => {
            duplicate::ingest_local(session, file, links.open(path)?, *mode, options)
        }
        Origin::Remote(ranges) => remote::ingest_ranges(session, file, ranges, options),
        Origin::Memory(bytes) => memory::ingest_memory(session, file, bytes, options).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Root;
    use crate::layout;

    static NEVER: std::sync::LazyLock<Cancel> = std::sync::LazyLock::new(Cancel::new);

    /// The options of a small batch, with the usual threshold for partials.
    pub(super) fn options<'a>(advanced: &'a (dyn Fn(u64) + Sync)) -> Options<'a> {
        let partial_from_bytes = PARTIAL_FROM_BYTES;
        Options { durability: Durability::Relaxed, with_groups: true, partial_from_bytes, cancel: &NEVER, advanced }
    }

    /// Bytes without repetition.
    pub(super) fn noise(size_bytes: usize) -> Vec<u8> {
        (0..size_bytes as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
    }

    /// A root that files can be ingested into.
    pub(super) fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.make_dirs(std::path::Path::new(layout::INGEST)).unwrap();
        (dir, root)
    }
}
