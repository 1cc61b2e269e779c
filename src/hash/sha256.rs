//! SHA-256 of one stream of bytes. The state can be saved at the end of a block and resumed by another process.

use super::kernel::{INITIAL, Kernel, Run};
use crate::digest::Digest;

pub(super) const BLOCK_BYTES: usize = 64;

/// The state of SHA-256 after the beginning of a file: everything needed to continue from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Midstate {
    pub(crate) state: [u32; 8],
    /// Length of that beginning, a whole number of blocks.
    pub(crate) length_bytes: u64,
}

/// Computes the digest of bytes that arrive in chunks.
pub(crate) struct Hasher {
    state: [u32; 8],
    length_bytes: u64,
    /// The bytes of a block that is not full yet.
    tail: [[u8; BLOCK_BYTES]; 2],
}

impl Default for Hasher {
    fn default() -> Self {
        Hasher { state: INITIAL, length_bytes: 0, tail: [[0; BLOCK_BYTES]; 2] }
    }
}

impl Hasher {
    /// Continues where another hasher stopped.
    pub(crate) fn resume(from: Midstate) -> Self {
        let Midstate { state, length_bytes } = from;
        Hasher { state, length_bytes, ..Hasher::default() }
    }

    /// The current state; `None` in the middle of a block.
    pub(crate) fn midstate(&self) -> Option<Midstate> {
        let Hasher { state, length_bytes, .. } = *self;
        (self.tail_bytes() == 0).then_some(Midstate { state, length_bytes })
    }

    pub(crate) fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        let tail_bytes = self.tail_bytes();
        self.length_bytes = self.length_bytes.wrapping_add(bytes.len() as u64);
        let [block, _] = &mut self.tail;
        if tail_bytes > 0 {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - tail_bytes));
            fill(block, tail_bytes, now);
            if tail_bytes + now.len() < BLOCK_BYTES {
                return;
            }
            compress(&mut self.state, &[*block]);
            bytes = later;
        }
        let (blocks, rest) = bytes.as_chunks();
        compress(&mut self.state, blocks);
        fill(block, 0, rest);
    }

    pub(crate) fn finish(mut self) -> Digest {
        let tail_bytes = self.tail_bytes();
        let blocks = pad(&mut self.tail, tail_bytes, self.length_bytes);
        compress(&mut self.state, self.tail.get(..blocks).unwrap_or_default());
        digest_of(&self.state)
    }

    fn tail_bytes(&self) -> usize {
        (self.length_bytes % BLOCK_BYTES as u64) as usize
    }
}

fn compress(state: &mut [u32; 8], blocks: &[[u8; BLOCK_BYTES]]) {
    Kernel::Single.compress(&mut [Run { state, blocks }]);
}

/// Copies bytes into a block that already has `from` bytes. Bytes that do not fit are left out.
fn fill(block: &mut [u8; BLOCK_BYTES], from: usize, bytes: &[u8]) {
    if let Some(room) = block.get_mut(from..from + bytes.len()) {
        room.copy_from_slice(bytes);
    }
}

/// Pads a stream of this length: a one, zeros, and the length in bits in the last eight bytes of a block (FIPS 180-4,
/// section 5.1.1). Returns the number of blocks in the tail.
pub(super) fn pad(tail: &mut [[u8; BLOCK_BYTES]; 2], tail_bytes: usize, length_bytes: u64) -> usize {
    const LENGTH_BYTES: usize = 8;
    let blocks = if tail_bytes + 1 + LENGTH_BYTES <= BLOCK_BYTES { 1 } else { 2 };
    let padding = tail.as_flattened_mut().iter_mut().skip(tail_bytes);
    for (to, byte) in padding.zip(std::iter::once(0x80).chain(std::iter::repeat(0))) {
        *to = byte;
    }
    let length_bits = length_bytes.wrapping_mul(8).to_be_bytes();
    let ends = tail.iter_mut().take(blocks).next_back();
    if let Some(end) = ends.and_then(|block| block.last_chunk_mut()) {
        *end = length_bits;
    }
    blocks
}

/// The digest, from the final state.
pub(super) fn digest_of(state: &[u32; 8]) -> Digest {
    let mut bytes = [0; 32];
    for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(state) {
        *to = word.to_be_bytes();
    }
    Digest::from_sha256(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_any_pieces_have_the_digest_of_all() {
        let bytes: Vec<u8> = (0..1000).map(|i| (i % 251) as u8).collect();
        for size in (0..300).chain([447, 448, 511, 512, 999, 1000]) {
            for piece in [1, 55, 63, 64, 65, 128, 1000] {
                let mut hasher = Hasher::default();
                bytes[..size].chunks(piece).for_each(|piece| hasher.update(piece));
                assert_eq!(hasher.length_bytes(), size as u64);
                assert_eq!(hasher.finish(), Digest::sha256_of(&bytes[..size]), "{size} bytes in pieces of {piece}");
            }
        }
    }

    // Red when the length hashed before is lost: the padding contains it.
    #[test]
    fn another_hasher_goes_on_at_the_end_of_a_block() {
        let bytes: Vec<u8> = (0..1000).map(|i| (i % 251) as u8).collect();
        for at in [0, 64, 640, 960] {
            let mut first = Hasher::default();
            first.update(&bytes[..at]);
            let mut second = Hasher::resume(first.midstate().unwrap());
            second.update(&bytes[at..]);
            assert_eq!(second.finish(), Digest::sha256_of(&bytes));
        }
        let mut hasher = Hasher::default();
        hasher.update(&bytes[..65]);
        assert_eq!(hasher.midstate(), None);
    }
}
