//! What the records need: the roots that no sweep may take.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::FsCatalog;
use crate::blob::manifest::{self, TreeFile};
use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::error::{Error, Result};
use crate::layout;

/// Every blob and every path that a record names.
pub(super) struct Roots {
    digests: BTreeSet<Digest>,
    paths: BTreeSet<PathBuf>,
}

impl Roots {
    pub(super) fn references(&self, digest: &Digest) -> bool {
        self.digests.contains(digest)
    }

    /// Whether a record's path is this one, or below it.
    pub(super) fn claims(&self, relative: &Path) -> bool {
        self.paths.range(relative.to_path_buf()..).next().is_some_and(|path| path.starts_with(relative))
    }
}

impl FsCatalog {
    /// Reads the whole index, and the manifest of every tree. Fails when any of it cannot be read: what it names is then
    /// unknown, and nothing may be taken.
    pub(super) fn roots(&self) -> Result<Roots> {
        let mut roots = Roots { digests: BTreeSet::new(), paths: BTreeSet::new() };
        for shard in self.index.all()? {
            for record in shard.values() {
                if let Ok(path) = record.entry.local_path.strip_prefix(self.root()) {
                    roots.paths.insert(path.to_path_buf());
                }
                let Some(digest) = record.entry.digest else { continue };
                roots.digests.insert(digest);
                if record.kind == ArtifactKind::Tree {
                    roots.digests.extend(self.read_tree(digest)?.into_iter().map(|file| file.digest));
                }
            }
        }
        Ok(roots)
    }

    /// The files of an artifact; of a file, itself with an empty path.
    pub(super) fn files_of(&self, kind: ArtifactKind, digest: Digest, size_bytes: u64) -> Result<Vec<TreeFile>> {
        match kind {
            ArtifactKind::File => Ok(vec![TreeFile { path: String::new(), digest, size_bytes }]),
            ArtifactKind::Tree => self.read_tree(digest),
            ArtifactKind::Registered => Ok(Vec::new()),
        }
    }

    /// Reads a tree's manifest, which is checked against its name each time: it is small.
    fn read_tree(&self, digest: Digest) -> Result<Vec<TreeFile>> {
        let name = layout::blob(&digest);
        let corrupt = |reason: String| Error::CorruptBlob { path: self.root.absolute(&name), reason };
        let bytes = self.root.read(&name)?.ok_or_else(|| corrupt("the manifest of a tree is not there".into()))?;
        if Digest::of_bytes(&bytes) != digest {
            return Err(corrupt("its bytes are not its name".into()));
        }
        manifest::decode(&bytes).map_err(corrupt)
    }
}
