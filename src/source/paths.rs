//! Checks paths that a server names.

use std::collections::BTreeSet;

use crate::excerpt::excerpt;

/// Checks that a path leads below its tree.
pub(super) fn check(path: &str) -> Result<(), String> {
    let is_plain = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !is_plain || path.chars().any(char::is_control) {
        return Err(format!("the file {:?} has a path that is not a plain path below the repository", excerpt(path)));
    }
    Ok(())
}

/// Checks that no two files have the same path, and no file has the path of another one's folder.
pub(super) fn check_apart<'p>(listed: impl ExactSizeIterator<Item = &'p str>) -> Result<(), String> {
    let count = listed.len();
    let paths: BTreeSet<&str> = listed.collect();
    if paths.len() < count {
        return Err("two files have the same path".into());
    }
    let folders = paths.iter().flat_map(|path| path.match_indices('/').filter_map(|(at, _)| path.get(..at)));
    match folders.into_iter().find(|folder| paths.contains(folder)) {
        Some(folder) => Err(format!("{:?} is both a file and a folder", excerpt(folder))),
        None => Ok(()),
    }
}
