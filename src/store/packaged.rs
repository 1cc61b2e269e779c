//! A model as other tools see it: an OCI manifest, its configuration, and the files that it names.

use super::Store;
use crate::blob::manifest::{self, TreeFile};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Record};
use crate::error::{Error, Result};
use crate::layout;

/// The manifest of an entry, with what it names.
pub(crate) struct Packaged {
    pub(crate) manifest: Vec<u8>,
    /// The digest of the manifest. For a tree it is the entry's.
    pub(crate) digest: Digest,
    pub(crate) config: Vec<u8>,
    pub(crate) files: Vec<TreeFile>,
}

impl Packaged {
    /// Packages an entry whose artifact is leased. A file becomes a tree of one file. `cannot` makes the error for a
    /// reason.
    pub(crate) fn of(store: &Store, record: &Record, cannot: &dyn Fn(&'static str) -> Error) -> Result<Self> {
        let not_staged = || Error::NotStaged { id: record.entry.id.clone(), path: record.entry.local_path.clone() };
        let digest = record.entry.digest.ok_or_else(not_staged)?;
        let mut files = store.files_of(record.kind, digest, record.size_bytes)?;
        if record.kind == ArtifactKind::File {
            let name = record.entry.local_path.file_name().and_then(|name| name.to_str());
            let name = name.filter(|name| manifest::is_tree_path(name));
            let name = name.ok_or_else(|| cannot("its name is not one that other tools can read"))?;
            files.iter_mut().for_each(|file| name.clone_into(&mut file.path));
        }
        let manifest = match record.kind {
            ArtifactKind::Tree => {
                store.root.read(&layout::blob(&digest), manifest::MAX_BYTES)?.ok_or_else(not_staged)?
            }
            _ => manifest::encode(&files).map_err(|_| cannot("its manifest would be too large"))?,
        };
        let config = manifest::named_config(&manifest, &files);
        let config =
            config.ok_or_else(|| cannot("its manifest names a configuration that the catalog does not hold"))?;
        Ok(Packaged { digest: Digest::sha256_of(&manifest), manifest, config, files })
    }
}
