//! Which names of a blob's inode the store has made itself: all others are of files outside, which keep its bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rayon::prelude::*;

use super::facts::{BlobFacts, ViewFacts};
use crate::digest::Digest;
use crate::entry::{LinkMode, Record};
use crate::error::Result;
use crate::fs::freed::Freeing;
use crate::fs::{Kind, Meta, Root};
use crate::layout;
use crate::store::Needed;
use crate::threads::ready_for_rayon;

/// Gathered record by record.
#[derive(Debug, Default)]
pub(super) struct OwnNames {
    /// How many places of entries show each blob. Which of them are hardlinks is not looked at: where one is missing, a
    /// name outside the store takes its place in the sum.
    shown: BTreeMap<Digest, u64>,
    /// How many files of views that no entry names any more each inode has.
    stray: BTreeMap<u64, u64>,
    /// Shown by a reflink, so that shared blocks say nothing of files outside.
    reflinked: BTreeSet<Digest>,
}

impl OwnNames {
    pub(super) fn add(&mut self, record: &Record, needed: &Needed) {
        for digest in &needed.names {
            *self.shown.entry(*digest).or_default() += 1;
            if record.view == Some(LinkMode::Reflink) {
                self.reflinked.insert(*digest);
            }
        }
    }

    /// Views that a collection takes as well, or that a lease holds.
    pub(super) fn add_unnamed(&mut self, root: &Root, views: &[ViewFacts]) -> Result<()> {
        views.iter().try_for_each(|view| self.add_below(root, &view.path))
    }

    fn add_below(&mut self, root: &Root, path: &Path) -> Result<()> {
        match root.meta(path)? {
            Some(meta) if meta.kind == Kind::Dir => match root.names(path) {
                Err(error) if error.is_permission_denied() => Ok(()), // another user's: no file of a view is there
                names => names?.iter().try_for_each(|name| self.add_below(root, &path.join(name))),
            },
            Some(meta) => {
                *self.stray.entry(meta.inode).or_default() += 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// How many names of its own, and of such views, a file in `blobs/` or `trash/` has.
    pub(super) fn of(&self, digest: &Digest, meta: &Meta) -> u64 {
        let shown = self.shown.get(digest).copied().unwrap_or(0);
        1 + shown + self.stray.get(&meta.inode).copied().unwrap_or(0)
    }

    /// What the removal of each of these blobs brings.
    pub(super) fn blob_facts(&self, root: &Root, blobs: &BTreeMap<Digest, Meta>) -> BTreeMap<Digest, BlobFacts> {
        let freeing = Freeing::of(root);
        ready_for_rayon();
        blobs.par_iter().map(|(digest, meta)| (*digest, self.facts(&freeing, digest, meta))).collect()
    }

    fn facts(&self, freeing: &Freeing<'_>, digest: &Digest, meta: &Meta) -> BlobFacts {
        let names = self.of(digest, meta);
        let bytes = match self.reflinked.contains(digest) {
            true if meta.links <= names => meta.allocated_bytes,
            _ => freeing.bytes(&layout::blob(digest), meta, names),
        };
        BlobFacts { bytes, shared_bytes: meta.allocated_bytes.saturating_sub(bytes) }
    }
}
