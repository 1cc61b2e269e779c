//! A private folder under `ingest/` for the files of one operation.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::owned::OwnedFolder;
use super::{Root, atomic, link};
use crate::error::Result;
use crate::layout;

/// The folder is removed with its content when this is dropped, or by the next sweep if its owner was killed.
#[derive(Debug)]
pub(crate) struct Session<'r> {
    root: &'r Root,
    folder: OwnedFolder,
    next: AtomicU64,
}

impl<'r> Session<'r> {
    pub(crate) fn begin(root: &'r Root) -> Result<Self> {
        loop {
            let folder = Path::new(layout::INGEST).join(atomic::random_name());
            match root.make_private_dir(&folder) {
                // A sweep took it for a dead process's between `mkdir` and `chmod`.
                Err(error) if error.is_missing() && root.meta(Path::new(layout::INGEST))?.is_some() => continue,
                made => made?,
            }
            if let Some(session) = Self::begin_in(root, &folder)? {
                return Ok(session);
            }
            // A `gc` that only plans locks the folder for a moment and leaves it in place.
            root.remove_empty_dir(&folder)?;
        }
    }

    /// `None`: a sweep claimed the folder as abandoned before we locked it.
    fn begin_in(root: &'r Root, folder: &Path) -> Result<Option<Self>> {
        let folder = OwnedFolder::claim(root, folder)?;
        Ok(folder.map(|folder| Session { root, folder, next: AtomicU64::new(0) }))
    }

    /// Becomes the owner of a folder whose owner ended without removing it. `None`: the owner lives, or has removed it.
    pub(crate) fn claim_dead(root: &Root, folder: &Path) -> Result<Option<OwnedFolder>> {
        OwnedFolder::claim(root, folder)
    }

    /// A name that is not yet used in the folder.
    pub(crate) fn next_name(&self) -> PathBuf {
        self.folder.path().join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Whether files here can share blocks with other files of this file system.
    pub(crate) fn can_reflink(&self) -> bool {
        let (from, name) = (self.next_name(), self.next_name());
        let works = self.root.create_file(&from, 0o600).is_ok_and(|from| link::can_reflink(self.root, &from, &name));
        let _ = self.root.remove_file(&from); // the whole folder is removed later
        works
    }

    /// Whether files here can share blocks with this one.
    pub(crate) fn can_reflink_from(&self, source: &File) -> bool {
        link::can_reflink(self.root, source, &self.next_name())
    }

    /// Whether a file here can have a second name.
    pub(crate) fn can_hardlink(&self) -> bool {
        let (from, to) = (self.next_name(), self.next_name());
        let works = self.root.create_file(&from, 0o600).is_ok() && self.root.link(&from, &to).is_ok();
        for name in [from, to] {
            let _ = self.root.remove_file(&name);
        }
        works
    }

    /// The device of the files here.
    pub(crate) fn device(&self) -> Option<u64> {
        Some(self.root.meta(self.folder.path()).ok()??.device)
    }

    pub(crate) fn root(&self) -> &'r Root {
        self.root
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // Best effort: the next sweep removes what is left.
        let _ = self.root.remove_all(self.folder.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when `claim_dead` does not keep the lock on what it found: the owner would then lock a folder that is removed
    // a moment later, with everything ingested by then.
    #[test]
    fn nobody_begins_in_a_folder_that_is_taken_for_dead() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let folder = Path::new(layout::INGEST).join("made and not locked yet");
        root.make_dirs(Path::new(layout::INGEST)).unwrap();
        root.make_private_dir(&folder).unwrap();
        let dead = Session::claim_dead(&root, &folder).unwrap().unwrap();
        assert!(Session::begin_in(&root, &folder).unwrap().is_none());
        drop(dead);
        let alive = Session::begin_in(&root, &folder).unwrap().unwrap();
        assert!(Session::claim_dead(&root, &folder).unwrap().is_none());
        drop(alive);
        assert!(root.names(Path::new(layout::INGEST)).unwrap().is_empty());
    }

    // Red when `begin` leaves behind a folder that it could not lock.
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
