//! How a blob leaves the store through `trash/`, and comes back; and how leases on it are blocked while it leaves.

use std::path::{Path, PathBuf};

use super::{Touched, outboard};
use crate::digest::Digest;
use crate::error::Result;
use crate::fs::freed::Freeing;
use crate::fs::lock::{Hold, Lock, try_lock_file};
use crate::fs::{Meta, Root, now_ms};
use crate::layout;

/// Whether a blob can be taken out of service.
#[derive(Debug)]
pub(crate) enum LeaseBlock {
    /// It is not here.
    Gone,
    /// A live process holds a lease on it.
    Leased,
    /// It is here, and no process can lease it while this lives.
    Free(Lock),
}

/// Blocks new leases on a blob, unless one is held already.
pub(crate) fn block_leases(root: &Root, digest: &Digest) -> Result<LeaseBlock> {
    let name = layout::blob(digest);
    let Some(file) = root.open_file(&name)? else { return Ok(LeaseBlock::Gone) };
    Ok(match try_lock_file(root, file, &name, Hold::Exclusive)? {
        Some(lock) => LeaseBlock::Free(lock),
        None => LeaseBlock::Leased,
    })
}

/// Moves an unreferenced blob to `trash/`. The guard of a sweep calls this, with leases blocked.
pub(crate) fn to_trash(root: &Root, digest: &Digest) -> Result<PathBuf> {
    let to = layout::trash(digest, now_ms());
    root.rename_over(&layout::blob(digest), &to)?;
    Ok(to)
}

/// Moves back a blob that is needed again.
pub(super) fn restore(root: &Root, digest: &Digest, from: &Path, touched: &mut Touched) -> Result<()> {
    let name = layout::blob(digest);
    match root.rename_new(from, &name) {
        Ok(()) => {
            touched.folder_of(&name);
            Ok(())
        }
        // It has just been removed for good, or is back already.
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::AlreadyExists) => Ok(()),
        Err(e) => Err(root.fail("restore", &name, e)),
    }
}

/// What removing a file for good freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    /// Whether the file was still there.
    pub(crate) removed: bool,
    /// Its size without the bytes that other files share.
    pub(crate) size_bytes: u64,
    /// Its bytes on disk without those that other files share.
    pub(crate) disk_bytes: u64,
    /// Bytes that other files share and that were therefore not freed.
    pub(crate) shared_bytes: u64,
}

/// Removes a blob from `trash/` for good. It needs no lock: a process that needs the blob again renames it, and one of
/// the two comes first.
pub(crate) fn empty_trash(root: &Root, digest: &Digest, trashed: &Path) -> Result<Freed> {
    let Some(meta) = root.meta(trashed)? else { return Ok(Freed::default()) };
    let freed = would_free(root, trashed, &meta, 1);
    if !root.remove_file(trashed)? {
        return Ok(Freed::default());
    }
    if root.meta(&layout::blob(digest))?.is_none() {
        outboard::remove(root, digest)?;
    }
    Ok(freed)
}

/// What removing `names` names of a file would free, `path` being one of them. Another name of the inode, such as a
/// source that was staged with `link`, keeps its blocks.
pub(crate) fn would_free(root: &Root, path: &Path, meta: &Meta, names: u64) -> Freed {
    let disk_bytes = Freeing::of(root).bytes(path, meta, names);
    let shared_bytes = match meta.links <= names {
        true => (meta.allocated_bytes - disk_bytes).min(meta.size_bytes), // a file may be shorter than its blocks
        false => meta.size_bytes,
    };
    Freed { removed: true, size_bytes: meta.size_bytes - shared_bytes, disk_bytes, shared_bytes }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    // Red when it is an error that a blob has just disappeared from `trash/`, and when any failure counts as that.
    #[test]
    fn what_is_no_longer_in_the_trash_is_not_restored_and_what_fails_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let digest = Digest::sha256_of(b"bytes");
        let mut touched = Touched::default();
        let trashed = layout::trash(&digest, 1);
        restore(&root, &digest, &trashed, &mut touched).unwrap();
        std::fs::write(dir.path().join("blobs"), "a file in the place of the folder").unwrap();
        root.make_dirs(Path::new(layout::TRASH)).unwrap();
        std::fs::write(root.absolute(&trashed), "bytes").unwrap();
        restore(&root, &digest, &trashed, &mut touched).unwrap_err();
        assert!(root.absolute(&trashed).exists());
    }
}
