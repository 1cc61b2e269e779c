//! The facts that a plan is made from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::plan::millis;
use crate::digest::Digest;
use crate::entry::TOUCH_INTERVAL;
use crate::fs::space::Space;

/// What is on disk at one moment.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) now_ms: u64,
    pub(crate) entries: Vec<EntryFacts>,
    /// Every blob in `blobs/`.
    pub(crate) blobs: BTreeMap<Digest, BlobFacts>,
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

#[derive(Debug)]
pub(crate) struct EntryFacts {
    pub(crate) id: String,
    pub(crate) digest: Option<Digest>,
    /// All blobs that it needs, including the manifest of a tree.
    pub(crate) blobs: Vec<Digest>,
    /// The blob of its manifest, if it is a tree.
    pub(crate) manifest: Option<Digest>,
    pub(crate) size_bytes: u64,
    /// Bytes on disk of its view if that is a copy.
    pub(crate) view_bytes: u64,
    pub(crate) retired_ms: Option<u64>,
    pub(crate) staged_ms: u64,
    pub(crate) last_used_ms: Option<u64>,
    /// Whether a registry or a bucket is known to have it as well.
    pub(crate) is_pushed: bool,
    /// The name of a pin that currently holds.
    pub(crate) pin: Option<String>,
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

impl EntryFacts {
    /// The last time at which it may have been used. A time in the future, from a wrong clock, counts as now.
    pub(super) fn used_ms(&self, now_ms: u64) -> u64 {
        let touched = self.last_used_ms.map(|ms| ms.saturating_add(millis(TOUCH_INTERVAL)));
        self.staged_ms.max(touched.unwrap_or(0)).min(now_ms)
    }

    /// For "idle since", where the recorded hour is exact enough.
    pub(super) fn idle_since_ms(&self, now_ms: u64) -> u64 {
        self.staged_ms.max(self.last_used_ms.unwrap_or(0)).min(now_ms)
    }
}
