//! SHA-256 of up to four streams at once, with the processor's SHA instructions.
//!
//! `sha256rnds2` does two rounds. Its result is available after four cycles, while the unit could begin another one in
//! half that time or less. One stream leaves it idle most of the time; interleaving the steps of several streams fills
//! the gaps. The words of more than two streams do not fit into the sixteen registers that these instructions can
//! address, but register renaming makes three and four streams worthwhile all the same.
//!
//! The steps of one stream follow S. Gulley, V. Gopal and others, "Intel SHA Extensions" (2013): the state is held as
//! ABEF and CDGH, and four words of the message schedule are computed at a time.

use std::arch::x86_64::*;

use super::Run;
use super::constants::K;

pub(super) const STREAMS: usize = 4;

/// Proof that the processor supports it.
#[derive(Clone, Copy, Debug)]
pub(in crate::hash) struct ShaNi(());

impl ShaNi {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1")).then_some(ShaNi(()))
    }

    /// Hashes the same number of blocks of each run, as many as the shortest has, and returns that number. At most
    /// [`STREAMS`] runs.
    #[allow(unsafe_code)]
    pub(super) fn compress(self, runs: &mut [Run<'_>]) -> usize {
        debug_assert!(runs.len() <= STREAMS, "a run too many would not be hashed");
        // SAFETY: only `detect` makes `self`, and only if the processor has the features.
        unsafe {
            match runs {
                [a, b, c, d, ..] => compress([a, b, c, d]),
                [a, b, c] => compress([a, b, c]),
                [a, b] => compress([a, b]),
                [a] => compress([a]),
                [] => 0,
            }
        }
    }
}

/// The two halves of a stream's state, as the instructions expect them.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

#[target_feature(enable = "sha,sse4.1")]
fn compress<const N: usize>(mut runs: [&mut Run<'_>; N]) -> usize {
    let zero = _mm_setzero_si128();
    let mut states = [State { abef: zero, cdgh: zero }; N];
    let mut streams: [&[[u8; 64]]; N] = [&[]; N];
    let mut blocks = usize::MAX;
    for ((state, stream), run) in states.iter_mut().zip(&mut streams).zip(&runs) {
        (*state, *stream) = (load_state(run.state), run.blocks);
        blocks = blocks.min(run.blocks.len());
    }
    for block in 0..blocks {
        let mut words = [[zero; 4]; N];
        for (words, stream) in words.iter_mut().zip(&streams) {
            // Every stream has as many blocks as the shortest.
            let Some(block) = stream.get(block) else { return 0 };
            *words = load_block(block);
        }
        let before = states;
        let [first, later @ ..] = &K;
        sixteen_rounds::<N, false>(&mut states, &mut words, first);
        for k in later {
            sixteen_rounds::<N, true>(&mut states, &mut words, k);
        }
        for (state, before) in states.iter_mut().zip(before) {
            state.abef = _mm_add_epi32(state.abef, before.abef);
            state.cdgh = _mm_add_epi32(state.cdgh, before.cdgh);
        }
    }
    for (run, state) in runs.iter_mut().zip(states) {
        store_state(run.state, state);
    }
    blocks
}

/// Sixteen rounds of each stream, four at a time in turn. The first sixteen use the words of the block itself.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn sixteen_rounds<const N: usize, const NEW_WORDS: bool>(
    states: &mut [State; N],
    words: &mut [[__m128i; 4]; N],
    k: &[u32; 16],
) {
    macro_rules! four {
        ($now:literal, $w1:literal, $w2:literal, $w3:literal) => {
            let k = load_constants(k, $now);
            for (state, w) in states.iter_mut().zip(&mut *words) {
                if NEW_WORDS {
                    let near =
                        _mm_add_epi32(_mm_sha256msg1_epu32(w[$now], w[$w1]), _mm_alignr_epi8::<4>(w[$w3], w[$w2]));
                    w[$now] = _mm_sha256msg2_epu32(near, w[$w3]);
                }
                let with_words = _mm_add_epi32(w[$now], k);
                state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, with_words);
                state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, _mm_shuffle_epi32::<0x0e>(with_words));
            }
        };
    }
    four!(0, 1, 2, 3);
    four!(1, 2, 3, 0);
    four!(2, 3, 0, 1);
    four!(3, 0, 1, 2);
}

#[inline]
#[target_feature(enable = "sse2")]
#[allow(unsafe_code)]
fn load_constants(k: &[u32; 16], quarter: usize) -> __m128i {
    let (quarters, _) = k.as_chunks::<4>();
    // SAFETY: the reference covers the 16 bytes that are loaded; they need not be aligned.
    quarters.get(quarter).map_or(_mm_setzero_si128(), |four| unsafe { _mm_loadu_si128(four.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "ssse3")]
#[allow(unsafe_code)]
fn load_block(block: &[u8; 64]) -> [__m128i; 4] {
    // The words of a message are big-endian.
    let swapped = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let mut words = [_mm_setzero_si128(); 4];
    for (words, bytes) in words.iter_mut().zip(block.as_chunks::<16>().0) {
        // SAFETY: the reference covers the 16 bytes that are loaded; they need not be aligned.
        let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
        *words = _mm_shuffle_epi8(bytes, swapped);
    }
    words
}

#[inline]
#[target_feature(enable = "sse4.1")]
#[allow(unsafe_code)]
fn load_state(state: &[u32; 8]) -> State {
    let state: *const __m128i = state.as_ptr().cast();
    // SAFETY: the reference covered the 32 bytes that are loaded; they need not be aligned.
    let (dcba, hgfe) = unsafe { (_mm_loadu_si128(state), _mm_loadu_si128(state.add(1))) };
    let cdab = _mm_shuffle_epi32::<0xb1>(dcba);
    let efgh = _mm_shuffle_epi32::<0x1b>(hgfe);
    State { abef: _mm_alignr_epi8::<8>(cdab, efgh), cdgh: _mm_blend_epi16::<0xf0>(efgh, cdab) }
}

#[inline]
#[target_feature(enable = "sse4.1")]
#[allow(unsafe_code)]
fn store_state(state: &mut [u32; 8], State { abef, cdgh }: State) {
    let feba = _mm_shuffle_epi32::<0x1b>(abef);
    let dchg = _mm_shuffle_epi32::<0xb1>(cdgh);
    let state: *mut __m128i = state.as_mut_ptr().cast();
    // SAFETY: the reference covered the 32 bytes that are stored and was exclusive; they need not be aligned.
    unsafe {
        _mm_storeu_si128(state, _mm_blend_epi16::<0xf0>(feba, dchg));
        _mm_storeu_si128(state.add(1), _mm_alignr_epi8::<8>(dchg, feba));
    }
}
