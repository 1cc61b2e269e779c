//! Blobs: immutable bytes under their SHA-256. This layer knows no ids and no index.

mod assemble;
mod check;
mod held;
mod inventory;
pub(crate) mod manifest;
mod mode;
pub(crate) mod outboard;
mod pace;
mod pending;
mod remove;
mod repair_source;
mod sealed;
mod verify;

pub(crate) use assemble::{Assembled, Assembly};
pub(crate) use held::hold;
pub(crate) use inventory::{all, all_that, all_with_meta, by_size, estimate, in_folder, starting_with, trash};
pub use mode::{IngestMode, UsedMode};
pub(crate) use pace::Pace;
pub(crate) use pending::{BLOB_MODE, Keeper, Pending, SourceFacts};
pub(crate) use remove::{Freed, LeaseBlock, block_leases, empty_trash, to_trash, would_free};
pub use repair_source::{LocalSource, RepairSource};
pub(crate) use sealed::Sealed;
pub(crate) use verify::{Checker, Subject, Verdict};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::Result;
use crate::fs::{Durability, Meta, Root, Temp, atomic, side_by_side};
use crate::layout;

/// The owners, if no record names any.
pub(crate) const NOBODY_ELSE: &BTreeSet<u32> = &BTreeSet::new();

/// The outcome of publishing a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// It was stored.
    New {
        /// The owner of this file.
        owner: u32,
    },
    /// It was already here, and is good.
    Existing {
        /// The owner of the file that was found good.
        owner: u32,
    },
    /// It was thought to be here already, so the private file is not synced. That has to be done first, without any
    /// lock.
    Unsynced,
    /// A file under its name has to be checked first, without any lock: see [`Checker`].
    Doubtful,
}

/// The names that a commit has made. Their folders must be synced before anything that needs the names is acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    folders: BTreeSet<PathBuf>,
    /// Folders that exist together with all their ancestors, and whose parents are in `folders`.
    made: BTreeSet<PathBuf>,
    published: BTreeSet<Digest>,
}

impl Touched {
    pub(crate) fn folder_of(&mut self, path: &Path) {
        self.folders.insert(path.parent().unwrap_or(Path::new("")).to_path_buf());
    }

    pub(crate) fn make_parents(&mut self, root: &Root, path: &Path) -> Result<()> {
        let folder = path.parent().unwrap_or(Path::new(""));
        if self.made.contains(folder) {
            return Ok(()); // a tree may have many files per folder, and deeply nested folders
        }
        root.make_dirs(folder)?;
        for folder in folder.ancestors() {
            if !self.made.insert(folder.to_path_buf()) {
                break;
            }
            // Also for folders that existed: another process may have just made one and not have synced it yet.
            self.folders.extend(folder.parent().map(Path::to_path_buf));
        }
        Ok(())
    }

    /// For the names that another thread of the same commit makes.
    pub(crate) fn of_one_part(&self, root: &Root) -> Self {
        // Only an overlay is asked which blobs are new.
        let published = if root.copies_up() { self.published.clone() } else { BTreeSet::new() };
        Touched { published, ..Touched::default() }
    }

    /// Adds the names that another thread of the same commit has made.
    pub(crate) fn extend(&mut self, other: Touched) {
        self.folders.extend(other.folders);
        self.made.extend(other.made);
        self.published.extend(other.published);
    }

    /// Whether this commit has just published the blob.
    pub(crate) fn has_published(&self, digest: &Digest) -> bool {
        self.published.contains(digest)
    }

    pub(crate) fn sync(&self, root: &Root) -> Result<()> {
        self.sync_with(root, &[])
    }

    /// Makes the names durable, and the content of these files.
    pub(crate) fn sync_with(&self, root: &Root, files: &[&Temp<'_>]) -> Result<()> {
        side_by_side::sync(root, files.iter().copied(), self.folders.iter().map(PathBuf::as_path))
    }
}

/// Gives a private file its name in `blobs/`; if the blob is in `trash`, it is moved back instead. The guard of a
/// commit calls this, and syncs `touched` before it records anything.
pub(crate) fn publish(
    root: &Root,
    sealed: &mut Sealed<'_>,
    trash: &BTreeMap<Digest, u64>,
    durability: Durability,
    touched: &mut Touched,
) -> Result<Published> {
    let name = layout::blob(&sealed.digest());
    touched.make_parents(root, &name)?;
    // Also if it was here already: the process that published it may not have synced the folder yet.
    touched.folder_of(&name);
    if let Some(trashed_ms) = trash.get(&sealed.digest()) {
        remove::restore(root, &sealed.digest(), &layout::trash(&sealed.digest(), *trashed_ms), touched)?;
    }
    if durability.is_full() && !sealed.is_synced() && root.meta(&name)?.is_none() {
        return Ok(Published::Unsynced);
    }
    if sealed.publish(&name)? {
        touched.published.insert(sealed.digest());
        let written = outboard::write(root, &sealed.digest(), &sealed.meta().stamp(), sealed.groups(), durability);
        if let Err(error) = written {
            // The outboard is only a hint. Failing the commit here would leave behind a blob that the commit does not
            // know of.
            tracing::debug!(digest = %sealed.digest(), %error, "could not record that the blob is good");
        }
        return Ok(Published::New { owner: sealed.meta().owner });
    }
    match root.meta(&name)? {
        Some(meta) if outboard::fits(root, &sealed.digest(), &meta, durability, NOBODY_ELSE) => {
            Ok(Published::Existing { owner: meta.owner })
        }
        _ => Ok(Published::Doubtful),
    }
}

/// Whether a blob is here, unchanged since its last full check, and at least as durable as `durability`: one `stat` and
/// one small read. `owners` are the users that the record names, see
/// [`Outboard::speaks_for`](outboard::Outboard::speaks_for).
pub(crate) fn is_good_by_stamp(
    root: &Root,
    digest: &Digest,
    durability: Durability,
    owners: &BTreeSet<u32>,
) -> Result<bool> {
    Ok(root.meta(&layout::blob(digest))?.is_some_and(|meta| outboard::fits(root, digest, &meta, durability, owners)))
}

/// Durably moves a bad file that should have the bytes of a blob to `quarantine/`, for inspection. `false`: it was
/// replaced since it was checked, and stays. If it is a blob, the caller is the guard that excludes commits.
pub(crate) fn quarantine(
    root: &Root,
    digest: &Digest,
    from: &Path,
    bad: &Meta,
    durability: Durability,
) -> Result<bool> {
    if !root.meta(from)?.is_some_and(|now| now.same_inode(bad)) {
        return Ok(false);
    }
    if from == layout::blob(digest) {
        match outboard::distrust(root, digest) {
            // Changing the file's time needs no room; then no stamp matches it, under any name.
            Err(error) if error.is_no_space() => make_old(root, from)?,
            other => other?,
        }
    }
    tracing::warn!(%digest, path = %from.display(), "the stored bytes are damaged; moving them to quarantine");
    move_aside(root, from, &layout::quarantine(digest, &atomic::random_name()), durability).map(|()| true)
}

/// Durably moves a file in a view's folder that belongs to no entry to `quarantine/`, for inspection. `false`: it was
/// replaced since it was looked at, and stays.
pub(crate) fn quarantine_stranger(root: &Root, from: &Path, found: &Meta, durability: Durability) -> Result<bool> {
    if !root.meta(from)?.is_some_and(|now| now.same_inode(found)) {
        return Ok(false);
    }
    tracing::warn!(path = %from.display(), "the file belongs to no entry; moving it to quarantine");
    move_aside(root, from, &layout::quarantine_stranger(&atomic::random_name()), durability).map(|()| true)
}

fn move_aside(root: &Root, from: &Path, to: &Path, durability: Durability) -> Result<()> {
    root.rename_over(from, to)?;
    if durability.is_full() {
        let mut touched = Touched::default();
        touched.folder_of(from);
        touched.folder_of(to);
        touched.sync(root)?;
    }
    Ok(())
}

fn make_old(root: &Root, name: &Path) -> Result<()> {
    let Some(file) = root.open_file(name)? else { return Ok(()) };
    file.set_modified(std::time::UNIX_EPOCH).map_err(|e| root.fail("set the time of", name, e))
}

/// A private file with these bytes, ready to be published.
#[cfg(test)]
pub(crate) fn sealed<'r>(session: &crate::fs::Session<'r>, bytes: &[u8], durability: Durability) -> Sealed<'r> {
    let pending = Pending::create(session).unwrap();
    crate::fs::atomic::write(pending.file(), bytes).unwrap();
    let mut hasher = crate::hash::BothHasher::new(true);
    hasher.update(bytes);
    pending.hashed(hasher.finish()).seal(durability).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Session;

    // Red when `publish` assumes that the blob it published is still there: the commit would then record a blob that is
    // gone.
    #[test]
    fn what_was_removed_between_two_rounds_is_published_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        for folder in [layout::INGEST, layout::TRASH] {
            root.make_dirs(Path::new(folder)).unwrap();
        }
        let session = Session::begin(&root).unwrap();
        let mut sealed = sealed(&session, b"bytes", Durability::Relaxed);
        let name = layout::blob(&sealed.digest());
        for _ in 0..2 {
            let published = publish(&root, &mut sealed, &BTreeMap::new(), Durability::Relaxed, &mut Touched::default());
            assert!(matches!(published.unwrap(), Published::New { .. }));
            assert_eq!(root.read(&name, 99).unwrap().unwrap(), b"bytes");
            to_trash(&root, &sealed.digest()).unwrap();
        }
    }

    // Red when `publish` does not check whether the file was synced: a power cut could leave a name with other bytes.
    #[test]
    fn what_was_not_synced_because_it_was_here_is_synced_when_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        for folder in [layout::INGEST, layout::TRASH] {
            root.make_dirs(Path::new(folder)).unwrap();
        }
        let session = Session::begin(&root).unwrap();
        let publish = |sealed: &mut Sealed<'_>| {
            publish(&root, sealed, &BTreeMap::new(), Durability::Full, &mut Touched::default()).unwrap()
        };
        let mut first = sealed(&session, b"bytes", Durability::Full);
        assert!(first.is_synced());
        assert!(matches!(publish(&mut first), Published::New { .. }));
        let mut second = sealed(&session, b"bytes", Durability::Full);
        assert!(!second.is_synced(), "its bytes are here: syncing a copy of them is for nothing");
        assert!(matches!(publish(&mut second), Published::Existing { .. }));
        to_trash(&root, &second.digest()).unwrap();
        assert_eq!(publish(&mut second), Published::Unsynced);
        second.sync().unwrap();
        assert!(matches!(publish(&mut second), Published::New { .. }));
    }
}
