//! Room on the file system.

use std::fs::File;
use std::io;

use super::sparse::Blocks;
use super::{Root, fault, sys};

/// Sizes of a file system, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    /// Bytes that this user can still write.
    pub(crate) available_bytes: u64,
    pub(crate) total_bytes: u64,
}

/// The room on the root's file system; `None` if unknown: some FUSE file systems and sandboxes refuse `statfs`, and
/// ramfs and sshfs may report a total of zero blocks. Unknown room is no limit.
pub(crate) fn space(root: &Root) -> Option<Space> {
    let stats = fs2::statvfs(root.path()).ok().filter(|stats| stats.total_space() > 0);
    if stats.is_none() {
        tracing::debug!(root = %root.path().display(), "the file system does not report its free space");
    }
    stats.map(|stats| Space { available_bytes: stats.available_space(), total_bytes: stats.total_space() })
}

/// Gives a new file its full size. If `blocks` says so and the file system can, it also reserves the blocks, so that a
/// full disk is noticed before the first byte and not after the last.
pub(crate) fn set_size(file: &File, size_bytes: u64, blocks: Blocks) -> io::Result<()> {
    if blocks == Blocks::AsNeeded {
        return file.set_len(size_bytes);
    }
    // Not fs2's `allocate`: it loses the error's kind, and writes zeros if the file system cannot reserve.
    match fault::step("allocate").and_then(|()| sys::allocate(file, size_bytes)) {
        // A sandbox may refuse the call; the system itself does not, for a file of one's own.
        Err(e) if matches!(e.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
            file.set_len(size_bytes)
        }
        other => other,
    }
}
