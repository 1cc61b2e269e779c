//! An entry as others see it: a manifest, and the blobs that it names.

use crate::blob::manifest::TreeFile;
use crate::blob::outboard;
use crate::digest::Digest;
use crate::entry::Record;
use crate::error::{Error, Result};
use crate::fs::source::Foreign;
use crate::layout;
use crate::read_at::{InMemory, ReadAt};
use crate::source::outboards::Outboards;
use crate::store::{Packaged, Store};

/// The manifest of an entry, with its blobs.
pub(super) struct Package {
    pub(super) manifest: Vec<u8>,
    /// The digest of the manifest.
    pub(super) digest: Digest,
    /// Each blob once, largest first.
    pub(super) blobs: Vec<Part>,
}

/// A blob that the manifest names.
pub(super) struct Part {
    pub(super) digest: Digest,
    pub(super) size_bytes: u64,
    /// Its bytes, if it is not a blob of the store.
    made: Option<Vec<u8>>,
}

impl Package {
    /// Builds the package of an entry whose artifact is leased. A file becomes a tree of one file.
    pub(super) fn of(store: &Store, record: &Record) -> Result<Self> {
        let not_pushable = |reason| Error::NotPushable { id: record.entry.id.clone(), reason };
        let Packaged { manifest, digest, config, files } = Packaged::of(store, record, &not_pushable)?;
        Ok(Package { digest, manifest, blobs: parts(&files, config) })
    }
}

impl Package {
    /// The values of each MiB of its files, as recorded at their last full check. `None`: none are known.
    pub(super) fn outboards(&self, store: &Store) -> Option<Vec<u8>> {
        let mut outboards = Outboards::default();
        for part in self.blobs.iter().filter(|part| part.made.is_none()) {
            let known = outboard::read(&store.root, &part.digest);
            let groups = known.and_then(|known| known.groups(&store.root, &part.digest));
            if let Some(groups) = groups {
                outboards.add(part.digest, part.size_bytes, groups.values().to_vec());
            }
        }
        if outboards.is_empty() { None } else { outboards.encode() }
    }
}

fn parts(files: &[TreeFile], config: Vec<u8>) -> Vec<Part> {
    let of_files = files.iter().map(|file| Part { digest: file.digest, size_bytes: file.size_bytes, made: None });
    let mut parts: Vec<Part> = of_files.collect();
    parts.sort_unstable_by_key(|part| part.digest);
    parts.dedup_by_key(|part| part.digest);
    parts.sort_by_key(|part| std::cmp::Reverse(part.size_bytes));
    let digest = Digest::sha256_of(&config);
    parts.push(Part { digest, size_bytes: config.len() as u64, made: Some(config) });
    parts
}

impl Part {
    /// Opens the blob. The caller keeps a lease on the entry.
    pub(super) fn open(&self, store: &Store) -> Result<Box<dyn ReadAt>> {
        match &self.made {
            Some(bytes) => Ok(Box::new(InMemory { name: self.digest.to_string(), bytes: bytes.clone() })),
            None => Ok(Box::new(Foreign::open(store.root.absolute(&layout::blob(&self.digest)))?)),
        }
    }
}
