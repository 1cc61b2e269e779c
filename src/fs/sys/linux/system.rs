//! What the kernel and the file systems report about themselves and about this process.

use std::io;
use std::path::Path;

use rustix::fs::{self as rfs, AtFlags, CWD};
use rustix::io::Errno;

/// Whether the kernel refused to follow a symlink, or found symlinks that lead to each other.
pub(crate) fn is_symlink_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

/// The boot ID, which the kernel generates at each boot.
pub(crate) fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    let mut id = [0; 16];
    hex::decode_to_slice(digits, &mut id).ok()?;
    Some(id)
}

/// How many files this process may have open; `None`: any number.
pub(crate) fn descriptor_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Raises the soft limit of open files to the hard limit.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Best effort: if it fails, fewer files are open at once.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// How many files this process has open; `None` without `/proc`.
pub(crate) fn open_descriptors() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}

pub(crate) fn current_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A device as `/proc/locks` prints it.
pub(crate) fn device_numbers(device: u64) -> String {
    format!("{:02x}:{:02x}", rfs::major(device), rfs::minor(device))
}

/// Whether this process may create and remove names in a folder; the empty path is the current one.
pub(crate) fn may_write(folder: &Path) -> bool {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    rfs::accessat(CWD, folder, rfs::Access::WRITE_OK | rfs::Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

/// Whether the mount there is read-only.
pub(crate) fn is_read_only(path: &Path) -> bool {
    rfs::statvfs(path).is_ok_and(|stats| stats.f_flag.contains(rfs::StatVfsMountFlags::RDONLY))
}

/// Whether files of this file system may share blocks with others: ext4 and tmpfs never do.
pub(crate) fn may_share_blocks(path: &Path) -> bool {
    const EXT: i64 = 0xEF53;
    const TMPFS: i64 = 0x0102_1994;
    #[allow(clippy::useless_conversion)] // the type differs between architectures
    !rfs::statfs(path).is_ok_and(|stats| [EXT, TMPFS].contains(&i64::from(stats.f_type)))
}
