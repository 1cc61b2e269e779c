//! Views: the paths that engines open, made of names for blobs.

use std::path::{Path, PathBuf};

use crate::blob::manifest::TreeFile;
use crate::blob::{Freed, Touched};
use crate::digest::Digest;
use crate::entry::{LinkMode, Stamp};
use crate::error::{Error, Result};
use crate::fs::{Durability, Kind, Root, Session, link};
use crate::layout;

/// Files that were made beforehand for names that cannot be hardlinks: one for each file of the artifact.
pub(crate) type Copies = Vec<(PathBuf, LinkMode)>;

/// Shows an artifact's files at or below `at`, by hardlinks, or by `copies` when there are some. Answers the costliest way
/// that any of them took; `None`: the file system refuses a hardlink, and there are no copies. The caller holds the store
/// lock shared, and syncs `touched`.
pub(crate) fn show(
    root: &Root,
    files: &[TreeFile],
    at: &Path,
    session: &Session<'_>,
    copies: Option<&Copies>,
    touched: &mut Touched,
) -> Result<Option<LinkMode>> {
    let mut costliest = LinkMode::Hardlink;
    for (number, file) in files.iter().enumerate() {
        let at = file.below(at);
        touched.make_parents(root, &at)?;
        touched.folder_of(&at);
        if is_hardlink_of(root, &file.digest, &at)?
            || link::show(root, &layout::blob(&file.digest), &at, &session.next_name())?
        {
            continue;
        }
        let Some((copy, mode)) = copies.and_then(|copies| copies.get(number)) else { return Ok(None) };
        root.rename_over(copy, &at)?;
        costliest = costliest.max(*mode);
    }
    match collision(root, files, at)? {
        None => Ok(Some(costliest)),
        Some(path) => Err(Error::NameCollision { path: root.absolute(&path) }),
    }
}

/// What tells whether files are still as they were: the hash of all their paths and stamps.
pub(crate) fn listing(files: &[(&str, Stamp)]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (path, stamp) in files {
        let Stamp { inode, size_bytes, mtime_ns } = stamp;
        hasher.update(format!("{path}\0{inode} {size_bytes} {mtime_ns}\0").as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// The listing of a view as it is; `None` of one that is made of hardlinks, for which the stamps of the blobs speak, and
/// when a file of it is not there.
pub(crate) fn listing_of(root: &Root, files: &[TreeFile], at: &Path, view: LinkMode) -> Result<Option<String>> {
    if view == LinkMode::Hardlink {
        return Ok(None);
    }
    let mut stamps = Vec::with_capacity(files.len());
    for file in files {
        match root.meta(&file.below(at))? {
            Some(meta) => stamps.push((file.path.as_str(), meta.stamp())),
            None => return Ok(None),
        }
    }
    Ok(Some(listing(&stamps)))
}

/// Makes copies for [`show`], without any lock: they may be large.
pub(crate) fn copy(root: &Root, files: &[TreeFile], session: &Session<'_>, durability: Durability) -> Result<Copies> {
    let copy = |file: &TreeFile| {
        let private = session.next_name();
        let mode = link::copy(root, &layout::blob(&file.digest), &private, durability)?;
        Ok((private, mode))
    };
    files.iter().map(copy).collect()
}

/// Finds a name that the file system took for another one of the same tree: a folder then has fewer names than it was
/// given. (The names themselves may come back in another Unicode form.)
fn collision(root: &Root, files: &[TreeFile], at: &Path) -> Result<Option<PathBuf>> {
    let mut expected: std::collections::BTreeMap<PathBuf, std::collections::BTreeSet<&str>> = Default::default();
    for file in files.iter().filter(|file| !file.path.is_empty()) {
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

/// What removing those files of a view brings that are copies.
pub(crate) fn copies_of(root: &Root, at: &Path, files: &[TreeFile]) -> Result<Freed> {
    let mut freed = Freed::default();
    for file in files {
        let shown = file.below(at);
        if !is_hardlink_of(root, &file.digest, &shown)?
            && let Some(meta) = root.meta(&shown)?
        {
            freed.size_bytes += meta.size_bytes;
            freed.disk_bytes += meta.allocated_bytes;
        }
    }
    Ok(freed)
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
        let shown = file.below(at);
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
