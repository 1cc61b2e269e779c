//! Folders with an owner: a process that holds a lock on the folder itself for as long as it lives.

use std::path::{Path, PathBuf};

use super::lock::{Hold, Lock, try_lock_file};
use super::{Kind, Root};
use crate::error::Result;

/// A folder that nobody else uses, and that no sweep takes for a dead process's, until this is dropped.
#[must_use = "a dropped folder has no owner, and is removed by the next sweep"]
#[derive(Debug)]
pub(crate) struct OwnedFolder {
    path: PathBuf,
    _alive: Lock,
}

impl OwnedFolder {
    /// Becomes the owner of a folder. `None`: it has an owner, is gone, or is not a folder.
    ///
    /// A sweep claims a folder in the same way before it removes it, and keeps the lock while it does: without the
    /// lock, a process that has just made the folder could still lock it.
    pub(crate) fn claim(root: &Root, path: &Path) -> Result<Option<Self>> {
        if root.meta(path)?.is_none_or(|meta| meta.kind != Kind::Dir) {
            return Ok(None); // nothing that this crate put there
        }
        let Some(opened) = root.open_dir(path)? else { return Ok(None) };
        let Some(alive) = try_lock_file(root, opened, path, Hold::Exclusive)? else { return Ok(None) };
        // Between the open and the lock, a sweep may have locked and removed the folder.
        let is_there = alive.is_named(root, path)?;
        Ok(is_there.then(|| OwnedFolder { path: path.to_path_buf(), _alive: alive }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
