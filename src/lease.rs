//! Leases: "in use now", for as long as the guard lives.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use crate::entry::{ArtifactKind, CatalogEntry, Record};
use crate::error::{Error, Result};
use crate::fs::lock::{Hold, Lock, Wait, lock_open_file};
use crate::fs::map::Map;
use crate::fs::{Root, meta_of};
use crate::layout;

/// Keeps an artifact from being removed, evicted or collected while it lives: its blobs, all files of a tree, and its
/// view, also when the entry is given new content or is removed meanwhile.
///
/// It is a shared lock on the artifact's root blob, so the kernel ends it when the process ends, however it does.
/// It does not outlive a copy of the file descriptor in a child process that was started without `exec`. It does not
/// keep root from changing the file by hand.
#[must_use = "a dropped Lease no longer protects its model"]
#[derive(Debug)]
pub struct Lease {
    root: Arc<Root>,
    record: Record,
    _lock: Lock,
}

/// Takes a lock on the root blob of what `record` names; `None` when there is no blob, or not any more. It protects the
/// artifact when the record is still there afterwards: the caller reads it again.
pub(crate) fn take(root: &Arc<Root>, record: Record, wait: Wait) -> Result<Option<Lease>> {
    // What a registered path shows is no blob, though one of the same digest may be here.
    let (ArtifactKind::File | ArtifactKind::Tree, Some(digest)) = (record.kind, record.entry.digest) else {
        return Ok(None);
    };
    let name = layout::blob(&digest);
    loop {
        let Some(file) = root.open_file(&name)? else { return Ok(None) };
        let opened = meta_of(&file).map_err(|e| root.fail("look at", &name, e))?;
        let lock = lock_open_file(root, file, &name, "a blob", Hold::Shared, wait)?;
        // A sweep may have taken the blob while we opened or waited, and a stage may have brought it again: a lock on
        // the old inode protects nothing.
        if root.meta(&name)?.is_some_and(|named| named.same_inode(&opened)) {
            return Ok(Some(Lease { root: root.clone(), record, _lock: lock }));
        }
    }
}

impl Lease {
    /// What an engine opens.
    #[must_use]
    pub fn local_path(&self) -> &Path {
        &self.record.entry.local_path
    }

    /// The entry as it was when the lease was taken.
    #[must_use]
    pub fn entry(&self) -> &CatalogEntry {
        &self.record.entry
    }

    /// The record as it was when the lease was taken.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The bytes of a file artifact, mapped read-only. They are those of the blob, whatever happens to its view.
    ///
    /// Reading them cannot fail but by a read error of the disk or by root truncating the blob, both of which end the
    /// process with SIGBUS, as they do for every program that maps its data. A tree has no bytes of its own: map the
    /// files below [`local_path`](Lease::local_path).
    pub fn map(&self) -> Result<ModelMap<'_>> {
        let digest = match (self.record.kind, self.record.entry.digest) {
            (ArtifactKind::File, Some(digest)) => digest,
            _ => {
                let kind = "directory";
                return Err(Error::UnsupportedFileType { path: self.local_path().to_path_buf(), kind });
            }
        };
        let name = layout::blob(&digest);
        let missing = || self.root.fail("open", &name, std::io::ErrorKind::NotFound.into());
        let file = self.root.open_file(&name)?.ok_or_else(missing)?;
        let size_bytes = meta_of(&file).map_err(|e| self.root.fail("look at", &name, e))?.size_bytes;
        let map = Map::of_owned(&file, 0..size_bytes).map_err(|e| self.root.fail("map", &name, e))?;
        Ok(ModelMap { map, _lease: self })
    }
}

/// The bytes of a leased model; see [`Lease::map`].
#[derive(Debug)]
pub struct ModelMap<'a> {
    map: Map,
    _lease: &'a Lease,
}

impl Deref for ModelMap<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}
