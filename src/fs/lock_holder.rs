//! The processes that hold a lock, as far as the system reports them: Linux lists all locks in `/proc/locks`.

use std::fs;
use std::path::Path;

use super::{Meta, process, sys};

/// The processes that hold a lock on this inode: `process 12 (catalog)`, `process 12 (catalog) and 3 others`. `None` if
/// the system does not say. It names the process that took the lock, even if that has ended and another inherited the
/// descriptor.
pub(super) fn find_holder(file: &Meta) -> Option<String> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let device = sys::device_numbers(file.device);
    // On btrfs the list shows another device than `stat`, so a process that has this very inode open counts too.
    let is_of_file = |lock: &Listed<'_>| {
        lock.device == device || !process::descriptors(&Path::new("/proc").join(lock.pid.to_string()), file).is_empty()
    };
    let on_inode = locks.lines().filter_map(listed).filter(|lock| lock.inode == file.inode);
    let mut pids: Vec<u32> = on_inode.filter(is_of_file).map(|lock| lock.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    let first = process::named(*pids.first()?);
    Some(match pids.len() {
        1 => first,
        2 => format!("{first} and another"),
        count => format!("{first} and {} others", count - 1),
    })
}

/// A lock that is held.
struct Listed<'l> {
    pid: u32,
    device: &'l str,
    inode: u64,
}

/// A line is `1: FLOCK  ADVISORY  WRITE 1234 fd:00:5678 0 EOF`; a waiter's line is `1: -> FLOCK …`. A process that is
/// not visible from here has the number 0 or -1.
fn listed(line: &str) -> Option<Listed<'_>> {
    let mut words = line.split_ascii_whitespace().skip(1);
    if words.next()? != "FLOCK" {
        return None;
    }
    let pid = words.nth(2)?.parse().ok().filter(|pid| *pid > 0)?;
    let (device, inode) = words.next()?.rsplit_once(':')?;
    Some(Listed { pid, device, inode: inode.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_locks() {
        let held = listed("1: FLOCK  ADVISORY  WRITE 1234 fd:00:5678 0 EOF").unwrap();
        assert_eq!((held.pid, held.device, held.inode), (1234, "fd:00", 5678));
        for other in [
            "1: -> FLOCK  ADVISORY  WRITE 1235 fd:00:5678 0 EOF", // waits
            "2: POSIX  ADVISORY  READ 1 fd:00:5678 0 EOF",
            "3: FLOCK  ADVISORY  READ 0 fd:00:5678 0 EOF",
            "4: FLOCK  ADVISORY  READ -1 fd:00:5678 0 EOF",
            "5: FLOCK",
            "",
        ] {
            assert!(listed(other).is_none(), "{other}");
        }
    }
}
