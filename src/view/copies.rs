//! Copies of blobs, made beforehand for a view whose names cannot be hardlinks.

use std::path::{Path, PathBuf};

use crate::blob::manifest::TreeFile;
use crate::entry::LinkMode;
use crate::error::Result;
use crate::fs::{Durability, Meta, Root, Session, link};
use crate::layout;

/// One for each file of the artifact.
pub(crate) type Copies = Vec<PrivateCopy>;

/// A private file that gets the name of a view.
#[derive(Debug)]
pub(crate) struct PrivateCopy {
    pub(super) path: PathBuf,
    pub(super) mode: LinkMode,
    /// Its `stat` at its place, once it is there.
    pub(super) placed: Option<Meta>,
}

impl PrivateCopy {
    /// Whether it stands at its place, as it was put there in an earlier round.
    pub(super) fn is_placed(&self, root: &Root, at: &Path) -> Result<bool> {
        let Some(placed) = &self.placed else { return Ok(false) };
        Ok(root.meta(at)?.is_some_and(|now| now.same_inode(placed) && now.stamp() == placed.stamp()))
    }
}

/// Makes copies for [`show`](super::show()), without any lock: they may be large.
pub(crate) fn copy(root: &Root, files: &[TreeFile], session: &Session<'_>, durability: Durability) -> Result<Copies> {
    let copy = |file: &TreeFile| {
        let path = session.next_name();
        let mode = link::copy(root, &layout::blob(&file.digest), &path, durability)?;
        Ok(PrivateCopy { path, mode, placed: None })
    };
    files.iter().map(copy).collect()
}
