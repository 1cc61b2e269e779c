//! The folder outside the store that an export writes into. Everything is done below its descriptor, and no symlink in
//! it is followed, except that what is behind a name of the tool can be looked at.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::options::ExportOptions;
use crate::adopt::place_of;
use crate::error::{Error, Result};
use crate::fs::lock::{Hold, Lock, lock};
use crate::fs::{Meta, Root, atomic};
use crate::hint::Hint;
use crate::layout;
use crate::store::Store;

/// Finds out where to export to, as an absolute path. Nothing need be there yet.
pub(super) fn place(store: &Store, options: &ExportOptions) -> Result<PathBuf> {
    let place = options.to.clone().or_else(|| options.layout.tool().and_then(place_of)).ok_or_else(|| {
        Error::InvalidExport {
            value: options.layout.as_str().to_owned(),
            reason: "this layout has no folder of its own; name one".into(),
        }
    })?;
    let place = std::path::absolute(&place).map_err(|e| Error::io("use the path", &place, e))?;
    // Resolve what exists of it, so that one folder has one name in the records.
    let existing = place.ancestors().find_map(|above| Some((above.canonicalize().ok()?, above)));
    let place = match existing {
        Some((real, above)) => place
            .strip_prefix(above)
            .map_or(real.clone(), |below| if below.as_os_str().is_empty() { real } else { real.join(below) }),
        None => place,
    };
    let invalid = |reason, hint| Err(Error::InvalidPath { path: place.clone(), reason, hint });
    if place.starts_with(store.path()) {
        return invalid("it is in the catalog itself", Hint::GiveOtherPath);
    }
    if place.to_str().is_none() {
        return invalid("it is not UTF-8, which the record of an export needs", Hint::Rename);
    }
    Ok(place)
}

/// Opens the tool's folder; `None` if it does not exist.
pub(super) fn find(folder: &Path) -> Result<Option<Root>> {
    match std::fs::metadata(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("look at", folder, e)),
        Ok(meta) if !meta.is_dir() => {
            Err(Error::io("open the folder", folder, std::io::Error::from(std::io::ErrorKind::NotADirectory)))
        }
        Ok(_) => Root::open(folder).map(Some),
    }
}

/// Opens the tool's folder, and makes it if it does not exist.
pub(super) fn make(folder: &Path) -> Result<Root> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?;
    Root::open(folder)
}

/// One export at a time works on a folder.
pub(super) fn lock_place(store: &Store, to: &str) -> Result<Lock> {
    let name = layout::lock_fetch(&format!("export {to}"));
    lock(&store.root, name, "the exports to a folder", Hold::Exclusive, store.settings.lock_wait)
}

/// Whether both files have the same bytes from their beginning to their end.
pub(super) fn are_equal(mut one: impl Read, mut other: impl Read) -> std::io::Result<bool> {
    const CHUNK: u64 = 1 << 20;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    loop {
        first.clear();
        second.clear();
        (&mut one).take(CHUNK).read_to_end(&mut first)?;
        (&mut other).take(CHUNK).read_to_end(&mut second)?;
        if first != second {
            return Ok(false);
        }
        if first.is_empty() {
            return Ok(true);
        }
    }
}

/// Where an export keeps files that do not have their names yet: no tool takes such a folder for a model.
pub(super) fn private_name() -> String {
    format!(".catalog-{}", atomic::random_name())
}

/// What the superuser makes in another user's folder belongs to that user.
pub(super) fn give(root: &Root, file: &File) {
    crate::fs::give_to_owner_of(root, file);
}

pub(super) fn give_folder(root: &Root, folder: &Path) {
    if let Ok(Some(folder)) = root.open_dir(folder) {
        give(root, &folder);
    }
}

/// Reads what a symlink of the tool leads to, if that is a file below the tool's own folder.
pub(super) fn behind(root: &Root, at: &Path, size_bytes: u64) -> Option<File> {
    let real = root.absolute(at).canonicalize().ok().filter(|real| real.starts_with(root.path()))?;
    let below = real.strip_prefix(root.path()).ok()?;
    let meta: Meta = root.meta(below).ok()??;
    if meta.size_bytes != size_bytes {
        return None;
    }
    root.open_file(below).ok()?
}
