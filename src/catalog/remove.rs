//! `remove`: the entry first, then its views, then the blobs that nothing else needs.

use super::FsCatalog;
use super::sweep::Fate;
use crate::blob::manifest::TreeFile;
use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::error::Result;
use crate::fs::reserve;
use crate::index::{Change, StoredRecord};

/// What [`FsCatalog::remove`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoveReceipt {
    /// The entry that is gone.
    pub id: String,
    /// Bytes of the files that are gone. Removing a name of an inode that has others frees nothing and counts nothing.
    pub bytes_reclaimed: u64,
    /// How many blobs were removed.
    pub blobs_removed: u64,
    /// What stays, and why.
    pub kept: Vec<Kept>,
}

/// A blob that stays after its entry was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// Which.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// Why, for a person.
    pub reason: String,
}

const LEASED: &str = "a live process leases it; the next gc takes it when that has ended";

impl FsCatalog {
    /// Removes an entry, its views, and the blobs that no other entry references and nobody leases. `None`: there was
    /// no such entry.
    ///
    /// Once the entry is gone, durably, the rest is best effort: what could not be removed is named in the receipt and
    /// is found again by a sweep. Nothing outside the root is touched, and nothing of a path that was only registered.
    pub fn remove(&self, id: &str) -> Result<Option<RemoveReceipt>> {
        if self.record(id)?.is_none() {
            return Ok(None); // also on a read-only root
        }
        let mut removed = None;
        self.edit(&[id], &mut |_, old| {
            // The files while no sweep runs: once the record is gone, one may take a tree's manifest.
            removed = old.map(|record| (self.files_of_record(&record), record));
            Ok(if removed.is_some() { Change::Remove } else { Change::Keep })
        })?;
        let Some((files, record)) = removed else { return Ok(None) };
        let mut receipt = RemoveReceipt { id: id.to_owned(), bytes_reclaimed: 0, blobs_removed: 0, kept: Vec::new() };
        if let Err(error) = files.and_then(|files| self.reclaim(id, &record, &files, &mut receipt)) {
            tracing::warn!(id, %error, "the entry is removed, not all of its bytes are");
            let reason = format!("it could not be removed: {error}");
            receipt.kept.extend(record.digest.map(|digest| Kept { digest, bytes: record.size_bytes, reason }));
        }
        reserve::make_if_it_fits(&self.root);
        tracing::debug!(id, bytes = receipt.bytes_reclaimed, "removed");
        Ok(Some(receipt))
    }

    fn files_of_record(&self, record: &StoredRecord) -> Result<Vec<TreeFile>> {
        record.digest.map_or(Ok(Vec::new()), |digest| self.files_of(record.kind, digest, record.size_bytes))
    }

    fn reclaim(&self, id: &str, record: &StoredRecord, files: &[TreeFile], receipt: &mut RemoveReceipt) -> Result<()> {
        let (Some(digest), ArtifactKind::File | ArtifactKind::Tree) = (record.digest, record.kind) else {
            return Ok(());
        };
        let mut sweep = self.sweep()?;
        let mut keep = |digest, bytes, reason: &str| receipt.kept.push(Kept { digest, bytes, reason: reason.into() });
        // First of all, so that no lease is taken on what is half removed.
        if !sweep.claim(&digest)? {
            keep(digest, record.size_bytes, LEASED);
            return Ok(());
        }
        receipt.bytes_reclaimed = sweep.remove_views(id, record, files)?.size_bytes;
        let mut candidates: Vec<(Digest, u64)> = files.iter().map(|file| (file.digest, file.size_bytes)).collect();
        if record.kind == ArtifactKind::Tree {
            candidates.push((digest, 0));
        }
        candidates.extend(record.needs.iter().map(|digest| (*digest, 0)));
        candidates.sort_unstable();
        candidates.dedup();
        for (digest, bytes) in candidates {
            match sweep.remove_blob(&digest, true)? {
                Fate::Referenced => keep(digest, bytes, "another entry references it"),
                Fate::Leased => keep(digest, bytes, LEASED),
                Fate::Gone | Fate::Trashed => {}
            }
        }
        let freed = sweep.finish()?;
        receipt.blobs_removed = freed.iter().filter(|freed| freed.removed).count() as u64;
        receipt.bytes_reclaimed += freed.iter().map(|freed| freed.size_bytes).sum::<u64>();
        Ok(())
    }
}
