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
