//! Where good bytes can be read from, a part at a time.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::source::{source_error, source_meta};
use crate::fs::{Kind, meta_of, open_source};
use crate::layout;

/// Somewhere that may have the bytes of blobs. Nothing that it gives is believed: every part is checked.
pub trait RepairSource: Send + Sync {
    /// Opens the file that should have the bytes of this blob. `path` is where it is in its tree, with `/` between the
    /// parts; empty when the artifact is one file, and for the manifest of a tree. `None`: it has no such file.
    fn open(&self, digest: &Digest, path: &str) -> Result<Option<Box<dyn RangeRead>>>;
}

/// A file of a [`RepairSource`], of which any part can be read.
pub trait RangeRead: Send {
    /// What it is called, for messages.
    fn name(&self) -> String;
    /// How large it is, in bytes.
    fn size_bytes(&self) -> u64;
    /// Fills the buffer with what begins at this offset, in bytes. What ends before that is an error.
    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// A path of this machine: a file, a directory that has the files of a tree, or the root of another catalog.
#[derive(Clone, Debug)]
pub struct LocalSource {
    path: PathBuf,
}

impl LocalSource {
    /// The source at this path. It is looked at when it is needed.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        LocalSource { path: path.into() }
    }

    fn is_catalog(&self) -> bool {
        self.path.join(layout::STORE_JSON).is_file() && self.path.join("blobs").is_dir()
    }
}

impl RepairSource for LocalSource {
    fn open(&self, digest: &Digest, path: &str) -> Result<Option<Box<dyn RangeRead>>> {
        let is_dir = source_meta(&self.path)?.kind == Kind::Dir;
        let file = match (is_dir, path) {
            (true, _) if self.is_catalog() => self.path.join(layout::blob(digest)),
            (true, "") => return Ok(None),
            (true, path) => self.path.join(path),
            (false, "") => self.path.clone(),
            // One file cannot stand for all of a tree.
            (false, path) if Path::new(path).file_name() == self.path.file_name() => self.path.clone(),
            (false, _) => return Ok(None),
        };
        open_file(file)
    }
}

/// Opens somebody's regular file; `None` when there is none.
fn open_file(path: PathBuf) -> Result<Option<Box<dyn RangeRead>>> {
    match source_meta(&path) {
        Ok(meta) if meta.kind == Kind::File => {}
        Ok(_) => return Ok(None),
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    }
    let file = open_source(&path).map_err(|e| source_error(&path, e))?;
    let size_bytes = meta_of(&file).map_err(|e| Error::io("look at", &path, e))?.size_bytes;
    Ok(Some(Box::new(OpenFile { file, path, size_bytes })))
}

/// A file, read and never mapped: somebody else may shrink it.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) size_bytes: u64,
}

impl RangeRead for OpenFile {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.read_exact(buffer)
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
        let mut read = opens(&file, "").unwrap();
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
