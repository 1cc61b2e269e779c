//! What a plan is made from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::plan::millis;
use crate::digest::Digest;
use crate::entry::TOUCH_INTERVAL;
use crate::fs::space::Space;

/// What is on disk, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) now_ms: u64,
    pub(crate) entries: Vec<EntryFacts>,
    /// Every blob in `blobs/`.
    pub(crate) blobs: BTreeMap<Digest, BlobFacts>,
    /// Blobs that stay whether an entry references them or not: a leased artifact, or one that comes in, needs them.
    pub(crate) held: BTreeSet<Digest>,
    pub(crate) trash: Vec<TrashFacts>,
    /// What dead processes left.
    pub(crate) leftovers: Vec<(PathBuf, u64)>,
    /// What interrupted copies have left, and nobody works on.
    pub(crate) partials: Vec<PartialFacts>,
    /// Views that no entry names.
    pub(crate) views: Vec<ViewFacts>,
    /// Bytes on disk of views that are copies, and of what is in quarantine.
    pub(crate) other_bytes: u64,
    pub(crate) quarantine_bytes: u64,
    /// What is in quarantine.
    pub(crate) quarantined: Vec<QuarantineFacts>,
    /// What belongs to another user and cannot be looked into: left alone.
    pub(crate) unreadable: Vec<PathBuf>,
    /// `None`: the file system does not tell.
    pub(crate) space: Option<Space>,
}

#[derive(Debug)]
pub(crate) struct EntryFacts {
    pub(crate) id: String,
    pub(crate) digest: Option<Digest>,
    /// All blobs that it needs, the manifest of a tree among them.
    pub(crate) blobs: Vec<Digest>,
    /// The blob that is its manifest, if it is a tree.
    pub(crate) manifest: Option<Digest>,
    pub(crate) size_bytes: u64,
    /// Bytes on disk of its view, when that is a copy.
    pub(crate) view_bytes: u64,
    pub(crate) retired_ms: Option<u64>,
    pub(crate) staged_ms: u64,
    pub(crate) last_used_ms: Option<u64>,
    /// A registry or a bucket has it as well, as far as is known.
    pub(crate) is_pushed: bool,
    /// A pin that holds now.
    pub(crate) pin: Option<String>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BlobFacts {
    /// Bytes on disk that come free when it goes with all of its names in the store.
    pub(crate) bytes: u64,
    /// Further bytes that it has on disk and that do not come free: files outside the store have them as well.
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
    /// On disk.
    pub(crate) bytes: u64,
    /// When it was written to last.
    pub(crate) changed_ms: u64,
}

#[derive(Debug)]
pub(crate) struct QuarantineFacts {
    pub(crate) path: PathBuf,
    /// On disk.
    pub(crate) bytes: u64,
    /// When it came there.
    pub(crate) since_ms: u64,
}

#[derive(Debug)]
pub(crate) struct ViewFacts {
    pub(crate) path: PathBuf,
    pub(crate) changed_ms: u64,
    /// A lease holds it.
    pub(crate) is_leased: bool,
}

impl EntryFacts {
    /// The last moment at which it may have been used. A time in the future, from a clock that was wrong, counts as now.
    pub(super) fn used_ms(&self, now_ms: u64) -> u64 {
        let touched = self.last_used_ms.map(|ms| ms.saturating_add(millis(TOUCH_INTERVAL)));
        self.staged_ms.max(touched.unwrap_or(0)).min(now_ms)
    }

    /// For "idle since", where the recorded hour is exact enough.
    pub(super) fn idle_since_ms(&self, now_ms: u64) -> u64 {
        self.staged_ms.max(self.last_used_ms.unwrap_or(0)).min(now_ms)
    }
}
