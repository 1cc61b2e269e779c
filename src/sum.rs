//! Sums of sizes. The sizes in records and manifests, and of sparse files, may be close to the largest integer.

use std::borrow::Borrow;

/// Iterators of sizes.
pub(crate) trait SumBytes: Iterator {
    /// The sum, or `u64::MAX` if it does not fit.
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
