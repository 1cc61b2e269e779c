//! The facts that a plan is made from.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::blob_table::BlobTable;
use super::plan::millis;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Record, TOUCH_INTERVAL};
use crate::fs::space::Space;

/// What is on disk at one moment.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) now_ms: u64,
    pub(crate) entries: Vec<EntryFacts>,
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

/// There may be a million, so it is small: what few entries have is elsewhere.
#[derive(Debug)]
pub(crate) struct EntryFacts {
    pub(crate) id: Box<str>,
    pub(crate) kind: ArtifactKind,
    pub(crate) digest: Option<Digest>,
    pub(crate) size_bytes: u64,
    pub(crate) staged_ms: u64,
    pub(crate) last_used_ms: Option<u64>,
    /// Whether a registry or a bucket is known to have it as well.
    pub(crate) is_pushed: bool,
    rare: Option<Box<Rare>>,
}

/// What few entries have.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rare {
    /// The blobs that it needs besides the one that its digest names.
    pub(super) more_blobs: Vec<Digest>,
    /// Bytes on disk of its view if that is a copy.
    pub(super) view_bytes: u64,
    pub(super) retired_ms: Option<u64>,
    /// The name of a pin that currently holds.
    pub(super) pin: Option<String>,
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
    /// The facts of a record, of which these are the uncommon ones.
    pub(super) fn of(record: &Record, last_used_ms: Option<u64>, is_pushed: bool, rare: Rare) -> Self {
        EntryFacts {
            id: record.entry.id.as_str().into(),
            kind: record.kind,
            digest: record.entry.digest,
            size_bytes: record.size_bytes,
            staged_ms: record.updated_ms,
            last_used_ms,
            is_pushed,
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
        }
    }

    /// The blob of its content: the file, or the manifest of a tree.
    fn own_blob(&self) -> Option<&Digest> {
        self.digest.as_ref().filter(|_| self.kind != ArtifactKind::Registered)
    }

    /// All blobs that it needs, including the manifest of a tree.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Digest> {
        self.own_blob().into_iter().chain(self.rare.iter().flat_map(|rare| &rare.more_blobs))
    }

    /// The blob of its manifest, if it is a tree.
    pub(super) fn manifest(&self) -> Option<&Digest> {
        self.own_blob().filter(|_| self.kind == ArtifactKind::Tree)
    }

    pub(super) fn view_bytes(&self) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.view_bytes)
    }

    pub(super) fn retired_ms(&self) -> Option<u64> {
        self.rare.as_ref()?.retired_ms
    }

    pub(super) fn pin(&self) -> Option<&str> {
        self.rare.as_ref()?.pin.as_deref()
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    // A plan has one for each entry.
    #[test]
    fn the_facts_of_an_entry_are_small() {
        assert!(size_of::<EntryFacts>() <= 104, "{}", size_of::<EntryFacts>());
    }
}
