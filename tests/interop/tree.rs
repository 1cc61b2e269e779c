//! What is in the folder of another tool, to compare it before and after.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// Names, sizes, targets of symlinks and content.
pub(crate) type Tree = BTreeMap<PathBuf, String>;

/// With the times of files too. Modes are left out, because a file that the catalog shares by a hardlink becomes
/// read-only.
pub(crate) fn tree(folder: &Path) -> Tree {
    tree_of(folder, true)
}

/// Without times: a file that `--dedupe` replaces gets the time of the blob.
pub(crate) fn content(folder: &Path) -> Tree {
    tree_of(folder, false)
}

/// The bytes of all files. A file with several names counts once.
pub(crate) fn total_bytes(folder: &Path) -> u64 {
    let files = WalkDir::new(folder).into_iter().map(|entry| entry.unwrap().metadata().unwrap());
    let sizes: BTreeMap<u64, u64> =
        files.filter(fs::Metadata::is_file).map(|about| (about.ino(), about.size())).collect();
    sizes.values().sum()
}

fn tree_of(folder: &Path, with_times: bool) -> Tree {
    WalkDir::new(folder).min_depth(1).into_iter().map(|entry| describe(&entry.unwrap(), folder, with_times)).collect()
}

fn describe(entry: &walkdir::DirEntry, folder: &Path, with_times: bool) -> (PathBuf, String) {
    let path = entry.path();
    let about = fs::symlink_metadata(path).unwrap();
    let what = if about.is_dir() {
        "folder".to_owned()
    } else if about.is_symlink() {
        format!("-> {}", fs::read_link(path).unwrap().display())
    } else {
        let content = blake3::hash(&fs::read(path).unwrap());
        let time = if with_times { format!(" of {}.{:09}", about.mtime(), about.mtime_nsec()) } else { String::new() };
        format!("{} bytes{time}, {content}", about.size())
    };
    (path.strip_prefix(folder).unwrap().to_owned(), what)
}

#[track_caller]
pub(crate) fn assert_same(before: &Tree, after: &Tree) {
    let added: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    let gone: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).collect();
    let both = before.iter().filter_map(|(path, was)| after.get(path).map(|is| (path, was, is)));
    let changed: Vec<_> = both.filter(|(_, was, is)| was != is).collect();
    assert!(
        added.is_empty() && gone.is_empty() && changed.is_empty(),
        "added {added:?}, gone {gone:?}, changed {changed:?}"
    );
}
