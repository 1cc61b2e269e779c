//! The paths that records show, as numbers: a catalog may have a million of them.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{MAIN_SEPARATOR, Path};

/// Which paths are shown, how often, and which folders contain one.
///
/// A path is kept as a hash of 64 bits, so two paths may count as one: then what nobody shows counts as shown, and a
/// stray view stays. No path that is shown ever counts as not shown.
#[derive(Default)]
pub(super) struct ShownPaths {
    hashes: RandomState,
    shown: BTreeMap<u64, u32>,
    above: BTreeMap<u64, u32>,
}

impl ShownPaths {
    pub(super) fn add(&mut self, path: &Path) {
        let (path, folders) = self.hashes_of(path);
        *self.shown.entry(path).or_default() += 1;
        for folder in folders {
            *self.above.entry(folder).or_default() += 1;
        }
    }

    /// Takes back what was added.
    pub(super) fn release(&mut self, path: &Path) {
        let (path, folders) = self.hashes_of(path);
        release_one(&mut self.shown, &path);
        folders.iter().for_each(|folder| release_one(&mut self.above, folder));
    }

    /// Whether something is shown here: at this path, below it, or in a folder that contains it.
    pub(super) fn needs(&self, path: &Path) -> bool {
        let (path, folders) = self.hashes_of(path);
        self.above.contains_key(&path) || folders.iter().chain([&path]).any(|hash| self.shown.contains_key(hash))
    }

    /// The hash of a plain path, and those of the folders that it is in.
    fn hashes_of(&self, path: &Path) -> (u64, Vec<u64>) {
        let is_separator = |byte: &u8| *byte == b'/' || char::from(*byte) == MAIN_SEPARATOR;
        let mut hasher = self.hashes.build_hasher();
        let mut folders = Vec::new();
        for (number, name) in path.as_os_str().as_encoded_bytes().split(is_separator).enumerate() {
            if number > 0 {
                folders.push(hasher.finish());
                hasher.write_u8(b'/');
            }
            hasher.write(name);
        }
        (hasher.finish(), folders)
    }
}

/// Counts one less of these; none is left out.
pub(super) fn release_one<K: Ord>(counts: &mut BTreeMap<K, u32>, key: &K) {
    let left = counts.get_mut(key).map(|count| {
        *count = count.saturating_sub(1);
        *count
    });
    if left == Some(0) {
        counts.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_needs_what_is_above_and_below_it_and_no_namesake() {
        let mut shown = ShownPaths::default();
        for path in ["views/a-1/abc/m.gguf", "views/b/abc", "views/b-1/abc"] {
            shown.add(Path::new(path));
        }
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
        shown.add(Path::new("views/b/abc"));
        shown.release(Path::new("views/b/abc"));
        assert!(needs(&shown, "views/b") && needs(&shown, "views/b/abc/x"));
        shown.release(Path::new("views/b/abc"));
        assert!(!needs(&shown, "views/b") && needs(&shown, "views/b-1") && needs(&shown, "views"));
    }
}
