//! The inner loops of SHA-256: they hash whole blocks of several streams at once, each into its stream's state.
//!
//! All compute the same and differ in speed and in how many streams they advance at once. `lane.rs` splits a stream
//! into blocks and pads its end; `schedule.rs` chooses between the kernels.

#[cfg(all(target_arch = "x86_64", not(catalog_portable)))]
mod avx512;
mod constants;
mod modes;
#[cfg(all(target_arch = "x86_64", not(catalog_portable)))]
mod sha_ni;
mod single;

pub(super) use constants::INITIAL;
pub(super) use modes::{Mode, modes};

/// A stream's state, and the whole blocks that it has ready.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) state: &'a mut [u32; 8],
    pub(super) blocks: &'a [[u8; 64]],
}

/// An inner loop that this processor can run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kernel {
    #[cfg(all(target_arch = "x86_64", not(catalog_portable)))]
    Avx512(avx512::Avx512),
    #[cfg(all(target_arch = "x86_64", not(catalog_portable)))]
    ShaNi(sha_ni::ShaNi),
    Single,
}

impl Kernel {
    /// Hashes the same number of blocks of each run, as many as the shortest has, and returns that number. At most as
    /// many runs as the mode has streams.
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
