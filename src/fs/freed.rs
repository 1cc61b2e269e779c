//! How much room removing a file frees: nothing if its inode has another name, and no blocks that other files share.

use std::path::Path;

use super::{Meta, Root, sys};

/// Calculates this for the files of one root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freeing<'r> {
    root: &'r Root,
    /// Whether files of this file system may share blocks.
    may_share: bool,
}

impl<'r> Freeing<'r> {
    pub(crate) fn of(root: &'r Root) -> Self {
        Freeing { root, may_share: sys::may_share_blocks(root.path()) }
    }

    /// Bytes on disk that are freed when a file loses `names` names of its inode. If the file system does not say which
    /// blocks are shared, all of them count.
    pub(crate) fn bytes(&self, name: &Path, meta: &Meta, names: u64) -> u64 {
        if meta.links > names { 0 } else { meta.allocated_bytes.saturating_sub(self.shared_bytes(name)) }
    }

    /// How many bytes of a file are in blocks that other files share.
    pub(crate) fn shared_bytes(&self, name: &Path) -> u64 {
        let file = if self.may_share { self.root.open_file(name).ok().flatten() } else { None };
        file.and_then(|file| sys::shared_bytes(&file).ok()).unwrap_or(0)
    }
}
