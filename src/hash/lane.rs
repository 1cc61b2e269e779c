//! A stream that is being hashed: its SHA-256 state, and the blocks that are ready.

use super::kernel::{INITIAL, Run};
use super::sha256::{self, BLOCK_BYTES};
use super::streams::Stream;
use crate::digest::Digest;
use crate::error::Result;

/// The least that follows a stream's bytes: even an empty stream has this much to hash.
const PADDING_BYTES: u64 = BLOCK_BYTES as u64;

pub(super) struct Lane<S> {
    stream: S,
    state: [u32; 8],
    /// How many of the stream's current bytes have been consumed.
    taken: usize,
    /// The bytes left over at the end of the current bytes; the next bytes or the padding complete the block.
    tail: [[u8; BLOCK_BYTES]; 2],
    tail_bytes: usize,
    /// The full blocks of the tail, which are hashed before any others.
    tail_ready: std::ops::Range<usize>,
    length_bytes: u64,
    is_padded: bool,
    remaining_bytes: u64,
    outcome: Option<Result<Digest>>,
}

impl<S: Stream> Lane<S> {
    pub(super) fn new(stream: S) -> Self {
        let remaining_bytes = stream.size_bytes().saturating_add(PADDING_BYTES);
        Lane {
            stream,
            state: INITIAL,
            taken: 0,
            tail: [[0; BLOCK_BYTES]; 2],
            tail_bytes: 0,
            tail_ready: 0..0,
            length_bytes: 0,
            is_padded: false,
            remaining_bytes,
            outcome: None,
        }
    }

    /// The stream and its result, once it has ended.
    pub(super) fn finish(self) -> (S, Option<Result<Digest>>) {
        (self.stream, self.outcome)
    }

    /// About how much is left to hash; never zero.
    pub(super) fn remaining_bytes(&self) -> u64 {
        self.remaining_bytes
    }

    /// The blocks that are ready for a kernel.
    pub(super) fn run(&mut self) -> Run<'_> {
        let tail = self.tail.get(self.tail_ready.clone()).unwrap_or_default();
        let blocks = if tail.is_empty() { whole_blocks(self.stream.bytes(), self.taken) } else { tail };
        Run { state: &mut self.state, blocks }
    }

    /// Records that a kernel has hashed this many blocks of [`run`](Self::run).
    pub(super) fn hashed(&mut self, blocks: usize) {
        if self.tail_ready.is_empty() {
            self.taken += blocks * BLOCK_BYTES;
        } else {
            self.tail_ready.start += blocks;
        }
        let hashed_bytes = (blocks * BLOCK_BYTES) as u64;
        self.remaining_bytes = self.remaining_bytes.saturating_sub(hashed_bytes).max(PADDING_BYTES);
    }

    /// Makes sure that blocks are ready. Returns whether the stream has ended instead, successfully or not.
    pub(super) fn refill(&mut self) -> bool {
        while self.outcome.is_none() && self.run().blocks.is_empty() {
            if self.is_padded {
                self.outcome = Some(Ok(sha256::digest_of(&self.state)));
            } else if let Err(e) = self.next_bytes() {
                self.outcome = Some(Err(e));
            }
        }
        self.outcome.is_some()
    }

    fn next_bytes(&mut self) -> Result<()> {
        self.fill_tail();
        self.stream.advance()?;
        self.taken = 0;
        let bytes = self.stream.bytes().len();
        self.length_bytes = self.length_bytes.wrapping_add(bytes as u64);
        if bytes == 0 {
            self.pad();
        } else if self.tail_bytes > 0 {
            self.fill_tail();
        }
        Ok(())
    }

    /// Moves bytes of the stream into the incomplete block, because kernels need each block in one piece.
    fn fill_tail(&mut self) {
        let [block, _] = &mut self.tail;
        let bytes = self.stream.bytes().get(self.taken..).unwrap_or_default();
        let mut count = 0;
        for (to, byte) in block.iter_mut().skip(self.tail_bytes).zip(bytes) {
            *to = *byte;
            count += 1;
        }
        self.taken += count;
        self.tail_bytes += count;
        if self.tail_bytes == BLOCK_BYTES {
            (self.tail_bytes, self.tail_ready) = (0, 0..1);
        }
    }

    fn pad(&mut self) {
        self.tail_ready = 0..sha256::pad(&mut self.tail, self.tail_bytes, self.length_bytes);
        self.is_padded = true;
    }
}

fn whole_blocks(bytes: &[u8], from: usize) -> &[[u8; BLOCK_BYTES]] {
    bytes.get(from..).unwrap_or_default().as_chunks().0
}
