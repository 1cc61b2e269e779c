//! Copies of blobs, made in advance for a view whose files cannot be hardlinks.

use std::path::{Path, PathBuf};

use crate::blob::manifest::TreeFile;
use crate::entry::LinkMode;
use crate::error::Result;
use crate::fs::{Durability, Meta, Root, Session, link};
use crate::layout;

/// One copy per file of the artifact.
pub(crate) type Copies = Vec<PrivateCopy>;

/// A private file that will get the name of a view's file.
#[derive(Debug)]
pub(crate) struct PrivateCopy {
    pub(super) path: PathBuf,
    pub(super) mode: LinkMode,
    /// Its metadata at its place, once it is there.
    pub(super) placed: Option<Meta>,
}

impl PrivateCopy {
    /// Whether it is still at the place where an earlier round put it, unchanged.
    pub(super) fn is_placed(&self, root: &Root, at: &Path) -> Result<bool> {
        let Some(placed) = &self.placed else { return Ok(false) };
        Ok(root.meta(at)?.is_some_and(|now| now.same_inode(placed) && now.stamp() == placed.stamp()))
    }
}

/// Makes copies for [`show`](super::show()). It needs no lock, because they may be large.
pub(crate) fn copy(root: &Root, files: &[TreeFile], session: &Session<'_>, durability: Durability) -> Result<Copies> {
    let copy = |file: &TreeFile| {
        let path = session.next_name();
        let mode = link::copy(root, &layout::blob(&file.digest), &path, durability)?;
        Ok(PrivateCopy { path, mode, placed: None })
    };
    files.iter().map(copy).collect()
}
