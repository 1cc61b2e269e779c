//! `Root`: the directory that the store may touch, and the only way to touch it.

mod folders;
mod small_files;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::last_sync::LastSync;
use super::source::source_meta;
use super::sys::{Handle, Open, Replace};
use super::{Meta, current_user, fault, is_symlink_loop};
use crate::error::{Error, Result};
use crate::hint::Hint;
use crate::layout;

/// The root of a store. Every path that its methods take is relative to it. A symlink anywhere in that path, including
/// the last name, is an error and never followed.
#[derive(Debug)]
pub(crate) struct Root {
    handle: Handle,
    path: PathBuf,
    /// Mode bits that a group-shared root passes on: group write and set-group-id.
    shared_mode: u32,
    owner: u32,
    group: u32,
    is_overlay: bool,
    last_sync: LastSync,
}

impl Root {
    /// Opens an existing directory.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let fail = |source| Error::io("open the catalog's root", path, source);
        let path = path.canonicalize().map_err(fail)?;
        let handle = Handle::open(&path).map_err(fail)?;
        let meta = handle.meta(Path::new("")).map_err(fail)?;
        let is_overlay = handle.is_overlay();
        let shared_mode = meta.mode & 0o2020;
        let last_sync = LastSync::default();
        Ok(Root { handle, path, shared_mode, owner: meta.owner, group: meta.group, is_overlay, last_sync })
    }

    /// The root's own absolute path, free of symlinks when it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The absolute path, for messages and for callers outside the store.
    pub(crate) fn absolute(&self, relative: &Path) -> PathBuf {
        self.path.join(relative)
    }

    /// The same for a plain path as the index has it, in one allocation.
    pub(crate) fn absolute_text(&self, relative: &str) -> PathBuf {
        let (root, separator) = (self.path.as_os_str(), std::path::MAIN_SEPARATOR_STR);
        let mut path = OsString::with_capacity(root.len() + separator.len() + relative.len());
        path.push(root);
        if !root.as_encoded_bytes().ends_with(separator.as_bytes()) {
            path.push(separator);
        }
        path.push(relative);
        path.into()
    }

    /// A path relative to the root, if it is the root's or below it. It may start with another name of the root, which leads
    /// there through symlinks.
    pub(crate) fn below(&self, path: &Path) -> Option<PathBuf> {
        if let Ok(relative) = path.strip_prefix(&self.path) {
            return Some(relative.to_path_buf());
        }
        // Only a name of the same folder can be another name of the root, and that is found out in one call for each.
        let own = self.handle.meta(Path::new("")).ok()?;
        let is_alias = |above: &&Path| {
            source_meta(above).is_ok_and(|meta| meta.same_inode(&own))
                && above.canonicalize().is_ok_and(|real| real == self.path)
        };
        let alias = path.ancestors().find(is_alias)?;
        path.strip_prefix(alias).ok().map(Path::to_path_buf)
    }

    /// Mode of the store's folders, except `uses/`.
    pub(crate) fn dir_mode(&self) -> u32 {
        0o755 | self.shared_mode
    }

    /// Mode of this folder. In `uses/` every user may note a use, and none may remove another user's note.
    fn dir_mode_of(&self, relative: &Path) -> u32 {
        if relative == Path::new(layout::USES) { self.dir_mode() | 0o1777 } else { self.dir_mode() }
    }

    /// Mode of the store's own small files, never world-writable.
    pub(crate) fn file_mode(&self) -> u32 {
        0o644 | (self.shared_mode & 0o020)
    }

    /// Whether the root's group may write to the store.
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

    /// Whether this process may trust a file that belongs to `owner`: the superuser, the root's owner, this user, or
    /// one of `named`.
    pub(crate) fn trusts(&self, owner: u32, named: &BTreeSet<u32>) -> bool {
        self.is_trusted_by_all(owner) || owner == current_user() || named.contains(&owner)
    }

    /// Whether this is the superuser or the root's owner, who can change everything here.
    pub(crate) fn is_trusted_by_all(&self, owner: u32) -> bool {
        owner == 0 || owner == self.owner
    }

    /// Whether the file system is mounted read-only. `false` if the system does not tell.
    pub(crate) fn is_read_only(&self) -> bool {
        super::sys::is_read_only(&self.path)
    }

    /// Whether the file system keeps the modes of files; `None` if the system does not tell.
    pub(crate) fn keeps_modes(&self) -> Option<bool> {
        self.handle.keeps_modes()
    }

    /// Whether linking or renaming a file may first copy all of it, because it may be in a lower layer of an overlay.
    pub(crate) fn copies_up(&self) -> bool {
        self.is_overlay
    }

    pub(crate) fn fail(&self, action: &'static str, relative: &Path, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::CrossesDevices && is_plain(relative) {
            // The path stays below the root, so the error means that another file system is mounted there.
            let reason = "it is on a different file system from the root, so nothing of the store can be moved there";
            return Error::InvalidPath { path: self.absolute(relative), reason, hint: Hint::Unmount };
        }
        if is_symlink_refusal(&source) {
            return Error::PathEscapesRoot { path: self.absolute(relative), root: self.path.clone() };
        }
        Error::io(action, self.absolute(relative), source)
    }

    /// The metadata of this name; `None` if there is nothing.
    pub(crate) fn meta(&self, relative: &Path) -> Result<Option<Meta>> {
        absent(self.handle.meta(relative)).map_err(|e| self.fail("look at", relative, e))
    }

    /// Like [`meta`](Root::meta) in one system call, only for "has it changed?": a folder on the way may be a symlink.
    pub(crate) fn peek(&self, relative: &Path) -> Result<Option<Meta>> {
        absent(self.handle.peek(relative)).map_err(|e| self.fail("look at", relative, e))
    }

    /// Opens a regular file for reading; `None` if there is nothing.
    pub(crate) fn open_file(&self, relative: &Path) -> Result<Option<File>> {
        absent(self.handle.open_file(relative, Open::Read)).map_err(|e| self.fail("open", relative, e))
    }

    /// Opens a regular file that is private to this process for writing; `None` if there is nothing.
    pub(crate) fn open_private_file(&self, relative: &Path) -> Result<Option<File>> {
        absent(self.handle.open_file(relative, Open::Write)).map_err(|e| self.fail("open", relative, e))
    }

    pub(crate) fn create_file(&self, relative: &Path, mode: u32) -> Result<File> {
        fault::step("create")
            .and_then(|()| self.handle.open_file(relative, Open::CreateNew(mode)))
            .map_err(|e| self.fail("create", relative, e))
    }

    /// Opens a file to lock it; see [`lock_file`](super::lock_file).
    pub(super) fn open_lock_file(&self, relative: &Path, mode: u32) -> Result<File> {
        self.handle.open_file(relative, Open::Lock(mode)).map_err(|e| self.fail("open the lock file", relative, e))
    }

    /// Makes a hardlink. Returns the system's own error, because callers choose a fallback by its kind.
    pub(crate) fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fault::step("link")?;
        self.handle.link(from, to)
    }

    /// Makes a symlink. Only engines follow it; the store never does.
    pub(crate) fn symlink(&self, target: &Path, to: &Path) -> io::Result<()> {
        fault::step("link")?;
        self.handle.symlink(target, to)
    }

    /// The target of the symlink at this name; `None` if there is nothing, or no symlink.
    pub(crate) fn read_link(&self, relative: &Path) -> Result<Option<PathBuf>> {
        match self.handle.read_link(relative) {
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(None),
            other => absent(other).map_err(|e| self.fail("read the symlink", relative, e)),
        }
    }

    /// Gives an open file a name: exactly this inode.
    pub(crate) fn link_file(&self, file: &File, to: &Path) -> io::Result<()> {
        fault::step("link")?;
        self.handle.link_file(file, to)
    }

    /// Renames over whatever is at `to`.
    pub(crate) fn rename_over(&self, from: &Path, to: &Path) -> Result<()> {
        let renamed = fault::step("rename").and_then(|()| self.handle.rename(from, to, Replace::Yes));
        renamed.map_err(|e| self.fail("rename into place", to, e))
    }

    /// Renames, unless something is at `to` already.
    pub(crate) fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        fault::step("rename")?;
        self.handle.rename(from, to, Replace::No)
    }

    /// Exchanges two names in one step.
    pub(crate) fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        fault::step("rename")?;
        self.handle.rename(one, other, Replace::Exchange)
    }

    /// Removes a file; `false` if there was none.
    pub(crate) fn remove_file(&self, relative: &Path) -> Result<bool> {
        let removed = fault::step("unlink").and_then(|()| self.handle.remove_file(relative));
        Ok(absent(removed).map_err(|e| self.fail("remove", relative, e))?.is_some())
    }

    /// The error for a failed sync.
    pub(crate) fn fail_sync(&self, relative: &Path, source: io::Error) -> Error {
        Error::SyncFailed { path: self.absolute(relative), source: Arc::new(source) }
    }

    /// Makes the names in a folder durable. If the file system cannot sync folders (EINVAL on some file systems in user
    /// space or over a network), nothing more can be done for them.
    pub(crate) fn sync_dir(&self, relative: &Path) -> Result<()> {
        match self.last_sync.timed(|| fault::step("sync a folder").and_then(|()| self.handle.sync_dir(relative))) {
            Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
            other => other.map_err(|e| self.fail_sync(relative, e)),
        }
    }

    /// How long the last sync took.
    pub(super) fn last_sync(&self) -> &LastSync {
        &self.last_sync
    }

    /// Flushes the whole file system once, instead of every file. `false`: the system does not know the call or a
    /// sandbox refuses it, and nothing was synced.
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

/// Whether the path leads down from the root at every step.
fn is_plain(relative: &Path) -> bool {
    relative.components().all(|part| matches!(part, Component::Normal(_)))
}

/// Whether the kernel refused to follow a symlink, or a path out of the root.
fn is_symlink_refusal(error: &io::Error) -> bool {
    is_symlink_loop(error) || error.kind() == io::ErrorKind::CrossesDevices
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::disallowed_methods)]
pub(super) mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    pub(in crate::fs) fn root() -> (tempfile::TempDir, Root) {
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
}
