//! The BLAKE3 value of each MiB of a model's files, as one document next to its manifest, so that a fetch can check
//! each MiB as it arrives.
//!
//! For each file with more than one group: its SHA-256 (32 bytes), its size (64 bits, little endian), and the BLAKE3
//! chaining value of each group (32 bytes). Files are sorted by their SHA-256.

use std::collections::BTreeMap;
#[cfg(any(feature = "oci", feature = "s3"))]
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::digest::Digest;
#[cfg(any(feature = "oci", feature = "s3"))]
use crate::error::Result;

/// The media type of the document.
#[cfg(any(feature = "oci", feature = "s3"))]
pub(super) const MEDIA_TYPE: &str = "application/vnd.catalog-core.outboards.v1";

/// Enough for files of 8 TiB in total.
pub(super) const MAX_BYTES: u64 = 256 << 20;

#[cfg(any(feature = "oci", feature = "s3"))]
const MOST_KEPT: usize = 16;

/// The size of a group, which is hashed separately.
const GROUP_BYTES: u64 = 1 << 20;

/// The values of files, by digest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outboards(BTreeMap<Digest, (u64, Vec<[u8; 32]>)>);

impl Outboards {
    /// Adds a file. Skips a file with a single group, because its value would not reveal damage any earlier.
    pub(crate) fn add(&mut self, file: Digest, size_bytes: u64, values: Vec<[u8; 32]>) {
        if values.len() > 1 && values.len() as u64 == size_bytes.div_ceil(GROUP_BYTES) {
            self.0.insert(file, (size_bytes, values));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Encodes the document. `None`: readers would reject it as too large.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for (file, (size_bytes, values)) in &self.0 {
            bytes.extend_from_slice(file.as_bytes());
            bytes.extend_from_slice(&size_bytes.to_le_bytes());
            bytes.extend_from_slice(values.as_flattened());
        }
        (bytes.len() as u64 <= MAX_BYTES).then_some(bytes)
    }

    /// Decodes a document. `None`: it is not valid.
    #[cfg(any(feature = "oci", feature = "s3"))]
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut files = BTreeMap::new();
        while !bytes.is_empty() {
            let (file, rest) = bytes.split_first_chunk::<32>()?;
            let (size, rest) = rest.split_first_chunk::<8>()?;
            let size_bytes = u64::from_le_bytes(*size);
            let count = usize::try_from(size_bytes.div_ceil(GROUP_BYTES)).ok().filter(|count| *count > 1)?;
            let (values, rest) = rest.split_at_checked(count.checked_mul(32)?)?;
            files.insert(Digest::from_sha256(*file), (size_bytes, values.as_chunks().0.to_vec()));
            bytes = rest;
        }
        Some(Outboards(files))
    }

    /// The values of a file of this size.
    #[cfg(any(feature = "oci", feature = "s3"))]
    pub(super) fn of(&self, file: &Digest, size_bytes: u64) -> Option<&[[u8; 32]]> {
        self.0.get(file).filter(|(size, _)| *size == size_bytes).map(|(_, values)| values.as_slice())
    }
}

/// Documents found next to manifests, by URL. Keeps a few, for models that are being fetched.
#[cfg(any(feature = "oci", feature = "s3"))]
#[derive(Debug, Default)]
pub(super) struct Found(Mutex<BTreeMap<String, Arc<OnceLock<Option<Outboards>>>>>);

#[cfg(any(feature = "oci", feature = "s3"))]
impl Found {
    /// The values of a file. Each document is requested only once, and a failed request is not an error.
    pub(super) fn values(
        &self,
        manifest: String,
        (file, size_bytes): (&Digest, u64),
        find: impl FnOnce() -> Result<Option<Outboards>>,
    ) -> Option<Vec<[u8; 32]>> {
        let found = {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() >= MOST_KEPT && !kept.contains_key(&manifest) {
                kept.clear();
            }
            Arc::clone(kept.entry(manifest).or_default())
        };
        let find = || {
            find()
                .inspect_err(|error| tracing::debug!(%error, "could not get the hashes of the file's parts in advance"))
        };
        found.get_or_init(|| find().ok()?).as_ref()?.of(file, size_bytes).map(<[_]>::to_vec)
    }
}

#[cfg(all(test, any(feature = "oci", feature = "s3")))]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let [a, b] = ["a", "b"].map(|text| Digest::sha256_of(text.as_bytes()));
        let mut outboards = Outboards::default();
        outboards.add(a, (2 << 20) + 1, vec![[1; 32], [2; 32], [3; 32]]);
        outboards.add(b, 1 << 20, vec![[4; 32]]);
        outboards.add(b, 2 << 20, vec![[4; 32], [5; 32], [6; 32]]);
        let bytes = outboards.encode().unwrap();
        assert_eq!(bytes.len(), 40 + 3 * 32, "what has one group, or another number of them, is left out");
        let read = Outboards::decode(&bytes).unwrap();
        assert_eq!(read, outboards);
        assert_eq!(read.of(&a, (2 << 20) + 1).unwrap()[1], [2; 32]);
        assert_eq!((read.of(&a, 2 << 20), read.of(&b, 2 << 20)), (None, None));
        for length in 1..bytes.len() {
            assert_eq!(Outboards::decode(&bytes[..length]), None, "{length}");
        }
        let mut huge = bytes.clone();
        huge[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(Outboards::decode(&huge), None);
    }
}
