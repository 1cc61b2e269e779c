//! Whether any process has a file open for writing, as far as this can be known.

use std::fs;
use std::path::Path;

use super::{Meta, process};

/// Whether `/proc` is available. On systems that never have one, no writer is seen.
pub(crate) fn can_be_seen() -> bool {
    cfg!(not(target_os = "linux")) || Path::new("/proc/self/fd").exists()
}

/// Names a process that has this inode open for writing, or mapped for shared writing.
///
/// It searches `/proc`: only root sees other users' processes, a container sees only its own, and a process may open
/// the file a moment later. So `None` means "none was seen".
pub(crate) fn find_writer(file: &Meta) -> Option<String> {
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().map(|entry| entry.path()).find_map(|process| {
        let pid: u32 = process.file_name()?.to_str()?.parse().ok()?;
        let seen = has_open_for_writing(&process, file) || has_mapped_for_writing(&process, file);
        seen.then(|| format!("{} has it open for writing", process::named(pid)))
    })
}

fn has_open_for_writing(process: &Path, file: &Meta) -> bool {
    process::descriptors(process, file)
        .iter()
        .filter_map(|descriptor| descriptor.file_name())
        .any(|number| fs::read_to_string(process.join("fdinfo").join(number)).is_ok_and(|info| is_writable(&info)))
}

/// `flags:` in `/proc/<pid>/fdinfo/<fd>` is octal; its last two bits are the access mode, 0 for read-only.
fn is_writable(fdinfo: &str) -> bool {
    fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| flags & 0o3 != 0)
}

/// A line of `/proc/<pid>/maps` is `range perms offset device inode path`; `s` in the perms means a shared map.
fn has_mapped_for_writing(process: &Path, file: &Meta) -> bool {
    let Ok(maps) = fs::read_to_string(process.join("maps")) else { return false };
    maps.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (_, perms) = (fields.next(), fields.next().unwrap_or_default());
        let inode = fields.nth(2).and_then(|inode| inode.parse::<u64>().ok());
        perms.contains('w') && perms.contains('s') && inode == Some(file.inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_modes_of_fdinfo() {
        assert!(!is_writable("pos:\t0\nflags:\t0100000\nmnt_id:\t1\n"));
        assert!(is_writable("pos:\t0\nflags:\t0100001\n"));
        assert!(is_writable("flags:\t02100002\n"));
        assert!(!is_writable("nothing of the kind"));
    }
}
