//! The inner loops of SHA-256: whole blocks of several streams at once, each into its stream's state.
//!
//! All do the same to the same bytes, and differ in how many streams they advance at once and how fast. What makes
//! blocks of a stream, and the padding at its end, is in `lane.rs`; what chooses between them is in `schedule.rs`.

#[cfg(all(target_arch = "x86_64", not(catalog_portable)))]
mod avx512;
mod constants;
mod modes;
#[cfg(all(target_arch = "x86_64", not(catalog_portable)))]
mod sha_ni;
mod single;

pub(super) use constants::INITIAL;
pub(super) use modes::{Mode, modes};

/// A stream's state, and whole blocks that it has ready.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) state: &'a mut [u32; 8],
    pub(super) blocks: &'a [[u8; 64]],
}

/// One of the inner loops, which this processor can run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kernel {
    #[cfg(all(target_arch = "x86_64", not(catalog_portable)))]
    Avx512(avx512::Avx512),
    #[cfg(all(target_arch = "x86_64", not(catalog_portable)))]
    ShaNi(sha_ni::ShaNi),
    Single,
}

impl Kernel {
    /// Hashes as many blocks of each run as every run has, and returns how many that were. No more runs than the mode
    /// has streams.
    pub(super) fn compress(self, runs: &mut [Run<'_>]) -> usize {
        match self {
            #[cfg(all(target_arch = "x86_64", not(catalog_portable)))]
            Kernel::Avx512(kernel) => kernel.compress(runs),
            #[cfg(all(target_arch = "x86_64", not(catalog_portable)))]
            Kernel::ShaNi(kernel) => kernel.compress(runs),
            Kernel::Single => single::compress(runs),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
