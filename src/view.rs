//! Views: the paths that engines open, made of names for blobs.

use std::path::{Path, PathBuf};

use crate::blob::manifest::TreeFile;
use crate::blob::{Session, Touched};
use crate::digest::Digest;
use crate::entry::LinkMode;
use crate::error::{Error, Result};
use crate::fs::{Durability, Kind, Root, link};
use crate::layout;

/// Shows a blob at `at`. The caller syncs `touched`.
pub(crate) fn show_file(
    root: &Root,
    digest: &Digest,
    at: &Path,
    session: &Session<'_>,
    durability: Durability,
    touched: &mut Touched,
) -> Result<LinkMode> {
    touched.make_parents(root, at)?;
    touched.folder_of(at);
    if is_hardlink_of(root, digest, at)? {
        return Ok(LinkMode::Hardlink);
    }
    link::show(root, &layout::blob(digest), at, &session.next_name(), durability)
}

/// Shows a tree's files below `at`. Answers the costliest way that any of them took.
pub(crate) fn show_tree(
    root: &Root,
    files: &[TreeFile],
    at: &Path,
    session: &Session<'_>,
    durability: Durability,
    touched: &mut Touched,
) -> Result<LinkMode> {
    let mut costliest = LinkMode::Hardlink;
    for file in files {
        costliest = costliest.max(show_file(root, &file.digest, &at.join(&file.path), session, durability, touched)?);
    }
    match collision(root, files, at)? {
        None => Ok(costliest),
        Some(path) => Err(Error::NameCollision { path: root.absolute(&path) }),
    }
}

/// Finds a name that the file system took for another one of the same tree: a folder then has fewer names than it was
/// given. (The names themselves may come back in another Unicode form.)
fn collision(root: &Root, files: &[TreeFile], at: &Path) -> Result<Option<PathBuf>> {
    let mut expected: std::collections::BTreeMap<PathBuf, std::collections::BTreeSet<&str>> = Default::default();
    for file in files {
        let mut folder = at.to_path_buf();
        for part in file.path.split('/') {
            expected.entry(folder.clone()).or_default().insert(part);
            folder.push(part);
        }
    }
    for (folder, names) in expected {
        let found = root.names(&folder)?;
        if found.len() < names.len() {
            let missing = names.into_iter().find(|name| !found.iter().any(|found| found == name));
            return Ok(Some(folder.join(missing.unwrap_or_default())));
        }
    }
    Ok(None)
}

/// Whether `at` shows this blob by a hardlink, so that the stamp of the blob speaks for both.
pub(crate) fn is_hardlink_of(root: &Root, digest: &Digest, at: &Path) -> Result<bool> {
    let (Some(view), Some(blob)) = (root.meta(at)?, root.meta(&layout::blob(digest))?) else { return Ok(false) };
    Ok(view.kind == Kind::File && view.same_inode(&blob))
}

/// Bytes on disk of those files of a view that are copies.
pub(crate) fn copied_bytes(root: &Root, at: &Path, files: &[TreeFile]) -> Result<u64> {
    let mut bytes = 0;
    for file in files {
        let shown = if file.path.is_empty() { at.to_path_buf() } else { at.join(&file.path) };
        let is_link = is_hardlink_of(root, &file.digest, &shown)?;
        bytes += root.meta(&shown)?.filter(|_| !is_link).map_or(0, |meta| meta.allocated_bytes);
    }
    Ok(bytes)
}

/// Removes what an adopted path shows: the files that are the catalog's, and the folders that are empty then. A file
/// that somebody has put there since stays, and so does one that is `needed`, because another entry shows it.
pub(crate) fn remove_adopted(
    root: &Root,
    at: &Path,
    files: &[TreeFile],
    view: Option<LinkMode>,
    needed: impl Fn(&Path) -> bool,
) -> Result<()> {
    let may_be_copy = view != Some(LinkMode::Hardlink);
    for file in files {
        let shown = if file.path.is_empty() { at.to_path_buf() } else { at.join(&file.path) };
        if needed(&shown) {
            continue;
        }
        if is_hardlink_of(root, &file.digest, &shown)? || (may_be_copy && is_copy_of(root, file, &shown)?) {
            root.remove_file(&shown)?;
        }
        let folders = shown.ancestors().skip(1).take_while(|folder| folder.starts_with(at));
        for folder in folders {
            if !root.remove_empty_dir(folder)? {
                break;
            }
        }
    }
    Ok(())
}

/// A view that is not a hardlink is known by its mode and size: the catalog alone makes files of mode 0444.
fn is_copy_of(root: &Root, file: &TreeFile, at: &Path) -> Result<bool> {
    let meta = root.meta(at)?;
    Ok(meta.is_some_and(|m| m.kind == Kind::File && m.mode == 0o444 && m.size_bytes == file.size_bytes))
}
