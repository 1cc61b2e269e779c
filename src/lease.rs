//! Leases: an artifact is in use for as long as the guard lives.

mod holders;
#[cfg(unix)]
mod inheritable;

pub use holders::LeaseHolder;
pub(crate) use holders::holders;
#[cfg(unix)]
pub use inheritable::InheritableLease;

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
/// view, even if the entry is removed or gets new content in the meantime.
///
/// It is a shared lock on the artifact's root blob, so the kernel releases it when the process ends, however it ends.
/// Clones share one lease, which ends when the last of them is dropped.
///
/// A child process that is forked without `exec` has a copy of the lease. Dropping the copy does not end the lease.
/// Once the parent drops its own or exits normally, the child's copy no longer protects anything, so a child should
/// take its own lease. If the parent is killed, the lock stays until the child has ended too. A program that
/// is executed does not inherit the lease; for that, see [`into_inheritable`](Lease::into_inheritable). A lease does not
/// keep root from changing the file by hand.
#[must_use = "a dropped Lease no longer protects its model"]
#[derive(Clone, Debug)]
pub struct Lease {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    store: Store,
    record: Record,
    #[cfg_attr(not(unix), expect(dead_code, reason = "held for its drop"))]
    lock: Lock,
}

/// Leases the artifact of an id; see [`FsCatalog::lease`](crate::FsCatalog::lease).
pub(crate) fn lease(store: &Store, id: &str) -> Result<Lease> {
    loop {
        let record = store.require(id)?;
        let not_staged = Error::NotStaged { id: id.to_owned(), path: record.entry.local_path.clone() };
        let taken = take(store, record.clone())?;
        // Read the record again, now that the lock is held. A sweep that saw neither the record nor a lease may still
        // be removing the view or files of the tree, and the view of a tree that is being staged again may be
        // incomplete. A record that exists now is complete, and any sweep that could remove parts of it sees the lock.
        let now = store.require(id)?;
        match taken {
            Some(lease) if now.is_same_content(&record) => {
                store.ensure_usable(&now)?;
                store.touch(&now);
                return Ok(lease);
            }
            _ if now == record => {
                store.ensure_usable(&now)?; // gives a better error if it can
                return Err(not_staged);
            }
            _ => {} // just removed, used or given new content
        }
    }
}

/// Locks the root blob of the artifact of `record`; `None` if there is no blob, or no longer one. The lock protects the
/// artifact if the record still exists afterwards.
fn take(store: &Store, record: Record) -> Result<Option<Lease>> {
    let root = &store.root;
    // A registered path has no blob, although a blob with the same digest may exist.
    let (ArtifactKind::File | ArtifactKind::Tree, Some(digest)) = (record.kind, record.entry.digest) else {
        return Ok(None);
    };
    let name = layout::blob(&digest);
    loop {
        let Some(file) = root.open_file(&name)? else { return Ok(None) };
        let opened = meta_of(&file).map_err(|e| root.fail("look at", &name, e))?;
        let lock = lock_open_file(root, file, &name, "a blob", Hold::Shared, store.settings.lock_wait)?;
        // A sweep may have removed the blob while we opened it or waited, and a `stage` may have stored it again: a
        // lock on the old inode protects nothing.
        if root.meta(&name)?.is_some_and(|named| named.same_inode(&opened)) {
            return Ok(Some(Lease { held: Arc::new(Held { store: store.clone(), record, lock }) }));
        }
    }
}

impl Lease {
    /// The path that an engine opens.
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

    /// Records that the model is still used, for policies that depend on it: at most once an hour, not durably, and
    /// without ever failing. Taking the lease already records a use; a lease that lasts for weeks should record one
    /// again before it ends. Returns whether the use was recorded.
    pub fn touch(&self) -> bool {
        let store = &self.held.store;
        store.record(&self.entry().id).ok().flatten().is_some_and(|record| store.touch(&record))
    }

    /// Maps the bytes of a file artifact read-only. They are the blob's bytes, whatever happens to its view.
    ///
    /// Reading them fails only on a disk error or if the blob is truncated, by root or by the user who owns it, who may
    /// be another user in a root shared by a group. Either ends the process with SIGBUS, as in every program that maps
    /// its data. A lease keeps other processes of the catalog from removing the blob, but it does not keep users from
    /// writing to their own files: a caller that does not trust the owner should read the file at
    /// [`local_path`](Lease::local_path) instead. A tree has no bytes of its own: see [`map_file`](Lease::map_file).
    pub fn map(&self) -> Result<ModelMap<'_>> {
        Ok(ModelMap { map: self.map_whole()?, _lease: self })
    }

    /// Maps the bytes of one file of a tree, like [`map`](Lease::map). `path` is the file's path in the tree, with `/`
    /// as separator.
    pub fn map_file(&self, path: &str) -> Result<ModelMap<'_>> {
        Ok(ModelMap { map: self.map_part(path)?, _lease: self })
    }

    /// Like [`map`](Lease::map), but the returned value owns the lease, so that an engine can keep it in a struct.
    pub fn into_map(self) -> Result<OwnedMap> {
        Ok(OwnedMap { map: self.map_whole()?, lease: self })
    }

    /// Like [`map_file`](Lease::map_file), but the returned value owns the lease. For several files of a tree, clone
    /// the lease.
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

/// The mapped bytes of a leased model; see [`Lease::map`].
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

/// The mapped bytes of a leased model, and its lease; see [`Lease::into_map`].
#[derive(Debug)]
pub struct OwnedMap {
    map: Map, // dropped before the lease, so mapped bytes are always protected
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

    /// A sweep removes the blob while a lease waits for it, and the same bytes are staged again with another inode.
    /// Everything that the lease looks up by name is as before, but its lock is on the inode that is gone.
    // Red when `take` does not compare inodes: the next sweep then removes a leased blob.
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
            std::thread::sleep(Duration::from_millis(100)); // it has opened the blob by now and is waiting
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
