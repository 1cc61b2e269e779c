//! Digests of many files at once, for `catalog hash`.

use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{Hasher, read_all};
use crate::error::{Error, Result};
use crate::fs::{Kind, meta_of, meta_of_path, open_source};
use crate::observer::{Event, Observer};

/// What [`hash_files`] computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HashFunction {
    /// SHA-256, which names blobs.
    #[default]
    Sha256,
    /// BLAKE3, which is faster.
    Blake3,
}

impl HashFunction {
    /// The name in front of the colon of a digest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            HashFunction::Sha256 => "sha256",
            HashFunction::Blake3 => "blake3",
        }
    }
}

/// The hash of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileHash {
    /// The path as it was given.
    pub path: PathBuf,
    /// 64 lowercase hex digits.
    pub hex: String,
    /// How many bytes were hashed.
    pub size_bytes: u64,
}

/// Hashes files on all cores. One result for each path, in their order; symlinks are followed.
///
/// The files are read, never mapped: they belong to somebody else, who may shrink them meanwhile. A file that is
/// written to while it is read gives the hash of what was read.
pub fn hash_files(paths: &[PathBuf], function: HashFunction, observer: &dyn Observer) -> Vec<Result<FileHash>> {
    let sizes = paths.iter().filter_map(|path| meta_of_path(path).ok()).map(|meta| meta.size_bytes);
    let what = match paths {
        [one] => one.display().to_string(),
        many => format!("{} files", many.len()),
    };
    observer.on(&Event::Started { what: &what, bytes_total: sizes.sum() });
    let hashes = paths.par_iter().map(|path| hash_file(path, function, observer)).collect();
    observer.on(&Event::Finished);
    hashes
}

fn hash_file(path: &Path, function: HashFunction, observer: &dyn Observer) -> Result<FileHash> {
    let fail = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => Error::SourceMissing { path: path.to_path_buf() },
        _ => Error::io("read", path, e),
    };
    // By its path first: opening a device can do things, and a socket cannot be opened.
    check_regular(path, meta_of_path(path).map_err(fail)?.kind)?;
    let mut file = open_source(path).map_err(fail)?;
    let meta = meta_of(&file).map_err(fail)?;
    check_regular(path, meta.kind)?;
    let advanced = |bytes: &[u8]| observer.on(&Event::Advanced { bytes: bytes.len() as u64 });
    let (hex, size_bytes) = match function {
        HashFunction::Sha256 => {
            let mut hasher = Hasher::default();
            let size = read_all(&mut file, meta.size_bytes, |b| {
                hasher.update(b);
                advanced(b);
            });
            (hasher.finish().to_hex(), size.map_err(fail)?)
        }
        HashFunction::Blake3 => {
            let mut hasher = blake3::Hasher::new();
            let size = read_all(&mut file, meta.size_bytes, |b| {
                hasher.update(b);
                advanced(b);
            });
            (hasher.finalize().to_hex().to_string(), size.map_err(fail)?)
        }
    };
    Ok(FileHash { path: path.to_path_buf(), hex, size_bytes })
}

fn check_regular(path: &Path, kind: Kind) -> Result<()> {
    match kind {
        Kind::File => Ok(()),
        Kind::Dir => Err(Error::io("hash", path, io::Error::from(io::ErrorKind::IsADirectory))),
        Kind::Symlink => Err(Error::UnsupportedFileType { path: path.to_path_buf(), kind: "symlink" }),
        Kind::Other(kind) => Err(Error::UnsupportedFileType { path: path.to_path_buf(), kind }),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_its_result_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = ["a", "missing", "b"].iter().map(|name| dir.path().join(name)).collect();
        std::fs::write(&paths[0], "").unwrap();
        std::fs::write(&paths[2], "abc").unwrap();
        let hashes = hash_files(&paths, HashFunction::Sha256, &());
        assert_eq!(hashes[0].as_ref().unwrap().hex, crate::Digest::of_bytes(b"").to_hex());
        assert!(hashes[1].as_ref().unwrap_err().is_not_found());
        assert_eq!(hashes[2].as_ref().unwrap().hex, crate::Digest::of_bytes(b"abc").to_hex());
        let hashes = hash_files(&paths[2..], HashFunction::Blake3, &());
        assert_eq!(hashes[0].as_ref().unwrap().hex, blake3::hash(b"abc").to_hex().as_str());
        assert!(hash_files(&[dir.path().into()], HashFunction::Sha256, &())[0].is_err());
    }
}
