//! The locks of the system, as Linux lists them: all in `/proc/locks`, those of one descriptor in its `fdinfo`.

use std::fs;

/// A held `flock` lock; this crate takes no other kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed<'l> {
    /// The process that took it, even if it has ended and another inherited the descriptor. `None` if it is not visible
    /// from here.
    pub(super) pid: Option<u32>,
    pub(super) is_shared: bool,
    pub(super) device: &'l str,
    pub(super) inode: u64,
}

/// The text of the list. `None` if the system has none.
pub(super) fn read() -> Option<String> {
    fs::read_to_string("/proc/locks").ok()
}

/// The locks in a list. A line is `1: FLOCK  ADVISORY  WRITE 1234 fd:00:5678 0 EOF`, in `fdinfo` with `lock:` before it; for
/// a waiter, it is `1: -> FLOCK …`. A process that is not visible from here has the number 0 or -1.
pub(super) fn listed(text: &str) -> impl Iterator<Item = Listed<'_>> {
    text.lines().filter_map(|line| of_line(line.strip_prefix("lock:").unwrap_or(line)))
}

fn of_line(line: &str) -> Option<Listed<'_>> {
    let mut words = line.split_ascii_whitespace().skip(1);
    if words.next()? != "FLOCK" {
        return None;
    }
    let is_shared = words.nth(1)? == "READ";
    let pid = words.next()?.parse().ok().filter(|pid| *pid > 0);
    let (device, inode) = words.next()?.rsplit_once(':')?;
    Some(Listed { pid, is_shared, device, inode: inode.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_list() {
        let list = "1: FLOCK  ADVISORY  WRITE 1234 fd:00:5678 0 EOF
1: -> FLOCK  ADVISORY  WRITE 1235 fd:00:5678 0 EOF
2: POSIX  ADVISORY  READ 1 fd:00:5678 0 EOF
3: FLOCK  ADVISORY  READ 0 fd:00:5678 0 EOF
4: FLOCK  ADVISORY  READ -1 fd:00:5678 0 EOF
5: FLOCK

pos:	0
lock:	1: FLOCK  ADVISORY  READ  1 00:2c:9 0 EOF";
        let lock = |pid, is_shared, device, inode| Listed { pid, is_shared, device, inode };
        let expected = [
            lock(Some(1234), false, "fd:00", 5678),
            lock(None, true, "fd:00", 5678),
            lock(None, true, "fd:00", 5678),
            lock(Some(1), true, "00:2c", 9),
        ];
        assert_eq!(listed(list).collect::<Vec<_>>(), expected);
    }
}
