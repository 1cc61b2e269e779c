//! Walks a directory to be staged.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::blob::manifest::{MAX_FILES, is_tree_path};
use crate::entry::SourceStamp;
use crate::error::{Error, Result};
use crate::fs::is_symlink_loop;
use crate::fs::source::source_meta;
use crate::hint::Hint;
use crate::layout::{self, Place};

/// A local file to be staged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SourceFile {
    /// Path below the tree, with `/` between the parts. Empty if the artifact is this one file.
    pub(super) path: String,
    /// Where to read it.
    pub(super) source: PathBuf,
    /// Its stamp when it was inspected.
    pub(super) stamp: SourceStamp,
}

/// Returns all files below `tree`, sorted by path. Follows symlinks that stay inside it, and all symlinks if
/// `follow_links` is set. Ignores empty folders. Refuses a store at `root`: it changes while it is read, and
/// `--mode move` would take it apart.
pub(super) fn walk(root: Option<&Path>, tree: &Path, follow_links: bool) -> Result<Vec<SourceFile>> {
    let real_tree = tree.canonicalize().map_err(|e| Error::io("read", tree, e))?;
    let mut files = Vec::new();
    // The real paths of the folders above the current entry, starting with the tree.
    let mut real_folders: Vec<PathBuf> = Vec::new();
    for entry in WalkDir::new(tree).follow_links(true).follow_root_links(true) {
        let entry = entry.map_err(|e| walk_error(tree, e))?;
        if entry.path_is_symlink() && entry.depth() > 0 && !follow_links {
            let target = entry.path().canonicalize().map_err(|e| Error::io("read the symlink", entry.path(), e))?;
            if !target.starts_with(&real_tree) {
                return Err(Error::LinkLeadsOut { link: entry.into_path(), target });
            }
        }
        if entry.file_type().is_dir() {
            real_folders.truncate(entry.depth());
            let real = match real_folders.last() {
                None => real_tree.clone(),
                Some(above) if !entry.path_is_symlink() => above.join(entry.file_name()),
                Some(_) => entry.path().canonicalize().map_err(|e| Error::io("read", entry.path(), e))?,
            };
            if root.is_some_and(|root| is_of_the_store(root, &real)) {
                let reason = "it belongs to the catalog that the tree should go to; stage the folders beside it";
                return Err(Error::UnusableTree { path: entry.into_path(), reason });
            }
            real_folders.push(real);
            continue;
        }
        // Inspects the entry without opening it, and rejects anything but a regular file.
        let stamp = source_meta(entry.path())?.source_stamp();
        let path = tree_path(tree, entry.path())?;
        files.push(SourceFile { path, source: entry.into_path(), stamp });
        if files.len() > MAX_FILES {
            let reason =
                "it has more than 100,000 files, the most that a manifest can name; stage its folders one by one";
            return Err(Error::UnusableTree { path: tree.to_path_buf(), reason });
        }
    }
    if files.is_empty() {
        return Err(Error::UnusableTree { path: tree.to_path_buf(), reason: "there is no file in it" });
    }
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn is_of_the_store(root: &Path, real_folder: &Path) -> bool {
    real_folder.strip_prefix(root).is_ok_and(|below| layout::place(below) == Place::Own)
}

fn tree_path(tree: &Path, file: &Path) -> Result<String> {
    let invalid = |reason| Error::InvalidPath { path: file.to_path_buf(), reason, hint: Hint::Rename };
    let below = file.strip_prefix(tree).unwrap_or(file);
    let path = crate::index::encode_path(below)
        .ok_or_else(|| invalid("its name is not UTF-8, which a tree's manifest needs"))?;
    if !is_tree_path(&path) {
        return Err(invalid("its name has control characters"));
    }
    Ok(path)
}

fn walk_error(tree: &Path, error: walkdir::Error) -> Error {
    let path = error.path().unwrap_or(tree).to_path_buf();
    if error.loop_ancestor().is_some() {
        return Error::UnusableTree { path, reason: "this symlink leads to a folder above itself" };
    }
    let is_symlink = path.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
    match error.into_io_error() {
        Some(e) if e.kind() == std::io::ErrorKind::NotFound && is_symlink => {
            Error::UnusableTree { path, reason: "this symlink leads nowhere" }
        }
        Some(e) if is_symlink_loop(&e) => Error::UnusableTree { path, reason: "this symlink leads to itself" },
        Some(e) => Error::io("read", path, e),
        None => Error::UnusableTree { path, reason: "it cannot be walked" },
    }
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("b/empty")).unwrap();
        std::fs::write(dir.path().join("b.json"), "{}").unwrap();
        std::fs::write(dir.path().join("b/a.gguf"), "abc").unwrap();
        dir
    }

    /// A root that is outside all of the test trees.
    fn root() -> Option<&'static Path> {
        Some(Path::new("/no/such/root"))
    }

    fn paths(files: &[SourceFile]) -> Vec<&str> {
        files.iter().map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn files_come_sorted_by_path_and_symlinks_inside_are_followed() {
        let dir = tree();
        symlink("b/a.gguf", dir.path().join("a-link")).unwrap();
        symlink("b", dir.path().join("c")).unwrap();
        let files = walk(root(), dir.path(), false).unwrap();
        assert_eq!(paths(&files), ["a-link", "b.json", "b/a.gguf", "c/a.gguf"]);
        assert_eq!(files[0].stamp.stamp.size_bytes, 3);
    }

    #[test]
    fn a_symlink_that_leads_out_needs_leave() {
        let dir = tree();
        let outside = tree();
        symlink(outside.path().join("b/a.gguf"), dir.path().join("out")).unwrap();
        let error = walk(root(), dir.path(), false).unwrap_err();
        assert!(error.hint() == Some(Hint::FollowLinks), "{error}");
        assert_eq!(paths(&walk(root(), dir.path(), true).unwrap()), ["b.json", "b/a.gguf", "out"]);
    }

    #[test]
    fn trees_without_an_end_or_without_a_file_are_refused() {
        for (name, target) in [("loop", "."), ("self", "self"), ("nowhere", "absent")] {
            let dir = tree();
            symlink(target, dir.path().join(name)).unwrap();
            for follow in [false, true] {
                let error = walk(root(), dir.path(), follow).unwrap_err();
                assert!(matches!(error, Error::UnusableTree { .. }), "{name}: {error}");
            }
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(walk(root(), empty.path(), false), Err(Error::UnusableTree { .. })));
    }
}
