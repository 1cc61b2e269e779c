//! Inspects views: whether they are unchanged, and which files in them do not belong there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::blob::manifest::TreeFile;
use crate::digest::Digest;
use crate::entry::{LinkMode, fingerprint};
use crate::error::Result;
use crate::fs::{Kind, Meta, Root};
use crate::{layout, threads};

/// Whether `at` is a hardlink of this blob or a symlink to it, so that the blob's stamp covers both. `None`: it is a
/// separate file, something else, or nothing.
pub(crate) fn link_to_blob(root: &Root, digest: &Digest, at: &Path) -> Result<Option<LinkMode>> {
    let (Some(view), Some(blob)) = (root.meta(at)?, root.meta(&layout::blob(digest))?) else { return Ok(None) };
    Ok(match view.kind {
        Kind::File if view.same_inode(&blob) => Some(LinkMode::Hardlink),
        Kind::Symlink if is_symlink_to(root, digest, at)? => Some(LinkMode::Symlink),
        _ => None,
    })
}

/// See [`link_to_blob`].
pub(crate) fn shows_blob(root: &Root, digest: &Digest, at: &Path) -> Result<bool> {
    link_to_blob(root, digest, at).map(|link| link.is_some())
}

/// [`shows_blob`] for each file of a view. Of many files, a cold disk looks up two at a time faster than one by one.
pub(crate) fn each_shows_blob(root: &Root, shown: &[(&TreeFile, PathBuf)]) -> Result<Vec<bool>> {
    let shows = |(file, path): &(&TreeFile, PathBuf)| shows_blob(root, &file.digest, path);
    threads::map_all(shown.iter().collect(), shows).into_iter().collect()
}

/// Whether it is the symlink that the store would make to this blob, which need not exist.
pub(crate) fn is_symlink_to(root: &Root, digest: &Digest, at: &Path) -> Result<bool> {
    Ok(root.read_link(at)?.is_some_and(|target| target == layout::blob_from(at, digest)))
}

/// Whether it is the symlink that the store would make to some blob.
pub(crate) fn is_symlink_to_some_blob(root: &Root, at: &Path) -> Result<bool> {
    let target = root.read_link(at)?;
    let digest = target.as_deref().and_then(Path::file_name).and_then(|name| Digest::from_sha256_hex(name.to_str()?));
    digest.map_or(Ok(false), |digest| is_symlink_to(root, &digest, at))
}

/// The file that an engine opens at this path of a view: the blob, if the path is a symlink to it.
pub(crate) fn opened(root: &Root, digest: &Digest, at: &Path) -> Result<Option<Meta>> {
    match root.meta(at)? {
        Some(view) if view.kind == Kind::Symlink && is_symlink_to(root, digest, at)? => {
            root.meta(&layout::blob(digest))
        }
        view => Ok(view),
    }
}

/// The fingerprint of a view as it is now; `None` if it consists of links, which the stamps of the blobs cover, or if
/// one of its files is missing.
pub(crate) fn fingerprint_of(root: &Root, files: &[TreeFile], at: &Path, view: LinkMode) -> Result<Option<String>> {
    fingerprint_if(root, files, at, view, &|_| true)
}

/// The same, but `None` unless `is_so` holds for all of its files.
pub(crate) fn fingerprint_if(
    root: &Root,
    files: &[TreeFile],
    at: &Path,
    view: LinkMode,
    is_so: &dyn Fn(&Meta) -> bool,
) -> Result<Option<String>> {
    if view.is_the_blob() {
        return Ok(None);
    }
    let mut stamps = Vec::with_capacity(files.len());
    for file in files {
        match opened(root, &file.digest, &file.below(at))? {
            Some(meta) if is_so(&meta) => stamps.push((file.path.as_str(), meta.stamp().text())),
            _ => return Ok(None),
        }
    }
    Ok(Some(fingerprint(stamps)))
}

/// The folders of a tree, each with the names that belong in it.
fn folders<'f>(files: &'f [TreeFile], at: &Path) -> BTreeMap<PathBuf, BTreeSet<&'f str>> {
    let mut expected: BTreeMap<PathBuf, BTreeSet<&str>> = BTreeMap::new();
    for file in files {
        for path in and_above(&file.path).take_while(|path| !path.is_empty()) {
            let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
            let folder = if above.is_empty() { at.to_path_buf() } else { at.join(above) };
            if !expected.entry(folder).or_default().insert(name) {
                break; // everything above it is there too
            }
        }
    }
    expected
}

/// Finds a name that the file system merged with another name of the same tree: a folder then has fewer names than it
/// was given. (The names themselves may be listed in another Unicode form.)
pub(super) fn collision(root: &Root, files: &[TreeFile], at: &Path) -> Result<Option<PathBuf>> {
    for (folder, names) in folders(files, at) {
        let found = root.names(&folder)?;
        if found.len() < names.len() {
            let missing = names.into_iter().find(|name| !found.iter().any(|found| found == name));
            return Ok(Some(folder.join(missing.unwrap_or_default())));
        }
    }
    Ok(None)
}

/// Paths of a tree, in lower case, that differ from another of its paths only in case.
pub(super) fn case_twins(files: &[TreeFile]) -> BTreeSet<String> {
    let mut spelled: BTreeMap<String, &str> = BTreeMap::new();
    let mut twins = BTreeSet::new();
    for file in files {
        for path in and_above(&file.path) {
            let lower = path.to_lowercase();
            match spelled.insert(lower.clone(), path) {
                Some(other) if other == path => break, // everything above it is there too
                Some(_) => drop(twins.insert(lower)),
                None => {}
            }
        }
    }
    twins
}

/// Whether a file, or a folder above it, is one of `twins`.
pub(super) fn has_twin(twins: &BTreeSet<String>, file: &TreeFile) -> bool {
    !twins.is_empty() && and_above(&file.path).any(|path| twins.contains(&path.to_lowercase()))
}

/// A path of a tree and the folders above it.
fn and_above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(above, _)| above))
}

/// Whether the file at a place is another file of the same tree, which the file system found under this name. (Not by
/// inode: FUSE has one for each spelling.)
pub(super) fn is_folded(root: &Root, files: &[TreeFile], at: &Path, place: &Path) -> Result<bool> {
    let mut folder = at.to_path_buf();
    for name in place.strip_prefix(at).unwrap_or(Path::new("")) {
        let found = root.names(&folder)?;
        if !found.iter().any(|found| found == name) {
            let name = name.to_string_lossy().to_lowercase();
            let others = folders(files, at).remove(&folder).unwrap_or_default();
            let is_same = |other: &&str| other.to_lowercase() == name && found.iter().any(|found| found == other);
            return Ok(others.iter().any(is_same));
        }
        folder.push(name);
    }
    Ok(false) // it is listed under its own name
}

/// Files in the folders of a shown tree that do not belong to it. An engine that reads the whole folder would read them
/// too.
pub(crate) fn extras(root: &Root, files: &[TreeFile], at: &Path) -> Result<Vec<(PathBuf, Meta)>> {
    let mut extras = Vec::new();
    for (folder, names) in folders(files, at) {
        let found = root.names(&folder)?;
        if found.len() <= names.len() {
            continue;
        }
        // By inode, because a name may be listed in another Unicode form than it was given.
        let own: Result<Vec<Option<Meta>>> = names.iter().map(|name| root.meta(&folder.join(name))).collect();
        let own: Vec<Meta> = own?.into_iter().flatten().collect();
        for name in found.iter().filter(|name| !name.to_str().is_some_and(|name| names.contains(name))) {
            let path = folder.join(name);
            if let Some(meta) = root.meta(&path)?
                && !own.iter().any(|own| own.same_inode(&meta))
            {
                extras.push((path, meta));
            }
        }
    }
    Ok(extras)
}
