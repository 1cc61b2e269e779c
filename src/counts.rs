//! How often each of many keys occurs, in one piece of memory, since a catalog may have a million of them. A map takes half
//! as much again, and what it leaves behind when it is dropped is full of holes.

/// Collects keys, in any order.
pub(crate) struct Counting<K> {
    rows: Vec<(K, u32)>,
    /// What becomes of the numbers of one key.
    join: fn(u32, u32) -> u32,
}

/// Sorted by key, each key once.
pub(crate) struct Counts<K>(Vec<(K, u32)>);

impl<K> Default for Counting<K> {
    fn default() -> Self {
        Counting { rows: Vec::new(), join: u32::saturating_add }
    }
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Counts(Vec::new())
    }
}

impl<K: Ord> Counting<K> {
    /// Keeps the smallest number of each key and not the sum.
    pub(crate) fn smallest() -> Self {
        Counting { rows: Vec::new(), join: u32::min }
    }

    /// The key occurs `times` more; with 0, it only becomes known.
    pub(crate) fn add(&mut self, key: K, times: u32) {
        match self.rows.last_mut() {
            Some(last) if last.0 == key => last.1 = (self.join)(last.1, times),
            _ => {
                if self.rows.len() == self.rows.capacity() {
                    self.make_room();
                }
                self.rows.push((key, times));
            }
        }
    }

    /// Keys that occur often take no more memory than others.
    fn make_room(&mut self) {
        let full = self.rows.len();
        self.merge();
        if self.rows.len() > full / 2 {
            self.rows.reserve(full);
        }
    }

    fn merge(&mut self) {
        self.rows.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        self.rows.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            if is_same {
                kept.1 = (self.join)(kept.1, later.1);
            }
            is_same
        });
    }

    pub(crate) fn counted(mut self) -> Counts<K> {
        self.merge();
        self.rows.shrink_to_fit();
        Counts(self.rows)
    }
}

impl<K: Ord> Counts<K> {
    fn place(&self, key: &K) -> Option<usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(key)).ok()
    }

    /// The number of a key, if it was ever added.
    pub(crate) fn get(&self, key: &K) -> Option<u32> {
        self.place(key).and_then(|place| self.0.get(place)).map(|(_, number)| *number)
    }

    /// How often the key occurs.
    pub(crate) fn of(&self, key: &K) -> u32 {
        self.get(key).unwrap_or(0)
    }

    /// Whether the key was ever added.
    pub(crate) fn knows(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// The number of keys that were ever added.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Drops this key and all greater ones.
    pub(crate) fn forget_from(&mut self, key: &K) {
        self.0.truncate(self.0.partition_point(|(other, _)| other < key));
        self.0.shrink_to_fit();
    }

    /// Counts one less of a key.
    pub(crate) fn release(&mut self, key: &K) {
        if let Some((_, count)) = self.place(key).and_then(|place| self.0.get_mut(place)) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn keys_are_counted_as_a_map_counts_them() {
        let (mut counting, mut map) = (Counting::default(), BTreeMap::<u64, u32>::new());
        let mut number = 1_u64;
        for round in 0..10_000_u32 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (key, times) = ((number >> 33) % 3000, round % 3);
            counting.add(key, times);
            *map.entry(key).or_default() += times;
        }
        let mut counts = counting.counted();
        assert_eq!(counts.len(), map.len());
        for key in 0..3001 {
            assert_eq!(
                (counts.of(&key), counts.knows(&key)),
                (map.get(&key).copied().unwrap_or(0), map.contains_key(&key))
            );
        }
        let [once, often] = [1, 7].map(|count| *map.iter().find(|(_, of_it)| **of_it == count).unwrap().0);
        for key in [once, once, often, 3001] {
            counts.release(&key);
        }
        assert_eq!([once, often, 3001].map(|key| counts.of(&key)), [0, 6, 0]);
        assert!(counts.knows(&once) && !counts.knows(&3001));
        counts.forget_from(&1000);
        assert_eq!(counts.len(), map.range(..1000).count());
        assert!((0..3001).all(|key| counts.knows(&key) == (key < 1000 && map.contains_key(&key))));
    }

    // Red when rows of the same key become one only at the end.
    #[test]
    fn a_key_that_occurs_often_takes_no_more_memory() {
        let mut counting = Counting::default();
        for number in 0..100_000_u32 {
            counting.add(number % 10, 1);
        }
        assert!(counting.rows.capacity() < 100, "{}", counting.rows.capacity());
        assert_eq!(counting.counted().of(&3), 10_000);
    }

    #[test]
    fn the_smallest_number_of_a_key_is_kept() {
        let mut counting = Counting::smallest();
        for number in 5..1000_u32 {
            counting.add(number % 3, 1000 - number);
            counting.add(number % 3, number);
        }
        let counts = counting.counted();
        assert_eq!([0, 1, 2, 3].map(|key| counts.get(&key)), [Some(1), Some(3), Some(2), None]);
    }
}
