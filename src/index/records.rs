//! The records of one shard, parsed.

use crate::entry::Record;

/// The records of one shard. The default is a shard that was never written.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(super) generation: u64,
    /// Sorted by id.
    records: Vec<Record>,
    /// The hash of each id, sorted, and the index of its record. A binary search over hashes touches little memory; the
    /// id strings are scattered over the heap.
    places: Vec<(u64, usize)>,
}

impl Records {
    /// Takes records that are sorted by id, without duplicates, each with the hash of its id.
    pub(super) fn new(generation: u64, hashed: Vec<(u64, Record)>) -> Self {
        let (hashes, records): (Vec<u64>, Vec<Record>) = hashed.into_iter().unzip();
        let mut places: Vec<(u64, usize)> = hashes.into_iter().zip(0..).collect();
        places.sort_unstable();
        Records { generation, records, places }
    }

    /// The record of an id with this hash.
    pub(crate) fn get(&self, id: &str, hash: u64) -> Option<&Record> {
        let first = self.places.partition_point(|(other, _)| *other < hash);
        // There is more than one only if someone deliberately searched for ids with the same hash.
        let candidates = self.places.get(first..)?.iter().take_while(|(other, _)| *other == hash);
        candidates.filter_map(|(_, place)| self.records.get(*place)).find(|record| record.entry.id == id)
    }

    /// All records, sorted by id.
    pub(crate) fn all(&self) -> &[Record] {
        &self.records
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::testing;
    use crate::layout;

    // Red when the first record with the hash is returned without comparing its id.
    #[test]
    fn a_record_is_found_by_its_id_also_among_others_of_its_hash() {
        let (_dir, root) = testing::root();
        let record = |id: &String| testing::record("path").into_record(id.clone(), &root);
        let ids: Vec<String> = (0..100).map(|number| format!("{number:02}")).collect();
        let of = |hash: fn(&str) -> u64| Records::new(1, ids.iter().map(|id| (hash(id), record(id))).collect());
        let found = |records: &Records, id: &str, hash| records.get(id, hash).map(|record| record.entry.id.clone());
        let records = of(layout::id_hash);
        for id in &ids {
            assert_eq!(found(&records, id, layout::id_hash(id)).as_ref(), Some(id));
        }
        assert_eq!(found(&records, "100", layout::id_hash("100")), None);
        let records = of(|_| 7);
        assert_eq!(found(&records, "42", 7).as_deref(), Some("42"));
        assert_eq!(found(&records, "42", 8), None);
        assert_eq!(found(&records, "100", 7), None);
        assert_eq!(found(&Records::default(), "42", 7), None);
    }
}
