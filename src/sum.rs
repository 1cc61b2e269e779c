//! Sums of sizes. Those in records and manifests, and those of sparse files, may be near the largest number.

use std::borrow::Borrow;

/// Iterators of sizes.
pub(crate) trait SumBytes: Iterator {
    /// All of them together, or the largest number when they are more.
    fn sum_bytes(self) -> u64;
}

impl<I> SumBytes for I
where
    I: Iterator<Item: Borrow<u64>>,
{
    fn sum_bytes(self) -> u64 {
        self.fold(0, |sum: u64, bytes| sum.saturating_add(*bytes.borrow()))
    }
}
