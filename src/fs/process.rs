//! Processes as `/proc` shows them: those of other users only to root, those outside the container not at all.

use std::fs;
use std::path::{Path, PathBuf};

use super::Meta;

/// `process 12 (name)`, or without the name if it is not visible.
pub(super) fn named(pid: u32) -> String {
    match fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("comm")) {
        Ok(name) => format!("process {pid} ({})", name.trim()),
        Err(_) => format!("process {pid}"),
    }
}

/// The command line of a process, its words separated by blanks, or its name if it has none. `None` if it has ended or is
/// not visible.
pub(crate) fn command(pid: u32) -> Option<String> {
    let process = Path::new("/proc").join(pid.to_string());
    let line = fs::read(process.join("cmdline")).ok()?;
    let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    match words.join(" ").trim_end() {
        "" => Some(fs::read_to_string(process.join("comm")).ok()?.trim_end().to_owned()),
        words => Some(words.to_owned()),
    }
}

/// Every visible process.
pub(super) fn all() -> Vec<u32> {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.parse().ok()).collect()
}

/// The wanted inodes that a process has open, each with a link in `/proc/<pid>/fd`. `None` if this user may not look. A
/// process that has ended has none open.
#[cfg(unix)]
pub(super) fn open_inodes(pid: u32, is_wanted: impl Fn((u64, u64)) -> bool) -> Option<Vec<((u64, u64), PathBuf)>> {
    use std::os::unix::fs::MetadataExt;
    let all = match fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")) {
        Ok(all) => all,
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => return None,
        Err(_) => return Some(Vec::new()),
    };
    let inode = |path: PathBuf| Some((fs::metadata(&path).map(|m| (m.dev(), m.ino())).ok()?, path));
    let open = all.flatten().filter_map(|descriptor| inode(descriptor.path()));
    Some(open.filter(|(inode, _)| is_wanted(*inode)).collect())
}

#[cfg(not(unix))]
pub(super) fn open_inodes(_: u32, _: impl Fn((u64, u64)) -> bool) -> Option<Vec<((u64, u64), PathBuf)>> {
    None
}

/// The links in `/proc/<pid>/fd` by which a process has this inode open.
#[cfg(unix)]
pub(super) fn descriptors(process: &Path, file: &Meta) -> Vec<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let is_of_file = |path: &PathBuf| fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == (file.device, file.inode));
    let all = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    all.map(|descriptor| descriptor.path()).filter(is_of_file).collect()
}

#[cfg(not(unix))]
pub(super) fn descriptors(_: &Path, _: &Meta) -> Vec<PathBuf> {
    Vec::new()
}
