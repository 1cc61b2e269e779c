//! Leases: "in use now", for as long as the guard lives.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use crate::digest::Digest;
use crate::entry::{ArtifactKind, CatalogEntry, Record};
use crate::error::{Error, Result};
use crate::fs::lock::{Hold, Lock, lock_open_file};
use crate::fs::map::Map;
use crate::fs::meta_of;
use crate::layout;
use crate::store::Store;

/// Keeps an artifact from being removed, evicted or collected while it lives: its blobs, all files of a tree, and its
/// view, also when the entry is given new content or is removed meanwhile.
///
/// It is a shared lock on the artifact's root blob, so the kernel ends it when the process ends, however it does. Clones are
/// the same lease, which ends with the last of them.
///
/// A child process that is forked and calls no `exec` has a copy of the lease. To drop that does not end the lease; when the
/// parent drops its own, or has ended by itself, the child's no longer protects anything, so a child takes a lease of its own.
/// If the parent is killed, the lock stays until the child has ended too. A lease does not keep root from changing the
/// file by hand.
#[must_use = "a dropped Lease no longer protects its model"]
#[derive(Clone, Debug)]
pub struct Lease {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    store: Store,
    record: Record,
    _lock: Lock,
}

/// Leases the artifact of an id; see [`FsCatalog::lease`](crate::FsCatalog::lease).
pub(crate) fn lease(store: &Store, id: &str) -> Result<Lease> {
    loop {
        let record = store.require(id)?;
        let not_staged = Error::NotStaged { id: id.to_owned(), path: record.entry.local_path.clone() };
        let taken = take(store, record.clone())?;
        // Again, now that the lock is held. A sweep that has seen neither the record nor a lease may go on to take
        // the view, or files of the tree; and the view of a tree that is being staged anew may be half made. A
        // record that is there now is whole, and no sweep takes anything of it that does not see the lock.
        let now = store.require(id)?;
        match taken {
            Some(lease) if now.is_same_content(&record) => {
                store.ensure_usable(&now)?;
                store.touch(&now);
                return Ok(lease);
            }
            _ if now == record => {
                store.ensure_usable(&now)?; // which may know better why it cannot be used
                return Err(not_staged);
            }
            _ => {} // removed, given new content or used just now
        }
    }
}

/// Takes a lock on the root blob of what `record` names; `None` if there is no blob, or not any more. It protects the
/// artifact if the record is still there afterwards.
fn take(store: &Store, record: Record) -> Result<Option<Lease>> {
    let root = &store.root;
    // What a registered path shows is no blob, though one of the same digest may be here.
    let (ArtifactKind::File | ArtifactKind::Tree, Some(digest)) = (record.kind, record.entry.digest) else {
        return Ok(None);
    };
    let name = layout::blob(&digest);
    loop {
        let Some(file) = root.open_file(&name)? else { return Ok(None) };
        let opened = meta_of(&file).map_err(|e| root.fail("look at", &name, e))?;
        let lock = lock_open_file(root, file, &name, "a blob", Hold::Shared, store.settings.lock_wait)?;
        // A sweep may have taken the blob while we opened or waited, and a stage may have brought it again: a lock on
        // the old inode protects nothing.
        if root.meta(&name)?.is_some_and(|named| named.same_inode(&opened)) {
            return Ok(Some(Lease { held: Arc::new(Held { store: store.clone(), record, _lock: lock }) }));
        }
    }
}

impl Lease {
    /// What an engine opens.
    #[must_use]
    pub fn local_path(&self) -> &Path {
        &self.record().entry.local_path
    }

    /// The entry as it was when the lease was taken.
    #[must_use]
    pub fn entry(&self) -> &CatalogEntry {
        &self.record().entry
    }

    /// The record as it was when the lease was taken.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.held.record
    }

    /// Notes that the model is still used, for the policies that go by it: at most once an hour, not durably, and never
    /// failing. Taking the lease has noted it; a lease that lasted for weeks notes it again before it ends. Returns whether
    /// it was recorded.
    pub fn touch(&self) -> bool {
        let store = &self.held.store;
        store.record(&self.entry().id).ok().flatten().is_some_and(|record| store.touch(&record))
    }

    /// The bytes of a file artifact, mapped read-only. They are those of the blob, whatever happens to its view.
    ///
    /// Reading them cannot fail but by a read error of the disk, or if the blob is cut: by the user it belongs to, who in a
    /// group's root may be another than this one, or by root. Both end the process with SIGBUS, as they do for every program
    /// that maps its data. A lease keeps other processes of the catalog from taking the blob, but it keeps nobody from writing
    /// to a file of their own: a caller that does not trust the owner reads the file at
    /// [`local_path`](Lease::local_path) instead. A tree has no bytes of its own: see [`map_file`](Lease::map_file).
    pub fn map(&self) -> Result<ModelMap<'_>> {
        Ok(ModelMap { map: self.map_whole()?, _lease: self })
    }

    /// The bytes of one file of a tree, as [`map`](Lease::map) has them. `path` is where the file is in the tree, with `/`
    /// between the parts.
    pub fn map_file(&self, path: &str) -> Result<ModelMap<'_>> {
        Ok(ModelMap { map: self.map_part(path)?, _lease: self })
    }

    /// [`map`](Lease::map) as a value that holds the lease: an engine keeps it in a struct of its own.
    pub fn into_map(self) -> Result<OwnedMap> {
        Ok(OwnedMap { map: self.map_whole()?, lease: self })
    }

    /// [`map_file`](Lease::map_file) as a value that holds the lease. For several files of a tree, clone the lease.
    pub fn into_map_file(self, path: &str) -> Result<OwnedMap> {
        Ok(OwnedMap { map: self.map_part(path)?, lease: self })
    }

    fn map_whole(&self) -> Result<Map> {
        match (self.record().kind, self.entry().digest) {
            (ArtifactKind::File, Some(digest)) => self.map_blob(&digest),
            _ => Err(Error::UnsupportedFileType { path: self.local_path().to_path_buf(), kind: "directory" }),
        }
    }

    fn map_part(&self, path: &str) -> Result<Map> {
        let record = self.record();
        let files = match record.entry.digest {
            Some(digest) if record.kind == ArtifactKind::Tree => {
                self.held.store.files_of(record.kind, digest, record.size_bytes)?
            }
            _ => Vec::new(),
        };
        let file = files.iter().find(|file| file.path == path);
        let file = file.ok_or_else(|| Error::SourceMissing { path: self.local_path().join(path) })?;
        self.map_blob(&file.digest)
    }

    fn map_blob(&self, digest: &Digest) -> Result<Map> {
        let (root, name) = (&self.held.store.root, layout::blob(digest));
        let missing = || root.fail("open", &name, std::io::ErrorKind::NotFound.into());
        let file = root.open_file(&name)?.ok_or_else(missing)?;
        let size_bytes = meta_of(&file).map_err(|e| root.fail("look at", &name, e))?.size_bytes;
        Map::of_owned(&file, 0..size_bytes).map_err(|e| root.fail("map", &name, e))
    }
}

impl AsRef<Path> for Lease {
    fn as_ref(&self) -> &Path {
        self.local_path()
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

impl AsRef<[u8]> for ModelMap<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// The bytes of a leased model, and the lease; see [`Lease::into_map`].
#[derive(Debug)]
pub struct OwnedMap {
    map: Map, // dropped first: what is mapped stays protected
    lease: Lease,
}

impl OwnedMap {
    /// The lease that protects it.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }
}

impl Deref for OwnedMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl AsRef<[u8]> for OwnedMap {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use crate::blob::{self, LeaseBlock};
    use crate::fs::Durability;
    use crate::{FsCatalog, ModelRef, StageOptions};

    /// A sweep takes the blob while a lease waits for it, and the same bytes are staged again under another inode: all
    /// that the lease looks at by name is as it was, and its lock is on the inode that is gone.
    // Red when `take` does not compare inodes: the next sweep then takes what is leased.
    #[test]
    fn a_lease_that_waited_for_a_sweep_is_on_the_blob_that_is_there_now() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = FsCatalog::new(dir.path().join("root")).unwrap().with_durability(Durability::Relaxed);
        let store = catalog.store();
        let source = dir.path().join("a.gguf");
        std::fs::write(&source, "a").unwrap();
        let options = StageOptions { id: Some("a".into()), ..StageOptions::default() };
        let stage = || catalog.stage(&ModelRef::File { path: source.clone() }, &options).unwrap();
        let digest = stage().digest;
        let LeaseBlock::Free(sweeping) = blob::block_leases(&store.root, &digest).unwrap() else {
            panic!("nobody leases it")
        };
        std::thread::scope(|scope| {
            let leasing = scope.spawn(|| catalog.lease("a").unwrap());
            std::thread::sleep(Duration::from_millis(100)); // it has opened the blob by now, and waits
            let trashed = blob::to_trash(&store.root, &digest).unwrap();
            store.root.remove_file(&trashed).unwrap();
            stage();
            drop(sweeping);
            let lease = leasing.join().unwrap();
            assert_eq!(std::fs::read(lease.local_path()).unwrap(), b"a");
            assert!(matches!(blob::block_leases(&store.root, &digest).unwrap(), LeaseBlock::Leased));
        });
    }
}
