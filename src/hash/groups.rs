//! BLAKE3 of a blob in groups of 1 MiB: the root, and the chaining value of each group, so that groups can be checked
//! in parallel and one at a time.
//!
//! A group is a whole subtree of the BLAKE3 tree, because its number of chunks is a power of two (the [BLAKE3
//! paper](https://github.com/BLAKE3-team/BLAKE3-specs/blob/master/blake3.pdf), section 2.1); its chaining value comes
//! from `blake3::hazmat`. The root is the plain BLAKE3 hash of all bytes, as `b3sum` prints it.

use std::ops::Range;

use blake3::hazmat::{ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// The unit in which damage is reported and repaired.
pub(crate) const GROUP_BYTES: usize = 1 << 20;

/// The values against which a blob's bytes are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Groups {
    size_bytes: u64,
    root: blake3::Hash,
    /// One per group; empty if there is only one group, whose value is the root.
    values: Vec<ChainingValue>,
}

impl Groups {
    /// Builds the groups from recorded values; `None` if these are not consistent.
    pub(crate) fn from_parts(size_bytes: u64, root: blake3::Hash, values: Vec<ChainingValue>) -> Option<Self> {
        let expected = usize::try_from(count(size_bytes)).ok()?;
        let fits = match values.as_slice() {
            [] => expected == 1,
            [_] => false,
            values => values.len() == expected && merge(values) == root,
        };
        fits.then_some(Groups { size_bytes, root, values })
    }

    /// Builds the groups of a file with more than one group from the value of each; `None` if the number of values is
    /// wrong.
    pub(crate) fn from_values(size_bytes: u64, values: Vec<ChainingValue>) -> Option<Self> {
        let fits = values.len() > 1 && usize::try_from(count(size_bytes)).is_ok_and(|count| count == values.len());
        fits.then(|| Groups { size_bytes, root: merge(&values), values })
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub(crate) fn root(&self) -> &blake3::Hash {
        &self.root
    }

    pub(crate) fn values(&self) -> &[ChainingValue] {
        &self.values
    }

    /// See [`first_value`].
    pub(crate) fn first_value(&self) -> ChainingValue {
        self.values.first().copied().unwrap_or(*self.root.as_bytes())
    }

    /// Whether these are the bytes of this group.
    pub(crate) fn is_good(&self, number: u64, bytes: &[u8]) -> bool {
        if self.values.is_empty() {
            return number == 0 && blake3::hash(bytes) == self.root;
        }
        let value = usize::try_from(number).ok().and_then(|number| self.values.get(number));
        value.is_some_and(|value| *value == value_of(number, bytes))
    }
}

/// How many groups a file of this size has; an empty file has one.
pub(crate) fn count(size_bytes: u64) -> u64 {
    size_bytes.div_ceil(GROUP_BYTES as u64).max(1)
}

/// The range of a group in the file.
pub(crate) fn range(number: u64, size_bytes: u64) -> Range<u64> {
    let start = number.saturating_mul(GROUP_BYTES as u64).min(size_bytes);
    start..start.saturating_add(GROUP_BYTES as u64).min(size_bytes)
}

/// The chaining value of a group, which must not be the file's only group.
pub(crate) fn value_of(number: u64, bytes: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(number * GROUP_BYTES as u64).update(bytes).finalize_non_root()
}

/// Identifies the first group of a file of this size: its chaining value, or the root if it is the only group.
pub(crate) fn first_value(size_bytes: u64, bytes: &[u8]) -> ChainingValue {
    if count(size_bytes) == 1 { *blake3::hash(bytes).as_bytes() } else { value_of(0, bytes) }
}

/// The left subtree is the largest complete one that leaves something for the right.
fn merge(values: &[ChainingValue]) -> blake3::Hash {
    let (left, right) = halves(values);
    merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash)
}

fn subtree(values: &[ChainingValue]) -> ChainingValue {
    match values {
        [one] => *one,
        values => {
            let (left, right) = halves(values);
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

fn halves(values: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    values.split_at(values.len().div_ceil(2).next_power_of_two())
}

/// Builds [`Groups`] from bytes that arrive piece by piece.
#[derive(Default)]
pub(crate) struct GroupHasher {
    size_bytes: u64,
    /// The group that has begun, and may not be full yet.
    group: blake3::Hasher,
    values: Vec<ChainingValue>,
}

impl GroupHasher {
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let mut in_group = (self.size_bytes % GROUP_BYTES as u64) as usize;
            if in_group == 0 && self.size_bytes > 0 {
                // Only now, because the last group may be the only one, and is then the root.
                self.values.push(self.group.finalize_non_root());
                self.group = blake3::Hasher::new(); // a reset hasher would keep its old offset
                self.group.set_input_offset(self.size_bytes);
            }
            in_group = bytes.len().min(GROUP_BYTES - in_group);
            let (now, later) = bytes.split_at(in_group);
            self.group.update(now);
            self.size_bytes += now.len() as u64;
            bytes = later;
        }
    }

    /// The values of the groups that are full, except the last group.
    pub(crate) fn values(&self) -> &[ChainingValue] {
        &self.values
    }

    pub(crate) fn finish(mut self) -> Groups {
        let root = if self.values.is_empty() {
            self.group.finalize()
        } else {
            self.values.push(self.group.finalize_non_root());
            merge(&self.values)
        };
        Groups { size_bytes: self.size_bytes, root, values: self.values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups_of(bytes: &[u8], piece: usize) -> Groups {
        let mut hasher = GroupHasher::default();
        bytes.chunks(piece.max(1)).for_each(|piece| hasher.update(piece));
        hasher.finish()
    }

    #[test]
    fn the_root_is_the_blake3_of_all_bytes_and_each_group_is_told_apart() {
        let sizes = [
            0, // empty: one group
            1,
            GROUP_BYTES - 1,
            GROUP_BYTES,     // one group, which is the root
            GROUP_BYTES + 1, // a group of one byte
            2 * GROUP_BYTES,
            3 * GROUP_BYTES - 7,
            5 * GROUP_BYTES, // an uneven tree
            7 * GROUP_BYTES + 1025,
        ];
        let bytes: Vec<u8> = (0..8 * GROUP_BYTES).map(|i| (i % 251) as u8).collect();
        for size in sizes {
            let bytes = &bytes[..size];
            let groups = groups_of(bytes, 300_001);
            assert_eq!(groups, groups_of(bytes, GROUP_BYTES), "{size}");
            assert_eq!(*groups.root(), blake3::hash(bytes), "{size}");
            assert_eq!(groups.size_bytes(), size as u64);
            let again = Groups::from_parts(size as u64, *groups.root(), groups.values().to_vec());
            assert_eq!(again.as_ref(), Some(&groups));
            if count(size as u64) > 1 {
                let value = |number| {
                    let range = range(number, size as u64);
                    value_of(number, &bytes[range.start as usize..range.end as usize])
                };
                let mut values: Vec<_> = (0..count(size as u64)).map(value).collect();
                assert_eq!(Groups::from_values(size as u64, values.clone()), Some(groups.clone()));
                values.pop();
                assert_eq!(Groups::from_values(size as u64, values), None);
            }
            for number in 0..count(size as u64) {
                let range = range(number, size as u64);
                let mut group = bytes[range.start as usize..range.end as usize].to_vec();
                assert!(groups.is_good(number, &group));
                assert!(!groups.is_good(number + 1, &group), "{size}: a group in another's place");
                if let Some(last) = group.last_mut() {
                    *last ^= 1;
                    assert!(!groups.is_good(number, &group));
                }
            }
        }
    }

    // Red when `from_parts` does not merge: with a damaged list, good bytes would count as bad.
    #[test]
    fn parts_that_do_not_fit_together_are_refused() {
        let size = 3 * GROUP_BYTES as u64;
        let good = groups_of(&vec![1; size as usize], GROUP_BYTES);
        let from = |size, values: &[ChainingValue]| Groups::from_parts(size, *good.root(), values.to_vec());
        let mut values = good.values().to_vec();
        assert!(from(size, &values).is_some());
        assert!(from(size, &values[1..]).is_none() && from(size, &[]).is_none());
        assert!(from(size + 1, &values).is_none() && from(1, &values[..1]).is_none());
        values[2][31] ^= 1;
        assert!(from(size, &values).is_none());
    }
}
