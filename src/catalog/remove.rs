//! `remove`: the entry first, then its views, then the blobs that nothing else needs.

use super::FsCatalog;
use super::roots::Roots;
use crate::blob;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, LinkMode};
use crate::error::Result;
use crate::index::{Change, StoredRecord};
use crate::{layout, view};

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
            removed = old;
            Ok(if removed.is_some() { Change::Remove } else { Change::Keep })
        })?;
        let Some(record) = removed else { return Ok(None) };
        let mut receipt = RemoveReceipt { id: id.to_owned(), bytes_reclaimed: 0, blobs_removed: 0, kept: Vec::new() };
        if let Err(error) = self.reclaim(id, &record, &mut receipt) {
            tracing::warn!(id, %error, "the entry is removed, not all of its bytes are");
            let reason = format!("it could not be removed: {error}");
            receipt.kept.extend(record.digest.map(|digest| Kept { digest, bytes: record.size_bytes, reason }));
        }
        tracing::debug!(id, bytes = receipt.bytes_reclaimed, "removed");
        Ok(Some(receipt))
    }

    fn reclaim(&self, id: &str, record: &StoredRecord, receipt: &mut RemoveReceipt) -> Result<()> {
        let (Some(digest), ArtifactKind::File | ArtifactKind::Tree) = (record.digest, record.kind) else {
            return Ok(());
        };
        let files = self.files_of(record.kind, digest, record.size_bytes)?;
        // The scan of the index warms the cache, so that the sweep lock is held for less.
        self.roots()?;
        let _store = self.lock_for_sweep()?;
        // Again, now that no commit can run: the id, or the same bytes, may be back.
        let roots = self.roots()?;
        let mut keep = |digest, bytes, reason: &str| receipt.kept.push(Kept { digest, bytes, reason: reason.into() });
        if blob::is_leased(&self.root, &digest)? {
            keep(digest, record.size_bytes, "a live process leases it");
            return Ok(());
        }
        self.remove_views(id, record, &files, &roots)?;
        if record.view == Some(LinkMode::Copy) {
            receipt.bytes_reclaimed += record.size_bytes;
        }
        let mut candidates: Vec<(Digest, u64)> = files.iter().map(|file| (file.digest, file.size_bytes)).collect();
        if record.kind == ArtifactKind::Tree {
            candidates.push((digest, 0));
        }
        candidates.sort_unstable();
        candidates.dedup();
        for (digest, bytes) in candidates {
            if roots.references(&digest) {
                keep(digest, bytes, "another entry references it");
                continue;
            }
            match blob::remove_unleased(&self.root, &digest)? {
                None => keep(digest, bytes, "a live process leases it"),
                Some(freed) => {
                    receipt.bytes_reclaimed += freed;
                    receipt.blobs_removed += 1;
                }
            }
        }
        Ok(())
    }

    fn remove_views(
        &self,
        id: &str,
        record: &StoredRecord,
        files: &[blob::manifest::TreeFile],
        roots: &Roots,
    ) -> Result<()> {
        let home = layout::view_home(id);
        if !roots.claims(&home) {
            view::remove_home(&self.root, id)?;
        }
        match record.relative_path() {
            Some(path) if !path.starts_with(&home) && !roots.claims(&path) => {
                view::remove_adopted(&self.root, &path, files)
            }
            _ => Ok(()),
        }
    }
}
