//! Linux: every name is looked up below the root's descriptor, and no symlink is ever followed on the way.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self as rfs, AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Open, Replace};
use crate::fs::{Kind, Meta};

/// A directory that names are looked up below.
#[derive(Debug)]
pub(crate) struct Handle(OwnedFd);

impl Handle {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Handle(rfs::open(path, flags, Mode::empty())?))
    }

    /// Opens a directory below this one, through no symlink.
    fn dir(&self, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if relative.as_os_str().is_empty() {
            return Ok(rfs::openat(&self.0, ".", flags, Mode::empty())?);
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rfs::openat2(&self.0, relative, flags, Mode::empty(), resolve) {
            // Kernels before 5.6 do not know it; some sandboxes forbid it.
            Err(Errno::NOSYS | Errno::PERM) => self.walk(relative, flags),
            // NOFOLLOW with DIRECTORY says "not a directory" of a symlink.
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

    /// `meta` in one system call: a folder on the way may be a symlink, so this is for "has it changed?" alone.
    pub(crate) fn peek(&self, relative: &Path) -> io::Result<Meta> {
        Ok(meta(&rfs::statat(&self.0, relative, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    pub(crate) fn open_file(&self, relative: &Path, how: Open) -> io::Result<File> {
        let (parent, name) = self.parent(relative)?;
        // NONBLOCK: a FIFO in the place of a file must not hold us up.
        let common = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match how {
            Open::Read => rfs::openat(parent, name, common | OFlags::RDONLY, Mode::empty())?,
            Open::Write => rfs::openat(parent, name, common | OFlags::RDWR, Mode::empty())?,
            Open::CreateNew(mode) => {
                let flags = common | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
                let file = rfs::openat(&parent, name, flags, Mode::from_raw_mode(mode))?;
                // The umask may have taken bits away.
                change_mode(&file, mode).inspect_err(|_| {
                    let _ = rfs::unlinkat(&parent, name, AtFlags::empty()); // nobody else knows that it is there
                })?;
                file
            }
            Open::Lock(mode) => match rfs::openat(&parent, name, common | OFlags::RDWR, Mode::empty()) {
                Err(Errno::NOENT) => {
                    let flags = common | OFlags::RDWR | OFlags::CREATE;
                    rfs::openat(parent, name, flags, Mode::from_raw_mode(mode))?
                }
                // flock needs no write permission.
                Err(Errno::ACCESS) => rfs::openat(parent, name, common | OFlags::RDONLY, Mode::empty())?,
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
        let set_mode = |made: OwnedFd| change_mode(&made, mode);
        rfs::openat(&parent, name, flags, Mode::empty()).and_then(set_mode).inspect_err(|_| {
            // Another process that finds it later would take it for one that has its mode.
            let _ = rfs::unlinkat(&parent, name, AtFlags::REMOVEDIR);
        })?;
        Ok(())
    }

    pub(crate) fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_parent, from_name) = self.parent(from)?;
        let (to_parent, to_name) = self.parent(to)?;
        Ok(rfs::linkat(from_parent, from_name, to_parent, to_name, AtFlags::empty())?)
    }

    /// Gives the open file another name: that very inode, whatever its old name leads to by now.
    pub(crate) fn link_file(&self, file: &File, to: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(to)?;
        Ok(rfs::linkat(CWD, by_descriptor(file.as_fd()), parent, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path, replace: Replace) -> io::Result<()> {
        let (from_parent, from_name) = self.parent(from)?;
        let (to_parent, to_name) = self.parent(to)?;
        match replace {
            Replace::Yes => rfs::renameat(from_parent, from_name, to_parent, to_name)?,
            Replace::Exchange => {
                rfs::renameat_with(from_parent, from_name, to_parent, to_name, RenameFlags::EXCHANGE)?;
            }
            Replace::No => {
                match rfs::renameat_with(&from_parent, from_name, &to_parent, to_name, RenameFlags::NOREPLACE) {
                    // Not known to this file system, as to most that are in user space and to NFS. To look first is not
                    // the same: a file that comes between is replaced, by the same bytes where blobs are published.
                    Err(Errno::INVAL | Errno::NOSYS) => {
                        match rfs::statat(&to_parent, to_name, AtFlags::SYMLINK_NOFOLLOW) {
                            Ok(_) => return Err(Errno::EXIST.into()),
                            Err(Errno::NOENT) => rfs::renameat(from_parent, from_name, to_parent, to_name)?,
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
        read_names(&self.dir(relative, OFlags::RDONLY)?)
    }

    /// What is in a folder, each with what `stat` says of it; what goes away meanwhile is left out.
    pub(crate) fn entries(&self, relative: &Path) -> io::Result<Vec<(OsString, Meta)>> {
        let folder = self.dir(relative, OFlags::RDONLY)?;
        let mut entries = Vec::new();
        for name in read_names(&folder)? {
            match rfs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => entries.push((name, meta(&stat))),
                Err(Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(entries)
    }

    pub(crate) fn sync_dir(&self, relative: &Path) -> io::Result<()> {
        Ok(rfs::fsync(self.dir(relative, OFlags::RDONLY)?)?)
    }

    /// Whether this file system keeps modes; `None` of one in user space, which says nothing of itself.
    #[allow(clippy::useless_conversion)] // the kernel's types differ between architectures
    pub(crate) fn keeps_modes(&self) -> Option<bool> {
        let kind = u64::try_from(rfs::fstatfs(&self.0).ok()?.f_type).ok()?;
        match kind & 0xffff_ffff {
            0x4d44 | 0x2011_bab0 => Some(false), // FAT, exFAT
            0x6573_5546 => None,                 // FUSE
            _ => Some(true),
        }
    }

    /// Makes everything that was written to this file system durable.
    pub(crate) fn sync_file_system(&self) -> io::Result<()> {
        Ok(rfs::syncfs(&self.0)?)
    }
}

/// A path that leads to an open file, whatever its names are by now. There is none without `/proc`.
fn by_descriptor(file: BorrowedFd<'_>) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn change_mode(file: &impl AsFd, mode: u32) -> Result<(), Errno> {
    let wanted = Mode::from_raw_mode(mode);
    match rfs::fchmod(file, wanted) {
        // A sandbox may allow the call that takes a path.
        Err(refused @ (Errno::PERM | Errno::NOSYS)) => {
            let is_set = rfs::fstat(file).is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode) == wanted);
            if is_set { Ok(()) } else { rfs::chmod(by_descriptor(file.as_fd()), wanted).map_err(|_| refused) }
        }
        other => other,
    }
}

fn read_names(folder: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

fn is_symlink(parent: BorrowedFd<'_>, name: &Path) -> bool {
    rfs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

#[allow(clippy::useless_conversion)] // the kernel's types differ between architectures
fn meta(stat: &rfs::Stat) -> Meta {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Other("FIFO"),
        FileType::Socket => Kind::Other("socket"),
        FileType::CharacterDevice => Kind::Other("character device"),
        FileType::BlockDevice => Kind::Other("block device"),
        FileType::Unknown => Kind::Other("file of an unknown kind"),
    };
    Meta {
        kind,
        device: stat.st_dev,
        inode: stat.st_ino,
        size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
        changed_ns: i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec),
        mode: stat.st_mode & 0o7777,
        links: u64::from(stat.st_nlink),
        owner: stat.st_uid,
        group: stat.st_gid,
        allocated_bytes: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
    }
}

/// What the kernel says of a symlink that it was told not to follow, and of symlinks that lead to each other.
pub(crate) fn is_symlink_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

pub(crate) fn meta_of(file: &File) -> io::Result<Meta> {
    Ok(meta(&rfs::fstat(file)?))
}

/// The kernel makes a new one each time that it starts.
pub(crate) fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    let mut id = [0; 16];
    hex::decode_to_slice(digits, &mut id).ok()?;
    Some(id)
}

/// When the file was made, which no copy of it has; `None` where the file system does not keep it.
pub(crate) fn birth_ns(file: &File) -> Option<i128> {
    let told = rfs::statx(file, "", AtFlags::EMPTY_PATH, rfs::StatxFlags::BTIME).ok()?;
    let is_kept = rfs::StatxFlags::from_bits_retain(told.stx_mask).contains(rfs::StatxFlags::BTIME);
    let birth_ns = i128::from(told.stx_btime.tv_sec) * 1_000_000_000 + i128::from(told.stx_btime.tv_nsec);
    is_kept.then_some(birth_ns)
}

/// The mount that the file is reached by: a number that no later mount of this start of the machine has. `None` before
/// Linux 6.8.
pub(crate) fn mount_id(file: &File) -> Option<u64> {
    let unique = rfs::StatxFlags::from_bits_retain(0x4000); // STATX_MNT_ID_UNIQUE
    let told = rfs::statx(file, "", AtFlags::EMPTY_PATH, unique).ok()?;
    rfs::StatxFlags::from_bits_retain(told.stx_mask).contains(unique).then_some(told.stx_mnt_id)
}

/// How many files a process may have open; `None`: any number.
pub(crate) fn descriptor_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Lets the process have as many files open as it may allow itself.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }); // else fewer are open at once
}

/// How many files this process has open; `None` without `/proc`.
pub(crate) fn open_descriptors() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}

pub(crate) fn current_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    Ok(change_mode(file, mode)?)
}

/// Whether this process may make and remove names in a folder, the empty path being the current one.
pub(crate) fn may_write(folder: &Path) -> bool {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    rfs::accessat(CWD, folder, rfs::Access::WRITE_OK | rfs::Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

/// Whether what is mounted there is read only.
pub(crate) fn is_read_only(path: &Path) -> bool {
    rfs::statvfs(path).is_ok_and(|stats| stats.f_flag.contains(rfs::StatVfsMountFlags::RDONLY))
}

/// Gives the file another owner or another group.
pub(crate) fn set_owner(file: &File, owner: Option<u32>, group: Option<u32>) -> io::Result<()> {
    Ok(rfs::fchown(file, owner.map(rfs::Uid::from_raw), group.map(rfs::Gid::from_raw))?)
}

/// A device as `/proc/locks` writes it.
pub(crate) fn device_numbers(device: u64) -> String {
    format!("{:02x}:{:02x}", rfs::major(device), rfs::minor(device))
}

/// Reserves blocks, and makes the file this long.
pub(crate) fn allocate(file: &File, size_bytes: u64) -> io::Result<()> {
    if size_bytes == 0 {
        return Ok(()); // zero is no length to the call
    }
    Ok(rfs::fallocate(file, rfs::FallocateFlags::empty(), 0, size_bytes)?)
}

/// Makes `to` share all blocks of `from`, as they are at this moment.
pub(crate) fn reflink(from: &File, to: &File) -> io::Result<()> {
    Ok(rfs::ioctl_ficlone(to, from)?)
}

/// Asks for a part of a file to be read into memory, and goes on.
pub(crate) use crate::fs::extents::shared_bytes;
pub(crate) use crate::fs::open_files::is_open_elsewhere;

/// Whether files of this file system may share blocks with others: ext4 and tmpfs never do.
pub(crate) fn may_share_blocks(path: &Path) -> bool {
    const EXT: i64 = 0xEF53;
    const TMPFS: i64 = 0x0102_1994;
    #[allow(clippy::useless_conversion)] // the type differs between architectures
    !rfs::statfs(path).is_ok_and(|stats| [EXT, TMPFS].contains(&i64::from(stats.f_type)))
}

pub(crate) fn will_need(file: &File, part: &Range<u64>) {
    advise(file, part, rfs::Advice::WillNeed);
}

/// Lets a part of a file go from memory, but for what is mapped or not written yet.
pub(crate) fn wont_need(file: &File, part: &Range<u64>) {
    advise(file, part, rfs::Advice::DontNeed);
}

/// It is advice: where it is not taken, nothing is lost.
fn advise(file: &File, part: &Range<u64>, advice: rfs::Advice) {
    if let Some(length) = NonZeroU64::new(part.end.saturating_sub(part.start)) {
        let _ = rfs::fadvise(file, part.start, Some(length), advice);
    }
}

/// Fills the buffer from this offset on. Where the descriptor stands does not matter and does not change.
pub(crate) fn read_exact_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Writes all of the bytes from this offset on. Where the descriptor stands does not matter and does not change.
pub(crate) fn write_all_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Opens somebody else's file for reading, without waiting for a writer when it is a FIFO and without becoming its
/// terminal when it is one.
pub(crate) fn open_source(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(File::from(rfs::open(path, flags, Mode::empty())?))
}

/// `meta` of somebody else's path, following symlinks, without opening it: a socket cannot be opened.
pub(crate) fn meta_of_path(path: &Path) -> io::Result<Meta> {
    Ok(meta(&rfs::stat(path)?))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    // Red when the time of birth is another time: those are set back, or change while the file is written.
    #[test]
    fn a_file_keeps_the_time_of_its_birth_and_a_copy_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (one, copy) = (dir.path().join("one"), dir.path().join("copy"));
        std::fs::write(&one, "bytes").unwrap();
        let birth = |path: &Path| birth_ns(&File::options().write(true).open(path).unwrap());
        let Some(before) = birth(&one) else {
            println!("skipped: this file system does not keep it");
            return;
        };
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&one, "other bytes").unwrap();
        std::fs::copy(&one, &copy).unwrap();
        for path in [&one, &copy] {
            File::options().write(true).open(path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        assert_eq!(birth(&one), Some(before));
        assert!(birth(&copy).is_some_and(|birth| birth > before));
    }

    #[test]
    fn two_mounts_have_two_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let id = |path: &Path| mount_id(&File::open(path).unwrap());
        if id(dir.path()).is_none() {
            println!("skipped: this kernel does not tell");
            return;
        }
        assert_eq!(id(dir.path()), id(dir.path()));
        assert_ne!(id(dir.path()), id(Path::new("/proc/self")));
    }

    // Red when one of the two ways follows a symlink, or leaves the root: kernels before 5.6, and some sandboxes, have
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

    // Red when a folder is not opened as one: a FIFO in its place, opened for reading, waits for a writer for ever.
    #[test]
    fn a_fifo_is_neither_a_folder_nor_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rfs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let handle = Handle::open(dir.path()).unwrap();
        let path = Path::new("fifo");
        handle.open_dir(path).unwrap_err();
        handle.open_file(path, Open::Read).unwrap_err();
        open_source(&fifo).unwrap(); // without waiting; the caller looks at its kind
    }
}
