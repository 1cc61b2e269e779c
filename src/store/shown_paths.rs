//! The paths that records show, as numbers: a catalog may have a million of them.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{MAIN_SEPARATOR, Path};

use crate::counts::{Counting, Counts};

/// As bytes, so that it takes 12 of them with its count and not 16.
type Hash = [u8; size_of::<u64>()];

/// Gathers the paths.
#[derive(Default)]
pub(super) struct GatheredPaths {
    hashes: Hashes,
    shown: Counting<Hash>,
    above: Counting<Hash>,
}

/// Which paths are shown, how often, and which folders contain one.
///
/// A path is kept as a hash of 64 bits, so two paths may count as one: then what nobody shows counts as shown, and a
/// stray view stays. No path that is shown ever counts as not shown.
#[derive(Default)]
pub(super) struct ShownPaths {
    hashes: Hashes,
    shown: Counts<Hash>,
    above: Counts<Hash>,
}

impl GatheredPaths {
    pub(super) fn add(&mut self, path: &Path) {
        let (path, folders) = self.hashes.of(path);
        self.shown.add(path, 1);
        for folder in folders {
            self.above.add(folder, 1);
        }
    }

    pub(super) fn counted(self) -> ShownPaths {
        ShownPaths { hashes: self.hashes, shown: self.shown.counted(), above: self.above.counted() }
    }
}

impl ShownPaths {
    /// Takes back what was added.
    pub(super) fn release(&mut self, path: &Path) {
        let (path, folders) = self.hashes.of(path);
        self.shown.release(&path);
        folders.iter().for_each(|folder| self.above.release(folder));
    }

    /// Whether something is shown here: at this path, below it, or in a folder that contains it.
    pub(super) fn needs(&self, path: &Path) -> bool {
        let (path, folders) = self.hashes.of(path);
        self.above.of(&path) > 0 || folders.iter().chain([&path]).any(|hash| self.shown.of(hash) > 0)
    }
}

#[derive(Default)]
struct Hashes(RandomState);

impl Hashes {
    /// The hash of a plain path, and those of the folders that it is in.
    fn of(&self, path: &Path) -> (Hash, Vec<Hash>) {
        let is_separator = |byte: &u8| *byte == b'/' || char::from(*byte) == MAIN_SEPARATOR;
        let mut hasher = self.0.build_hasher();
        let mut folders = Vec::new();
        for (number, name) in path.as_os_str().as_encoded_bytes().split(is_separator).enumerate() {
            if number > 0 {
                folders.push(hasher.finish().to_ne_bytes());
                hasher.write_u8(b'/');
            }
            hasher.write(name);
        }
        (hasher.finish().to_ne_bytes(), folders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_needs_what_is_above_and_below_it_and_no_namesake() {
        let mut gathered = GatheredPaths::default();
        for path in ["views/a-1/abc/m.gguf", "views/b/abc", "views/b-1/abc", "views/b/abc"] {
            gathered.add(Path::new(path));
        }
        let mut shown = gathered.counted();
        let needs = |shown: &ShownPaths, path: &str| shown.needs(Path::new(path));
        for path in
            ["views", "views/a-1", "views/a-1/abc", "views/a-1/abc/m.gguf", "views/b", "views/b/abc/x/y", "views/b-1"]
        {
            assert!(needs(&shown, path), "{path}");
        }
        // Red when the text is compared and not its parts: `a-1` begins with `a`.
        for path in ["view", "views/a", "views/a-1/ab", "views/a-1/abc/m", "views/b-", "views/b/abcd", "index"] {
            assert!(!needs(&shown, path), "{path}");
        }
        // Red when a path that two records show is not shown once one of them is gone.
        shown.release(Path::new("views/b/abc"));
        assert!(needs(&shown, "views/b") && needs(&shown, "views/b/abc/x"));
        shown.release(Path::new("views/b/abc"));
        assert!(!needs(&shown, "views/b") && needs(&shown, "views/b-1") && needs(&shown, "views"));
    }
}
