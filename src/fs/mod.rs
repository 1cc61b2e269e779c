//! The file system as the store needs it: everything below one root, nothing through a symlink, nothing half done. This
//! module knows no digests and no index.

pub(crate) mod atomic;
pub(crate) mod cached;
mod descriptors;
#[cfg(all(target_os = "linux", not(catalog_portable)))]
mod extents;
pub(crate) mod fault;
pub(crate) mod freed;
mod last_sync;
pub(crate) mod link;
pub(crate) mod lock;
pub(crate) mod lock_file;
mod lock_holder;
mod lock_of_tool;
mod lock_table;
pub(crate) mod map;
#[cfg(all(target_os = "linux", not(catalog_portable)))]
mod open_files;
pub(crate) mod owned;
mod process;
pub(crate) mod reserve;
pub(crate) mod root;
mod session;
pub(crate) mod sharers;
pub(crate) mod side_by_side;
pub(crate) mod source;
pub(crate) mod space;
pub(crate) mod sparse;
mod sys;
pub(crate) mod writeback;
pub(crate) mod writers;

pub use atomic::Durability;
pub(crate) use atomic::Temp;
pub use descriptors::raise_descriptor_limit;
pub(crate) use descriptors::spare_descriptors;
pub(crate) use lock_of_tool::lock_of_tool;
pub(crate) use process::command as command_of_process;
pub(crate) use root::Root;
pub(crate) use session::Session;
pub(crate) use sys::{
    birth_ns, boot_id, is_open_elsewhere, is_symlink_loop, meta_of_path, mount_id, read_exact_at, shared_bytes,
    will_need,
};

use std::fs::File;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::entry::{SourceStamp, Stamp};

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Dir,
    Symlink,
    Other(&'static str),
}

/// The part of `stat` that the store needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    pub(crate) kind: Kind,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size_bytes: u64,
    pub(crate) mtime_ns: i128,
    /// The last change of content or metadata (ctime), which no user can set back.
    pub(crate) changed_ns: i128,
    pub(crate) mode: u32,
    pub(crate) links: u64,
    pub(crate) owner: u32,
    pub(crate) group: u32,
    /// Bytes on disk, with shared blocks counted in full.
    pub(crate) allocated_bytes: u64,
}

impl Meta {
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { inode: self.inode, size_bytes: self.size_bytes, mtime_ns: self.mtime_ns }
    }

    pub(crate) fn source_stamp(&self) -> SourceStamp {
        SourceStamp { stamp: self.stamp(), changed_ns: self.changed_ns }
    }

    /// How long ago the content was modified; zero if that is in the future.
    pub(crate) fn age(&self) -> Duration {
        let age_ns = unix_ns(SystemTime::now()).saturating_sub(self.mtime_ns);
        Duration::from_nanos(u64::try_from(age_ns).unwrap_or(0))
    }

    pub(crate) fn same_inode(&self, other: &Meta) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether a write just after `read_began` could have left this modification time unchanged, because the clock of
    /// the file system had not ticked yet (git calls such a file racy).
    pub(crate) fn is_racy(&self, read_began: SystemTime) -> bool {
        racy(self.mtime_ns, unix_ns(read_began))
    }

    /// Like [`is_racy`](Meta::is_racy), for the change time.
    pub(crate) fn is_change_racy(&self, read_began: SystemTime) -> bool {
        racy(self.changed_ns, unix_ns(read_began))
    }
}

/// See [`racy`].
const TICK: Duration = Duration::from_millis(20);

/// Local file systems tick with the kernel's timer, at worst every 10 ms; one that shows whole seconds ticks every
/// second, FAT every two. A time that does not fit in 64 bits of nanoseconds, such as the year 1600, is not trusted
/// either: nobody wrote a file then, and the index could not store it.
fn racy(mtime_ns: i128, read_began_ns: i128) -> bool {
    if i64::try_from(mtime_ns).is_err() {
        return true;
    }
    let tick = if mtime_ns % 1_000_000_000 == 0 { Duration::from_secs(2) } else { TICK };
    mtime_ns.saturating_add(tick.as_nanos().cast_signed()) >= read_began_ns
}

pub(crate) fn unix_ns(time: SystemTime) -> i128 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos().cast_signed(),
        Err(before) => -before.duration().as_nanos().cast_signed(),
    }
}

/// The file's metadata, by its descriptor.
pub(crate) fn meta_of(file: &File) -> io::Result<Meta> {
    sys::meta_of(file)
}

/// The current time, in milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(unix_ns(SystemTime::now()) / 1_000_000).unwrap_or(0)
}

/// Waits until a change of these files would show in their modification times, if that takes only one tick.
pub(crate) fn wait_for_a_tick(mtimes_ns: impl Iterator<Item = i128>) {
    let Some(youngest_ns) = mtimes_ns.max() else { return };
    let age_ns = unix_ns(SystemTime::now()).saturating_sub(youngest_ns);
    let tick_ns = TICK.as_nanos().cast_signed();
    if (0..=tick_ns).contains(&age_ns) {
        std::thread::sleep(TICK);
    }
}

/// Gives a file or folder that the superuser has made below `root` to the owner of `root`. Best effort: not every file
/// system keeps owners.
pub(crate) fn give_to_owner_of(root: &Root, file: &File) {
    if current_user() == 0 && root.owner() != 0 {
        let _ = sys::set_owner(file, Some(root.owner()), Some(root.group()));
    }
}

/// The user that new files will belong to.
pub(crate) fn current_user() -> u32 {
    sys::current_user()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_racy_until_its_clock_has_ticked() {
        const S: i128 = 1_000_000_000;
        assert!(racy(5 * S + 1, 5 * S + 1)); // the same tick
        assert!(racy(5 * S + 1, 5 * S + 20_000_000)); // the clock may not have ticked yet
        assert!(!racy(5 * S + 1, 5 * S + 20_000_002));
        assert!(racy(5 * S, 7 * S)); // whole seconds: FAT
        assert!(!racy(5 * S, 7 * S + 1));
        assert!(racy(9 * S, 5 * S)); // from the future: never trusted
        assert!(racy(i128::MAX, 0));
        assert!(racy(i128::from(i64::MIN) - 1, 5 * S)); // before 1677
        assert!(!racy(i128::from(i64::MIN), 5 * S));
    }

    // Red when a time before 1970 counts as one after it: a file of 1969 would be as young as one of 1971.
    #[test]
    fn a_time_before_1970_is_a_negative_one() {
        let second = Duration::from_secs(1);
        assert_eq!(unix_ns(UNIX_EPOCH - second), -1_000_000_000);
        assert_eq!(unix_ns(UNIX_EPOCH + second), 1_000_000_000);
    }
}
