//! `hash_tree`: the digest that a directory would have in a catalog, without one.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::walk::{self, SourceFile};
use crate::blob::manifest::{self, TreeFile};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::Kind;
use crate::fs::source::source_meta;
use crate::hash::{HashFunction, HashOptions, hash_files};
use crate::json::lossy;
use crate::model_ref::absolute;
use crate::sum::SumBytes;

/// The hash of one directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct TreeHash {
    /// The path as it was given.
    #[serde(serialize_with = "lossy")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub path: PathBuf,
    /// The digest of its manifest, which names the path, the digest and the size of each file.
    pub digest: Digest,
    /// Bytes of all files together.
    pub size_bytes: u64,
    /// How many files it has.
    pub files: u64,
}

/// Computes the digest that a directory has once it is staged, without a catalog. Writes nothing.
///
/// The rules are those of staging. Symlinks are followed if they stay inside the directory; with
/// [`follow_links`](HashOptions::follow_links), all of them are. Empty folders do not count. The same things are
/// errors: a name that is not UTF-8, a file of another kind, a symlink that leads nowhere, a directory without a file,
/// and a file that changes while it is read. There is one difference: this does not recognise a catalog inside the
/// directory, and hashes it too.
///
/// ```
/// use catalog_core::{HashOptions, ModelRef, StageOptions, hash_tree};
/// # let (dir, catalog, _file) = catalog_core::testing::example();
/// # let tree = dir.path().join("tree");
/// # std::fs::create_dir(&tree).unwrap();
/// # std::fs::write(tree.join("config.json"), "{}").unwrap();
/// let hash = hash_tree(&tree, &HashOptions::default())?;
/// let staged = catalog.stage(&ModelRef::from(tree), &StageOptions::default())?;
/// assert_eq!((hash.digest, hash.size_bytes, hash.files), (staged.digest, staged.size_bytes, staged.files));
/// # Ok::<(), catalog_core::Error>(())
/// ```
pub fn hash_tree(path: impl AsRef<Path>, options: &HashOptions) -> Result<TreeHash> {
    let path = path.as_ref();
    let tree = absolute(path)?;
    if source_meta(&tree)?.kind != Kind::Dir {
        return Err(Error::io("list", path, std::io::ErrorKind::NotADirectory));
    }
    let files = walk::walk(None, &tree, options.follow_links)?;
    let sources: Vec<&Path> = files.iter().map(|file| file.source.as_path()).collect();
    let hashes = hash_files(&sources, HashFunction::Sha256, options);
    let named: Vec<TreeFile> =
        files.iter().zip(hashes).map(|(file, hash)| named(file, hash?)).collect::<Result<_>>()?;
    let bytes = manifest::encode(&named).map_err(|e| Error::io("describe the tree", path, e))?;
    Ok(TreeHash {
        path: path.to_path_buf(),
        digest: Digest::sha256_of(&bytes),
        size_bytes: named.iter().map(|file| file.size_bytes).sum_bytes(),
        files: named.len() as u64,
    })
}

/// A file of the tree. It is an error if the file has changed since the tree was walked.
fn named(file: &SourceFile, hash: crate::hash::FileHash) -> Result<TreeFile> {
    let digest = hash.value.digest().expect("SHA-256 names blobs");
    if source_meta(&file.source)?.source_stamp() != file.stamp {
        return Err(Error::SourceChanged { path: file.source.clone(), detail: "it was written to".into() });
    }
    Ok(TreeFile { path: file.path.clone(), digest, size_bytes: hash.size_bytes })
}
