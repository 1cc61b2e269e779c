//! Names, each looked up below the root's descriptor; no symlink is ever followed on the way.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{self as rfs, AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use super::file::{by_descriptor, change_mode, ensure_mode, has_mode, meta, meta_of};
use crate::fs::open_files::once_not_leased;
use crate::fs::sys::{Open, Replace};
use crate::fs::{Kind, Meta};

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A directory below which names are looked up.
#[derive(Debug)]
pub(crate) struct Handle(OwnedFd);

impl Handle {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Handle(rfs::open(path, flags, Mode::empty())?))
    }

    /// Opens a directory below this one, following no symlink.
    fn dir(&self, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if relative.as_os_str().is_empty() {
            return Ok(rfs::openat(&self.0, ".", flags, Mode::empty())?);
        }
        match rfs::openat2(&self.0, relative, flags, Mode::empty(), RESOLVE) {
            // Kernels before 5.6 do not know openat2; some sandboxes forbid it.
            Err(Errno::NOSYS | Errno::PERM) => self.walk(relative, flags),
            // NOFOLLOW with DIRECTORY reports a symlink as "not a directory".
            Err(Errno::NOTDIR) if is_symlink(self.0.as_fd(), relative) => Err(Errno::LOOP.into()),
            other => Ok(other?),
        }
    }

    fn walk(&self, relative: &Path, last: OFlags) -> io::Result<OwnedFd> {
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut at = rfs::openat(&self.0, ".", step, Mode::empty())?;
        let mut parts = relative.components().peekable();
        while let Some(part) = parts.next() {
            let std::path::Component::Normal(name) = part else { return Err(Errno::XDEV.into()) };
            let flags = if parts.peek().is_none() { last } else { step };
            at = match rfs::openat(&at, name, flags, Mode::empty()) {
                Err(Errno::NOTDIR) if is_symlink(at.as_fd(), Path::new(name)) => return Err(Errno::LOOP.into()),
                other => other?,
            };
        }
        Ok(at)
    }

    fn parent<'a>(&self, relative: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let name = relative.file_name().ok_or(Errno::INVAL)?;
        Ok((self.dir(relative.parent().unwrap_or(Path::new("")), OFlags::PATH)?, name))
    }

    pub(crate) fn meta(&self, relative: &Path) -> io::Result<Meta> {
        if relative.as_os_str().is_empty() {
            return Ok(meta(&rfs::fstat(&self.0)?));
        }
        let (parent, name) = self.parent(relative)?;
        Ok(meta(&rfs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// `meta` in one system call, only for "has it changed?": a folder on the way may be a symlink.
    pub(crate) fn peek(&self, relative: &Path) -> io::Result<Meta> {
        Ok(meta(&rfs::statat(&self.0, relative, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// Opens a file below this directory, following no symlink: in one call, where the system has it.
    fn open_below(&self, relative: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        match rfs::openat2(&self.0, relative, flags, mode, RESOLVE) {
            Err(Errno::NOSYS | Errno::PERM) => {
                let (parent, name) =
                    self.parent(relative).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
                rfs::openat(parent, name, flags, mode)
            }
            other => other,
        }
    }

    pub(crate) fn open_file(&self, relative: &Path, how: Open) -> io::Result<File> {
        relative.file_name().ok_or(Errno::INVAL)?;
        // NONBLOCK: a FIFO in place of a file must not block us.
        let common = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let open = |flags, mode| once_not_leased(|| self.open_below(relative, common | flags, mode));
        let file = match how {
            Open::Read => open(OFlags::RDONLY, Mode::empty())?,
            Open::Write => open(OFlags::RDWR, Mode::empty())?,
            Open::CreateNew(mode) => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
                let file = open(flags, Mode::from_raw_mode(mode))?;
                // The umask may have cleared bits.
                ensure_mode(&file, mode).inspect_err(|_| {
                    let _ = self.remove_file(relative); // nobody else knows of it
                })?;
                file
            }
            Open::Lock(mode) => match open(OFlags::RDWR, Mode::empty()) {
                Err(Errno::NOENT) => open(OFlags::RDWR | OFlags::CREATE, Mode::from_raw_mode(mode))?,
                // flock needs no write permission.
                Err(Errno::ACCESS) => open(OFlags::RDONLY, Mode::empty())?,
                other => other?,
            },
        };
        let file = File::from(file);
        match meta_of(&file)?.kind {
            Kind::File => Ok(file),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file")),
        }
    }

    /// Opens the directory itself, to lock it.
    pub(crate) fn open_dir(&self, relative: &Path) -> io::Result<File> {
        Ok(File::from(self.dir(relative, OFlags::RDONLY)?))
    }

    pub(crate) fn make_dir(&self, relative: &Path, mode: u32) -> io::Result<()> {
        let (parent, name) = self.parent(relative)?;
        rfs::mkdirat(&parent, name, Mode::from_raw_mode(mode))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        // The umask may have cleared bits, and the folder above may have passed on others.
        if rfs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| has_mode(&stat, mode)) {
            return Ok(());
        }
        let set_mode = |made: OwnedFd| change_mode(&made, mode);
        rfs::openat(&parent, name, flags, Mode::empty()).and_then(set_mode).inspect_err(|_| {
            // Another process that finds it later would assume that it has its final mode.
            let _ = rfs::unlinkat(&parent, name, AtFlags::REMOVEDIR);
        })?;
        Ok(())
    }

    /// The parents of two names, opened once if they are the same.
    fn parents<'a>(&self, one: &'a Path, other: &'a Path) -> io::Result<[(Rc<OwnedFd>, &'a OsStr); 2]> {
        let (parent, name) = self.parent(one)?;
        let parent = Rc::new(parent);
        let (other_parent, other_name) = match other.file_name() {
            Some(other_name) if one.parent() == other.parent() => (parent.clone(), other_name),
            _ => self.parent(other).map(|(parent, name)| (Rc::new(parent), name))?,
        };
        Ok([(parent, name), (other_parent, other_name)])
    }

    pub(crate) fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let [(from_parent, from_name), (to_parent, to_name)] = self.parents(from, to)?;
        Ok(rfs::linkat(&*from_parent, from_name, &*to_parent, to_name, AtFlags::empty())?)
    }

    pub(crate) fn symlink(&self, target: &Path, to: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(to)?;
        Ok(rfs::symlinkat(target, parent, name)?)
    }

    /// The target of a symlink, which need not exist.
    pub(crate) fn read_link(&self, relative: &Path) -> io::Result<PathBuf> {
        let (parent, name) = self.parent(relative)?;
        Ok(PathBuf::from(OsString::from_vec(rfs::readlinkat(parent, name, Vec::new())?.into_bytes())))
    }

    /// Gives the open file another name: exactly this inode, whatever its old name leads to by now.
    pub(crate) fn link_file(&self, file: &File, to: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(to)?;
        Ok(rfs::linkat(CWD, by_descriptor(file.as_fd()), parent, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path, replace: Replace) -> io::Result<()> {
        let [(from_parent, from_name), (to_parent, to_name)] = self.parents(from, to)?;
        match replace {
            Replace::Yes => rfs::renameat(&*from_parent, from_name, &*to_parent, to_name)?,
            Replace::Exchange => {
                rfs::renameat_with(&*from_parent, from_name, &*to_parent, to_name, RenameFlags::EXCHANGE)?;
            }
            Replace::No => {
                match rfs::renameat_with(&*from_parent, from_name, &*to_parent, to_name, RenameFlags::NOREPLACE) {
                    // NFS and most file systems in user space do not know NOREPLACE. Looking first is not the same: a
                    // file that arrives in between is replaced, by identical bytes if a blob is published.
                    Err(Errno::INVAL | Errno::NOSYS) => {
                        match rfs::statat(&*to_parent, to_name, AtFlags::SYMLINK_NOFOLLOW) {
                            Ok(_) => return Err(Errno::EXIST.into()),
                            Err(Errno::NOENT) => rfs::renameat(&*from_parent, from_name, &*to_parent, to_name)?,
                            Err(e) => return Err(e.into()),
                        }
                    }
                    other => other?,
                }
            }
        }
        Ok(())
    }

    pub(crate) fn remove_file(&self, relative: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(relative)?;
        Ok(rfs::unlinkat(parent, name, AtFlags::empty())?)
    }

    pub(crate) fn remove_dir(&self, relative: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(relative)?;
        Ok(rfs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
    }

    pub(crate) fn names(&self, relative: &Path) -> io::Result<Vec<OsString>> {
        names_in(&self.dir(relative, OFlags::RDONLY)?)?.collect()
    }

    /// The names in a folder with their metadata, one by one; a file that disappears during the call is left out.
    pub(crate) fn each_entry(
        &self,
        relative: &Path,
    ) -> io::Result<impl Iterator<Item = io::Result<(OsString, Meta)>> + use<>> {
        let folder = self.dir(relative, OFlags::RDONLY)?;
        let names = names_in(&folder)?;
        Ok(names.filter_map(move |name| {
            let stat = |name: OsString| match rfs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Some(Ok((name, meta(&stat)))),
                Err(Errno::NOENT) => None,
                Err(e) => Some(Err(e.into())),
            };
            name.map_or_else(|e| Some(Err(e)), stat)
        }))
    }

    pub(crate) fn sync_dir(&self, relative: &Path) -> io::Result<()> {
        Ok(rfs::fsync(self.dir(relative, OFlags::RDONLY)?)?)
    }

    /// Whether this file system keeps modes; `None` for one in user space, which does not say.
    #[allow(clippy::useless_conversion)] // the kernel's types differ between architectures
    pub(crate) fn keeps_modes(&self) -> Option<bool> {
        let kind = u64::try_from(rfs::fstatfs(&self.0).ok()?.f_type).ok()?;
        match kind & 0xffff_ffff {
            0x4d44 | 0x2011_bab0 => Some(false), // FAT, exFAT
            0x6573_5546 => None,                 // FUSE
            _ => Some(true),
        }
    }

    /// Whether it is an overlay of several folders: linking or renaming a file of a lower one first copies all of it
    /// up. If all layers are on one file system, the system does not tell which one a file is in.
    #[allow(clippy::useless_conversion)] // the kernel's types differ between architectures
    pub(crate) fn is_overlay(&self) -> bool {
        let kind = rfs::fstatfs(&self.0).ok().and_then(|stat| u64::try_from(stat.f_type).ok());
        kind.is_some_and(|kind| kind & 0xffff_ffff == 0x794c_7630)
    }

    /// Makes everything written to this file system durable.
    pub(crate) fn sync_file_system(&self) -> io::Result<()> {
        Ok(rfs::syncfs(&self.0)?)
    }
}

fn names_in(folder: &OwnedFd) -> io::Result<impl Iterator<Item = io::Result<OsString>> + use<>> {
    let names = Dir::read_from(folder)?.map(|entry| Ok(OsString::from_vec(entry?.file_name().to_bytes().to_vec())));
    Ok(names.filter(|name| !name.as_ref().is_ok_and(|name| name == "." || name == "..")))
}

fn is_symlink(parent: BorrowedFd<'_>, name: &Path) -> bool {
    rfs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::fs::sys::{is_symlink_loop, open_source};

    // Red when one of the two ways follows a symlink or leaves the root: kernels before 5.6 and some sandboxes have
    // only `walk`.
    #[test]
    fn with_and_without_openat2_no_symlink_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::create_dir(outside.path().join("b")).unwrap();
        std::fs::write(dir.path().join("a/file"), "x").unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        symlink("a", dir.path().join("in")).unwrap();
        let handle = Handle::open(dir.path()).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let by_openat2 = |path: &str| handle.dir(Path::new(path), OFlags::RDONLY).map(|_| ());
        let by_walk = |path: &str| handle.walk(Path::new(path), flags).map(|_| ());
        for way in [&by_openat2 as &dyn Fn(&str) -> io::Result<()>, &by_walk] {
            way("a").unwrap();
            way("a/b").unwrap();
            for path in ["out", "out/b", "in", "in/b"] {
                assert!(is_symlink_loop(&way(path).unwrap_err()), "{path}");
            }
            for path in ["..", "a/../..", "/tmp"] {
                way(path).unwrap_err();
            }
            assert_eq!(way("a/file").unwrap_err().kind(), io::ErrorKind::NotADirectory);
            assert_eq!(way("a/file/b").unwrap_err().kind(), io::ErrorKind::NotADirectory);
            assert_eq!(way("a/none").unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    // Red when a folder is not opened with DIRECTORY: opening a FIFO in its place for reading waits for a writer for
    // ever.
    #[test]
    fn a_fifo_is_neither_a_folder_nor_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rfs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let handle = Handle::open(dir.path()).unwrap();
        let path = Path::new("fifo");
        handle.open_dir(path).unwrap_err();
        handle.open_file(path, Open::Read).unwrap_err();
        open_source(&fifo).unwrap(); // does not wait; the caller checks the kind
    }
}
