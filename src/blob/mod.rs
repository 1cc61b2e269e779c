//! Blobs: immutable bytes under their SHA-256. This layer knows no ids and no index.

mod assemble;
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
pub(crate) use inventory::{all, all_with_meta, by_size, starting_with, trash};
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
use crate::fs::{Durability, Meta, Root, atomic};
use crate::layout;

/// Where no record names any owners.
pub(crate) const NOBODY_ELSE: &BTreeSet<u32> = &BTreeSet::new();

/// What publishing a blob came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// It was stored.
    New {
        /// The user that the very file belongs to.
        owner: u32,
    },
    /// It was here already, and is good.
    Existing {
        /// The user that the very file that was judged belongs to.
        owner: u32,
    },
    /// It was thought to be here, so it was not synced: that has to be done first, without any lock.
    Unsynced,
    /// Something is here under its name that has to be checked first, without any lock: see [`Checker`].
    Doubtful,
}

/// What a commit has given names to. The folders of those names are to be synced before anything that needs them is
/// acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    folders: BTreeSet<PathBuf>,
    /// Those that are there, with all that are above them, and whose parents are among `folders`.
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
            return Ok(()); // a tree has many files in a folder, and many folders in each other
        }
        root.make_dirs(folder)?;
        for folder in folder.ancestors() {
            if !self.made.insert(folder.to_path_buf()) {
                break;
            }
            // Also of those that were there: another process may have made one just now, and not have synced it yet.
            self.folders.extend(folder.parent().map(Path::to_path_buf));
        }
        Ok(())
    }

    /// Whether this blob is one that has just come.
    pub(crate) fn has_published(&self, digest: &Digest) -> bool {
        self.published.contains(digest)
    }

    pub(crate) fn sync(&self, root: &Root) -> Result<()> {
        self.folders.iter().try_for_each(|folder| root.sync_dir(folder))
    }
}

/// Gives a private file its name among the blobs; one that is in `trash` is moved back instead. Called by the guard of a
/// commit, which syncs `touched` before it records anything.
pub(crate) fn publish(
    root: &Root,
    sealed: &mut Sealed<'_>,
    trash: &BTreeMap<Digest, u64>,
    durability: Durability,
    touched: &mut Touched,
) -> Result<Published> {
    let name = layout::blob(&sealed.digest());
    touched.make_parents(root, &name)?;
    // Also when it was here already: who published it may not have synced the folder yet.
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
            // It is advice. As a failure of the commit it would leave behind a blob of which the commit knows nothing.
            tracing::debug!(digest = %sealed.digest(), %error, "that the blob is good is not recorded");
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

/// Whether a blob is here, was not changed since its last full check, and is as durable as this: one `stat` and one small
/// read. `owners` are the users that the record names, see [`Outboard::speaks_for`](outboard::Outboard::speaks_for).
pub(crate) fn is_good_by_stamp(
    root: &Root,
    digest: &Digest,
    durability: Durability,
    owners: &BTreeSet<u32>,
) -> Result<bool> {
    Ok(root.meta(&layout::blob(digest))?.is_some_and(|meta| outboard::fits(root, digest, &meta, durability, owners)))
}

/// Moves a file that should have the bytes of a blob, and was found bad, to where an operator can look at it, durably.
/// `false`: it has been replaced since it was looked at, and stays. A blob is moved by the guard that excludes commits.
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
            // The file's own time needs no room: no stamp fits it any more, under whatever name.
            Err(error) if error.is_no_space() => make_old(root, from)?,
            other => other?,
        }
    }
    tracing::warn!(%digest, path = %from.display(), "stored bytes are not what they should be; moved to quarantine");
    move_aside(root, from, &layout::quarantine(digest, &atomic::random_name()), durability).map(|()| true)
}

/// Moves a file that is in a view's folder, and that no entry has there, to where an operator can look at it, durably.
/// `false`: it has been replaced since it was looked at, and stays.
pub(crate) fn quarantine_stranger(root: &Root, from: &Path, found: &Meta, durability: Durability) -> Result<bool> {
    if !root.meta(from)?.is_some_and(|now| now.same_inode(found)) {
        return Ok(false);
    }
    tracing::warn!(path = %from.display(), "what no entry has there; moved to quarantine");
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

/// A private file with these bytes that waits to be published.
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

    // Red when `publish` takes its own word for it that the blob is there: the commit would then record a blob that is
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

    // Red when `publish` does not ask whether it was synced: a power cut could leave a name with other bytes.
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
