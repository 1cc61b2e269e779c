//! Room on the file system.

use std::fs::File;
use std::io;

use super::sparse::Blocks;
use super::{Root, fault, sys};

/// Sizes of a file system, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    /// What this user can still write.
    pub(crate) available_bytes: u64,
    pub(crate) total_bytes: u64,
}

/// The room on the root's file system; `None` where that does not tell: `statfs` is refused by some FUSE file systems and
/// sandboxes, and ramfs and sshfs can say that there is not one block in all. Unknown room is no limit.
pub(crate) fn space(root: &Root) -> Option<Space> {
    let stats = fs2::statvfs(root.path()).ok().filter(|stats| stats.total_space() > 0);
    if stats.is_none() {
        tracing::debug!(root = %root.path().display(), "the file system does not tell how much room it has");
    }
    stats.map(|stats| Space { available_bytes: stats.available_space(), total_bytes: stats.total_space() })
}

/// Gives a new file its full size; with its blocks, where they are to be reserved and the file system can: so that a full disk
/// is noticed before the first byte and not after the last.
pub(crate) fn set_size(file: &File, size_bytes: u64, blocks: Blocks) -> io::Result<()> {
    if blocks == Blocks::AsNeeded {
        return file.set_len(size_bytes);
    }
    // Not fs2's `allocate`: it loses the error's kind, and writes zeros where the file system cannot reserve.
    match fault::step("allocate").and_then(|()| sys::allocate(file, size_bytes)) {
        // A sandbox may refuse the call: of a file of one's own, the system does not.
        Err(e) if matches!(e.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
            file.set_len(size_bytes)
        }
        other => other,
    }
}
