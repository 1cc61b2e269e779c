//! Compares each kernel with `sha2`.
//!
//! Seen red for both vector kernels with one constant changed and with one rotation off by one bit, and for the AVX-512
//! kernel with two lanes of its transposition exchanged.

use proptest::prelude::*;
use sha2::block_api::compress256;

use super::modes::find;
use super::*;

/// One kernel alone, in its widest mode. `None` if this machine does not have it.
pub(in crate::hash) fn only(name: &str) -> Option<Mode> {
    let streams = match name {
        "avx512" => 16,
        "sha-ni" => 4,
        _ => 1,
    };
    let found = find(name).into_iter().find(|mode| mode.streams == streams);
    if found.is_none() {
        crate::skip::skip(&format!("no {name}"));
    }
    found
}

/// Bytes that differ for every seed.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Compresses runs of these numbers of blocks, each at this offset in its allocation.
fn check(mode: Mode, blocks: &[usize], shift: usize, seed: u64) {
    let fewest = *blocks.iter().min().unwrap();
    let memory: Vec<_> =
        blocks.iter().enumerate().map(|(i, blocks)| bytes(seed + i as u64, shift + blocks * 64)).collect();
    let streams: Vec<&[[u8; 64]]> = memory.iter().map(|bytes| bytes[shift..].as_chunks().0).collect();
    let mut states: Vec<[u32; 8]> = (0..blocks.len())
        .map(|i| std::array::from_fn(|word| u32::from_le_bytes(bytes(!seed - i as u64, 32).as_chunks().0[word])))
        .collect();
    let mut expected = states.clone();
    for (state, stream) in expected.iter_mut().zip(&streams) {
        compress256(state, &stream[..fewest]);
    }
    let mut runs: Vec<_> = states.iter_mut().zip(&streams).map(|(state, blocks)| Run { state, blocks }).collect();
    assert_eq!(mode.kernel.compress(&mut runs), fewest);
    assert_eq!(states, expected, "{mode:?}, {blocks:?}");
}

fn check_all(name: &str) {
    let Some(mode) = only(name) else { return };
    assert_eq!(mode.kernel.compress(&mut []), 0);
    for streams in 1..=mode.streams {
        for fewest in [
            0, // nothing to do
            1, // a stream's last block
            2, // the next block starts from the state
            9,
        ] {
            // Different lengths: blocks beyond the shortest run are not hashed.
            let blocks: Vec<_> = (0..streams).map(|i| fewest + (i + streams / 2) % streams).collect();
            check(mode, &blocks, 1, streams as u64);
        }
    }
    let cases = (1..=mode.streams).prop_flat_map(|streams| prop::collection::vec(0..12_usize, streams));
    proptest!(ProptestConfig::with_cases(64), |(blocks in cases, shift in 0..64_usize, seed in 0..u64::MAX / 2)| {
        check(mode, &blocks, shift, seed);
    });
}

#[test]
fn avx512_is_sha_256() {
    check_all("avx512");
}

#[test]
fn sha_ni_is_sha_256() {
    check_all("sha-ni");
}

#[test]
fn the_single_stream_is_sha_256() {
    check_all("portable");
}

#[test]
fn a_kernel_can_be_left_out() {
    let streams = |name| find(name).iter().map(|mode| mode.streams).collect::<Vec<_>>();
    assert_eq!(streams("portable"), [1]);
    assert!(streams("sha-ni").iter().all(|streams| *streams <= 4));
    assert!(streams("avx512").is_sorted());
    assert!(!modes().is_empty());
}
