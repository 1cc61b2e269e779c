//! The lock files of other tools.

use std::path::Path;

use super::Root;
use super::lock::{Hold, Lock, Wait, lock_open_file};
use crate::error::Result;

/// Locks a file as its tool does, and makes it, with its folders, if it does not exist. It stays.
pub(crate) fn lock_of_tool(root: &Root, path: &Path, wait: Wait) -> Result<Lock> {
    if let Some(folder) = path.parent() {
        root.make_dirs(folder)?;
    }
    let file = match root.open_private_file(path)? {
        Some(file) => file,
        None => match root.create_file(path, 0o664) {
            Err(error) if error.is_already_there() => root.open_private_file(path)?.ok_or(error)?,
            made => made?,
        },
    };
    lock_open_file(root, file, path, "a file of the tool", Hold::Exclusive, wait)
}
