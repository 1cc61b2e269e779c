//! Removes views.

use std::path::Path;

use super::look::{fingerprint_of, shows_blob};
use crate::blob::Freed;
use crate::blob::manifest::TreeFile;
use crate::entry::LinkMode;
use crate::error::Result;
use crate::fs::Root;

/// What removing those files of a view that are copies would free.
pub(crate) fn copies_of(root: &Root, at: &Path, files: &[TreeFile]) -> Result<Freed> {
    let mut freed = Freed::default();
    for file in files {
        let shown = file.below(at);
        if !shows_blob(root, &file.digest, &shown)?
            && let Some(meta) = root.meta(&shown)?
        {
            freed.size_bytes = freed.size_bytes.saturating_add(meta.size_bytes);
            freed.disk_bytes = freed.disk_bytes.saturating_add(meta.allocated_bytes);
        }
    }
    Ok(freed)
}

/// Removes the view of an artifact at a path of the user's own: the files that belong to the catalog, and the folders
/// that are then empty. A file that a user has put there since stays, and so does one that is `needed` because another
/// entry shows it. Copies are recognized by `fingerprint`, which covers all of them.
pub(crate) fn remove_in_place(
    root: &Root,
    at: &Path,
    files: &[TreeFile],
    view: Option<LinkMode>,
    fingerprint: Option<&str>,
    needed: impl Fn(&Path) -> bool,
) -> Result<()> {
    let are_our_copies = match view {
        Some(mode) if !mode.is_the_blob() => {
            fingerprint.is_some() && fingerprint_of(root, files, at, mode)?.as_deref() == fingerprint
        }
        _ => false,
    };
    for file in files {
        let shown = file.below(at);
        if needed(&shown) {
            continue;
        }
        if are_our_copies || shows_blob(root, &file.digest, &shown)? {
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
