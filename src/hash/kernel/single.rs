//! SHA-256 of one stream after the other, by the crate `sha2`: with the processor's SHA instructions where it has any,
//! else in software. For a stream that is alone, and for every processor that no other kernel is for.

use super::Run;

/// Hashes as many blocks of each run as every run has, and returns how many that were.
pub(super) fn compress(runs: &mut [Run<'_>]) -> usize {
    let blocks = runs.iter().map(|run| run.blocks.len()).min().unwrap_or(0);
    for run in runs {
        sha2::block_api::compress256(run.state, run.blocks.get(..blocks).unwrap_or_default());
    }
    blocks
}
