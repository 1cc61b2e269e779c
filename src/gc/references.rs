//! How many entries need each blob.

use std::collections::BTreeMap;

use super::blob_table::BlobTable;
use crate::digest::Digest;

/// One number for each blob of the store, and a map for those that are missing.
pub(super) struct References<'a> {
    blobs: &'a BlobTable,
    of_blobs: Vec<u32>,
    of_missing: BTreeMap<Digest, u32>,
}

impl<'a> References<'a> {
    pub(super) fn none(blobs: &'a BlobTable) -> Self {
        References { blobs, of_blobs: vec![0; blobs.len()], of_missing: BTreeMap::new() }
    }

    pub(super) fn of(&self, digest: &Digest) -> u32 {
        let count = match self.blobs.place(digest) {
            Some(place) => self.of_blobs.get(place),
            None => self.of_missing.get(digest),
        };
        count.copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, digest: &Digest) {
        let count = self.count(digest);
        *count = count.saturating_add(1);
    }

    /// Counts one less. Returns how many are left.
    pub(super) fn release(&mut self, digest: &Digest) -> u32 {
        let count = self.count(digest);
        *count = count.saturating_sub(1);
        *count
    }

    fn count(&mut self, digest: &Digest) -> &mut u32 {
        let place = self.blobs.place(digest);
        match place.and_then(|place| self.of_blobs.get_mut(place)) {
            Some(count) => count,
            None => self.of_missing.entry(*digest).or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::BlobFacts;
    use super::*;

    // Red when only the blobs of the store are counted: an entry would seem to need what another one keeps missing, or
    // the other way round.
    #[test]
    fn references_to_a_blob_are_counted_whether_it_is_there_or_not() {
        let [there, missing] = [b"there".as_slice(), b"missing"].map(Digest::sha256_of);
        let table = BlobTable::of(vec![(there, BlobFacts { bytes: 1, shared_bytes: 0 })]);
        let mut references = References::none(&table);
        for digest in [there, missing] {
            assert_eq!(references.of(&digest), 0);
            references.add(&digest);
            references.add(&digest);
            assert_eq!((references.release(&digest), references.of(&digest)), (1, 1));
            assert_eq!(references.release(&digest), 0);
        }
    }
}
