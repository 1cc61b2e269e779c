//! SHA-256 of sixteen streams at once, one in each 32-bit lane of the 512-bit registers.
//!
//! One stream is a chain of dependent steps, which cannot fill a vector unit; sixteen streams are sixteen such chains
//! in the same instructions. The rounds follow FIPS 180-4, section 6.2.2, to the letter. AVX-512 has the two operations
//! that they consist of and that AVX2 lacks: a rotation, and any function of three bits (`vpternlogd`), so `Ch`, `Maj`
//! and the three-way XORs are one instruction each. Eight words of state and sixteen of the block fit into the 32
//! registers.
//!
//! To bring a block's words to their lanes, the kernel loads 64 bytes of each stream and transposes them in registers:
//! 64 shuffles for sixteen blocks. Sixteen gathers would load every word separately, 256 loads.
//!
//! Hashing blocks of several messages side by side is called multi-buffer hashing: S. Gueron, V. Krasnov, "Simultaneous
//! Hashing of Multiple Messages", Journal of Information Security 3 (2012).

use std::arch::x86_64::*;

use super::Run;
use super::constants::K;

pub(super) const LANES: usize = 16;

/// Proof that the processor supports it, and the operating system saves its registers.
#[derive(Clone, Copy, Debug)]
pub(in crate::hash) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")).then_some(Avx512(()))
    }

    /// Hashes the same number of blocks of each run, as many as the shortest has, and returns that number. At most
    /// [`LANES`] runs.
    #[allow(unsafe_code)]
    pub(super) fn compress(self, runs: &mut [Run<'_>]) -> usize {
        // SAFETY: only `detect` makes `self`, and only if the processor has both features.
        unsafe { compress(runs) }
    }
}

/// How far ahead of a stream's current block to prefetch.
const AHEAD_BYTES: usize = 256;

/// One register per word, with one lane per stream.
type Words = [__m512i; LANES];

#[target_feature(enable = "avx512f,avx512bw")]
fn compress(runs: &mut [Run<'_>]) -> usize {
    debug_assert!(runs.len() <= LANES, "a run without a lane would not be hashed");
    let Some(shortest) = runs.iter().map(|run| run.blocks).min_by_key(|blocks| blocks.len()) else { return 0 };
    // A lane without a run hashes the same as another lane, and its result is ignored.
    let mut lanes = [shortest; LANES];
    let mut rows = [_mm512_setzero_si512(); LANES];
    for ((lane, row), run) in lanes.iter_mut().zip(&mut rows).zip(&*runs) {
        (*lane, *row) = (run.blocks, load_state(run.state));
    }
    let [a, b, c, d, e, f, g, h, ..] = transpose(rows);
    let mut state = [a, b, c, d, e, f, g, h];
    for block in 0..shortest.len() {
        let mut rows = [_mm512_setzero_si512(); LANES];
        for (row, lane) in rows.iter_mut().zip(&lanes) {
            // Every lane has as many blocks as the shortest.
            let Some(block) = lane.get(block) else { return 0 };
            *row = load_block(block);
        }
        rounds(&mut state, transpose(rows));
    }
    let [a, b, c, d, e, f, g, h] = state;
    let rows = transpose([a, b, c, d, e, f, g, h, a, b, c, d, e, f, g, h]);
    for (run, row) in runs.iter_mut().zip(rows) {
        store_state(run.state, row);
    }
    shortest.len()
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(unsafe_code)]
fn load_block(block: &[u8; 64]) -> __m512i {
    // The words of a message are big-endian.
    let swapped = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203));
    // SAFETY: the reference covers the 64 bytes that are loaded; they need not be aligned. The prefetch accesses no
    // memory that could fault, whatever its address.
    let bytes = unsafe {
        // The blocks of sixteen streams together do not fit into the L1 cache, and all lanes wait for the last one.
        _mm_prefetch::<_MM_HINT_T0>(block.as_ptr().wrapping_add(AHEAD_BYTES).cast());
        _mm512_loadu_si512(block.as_ptr().cast())
    };
    _mm512_shuffle_epi8(bytes, swapped)
}

#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn load_state(state: &[u32; 8]) -> __m512i {
    // SAFETY: the reference covers the 32 bytes that are loaded; they need not be aligned.
    _mm512_zextsi256_si512(unsafe { _mm256_loadu_si256(state.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn store_state(state: &mut [u32; 8], row: __m512i) {
    // SAFETY: the reference covers the 32 bytes that are stored and is exclusive; they need not be aligned.
    unsafe { _mm256_storeu_si256(state.as_mut_ptr().cast(), _mm512_castsi512_si256(row)) }
}

/// Word `j` of row `i` becomes word `i` of row `j`: first within each quarter of a register, then across quarters.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: Words) -> Words {
    let [r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, r13, r14, r15] = rows;
    let [a0, a1, a2, a3] = transpose_words([r0, r1, r2, r3]);
    let [b0, b1, b2, b3] = transpose_words([r4, r5, r6, r7]);
    let [c0, c1, c2, c3] = transpose_words([r8, r9, r10, r11]);
    let [d0, d1, d2, d3] = transpose_words([r12, r13, r14, r15]);
    let [w0, w4, w8, w12] = transpose_quarters([a0, b0, c0, d0]);
    let [w1, w5, w9, w13] = transpose_quarters([a1, b1, c1, d1]);
    let [w2, w6, w10, w14] = transpose_quarters([a2, b2, c2, d2]);
    let [w3, w7, w11, w15] = transpose_quarters([a3, b3, c3, d3]);
    [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn transpose_words([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn transpose_quarters([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    const LOW_HALVES: i32 = 0b01_00_01_00;
    const HIGH_HALVES: i32 = 0b11_10_11_10;
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    let (ab_low, ab_high) = (_mm512_shuffle_i32x4::<LOW_HALVES>(a, b), _mm512_shuffle_i32x4::<HIGH_HALVES>(a, b));
    let (cd_low, cd_high) = (_mm512_shuffle_i32x4::<LOW_HALVES>(c, d), _mm512_shuffle_i32x4::<HIGH_HALVES>(c, d));
    [
        _mm512_shuffle_i32x4::<EVEN>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<ODD>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<EVEN>(ab_high, cd_high),
        _mm512_shuffle_i32x4::<ODD>(ab_high, cd_high),
    ]
}

/// The functions of three bits, as `vpternlogd` encodes them: bit `4a + 2b + c` is the result for `a`, `b` and `c`.
const XOR: i32 = 0x96;
const CHOICE: i32 = 0xca; // b if a is 1, else c
const MAJORITY: i32 = 0xe8;

macro_rules! add {
    ($a:expr, $b:expr) => { _mm512_add_epi32($a, $b) };
    ($a:expr, $b:expr, $($more:expr),+) => { add!(_mm512_add_epi32($a, $b), $($more),+) };
}

/// The big sigmas rotate three times; the small ones (`>>`) shift the third time.
macro_rules! sigma {
    ($x:expr, $a:literal, $b:literal, $c:literal) => {
        _mm512_ternarylogic_epi32::<XOR>(
            _mm512_ror_epi32::<$a>($x),
            _mm512_ror_epi32::<$b>($x),
            _mm512_ror_epi32::<$c>($x),
        )
    };
    ($x:expr, $a:literal, $b:literal, >> $c:literal) => {
        _mm512_ternarylogic_epi32::<XOR>(
            _mm512_ror_epi32::<$a>($x),
            _mm512_ror_epi32::<$b>($x),
            _mm512_srli_epi32::<$c>($x),
        )
    };
}

/// One round. Instead of shifting the eight words, the next round names them in a different order.
///
/// On entry, `h` already includes the round's constant and word; on exit, `g` includes those of the next round, except
/// in the last one. After that `g` itself is no longer needed, so `Ch`, which overwrites one of its three inputs, may
/// overwrite it: 2 % fewer cycles than with a copy.
macro_rules! round {
    ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident $(, $word:expr, $k:expr)?) => {
        let next = $g;
        $(let next = add!(next, add!(_mm512_set1_epi32($k.cast_signed()), $word));)?
        let choice = _mm512_ternarylogic_epi32::<CHOICE>($e, $f, $g);
        let first = add!($h, choice, sigma!($e, 6, 11, 25));
        let majority = _mm512_ternarylogic_epi32::<MAJORITY>($a, $b, $c);
        $d = add!($d, first);
        $h = add!(first, majority, sigma!($a, 2, 13, 22));
        $g = next;
    };
}

/// Computes the word that replaces the one from sixteen rounds ago.
macro_rules! next {
    ($w:ident, $ago16:literal, $ago15:literal, $ago7:literal, $ago2:literal) => {
        $w[$ago16] = add!($w[$ago16], $w[$ago7], sigma!($w[$ago15], 7, 18, >> 3), sigma!($w[$ago2], 17, 19, >> 10));
    };
}

/// Fifteen rounds. Before each, `$before` gets the number of the next round's word.
macro_rules! fifteen {
    ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $w:ident, $k:ident, $before:ident) => {
        $before!($w, 1, 2, 10, 15);
        round!($a $b $c $d $e $f $g $h, $w[1], $k[1]);
        $before!($w, 2, 3, 11, 0);
        round!($h $a $b $c $d $e $f $g, $w[2], $k[2]);
        $before!($w, 3, 4, 12, 1);
        round!($g $h $a $b $c $d $e $f, $w[3], $k[3]);
        $before!($w, 4, 5, 13, 2);
        round!($f $g $h $a $b $c $d $e, $w[4], $k[4]);
        $before!($w, 5, 6, 14, 3);
        round!($e $f $g $h $a $b $c $d, $w[5], $k[5]);
        $before!($w, 6, 7, 15, 4);
        round!($d $e $f $g $h $a $b $c, $w[6], $k[6]);
        $before!($w, 7, 8, 0, 5);
        round!($c $d $e $f $g $h $a $b, $w[7], $k[7]);
        $before!($w, 8, 9, 1, 6);
        round!($b $c $d $e $f $g $h $a, $w[8], $k[8]);
        $before!($w, 9, 10, 2, 7);
        round!($a $b $c $d $e $f $g $h, $w[9], $k[9]);
        $before!($w, 10, 11, 3, 8);
        round!($h $a $b $c $d $e $f $g, $w[10], $k[10]);
        $before!($w, 11, 12, 4, 9);
        round!($g $h $a $b $c $d $e $f, $w[11], $k[11]);
        $before!($w, 12, 13, 5, 10);
        round!($f $g $h $a $b $c $d $e, $w[12], $k[12]);
        $before!($w, 13, 14, 6, 11);
        round!($e $f $g $h $a $b $c $d, $w[13], $k[13]);
        $before!($w, 14, 15, 7, 12);
        round!($d $e $f $g $h $a $b $c, $w[14], $k[14]);
        $before!($w, 15, 0, 8, 13);
        round!($c $d $e $f $g $h $a $b, $w[15], $k[15]);
    };
}

/// The first sixteen rounds use the words of the block itself.
macro_rules! nothing {
    ($($_:tt)*) => {};
}

#[inline]
#[target_feature(enable = "avx512f")]
fn rounds(state: &mut [__m512i; 8], mut w: Words) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    let [first, second, third, last] = &K;
    // The first round expects this in `h`.
    h = add!(h, _mm512_set1_epi32(first[0].cast_signed()), w[0]);
    fifteen!(a b c d e f g h, w, first, nothing);
    next!(w, 0, 1, 9, 14);
    round!(b c d e f g h a, w[0], second[0]);
    for (k, after) in [(second, third), (third, last)] {
        fifteen!(a b c d e f g h, w, k, next);
        next!(w, 0, 1, 9, 14);
        round!(b c d e f g h a, w[0], after[0]);
    }
    fifteen!(a b c d e f g h, w, last, next);
    round!(b c d e f g h a);
    for (before, after) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *before = add!(*before, after);
    }
}
