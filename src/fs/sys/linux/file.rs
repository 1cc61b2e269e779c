//! Open files, by descriptor; and files outside the store, by path.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self as rfs, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::fs::open_files::once_not_leased;
use crate::fs::{Kind, Meta};

/// A path that leads to an open file, whatever its names are by now. It needs `/proc`.
pub(super) fn by_descriptor(file: BorrowedFd<'_>) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Sets the mode, unless the file has it.
pub(super) fn ensure_mode(file: &impl AsFd, mode: u32) -> Result<(), Errno> {
    if rfs::fstat(file).is_ok_and(|stat| has_mode(&stat, mode)) { Ok(()) } else { change_mode(file, mode) }
}

/// Whether a file has exactly this mode. Setting it again would cost a change of the inode.
pub(super) fn has_mode(stat: &rfs::Stat, mode: u32) -> bool {
    Mode::from_raw_mode(stat.st_mode) == Mode::from_raw_mode(mode)
}

pub(super) fn change_mode(file: &impl AsFd, mode: u32) -> Result<(), Errno> {
    let wanted = Mode::from_raw_mode(mode);
    match rfs::fchmod(file, wanted) {
        // A sandbox may allow the call that takes a path.
        Err(refused @ (Errno::PERM | Errno::NOSYS)) => {
            let is_set = rfs::fstat(file).is_ok_and(|stat| has_mode(&stat, mode));
            if is_set { Ok(()) } else { rfs::chmod(by_descriptor(file.as_fd()), wanted).map_err(|_| refused) }
        }
        other => other,
    }
}

#[allow(clippy::useless_conversion)] // the kernel's types differ between architectures
pub(super) fn meta(stat: &rfs::Stat) -> Meta {
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

pub(crate) fn meta_of(file: &File) -> io::Result<Meta> {
    Ok(meta(&rfs::fstat(file)?))
}

/// When the file was created; a copy has its own time. `None` if the file system does not keep it.
pub(crate) fn birth_ns(file: &File) -> Option<i128> {
    let told = rfs::statx(file, "", AtFlags::EMPTY_PATH, rfs::StatxFlags::BTIME).ok()?;
    let is_kept = rfs::StatxFlags::from_bits_retain(told.stx_mask).contains(rfs::StatxFlags::BTIME);
    let birth_ns = i128::from(told.stx_btime.tv_sec) * 1_000_000_000 + i128::from(told.stx_btime.tv_nsec);
    is_kept.then_some(birth_ns)
}

/// The mount through which the file was opened: a number that no later mount until the next boot gets. `None` before
/// Linux 6.8.
pub(crate) fn mount_id(file: &File) -> Option<u64> {
    let unique = rfs::StatxFlags::from_bits_retain(0x4000); // STATX_MNT_ID_UNIQUE
    let told = rfs::statx(file, "", AtFlags::EMPTY_PATH, unique).ok()?;
    rfs::StatxFlags::from_bits_retain(told.stx_mask).contains(unique).then_some(told.stx_mnt_id)
}

pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    Ok(change_mode(file, mode)?)
}

/// Gives the file another owner or another group.
pub(crate) fn set_owner(file: &File, owner: Option<u32>, group: Option<u32>) -> io::Result<()> {
    Ok(rfs::fchown(file, owner.map(rfs::Uid::from_raw), group.map(rfs::Gid::from_raw))?)
}

/// Reserves blocks and sets the file's length.
pub(crate) fn allocate(file: &File, size_bytes: u64) -> io::Result<()> {
    if size_bytes == 0 {
        return Ok(()); // the call refuses a length of zero
    }
    Ok(rfs::fallocate(file, rfs::FallocateFlags::empty(), 0, size_bytes)?)
}

/// Makes `to` share all blocks of `from` as they are at this moment.
pub(crate) fn reflink(from: &File, to: &File) -> io::Result<()> {
    Ok(rfs::ioctl_ficlone(to, from)?)
}

/// How much of a file to ask for in one call, the larger first. The kernel reads no more than the device's window for
/// reading ahead, which is 128 KiB if nobody has changed it, or the largest request of the device, and ignores the rest.
const ASKED_AT_ONCE: [usize; 2] = [1 << 20, 128 << 10];

/// Asks the kernel to read a part of a file into memory, and does not wait.
pub(crate) fn will_need(file: &File, part: &Range<u64>) {
    // What the larger call has brought in is skipped by the smaller ones.
    for start in part.clone().step_by(ASKED_AT_ONCE[0]) {
        for step in ASKED_AT_ONCE {
            let end = start.saturating_add(ASKED_AT_ONCE[0] as u64).min(part.end);
            for start in (start..end).step_by(step) {
                advise(file, &(start..start.saturating_add(step as u64).min(end)), rfs::Advice::WillNeed);
            }
        }
    }
}

/// Evicts a part of a file from memory, except pages that are mapped or not written yet.
pub(crate) fn wont_need(file: &File, part: &Range<u64>) {
    advise(file, part, rfs::Advice::DontNeed);
}

/// It is only advice: nothing is lost if the kernel ignores it.
fn advise(file: &File, part: &Range<u64>, advice: rfs::Advice) {
    if let Some(length) = NonZeroU64::new(part.end.saturating_sub(part.start)) {
        let _ = rfs::fadvise(file, part.start, Some(length), advice);
    }
}

/// Fills the buffer starting at `offset`. It neither uses nor moves the descriptor's position.
pub(crate) fn read_exact_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Writes all bytes starting at `offset`. It neither uses nor moves the descriptor's position.
pub(crate) fn write_all_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Opens a file outside the store for reading. If it is a FIFO, this does not wait for a writer; if it is a terminal,
/// it does not become the controlling terminal.
pub(crate) fn open_source(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(File::from(once_not_leased(|| rfs::open(path, flags, Mode::empty()))?))
}

/// The metadata of a path outside the store, following symlinks, without opening it: a socket cannot be opened.
pub(crate) fn meta_of_path(path: &Path) -> io::Result<Meta> {
    Ok(meta(&rfs::stat(path)?))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::skip::skip;

    // Red when another time is returned as the birth time: the others can be set back, or change when the file is
    // written.
    #[test]
    fn a_file_keeps_the_time_of_its_birth_and_a_copy_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (one, copy) = (dir.path().join("one"), dir.path().join("copy"));
        std::fs::write(&one, "bytes").unwrap();
        let birth = |path: &Path| birth_ns(&File::options().write(true).open(path).unwrap());
        let Some(before) = birth(&one) else {
            return skip("this file system does not keep it");
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
            return skip("this kernel does not tell");
        }
        assert_eq!(id(dir.path()), id(dir.path()));
        assert_ne!(id(dir.path()), id(Path::new("/proc/self")));
    }
}
