//! How often each of many keys occurs, in one piece of memory, since a catalog may have a million of them. A map takes half
//! as much again, and what it leaves behind when it is dropped is full of holes.

/// Collects keys, in any order.
pub(crate) struct Counting<K>(Vec<(K, u32)>);

/// Sorted by key, each key once.
pub(crate) struct Counts<K>(Vec<(K, u32)>);

impl<K> Default for Counting<K> {
    fn default() -> Self {
        Counting(Vec::new())
    }
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Counts(Vec::new())
    }
}

impl<K: Ord> Counting<K> {
    /// The key occurs `times` more; with 0, it only becomes known.
    pub(crate) fn add(&mut self, key: K, times: u32) {
        match self.0.last_mut() {
            Some(last) if last.0 == key => last.1 = last.1.saturating_add(times),
            _ => {
                if self.0.len() == self.0.capacity() {
                    self.make_room();
                }
                self.0.push((key, times));
            }
        }
    }

    /// Keys that occur often take no more memory than others.
    fn make_room(&mut self) {
        let full = self.0.len();
        self.merge();
        if self.0.len() > full / 2 {
            self.0.reserve(full);
        }
    }

    fn merge(&mut self) {
        self.0.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        self.0.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            if is_same {
                kept.1 = kept.1.saturating_add(later.1);
            }
            is_same
        });
    }

    pub(crate) fn counted(mut self) -> Counts<K> {
        self.merge();
        self.0.shrink_to_fit();
        Counts(self.0)
    }
}

impl<K: Ord> Counts<K> {
    fn place(&self, key: &K) -> Option<usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(key)).ok()
    }

    /// How often the key occurs.
    pub(crate) fn of(&self, key: &K) -> u32 {
        self.place(key).and_then(|place| self.0.get(place)).map_or(0, |(_, count)| *count)
    }

    /// Whether the key was ever added.
    pub(crate) fn knows(&self, key: &K) -> bool {
        self.place(key).is_some()
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
        assert!(counting.0.capacity() < 100, "{}", counting.0.capacity());
        assert_eq!(counting.counted().of(&3), 10_000);
    }
}
