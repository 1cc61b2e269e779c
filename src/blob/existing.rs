//! Blobs that are here already: leases, and the way out through `trash/`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::{Touched, outboard};
use crate::digest::Digest;
use crate::error::Result;
use crate::fs::lock::{Hold, Lock, try_lock_file};
use crate::fs::{Kind, Meta, Root, now_ms};
use crate::layout::{self, Thing};
use crate::threads::ready_for_rayon;

/// Whether a blob can be taken out of service.
#[derive(Debug)]
pub(crate) enum Claim {
    /// It is not here.
    Gone,
    /// A live process holds a lease on it.
    Leased,
    /// It is here, and while this lives nobody gets a lease on it.
    Free(Lock),
}

/// Keeps new leases off a blob, unless one is held already.
pub(crate) fn claim(root: &Root, digest: &Digest) -> Result<Claim> {
    let name = layout::blob(digest);
    let Some(file) = root.open_file(&name)? else { return Ok(Claim::Gone) };
    Ok(match try_lock_file(root, file, &name, Hold::Exclusive)? {
        Some(lock) => Claim::Free(lock),
        None => Claim::Leased,
    })
}

/// Moves a blob to `trash/` that nothing references and that was claimed. Called by the guard of a sweep.
pub(crate) fn to_trash(root: &Root, digest: &Digest) -> Result<PathBuf> {
    let to = layout::trash(digest, now_ms());
    root.rename_over(&layout::blob(digest), &to)?;
    Ok(to)
}

/// Moves a blob back that is needed again.
pub(super) fn restore(root: &Root, digest: &Digest, from: &std::path::Path, touched: &mut Touched) -> Result<()> {
    let name = layout::blob(digest);
    match root.rename_new(from, &name) {
        Ok(()) => {
            touched.folder_of(&name);
            Ok(())
        }
        // It was removed for good just now, or is back already.
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::AlreadyExists) => Ok(()),
        Err(e) => Err(root.fail("restore", &name, e)),
    }
}

/// What removing a file for good brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    /// Whether it was still there.
    pub(crate) removed: bool,
    /// Its size, if no other name of its inode remains.
    pub(crate) size_bytes: u64,
    /// Its bytes on disk, if no other name of its inode remains.
    pub(crate) disk_bytes: u64,
}

/// Removes a blob from `trash/` for good. Needs no lock: whoever wants it back renames it, and one of the two comes
/// first.
pub(crate) fn empty_trash(root: &Root, digest: &Digest, trashed: &std::path::Path) -> Result<Freed> {
    let Some(meta) = root.meta(trashed)? else { return Ok(Freed::default()) };
    if !root.remove_file(trashed)? {
        return Ok(Freed::default());
    }
    if root.meta(&layout::blob(digest))?.is_none() {
        outboard::remove(root, digest)?;
    }
    // Another name of the inode, such as a source that was staged with `link`, keeps its blocks.
    let is_last = meta.links <= 1;
    Ok(Freed {
        removed: true,
        size_bytes: if is_last { meta.size_bytes } else { 0 },
        disk_bytes: if is_last { meta.allocated_bytes } else { 0 },
    })
}

/// All that is in `trash/`, by digest; of one that is there twice, the later.
pub(crate) fn trash(root: &Root) -> Result<BTreeMap<Digest, u64>> {
    let folder = Path::new(layout::TRASH);
    let trashed = |name: &OsString| match layout::classify_in(folder, name) {
        Thing::Trashed { digest, trashed_ms } => Some((digest, trashed_ms)),
        _ => None,
    };
    Ok(root.names(folder)?.iter().filter_map(trashed).collect())
}

/// Every blob in `blobs/`.
pub(crate) fn all(root: &Root) -> Result<Vec<Digest>> {
    use rayon::prelude::*;
    let folders: Vec<PathBuf> = layout::fan_out_folders(layout::BLOBS).collect();
    ready_for_rayon();
    let in_one = |folder: &PathBuf| {
        let names = root.names(folder)?;
        Ok(names.iter().filter_map(|name| blob_in(folder, name)).collect())
    };
    let all: Result<Vec<Vec<Digest>>> = folders.par_iter().map(in_one).collect();
    Ok(all?.into_iter().flatten().collect())
}

/// Those blobs in `blobs/` whose names start with these digits, of which there are at least two; none without digits.
pub(crate) fn starting_with(root: &Root, digits: Option<&str>) -> Result<Vec<Digest>> {
    let Some((digits, first)) = digits.and_then(|digits| Some((digits, digits.get(..2)?))) else {
        return Ok(Vec::new());
    };
    let mut folders = layout::fan_out_folders(layout::BLOBS);
    let Some(folder) = folders.find(|folder| folder.ends_with(first)) else { return Ok(Vec::new()) };
    let names = root.names(&folder)?;
    let theirs = names.iter().filter(|name| name.to_str().is_some_and(|name| name.starts_with(digits)));
    Ok(theirs.filter_map(|name| blob_in(&folder, name)).collect())
}

/// The blobs in `blobs/` with what `stat` says of them.
pub(crate) fn all_with_meta(root: &Root) -> Result<BTreeMap<Digest, Meta>> {
    use rayon::prelude::*;
    let folders: Vec<PathBuf> = layout::fan_out_folders(layout::BLOBS).collect();
    ready_for_rayon();
    let in_one = |folder: &PathBuf| {
        let files = root.entries(folder)?.into_iter().filter(|(_, meta)| meta.kind == Kind::File);
        Ok(files.filter_map(|(name, meta)| Some((blob_in(folder, &name)?, meta))).collect())
    };
    let all: Result<Vec<Vec<(Digest, Meta)>>> = folders.par_iter().map(in_one).collect();
    Ok(all?.into_iter().flatten().collect())
}

fn blob_in(folder: &Path, name: &OsStr) -> Option<Digest> {
    match layout::classify_in(folder, name) {
        Thing::Blob(digest) => Some(digest),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::path::Path;

    use super::*;

    // Red when a blob that has gone from `trash/` just now is an error, and when any failure is taken for that.
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
