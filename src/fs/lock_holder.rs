//! The processes that hold a lock, as far as the system reports them: Linux lists all locks in `/proc/locks`.

use std::path::Path;

use super::{Meta, lock_table, process, sys};

/// The processes that hold a lock on this inode: `process 12 (catalog)`, `process 12 (catalog) and 3 others`. `None` if
/// the system does not say. It names the process that took the lock, even if that has ended and another inherited the
/// descriptor.
pub(super) fn find_holder(file: &Meta) -> Option<String> {
    let locks = lock_table::read()?;
    let device = sys::device_numbers(file.device);
    // On btrfs the list shows another device than `stat`, so a process that has this very inode open counts too.
    let is_of_file = |(pid, listed): &(u32, &str)| {
        *listed == device || !process::descriptors(&Path::new("/proc").join(pid.to_string()), file).is_empty()
    };
    let on_inode = lock_table::listed(&locks).filter(|lock| lock.inode == file.inode);
    let on_inode = on_inode.filter_map(|lock| Some((lock.pid?, lock.device)));
    let mut pids: Vec<u32> = on_inode.filter(is_of_file).map(|(pid, _)| pid).collect();
    pids.sort_unstable();
    pids.dedup();
    let first = process::named(*pids.first()?);
    Some(match pids.len() {
        1 => first,
        2 => format!("{first} and another"),
        count => format!("{first} and {} others", count - 1),
    })
}
