//! The facts that a plan is made from.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::blob_table::BlobTable;
use super::entries::Entries;
use crate::digest::Digest;
use crate::fs::space::Space;

/// What is on disk at one moment.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) now_ms: u64,
    pub(crate) entries: Entries,
    /// Every blob in `blobs/`.
    pub(crate) blobs: BlobTable,
    /// Blobs that stay even if no entry references them: a leased artifact, or one being staged or repaired, needs
    /// them.
    pub(crate) held: BTreeSet<Digest>,
    pub(crate) trash: Vec<TrashFacts>,
    /// What dead processes left behind.
    pub(crate) leftovers: Vec<(PathBuf, u64)>,
    /// Partials of interrupted copies that no process is working on.
    pub(crate) partials: Vec<PartialFacts>,
    /// Views that no entry names.
    pub(crate) views: Vec<ViewFacts>,
    /// Bytes on disk of views that are copies, and of everything in quarantine.
    pub(crate) other_bytes: u64,
    pub(crate) quarantine_bytes: u64,
    /// The files in quarantine.
    pub(crate) quarantined: Vec<QuarantineFacts>,
    /// Folders of another user that cannot be read, and are left alone.
    pub(crate) unreadable: Vec<PathBuf>,
    /// `None`: the file system does not report it.
    pub(crate) space: Option<Space>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BlobFacts {
    /// Bytes on disk that are freed when it is removed with all of its names in the store.
    pub(crate) bytes: u64,
    /// Bytes on disk that are not freed, because files outside the store share them.
    pub(crate) shared_bytes: u64,
}

/// A blob's name in `trash/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrashedBlob {
    pub(crate) digest: Digest,
    pub(crate) trashed_ms: u64,
}

#[derive(Debug)]
pub(crate) struct TrashFacts {
    pub(crate) blob: TrashedBlob,
    pub(crate) bytes: u64,
}

#[derive(Debug)]
pub(crate) struct PartialFacts {
    pub(crate) path: PathBuf,
    /// Bytes on disk.
    pub(crate) bytes: u64,
    /// Time of the last write.
    pub(crate) changed_ms: u64,
}

#[derive(Debug)]
pub(crate) struct QuarantineFacts {
    pub(crate) path: PathBuf,
    /// Bytes on disk.
    pub(crate) bytes: u64,
    /// When it was moved there.
    pub(crate) since_ms: u64,
}

#[derive(Debug)]
pub(crate) struct ViewFacts {
    pub(crate) path: PathBuf,
    pub(crate) changed_ms: u64,
    /// Whether a lease holds it.
    pub(crate) is_leased: bool,
}
