//! A private folder under `ingest/` for the files of one operation. Its lock says that its owner is alive.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;
use crate::fs::lock::{Hold, Lock, try_lock_file};
use crate::fs::{Root, atomic, link, meta_of};
use crate::layout;

/// Removed with all that is in it when it is dropped, or by the next sweep when its owner was killed.
#[derive(Debug)]
pub(crate) struct Session<'r> {
    root: &'r Root,
    folder: PathBuf,
    next: AtomicU64,
    _alive: Lock,
}

impl<'r> Session<'r> {
    pub(crate) fn begin(root: &'r Root) -> Result<Self> {
        loop {
            let folder = Path::new(layout::INGEST).join(atomic::random_name());
            root.make_private_dir(&folder)?;
            // A sweep may take the folder for a dead one until it is locked: then begin again.
            let Some(opened) = root.open_dir(&folder)? else { continue };
            let opened_meta = meta_of(&opened).map_err(|e| root.fail("look at", &folder, e))?;
            let Some(alive) = try_lock_file(root, opened, &folder, Hold::Exclusive)? else { continue };
            if root.meta(&folder)?.is_some_and(|named| named.same_inode(&opened_meta)) {
                return Ok(Session { root, folder, next: AtomicU64::new(0), _alive: alive });
            }
        }
    }

    /// Locks a folder whose owner has ended without removing it; `None`: it lives, or has removed it. Without the lock
    /// an owner could still come: one that has made the folder and is about to lock it.
    pub(crate) fn claim_dead(root: &Root, folder: &Path) -> Result<Option<Lock>> {
        match root.open_dir(folder)? {
            Some(opened) => try_lock_file(root, opened, folder, Hold::Exclusive),
            None => Ok(None),
        }
    }

    /// A name that nothing in the folder has yet.
    pub(crate) fn next_name(&self) -> PathBuf {
        self.folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Whether files here can share blocks with others of this file system.
    pub(crate) fn can_reflink(&self) -> bool {
        link::can_reflink(self.root, [&self.next_name(), &self.next_name()])
    }

    pub(super) fn root(&self) -> &'r Root {
        self.root
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // Best effort: what stays is removed by the next sweep.
        let _ = self.root.remove_all(&self.folder);
    }
}
