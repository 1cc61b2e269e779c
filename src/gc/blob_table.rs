//! The facts of all blobs, in one piece of memory: a map would take half as much again.

use super::facts::BlobFacts;
use crate::digest::Digest;

/// Sorted by digest; each digest once.
#[derive(Debug, Default)]
pub(crate) struct BlobTable(Vec<(Digest, BlobFacts)>);

impl BlobTable {
    pub(super) fn of(mut facts: Vec<(Digest, BlobFacts)>) -> Self {
        facts.sort_unstable_by_key(|(digest, _)| *digest);
        BlobTable(facts)
    }

    /// The place of a blob, below [`len`](BlobTable::len).
    pub(super) fn place(&self, digest: &Digest) -> Option<usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(digest)).ok()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<&BlobFacts> {
        self.0.get(self.place(digest)?).map(|(_, facts)| facts)
    }

    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.place(digest).is_some()
    }

    /// Sorted by digest.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(Digest, BlobFacts)> {
        self.0.iter()
    }

    pub(super) fn facts(&self) -> impl Iterator<Item = &BlobFacts> {
        self.iter().map(|(_, facts)| facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_found_whatever_the_order_of_the_facts() {
        let digests: Vec<Digest> = (0..100_u8).map(|number| Digest::sha256_of(&[number])).collect();
        let facts = |shared_bytes| BlobFacts { bytes: 1, shared_bytes };
        let table = BlobTable::of(digests.iter().zip(0..).map(|(digest, number)| (*digest, facts(number))).collect());
        for (digest, number) in digests.iter().zip(0..) {
            assert_eq!(table.get(digest).unwrap().shared_bytes, number);
        }
        assert!(table.iter().is_sorted_by_key(|(digest, _)| *digest) && table.len() == 100);
        assert!(!table.contains(&Digest::sha256_of(b"another")));
    }
}
