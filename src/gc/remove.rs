//! `remove`: removes the entry first, then its views, then the blobs that nothing else needs.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::remove_plan;
use crate::blob::manifest::TreeFile;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, LogEventKind, Pin};
use crate::error::{Error, Result};
use crate::fs::now_ms;
use crate::index::{Change, Happened, StoredRecord};
use crate::layout;
use crate::store::{Fate, Store, Sweep, each_once};
use crate::sum::SumBytes;

/// How to remove an entry.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct RemoveOptions {
    /// Remove it even if it is pinned.
    pub force: bool,
    /// Only report what would be removed. Writes nothing.
    pub dry_run: bool,
}

impl RemoveOptions {
    /// Sets [`force`](RemoveOptions::force).
    #[must_use]
    pub fn with_force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Sets [`dry_run`](RemoveOptions::dry_run).
    #[must_use]
    pub fn with_dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }
}

/// What [`FsCatalog::remove`](crate::FsCatalog::remove) did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct RemoveReceipt {
    /// The entry's id.
    pub id: String,
    /// Whether it is gone; `false` for a dry run.
    pub removed: bool,
    /// Bytes of the removed files. Removing one of several names of an inode frees nothing and counts nothing.
    pub bytes_reclaimed: u64,
    /// Bytes of the removed files that were not freed, because files outside the store share them.
    pub shared_bytes: u64,
    /// Number of removed blobs.
    pub blobs_removed: u64,
    /// The blobs that stay, and why.
    pub kept: Vec<KeptBlob>,
    /// The exports that stay in other tools' folders, each as its layout and its folder, for humans.
    pub exports: Vec<String>,
}

/// A blob that stays after its entry was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct KeptBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    #[serde(rename = "size_bytes")]
    pub bytes: u64,
    /// The reason, for humans.
    pub reason: String,
}

pub(super) const REFERENCED: &str = "another entry references it";
pub(super) const LEASED: &str = "a live process leases it; the next gc takes it once that process has ended";

/// Removes an entry durably, then, best effort, its views and the blobs that nothing else needs. Returns `None` if
/// there is no such entry. A pinned entry is an error, unless `force` is set.
pub(crate) fn remove(store: &Store, id: &str, options: &RemoveOptions) -> Result<Option<RemoveReceipt>> {
    let Some(record) = store.record(id)? else { return Ok(None) }; // works on a read-only root, too
    let mut receipt = RemoveReceipt { id: id.to_owned(), removed: !options.dry_run, ..RemoveReceipt::default() };
    if options.dry_run {
        refuse_pinned(id, &record.pins, options)?;
        let files = files_of(store, record.kind, record.entry.digest, record.size_bytes);
        let planned = files.and_then(|files| remove_plan::plan(store, &record, &files, &mut receipt));
        if let Err(error) = planned {
            receipt.could_not(record.entry.digest, record.size_bytes, &error);
        }
        return Ok(Some(receipt));
    }
    let mut removed = None;
    store.edit(&[id], &mut |_, old| {
        if let Some(record) = &old {
            refuse_pinned(id, &record.pins, options)?;
        }
        // Read the files while no sweep runs: once the record is gone, a sweep may remove the manifest of a tree.
        let files = |record: &StoredRecord| files_of(store, record.kind, record.digest, record.size_bytes);
        removed = old.map(|record| (files(&record), record));
        let how = Happened::new(LogEventKind::Removed);
        Ok(if removed.is_some() { Change::Remove(how) } else { Change::Keep })
    })?;
    let Some((files, record)) = removed else { return Ok(None) };
    if let Err(error) = files.and_then(|files| reclaim(store, id, &record, &files, &mut receipt)) {
        receipt.could_not(record.digest, record.size_bytes, &error);
    }
    store.complete();
    tracing::debug!(id, bytes = receipt.bytes_reclaimed, "removed");
    Ok(Some(receipt))
}

fn refuse_pinned(id: &str, pins: &BTreeMap<String, Pin>, options: &RemoveOptions) -> Result<()> {
    let now = now_ms();
    let pins: Vec<String> = pins.iter().filter(|(_, pin)| pin.holds_at(now)).map(|(name, _)| name.clone()).collect();
    match pins.is_empty() || options.force {
        true => Ok(()),
        false => Err(Error::Pinned { id: id.to_owned(), pins }),
    }
}

fn files_of(store: &Store, kind: ArtifactKind, digest: Option<Digest>, size_bytes: u64) -> Result<Vec<TreeFile>> {
    digest.map_or(Ok(Vec::new()), |digest| store.files_of(kind, digest, size_bytes))
}

/// The blobs that may go with an entry: its root, its files, and the documents it needs.
pub(super) fn candidates(root: Digest, files: &[TreeFile], needs: &BTreeSet<Digest>) -> Vec<Digest> {
    each_once(files.iter().map(|file| file.digest).chain([root]).chain(needs.iter().copied()))
}

fn reclaim(
    store: &Store,
    id: &str,
    record: &StoredRecord,
    files: &[TreeFile],
    receipt: &mut RemoveReceipt,
) -> Result<()> {
    let (Some(digest), ArtifactKind::File | ArtifactKind::Tree) = (record.digest, record.kind) else {
        return Ok(());
    };
    let mut sweep = Sweep::begin(store)?;
    // Block leases first, so that none is taken on a half-removed entry.
    if !sweep.block_leases(&digest)? {
        receipt.keep(digest, record.size_bytes, LEASED);
        return Ok(());
    }
    // What cannot be removed stays and is reported; the rest goes on.
    match sweep.remove_views(id, record, files) {
        Ok(freed) => receipt.bytes_reclaimed = freed.size_bytes,
        Err(error) => receipt.could_not(record.digest, record.size_bytes, &error),
    }
    for digest in candidates(digest, files, &record.needs) {
        let bytes = store.root.meta(&layout::blob(&digest)).ok().flatten().map_or(0, |meta| meta.size_bytes);
        match sweep.remove_blob(&digest, true) {
            Ok(Fate::Referenced) => receipt.keep(digest, bytes, REFERENCED),
            Ok(Fate::Leased) => receipt.keep(digest, bytes, LEASED),
            Ok(Fate::Gone | Fate::Trashed | Fate::Removed) => {}
            Err(error) => receipt.keep(digest, bytes, &format!("it could not be removed: {error}")),
        }
    }
    let swept = sweep.finish()?;
    receipt.blobs_removed = swept.freed.iter().filter(|freed| freed.removed).count() as u64;
    receipt.bytes_reclaimed =
        receipt.bytes_reclaimed.saturating_add(swept.freed.iter().map(|freed| freed.size_bytes).sum_bytes());
    receipt.shared_bytes = swept.freed.iter().map(|freed| freed.shared_bytes).sum_bytes();
    if let Some(error) = swept.failed.first() {
        receipt.could_not(record.digest, record.size_bytes, error);
    }
    Ok(())
}

impl RemoveReceipt {
    pub(super) fn keep(&mut self, digest: Digest, bytes: u64, reason: &str) {
        self.kept.push(KeptBlob { digest, bytes, reason: reason.into() });
    }

    fn could_not(&mut self, digest: Option<Digest>, size_bytes: u64, error: &Error) {
        tracing::warn!(id = %self.id, %error, "could not remove all bytes of the entry");
        if let Some(digest) = digest {
            self.keep(digest, size_bytes, &format!("it could not be removed: {error}"));
        }
    }
}
