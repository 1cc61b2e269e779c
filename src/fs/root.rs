//! `Root`: the directory that the store may touch, and the only way to touch it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::sys::{Handle, Open, Replace};
use super::{Kind, Meta, atomic, current_user, fault, is_symlink_loop, meta_of};
use crate::error::{Error, Result};
use crate::hint::Hint;
use crate::layout;

/// The root of a store. Every path that its methods take is relative to it; a symlink anywhere on the way, the last
/// name included, is an error and never followed.
#[derive(Debug)]
pub(crate) struct Root {
    handle: Handle,
    path: PathBuf,
    /// Bits that a root of a shared group hands down: group write and set-group-id.
    shared_mode: u32,
    owner: u32,
    group: u32,
}

impl Root {
    /// Opens an existing directory.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let fail = |source| Error::io("open the catalog's root", path, source);
        let path = path.canonicalize().map_err(fail)?;
        let handle = Handle::open(&path).map_err(fail)?;
        let meta = handle.meta(Path::new("")).map_err(fail)?;
        Ok(Root { handle, path, shared_mode: meta.mode & 0o2020, owner: meta.owner, group: meta.group })
    }

    /// The root's own absolute path, free of symlinks at the time of opening.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The absolute path for a caller.
    pub(crate) fn absolute(&self, relative: &Path) -> PathBuf {
        self.path.join(relative)
    }

    /// Mode of the store's folders, but for `uses/`.
    pub(crate) fn dir_mode(&self) -> u32 {
        0o755 | self.shared_mode
    }

    /// Mode of one of them: everybody may note a use, and nobody may remove another's note.
    fn dir_mode_of(&self, relative: &Path) -> u32 {
        if relative == Path::new(layout::USES) { self.dir_mode() | 0o1777 } else { self.dir_mode() }
    }

    /// Mode of the store's own small files: never writable for everybody.
    pub(crate) fn file_mode(&self) -> u32 {
        0o644 | (self.shared_mode & 0o020)
    }

    /// Whether a group may write to it.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared_mode & 0o020 != 0
    }

    /// The user that the root belongs to.
    pub(crate) fn owner(&self) -> u32 {
        self.owner
    }

    /// The group that the root belongs to.
    pub(crate) fn group(&self) -> u32 {
        self.group
    }

    /// Whether a file of this user is what this process may take somebody's word for: the superuser's, that of the root's
    /// owner, its own, or that of one of these.
    pub(crate) fn trusts(&self, owner: u32, named: &BTreeSet<u32>) -> bool {
        self.is_trusted_by_all(owner) || owner == current_user() || named.contains(&owner)
    }

    /// Whether it is the superuser or the root's owner, who can change everything here.
    pub(crate) fn is_trusted_by_all(&self, owner: u32) -> bool {
        owner == 0 || owner == self.owner
    }

    /// Whether the file system cannot be written to, by anybody. `false` when that cannot be asked.
    pub(crate) fn is_read_only(&self) -> bool {
        super::sys::is_read_only(&self.path)
    }

    /// Whether the file system keeps the modes of files; `None` when that cannot be asked.
    pub(crate) fn keeps_modes(&self) -> Option<bool> {
        self.handle.keeps_modes()
    }

    pub(crate) fn fail(&self, action: &'static str, relative: &Path, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::CrossesDevices && is_plain(relative) {
            // Nothing leads out of the root, so it is the system's word for a file system that is mounted below it.
            let reason = "it is on another file system than the root, so nothing of the store can be moved there";
            return Error::InvalidPath { path: self.absolute(relative), reason, hint: Hint::Unmount };
        }
        if is_symlink_refusal(&source) {
            return Error::PathEscapesRoot { path: self.absolute(relative), root: self.path.clone() };
        }
        Error::io(action, self.absolute(relative), source)
    }

    /// What is at this name; `None` when nothing is.
    pub(crate) fn meta(&self, relative: &Path) -> Result<Option<Meta>> {
        absent(self.handle.meta(relative)).map_err(|e| self.fail("look at", relative, e))
    }

    /// [`meta`](Root::meta) in one system call, for "has it changed?" alone: a folder on the way may be a symlink.
    pub(crate) fn peek(&self, relative: &Path) -> Result<Option<Meta>> {
        absent(self.handle.peek(relative)).map_err(|e| self.fail("look at", relative, e))
    }

    /// Opens a regular file for reading; `None` when there is nothing.
    pub(crate) fn open_file(&self, relative: &Path) -> Result<Option<File>> {
        absent(self.handle.open_file(relative, Open::Read)).map_err(|e| self.fail("open", relative, e))
    }

    /// Opens a regular file that is private to this process for writing; `None` when there is nothing.
    pub(crate) fn open_private_file(&self, relative: &Path) -> Result<Option<File>> {
        absent(self.handle.open_file(relative, Open::Write)).map_err(|e| self.fail("open", relative, e))
    }

    /// Reads a whole small file; `None` when there is nothing. See [`read_whole`](Root::read_whole).
    pub(crate) fn read(&self, relative: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open_file(relative)? else { return Ok(None) };
        self.read_whole(&file, relative, max_bytes).map(Some)
    }

    /// The same, and what `stat` says of the very file.
    pub(crate) fn read_with_meta(&self, relative: &Path, max_bytes: u64) -> Result<Option<(Vec<u8>, Meta)>> {
        let Some(file) = self.open_file(relative)? else { return Ok(None) };
        let bytes = self.read_whole(&file, relative, max_bytes)?;
        let meta = meta_of(&file).map_err(|e| self.fail("look at", relative, e))?;
        Ok(Some((bytes, meta)))
    }

    /// Reads a whole small file that is open. One that is larger than any of its kind is damaged, and nothing of it is read:
    /// a file without a single block can have any size, and its bytes would be allocated.
    pub(crate) fn read_whole(&self, file: &File, relative: &Path, max_bytes: u64) -> Result<Vec<u8>> {
        let check = |size_bytes: u64| {
            let reason =
                || format!("it has {size_bytes} bytes, and the largest that such a file can have is {max_bytes}");
            let too_large = || Error::CorruptIndex { path: self.absolute(relative), reason: reason() };
            if size_bytes > max_bytes { Err(too_large()) } else { Ok(()) }
        };
        check(meta_of(file).map_err(|e| self.fail("look at", relative, e))?.size_bytes)?;
        let mut bytes = Vec::new();
        // It may grow meanwhile, and some file systems do not know a size before the end.
        let limited = file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes);
        limited.map_err(|e| self.fail("read", relative, e))?;
        check(bytes.len() as u64)?;
        Ok(bytes)
    }

    /// Reads what a file begins with, at most so many bytes; `None` when there is nothing.
    pub(crate) fn read_start(&self, relative: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open_file(relative)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(max_bytes).read_to_end(&mut bytes).map_err(|e| self.fail("read", relative, e))?;
        Ok(Some(bytes))
    }

    pub(crate) fn create_file(&self, relative: &Path, mode: u32) -> Result<File> {
        fault::step("create")
            .and_then(|()| self.handle.open_file(relative, Open::CreateNew(mode)))
            .map_err(|e| self.fail("create", relative, e))
    }

    /// Opens a file that is to be locked; see [`lock_file`](super::lock_file).
    pub(super) fn open_lock_file(&self, relative: &Path, mode: u32) -> Result<File> {
        self.handle.open_file(relative, Open::Lock(mode)).map_err(|e| self.fail("open the lock file", relative, e))
    }

    pub(crate) fn open_dir(&self, relative: &Path) -> Result<Option<File>> {
        absent(self.handle.open_dir(relative)).map_err(|e| self.fail("open the folder", relative, e))
    }

    /// Makes a folder that only this process should look into; it must not be there yet.
    pub(crate) fn make_private_dir(&self, relative: &Path) -> Result<()> {
        fault::step("mkdir")
            .and_then(|()| self.handle.make_dir(relative, 0o700))
            .map_err(|e| self.fail("create the folder", relative, e))
    }

    /// Makes the folder and those above it. Returns the folders that got a new name in them and must be synced for
    /// what was made to be durable.
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
            // FAT has no such modes.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && self.dir_mode_of(relative) != self.dir_mode() => {
                make(self.dir_mode())
            }
            made => made,
        };
        match made {
            // Another process made it just now, and may not have synced it yet.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(|e| self.fail("create the folder", relative, e))?,
        }
        changed.push(parent.to_path_buf());
        Ok(changed)
    }

    /// Sets the mode of a folder whose creator was killed between `mkdir` and `chmod`; until then it has the umask's mode.
    /// Only while nothing is in it: a folder in use may have had reading taken away for a reason.
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

    /// A second name for a file. Its kind of failure decides about fallbacks, so it is the system's own.
    pub(crate) fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fault::step("link")?;
        self.handle.link(from, to)
    }

    /// A name for an open file: that very inode.
    pub(crate) fn link_file(&self, file: &File, to: &Path) -> io::Result<()> {
        fault::step("link")?;
        self.handle.link_file(file, to)
    }

    /// Renames over whatever is at `to`.
    pub(crate) fn rename_over(&self, from: &Path, to: &Path) -> Result<()> {
        let renamed = fault::step("rename").and_then(|()| self.handle.rename(from, to, Replace::Yes));
        renamed.map_err(|e| self.fail("rename into place", to, e))
    }

    /// Renames unless there is something at `to` already.
    pub(crate) fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        fault::step("rename")?;
        self.handle.rename(from, to, Replace::No)
    }

    /// Lets two names change places, in one step.
    pub(crate) fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        fault::step("rename")?;
        self.handle.rename(one, other, Replace::Exchange)
    }

    /// Removes a file; `false` when there was none.
    pub(crate) fn remove_file(&self, relative: &Path) -> Result<bool> {
        let removed = fault::step("unlink").and_then(|()| self.handle.remove_file(relative));
        Ok(absent(removed).map_err(|e| self.fail("remove", relative, e))?.is_some())
    }

    /// Removes a folder when it is empty; `false` when it is not, or not there.
    pub(crate) fn remove_empty_dir(&self, relative: &Path) -> Result<bool> {
        match fault::step("rmdir").and_then(|()| self.handle.remove_dir(relative)) {
            Ok(()) => Ok(true),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Ok(false),
            Err(e) => Err(self.fail("remove the folder", relative, e)),
        }
    }

    /// Removes a file or a folder with all that is in it; symlinks are removed, not followed.
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

    /// The names in a folder, sorted; none when it is not there.
    pub(crate) fn names(&self, relative: &Path) -> Result<Vec<OsString>> {
        let mut names =
            absent(self.handle.names(relative)).map_err(|e| self.fail("list", relative, e))?.unwrap_or_default();
        names.sort_unstable();
        Ok(names)
    }

    /// What is in a folder, sorted by name, each with what `stat` says of it; nothing when it is not there.
    pub(crate) fn entries(&self, relative: &Path) -> Result<Vec<(OsString, Meta)>> {
        let mut entries =
            absent(self.handle.entries(relative)).map_err(|e| self.fail("list", relative, e))?.unwrap_or_default();
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    /// The error of a sync.
    pub(crate) fn fail_sync(&self, relative: &Path, source: io::Error) -> Error {
        Error::SyncFailed { path: self.absolute(relative), source: Arc::new(source) }
    }

    /// Makes the names in a folder durable. Where the file system syncs no folders (EINVAL: some that are in user space or come
    /// over a network), nothing more can be done for them.
    pub(crate) fn sync_dir(&self, relative: &Path) -> Result<()> {
        match fault::step("sync a folder").and_then(|()| self.handle.sync_dir(relative)) {
            Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
            other => other.map_err(|e| self.fail_sync(relative, e)),
        }
    }

    /// One flush of the whole file system, in place of one a file. `false`: the system does not know the call, or a sandbox
    /// refuses it, and nothing was synced.
    pub(crate) fn sync_file_system(&self) -> Result<bool> {
        match fault::step("sync the file system").and_then(|()| self.handle.sync_file_system()) {
            Ok(()) => Ok(true),
            Err(e) if matches!(e.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => Ok(false),
            Err(e) => Err(self.fail_sync(Path::new(""), e)),
        }
    }
}

fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether it leads down from the root at every step.
fn is_plain(relative: &Path) -> bool {
    relative.components().all(|part| matches!(part, Component::Normal(_)))
}

/// What the kernel says of a symlink that it was told not to follow, or of a path that leads out of the root.
fn is_symlink_refusal(error: &io::Error) -> bool {
    is_symlink_loop(error) || error.kind() == io::ErrorKind::CrossesDevices
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn nothing_is_reached_through_a_symlink() {
        let (dir, root) = root();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("kept"), "x").unwrap();
        symlink(outside.path(), dir.path().join("blobs")).unwrap();
        symlink(outside.path().join("kept"), dir.path().join("file")).unwrap();
        let escapes = |error: Error| assert!(matches!(error, Error::PathEscapesRoot { .. }), "{error}");
        escapes(root.meta(Path::new("blobs/kept")).unwrap_err());
        escapes(root.read(Path::new("blobs/kept"), 9).unwrap_err());
        escapes(root.read(Path::new("file"), 9).unwrap_err());
        escapes(root.create_file(Path::new("blobs/new"), 0o600).unwrap_err());
        escapes(root.remove_file(Path::new("blobs/kept")).unwrap_err());
        escapes(root.make_dirs(Path::new("blobs")).unwrap_err());
        escapes(root.make_dirs(Path::new("blobs/sub")).unwrap_err());
        escapes(root.names(Path::new("blobs")).unwrap_err());
        escapes(root.open_lock_file(Path::new("file"), 0o600).unwrap_err());
        symlink(outside.path().join("made"), dir.path().join("dangling")).unwrap();
        escapes(root.open_lock_file(Path::new("dangling"), 0o600).unwrap_err());
        assert!(!outside.path().join("made").exists());
        // Removing a symlink removes the symlink.
        root.remove_all(Path::new("blobs")).unwrap();
        assert!(outside.path().join("kept").exists() && !dir.path().join("blobs").exists());
    }

    #[test]
    fn a_file_that_is_larger_than_its_kind_is_damaged_and_not_read() {
        let (dir, root) = root();
        let path = Path::new("f");
        std::fs::write(dir.path().join(path), "12345").unwrap();
        assert_eq!(root.read(path, 5).unwrap().unwrap(), b"12345");
        assert!(root.read(path, 4).unwrap_err().is_corrupt());
        assert_eq!(root.read_start(path, 4).unwrap().unwrap(), b"1234");
        assert_eq!(root.read_start(path, 9).unwrap().unwrap(), b"12345");
        // A file of /proc has no size before its end.
        let file = File::open("/proc/self/stat").unwrap();
        assert!(root.read_whole(&file, path, 4).unwrap_err().is_corrupt());
    }

    #[test]
    fn modes_are_explicit_and_follow_a_shared_group() {
        let (dir, root) = root();
        root.make_dirs(Path::new("a/b")).unwrap();
        let mode = |p: &str| std::fs::metadata(dir.path().join(p)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("a/b"), 0o755);
        root.create_file(Path::new("f"), root.file_mode()).unwrap();
        assert_eq!(mode("f"), 0o644);

        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o2775)).unwrap();
        let shared = Root::open(dir.path()).unwrap();
        shared.make_dirs(Path::new("c")).unwrap();
        assert_eq!(mode("c"), 0o2775);
        assert_eq!(shared.file_mode(), 0o664);

        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(Root::open(dir.path()).unwrap().file_mode() & 0o002, 0);
    }

    // Red when a folder that is there is taken as it is: after a kill under umask 077, nobody else could open what comes
    // into it.
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

    // Red when whatever is at a folder's name is taken for the folder, or for a way out of the root.
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

    // Red when a folder that another has made between the look and the call is an error.
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
