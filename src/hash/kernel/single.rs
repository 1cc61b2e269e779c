//! SHA-256 of one stream after the other, by the crate `sha2`: with the processor's SHA instructions if it has any,
//! otherwise in software. For a single stream, and for processors without another kernel.

use super::Run;

/// Hashes the same number of blocks of each run, as many as the shortest has, and returns that number.
pub(super) fn compress(runs: &mut [Run<'_>]) -> usize {
    let blocks = runs.iter().map(|run| run.blocks.len()).min().unwrap_or(0);
    for run in runs {
        sha2::block_api::compress256(run.state, run.blocks.get(..blocks).unwrap_or_default());
    }
    blocks
}
