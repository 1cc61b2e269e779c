//! Sources of good bytes for a damaged blob.

use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::Result;
use crate::fs::Kind;
use crate::fs::source::{Foreign, source_meta};
use crate::layout;
use crate::read_at::ReadAt;

/// A place that may have the bytes of blobs. Its bytes are not trusted: every part is checked.
pub trait RepairSource: Send + Sync {
    /// Opens the file that should have the bytes of this blob. `path` is the file's path in its tree, with `/` as
    /// separator; it is empty if the artifact is one file, for the manifest of a tree, and for a document that the
    /// entry needs besides its content. `None`: the source has no such file.
    fn open(&self, digest: &Digest, path: &str) -> Result<Option<Box<dyn ReadAt>>>;
}

/// A local path: a file, a directory with the files of a tree, or the root of another catalog.
#[derive(Clone, Debug)]
pub struct LocalSource {
    path: PathBuf,
}

impl LocalSource {
    /// The source at this path, which is only accessed when it is needed.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        LocalSource { path: path.into() }
    }

    fn is_catalog(&self) -> bool {
        self.path.join(layout::STORE_JSON).is_file() && self.path.join(layout::BLOBS).is_dir()
    }
}

impl RepairSource for LocalSource {
    fn open(&self, digest: &Digest, path: &str) -> Result<Option<Box<dyn ReadAt>>> {
        let is_dir = source_meta(&self.path)?.kind == Kind::Dir;
        let file = match (is_dir, path) {
            (true, _) if self.is_catalog() => self.path.join(layout::blob(digest)),
            (true, "") => return Ok(None),
            (true, path) => self.path.join(path),
            (false, "") => self.path.clone(),
            // A single file cannot stand for every file of a tree.
            (false, path) if Path::new(path).file_name() == self.path.file_name() => self.path.clone(),
            (false, _) => return Ok(None),
        };
        Ok(Foreign::find(file)?.map(|file| Box::new(file) as Box<dyn ReadAt>))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_file_a_tree_or_another_catalog() {
        let dir = tempfile::tempdir().unwrap();
        let digest = Digest::sha256_of(b"any");
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("sub/a.gguf"), "bytes").unwrap();
        let opens = |path: &Path, inside: &str| LocalSource::new(path).open(&digest, inside).unwrap();
        let file = dir.path().join("sub/a.gguf");
        let read = opens(&file, "").unwrap();
        let mut buffer = [0; 3];
        read.read_exact_at(2, &mut buffer).unwrap();
        assert_eq!((&buffer, read.size_bytes()), (b"tes", 5));
        read.read_exact_at(3, &mut buffer).unwrap_err();
        assert!(opens(&file, "x/a.gguf").is_some() && opens(&file, "x/b.gguf").is_none());
        assert!(opens(dir.path(), "sub/a.gguf").is_some());
        assert!(opens(dir.path(), "sub").is_none() && opens(dir.path(), "absent").is_none());
        assert!(opens(dir.path(), "").is_none());
        let absent = LocalSource::new(dir.path().join("absent")).open(&digest, "").err();
        assert!(absent.is_some_and(|error| error.is_not_found()));
        std::fs::create_dir_all(dir.path().join(layout::blob(&digest)).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join("store.json"), "{}").unwrap();
        std::fs::write(dir.path().join(layout::blob(&digest)), "any").unwrap();
        assert_eq!(opens(dir.path(), "whatever").unwrap().size_bytes(), 3);
    }
}
