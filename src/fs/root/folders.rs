//! Folders of the store: creating them with their modes, listing and removing them.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{Root, absent};
use crate::error::{Error, Result};
use crate::fs::{Kind, Meta, atomic, current_user, fault};

impl Root {
    pub(crate) fn open_dir(&self, relative: &Path) -> Result<Option<File>> {
        absent(self.handle.open_dir(relative)).map_err(|e| self.fail("open the folder", relative, e))
    }

    /// Makes a folder for this process alone; it must not exist yet.
    pub(crate) fn make_private_dir(&self, relative: &Path) -> Result<()> {
        fault::step("mkdir")
            .and_then(|()| self.handle.make_dir(relative, 0o700))
            .map_err(|e| self.fail("create the folder", relative, e))
    }

    /// Makes the folder and those above it. Returns the folders in which a name was added; they must be synced to make
    /// the new folders durable.
    pub(crate) fn make_dirs(&self, relative: &Path) -> Result<Vec<PathBuf>> {
        match self.handle.meta(relative) {
            Ok(meta) if meta.kind == Kind::Dir => {
                self.finish_dir(relative, &meta);
                return Ok(Vec::new());
            }
            Ok(meta) if meta.kind == Kind::Symlink => {
                return Err(Error::PathEscapesRoot { path: self.absolute(relative), root: self.path.clone() });
            }
            Ok(_) => return Err(self.fail("create the folder", relative, io::ErrorKind::NotADirectory.into())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(self.fail("look at", relative, e)),
        }
        let parent = relative.parent().unwrap_or(Path::new(""));
        let mut changed = self.make_dirs(parent)?;
        let make = |mode| fault::step("mkdir").and_then(|()| self.handle.make_dir(relative, mode));
        let made = match make(self.dir_mode_of(relative)) {
            // FAT cannot store such a mode.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && self.dir_mode_of(relative) != self.dir_mode() => {
                make(self.dir_mode())
            }
            made => made,
        };
        match made {
            // Another process has just made it, and may not have synced it yet.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(|e| self.fail("create the folder", relative, e))?,
        }
        changed.push(parent.to_path_buf());
        Ok(changed)
    }

    /// Sets the mode of a folder whose creator was killed between `mkdir` and `chmod`; until then it has the umask's
    /// mode. Only an empty folder is touched: someone may have restricted a folder in use on purpose.
    fn finish_dir(&self, relative: &Path, meta: &Meta) {
        let is_unfinished = || -> Result<bool> {
            Ok([self.dir_mode_of(relative), self.dir_mode()].iter().all(|mode| meta.mode & 0o777 != mode & 0o777)
                && meta.owner == current_user()
                && self.names(relative)?.is_empty())
        };
        if is_unfinished().unwrap_or(false)
            && let Ok(Some(folder)) = self.open_dir(relative)
        {
            // Best effort: not every file system keeps modes.
            let _ = atomic::set_mode(self, &folder, relative, self.dir_mode_of(relative));
        }
    }

    /// Removes a folder if it is empty; `false` if it is not empty or not there.
    pub(crate) fn remove_empty_dir(&self, relative: &Path) -> Result<bool> {
        match fault::step("rmdir").and_then(|()| self.handle.remove_dir(relative)) {
            Ok(()) => Ok(true),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Ok(false),
            Err(e) => Err(self.fail("remove the folder", relative, e)),
        }
    }

    /// Removes a file, or a folder with everything in it; symlinks are removed, not followed.
    pub(crate) fn remove_all(&self, relative: &Path) -> Result<()> {
        match self.meta(relative)?.map(|meta| meta.kind) {
            None => Ok(()),
            Some(Kind::Dir) => {
                for name in self.names(relative)? {
                    self.remove_all(&relative.join(name))?;
                }
                self.remove_empty_dir(relative).map(drop)
            }
            Some(_) => self.remove_file(relative).map(drop),
        }
    }

    /// The names in a folder, sorted; empty if the folder does not exist.
    pub(crate) fn names(&self, relative: &Path) -> Result<Vec<OsString>> {
        let mut names =
            absent(self.handle.names(relative)).map_err(|e| self.fail("list", relative, e))?.unwrap_or_default();
        names.sort_unstable();
        Ok(names)
    }

    /// The names in a folder with their metadata, sorted; empty if the folder does not exist.
    pub(crate) fn entries(&self, relative: &Path) -> Result<Vec<(OsString, Meta)>> {
        let mut entries: Vec<_> = self.each_entry(relative)?.collect::<Result<_>>()?;
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    /// The same one by one and in any order, for a folder that may have a million.
    pub(crate) fn each_entry(&self, relative: &Path) -> Result<impl Iterator<Item = Result<(OsString, Meta)>>> {
        let fail = move |e| self.fail("list", relative, e);
        let entries = absent(self.handle.each_entry(relative)).map_err(fail)?;
        Ok(entries.into_iter().flatten().map(move |entry| entry.map_err(fail)))
    }
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::fs::root::tests::root;

    // Red when an existing folder is accepted as it is: after a kill under umask 077, no other user could open what is
    // put into it.
    #[test]
    fn a_folder_whose_maker_was_killed_gets_its_mode() {
        let (dir, root) = root();
        let mode = |p: &str| std::fs::metadata(dir.path().join(p)).unwrap().permissions().mode() & 0o7777;
        root.make_dirs(Path::new("a/b")).unwrap();
        for folder in ["a", "a/b"] {
            std::fs::set_permissions(dir.path().join(folder), std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        root.make_dirs(Path::new("a/b")).unwrap();
        assert_eq!(mode("a/b"), 0o755);
        root.make_dirs(Path::new("a")).unwrap();
        assert_eq!(mode("a"), 0o700, "somebody wants it so");
    }

    #[test]
    fn make_dirs_names_the_folders_to_sync() {
        let (_dir, root) = root();
        let changed = root.make_dirs(Path::new("a/b/c")).unwrap();
        assert_eq!(changed, [Path::new(""), Path::new("a"), Path::new("a/b")]);
        assert!(root.make_dirs(Path::new("a/b/c")).unwrap().is_empty());
    }

    // Red when anything at a folder's name counts as the folder, or as a way out of the root.
    #[test]
    fn a_file_in_the_place_of_a_folder_is_an_error_that_says_so() {
        let (dir, root) = root();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        for path in ["file", "file/sub"] {
            let error = root.make_dirs(Path::new(path)).unwrap_err();
            assert!(!matches!(error, Error::PathEscapesRoot { .. }), "{error}");
            root.remove_empty_dir(Path::new(path)).unwrap_err();
        }
        assert!(!root.remove_empty_dir(Path::new("nothing")).unwrap());
        root.make_dirs(Path::new("full/sub")).unwrap();
        assert!(!root.remove_empty_dir(Path::new("full")).unwrap());
        assert!(root.remove_empty_dir(Path::new("full/sub")).unwrap());
    }

    // Red when it is an error that another thread made the folder between the look and the call.
    #[test]
    fn many_make_the_same_folders_at_once() {
        let (_dir, root) = root();
        let barrier = std::sync::Barrier::new(8);
        for round in 0..100 {
            let path = PathBuf::from(format!("{round}/a/b"));
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        barrier.wait();
                        root.make_dirs(&path).unwrap();
                    });
                }
            });
        }
    }
}
