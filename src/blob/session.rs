//! A private folder under `ingest/` for the files of one operation. Its lock says that its owner is alive.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;
use crate::fs::lock::{Hold, Lock, try_lock_file};
use crate::fs::{Kind, Root, atomic, link, meta_of};
use crate::layout;
use crate::threads::ready_for_rayon;

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
        ready_for_rayon(); // what is brought in comes on all cores
        loop {
            let folder = Path::new(layout::INGEST).join(atomic::random_name());
            root.make_private_dir(&folder)?;
            if let Some(session) = Self::begin_in(root, folder.clone())? {
                return Ok(session);
            }
            // Who only plans a collection has looked at it just now, and leaves it where it is.
            root.remove_empty_dir(&folder)?;
        }
    }

    /// `None`: a sweep has taken the folder for a dead one before it was locked.
    fn begin_in(root: &'r Root, folder: PathBuf) -> Result<Option<Self>> {
        let Some(opened) = root.open_dir(&folder)? else { return Ok(None) };
        let opened_meta = meta_of(&opened).map_err(|e| root.fail("look at", &folder, e))?;
        let Some(alive) = try_lock_file(root, opened, &folder, Hold::Exclusive)? else { return Ok(None) };
        let is_there = root.meta(&folder)?.is_some_and(|named| named.same_inode(&opened_meta));
        Ok(is_there.then(|| Session { root, folder, next: AtomicU64::new(0), _alive: alive }))
    }

    /// Locks a folder whose owner has ended without removing it; `None`: it lives, or has removed it. Without the lock
    /// an owner could still come: one that has made the folder and is about to lock it.
    pub(crate) fn claim_dead(root: &Root, folder: &Path) -> Result<Option<Lock>> {
        if root.meta(folder)?.is_none_or(|meta| meta.kind != Kind::Dir) {
            return Ok(None); // nothing that this crate has put there
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    // Red when `claim_dead` answers and does not hold what it has found: the owner then locks a folder that is removed
    // a moment later, with all that it has brought in by then.
    #[test]
    fn nobody_begins_in_a_folder_that_is_taken_for_dead() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let folder = Path::new(layout::INGEST).join("made and not locked yet");
        root.make_dirs(Path::new(layout::INGEST)).unwrap();
        root.make_private_dir(&folder).unwrap();
        let dead = Session::claim_dead(&root, &folder).unwrap().unwrap();
        assert!(Session::begin_in(&root, folder.clone()).unwrap().is_none());
        drop(dead);
        let alive = Session::begin_in(&root, folder.clone()).unwrap().unwrap();
        assert!(Session::claim_dead(&root, &folder).unwrap().is_none());
        drop(alive);
        assert!(root.names(Path::new(layout::INGEST)).unwrap().is_empty());
    }

    // Red when `begin` leaves a folder that it could not lock where it is.
    #[test]
    fn who_begins_anew_leaves_nothing_behind() {
        use std::sync::atomic::AtomicBool;
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.make_dirs(Path::new(layout::INGEST)).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        for name in root.names(Path::new(layout::INGEST)).unwrap() {
                            let _ = Session::claim_dead(&root, &Path::new(layout::INGEST).join(name));
                        }
                    }
                });
            }
            for _ in 0..2000 {
                drop(Session::begin(&root));
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(root.names(Path::new(layout::INGEST)).unwrap().is_empty());
    }
}
