//! Hashing: files of the store through a memory map, files outside it by reading, and many streams at once.
//!
//! ```text
//! dual.rs          SHA-256 and BLAKE3 of the same bytes
//! groups.rs        BLAKE3 of a file's parts, each on its own
//! files.rs         digests of many files, for `catalog hash`
//! buffers.rs       read buffers, reused from file to file
//! file_stream.rs   one file as a stream
//! streams.rs       many streams on all cores: which thread hashes which
//! schedule.rs      how many streams a thread hashes at once, from their sizes
//! sha256.rs        a single stream of bytes, and its padding
//! lane.rs          one of many streams, and its blocks
//! kernel/          the inner loops, and which of them this processor can run
//! ```

mod buffers;
mod dual;
mod file_stream;
mod files;
pub(crate) mod groups;
mod kernel;
mod lane;
mod schedule;
mod sha256;
mod streams;

pub(crate) use buffers::{Buffer, Buffers};
pub(crate) use dual::{BothHasher, Hashes, hash_both, hash_in_order};
pub use files::{FileHash, HashFunction, HashOptions, HashValue, hash_files};
pub(crate) use sha256::{Hasher, Midstate};
pub(crate) use streams::{Stream, digest_streams};

use std::io::{self, Read};
use std::ops::Range;

/// How much is passed on at a time: large enough that the cost per read is negligible, small enough to stay in the
/// cache.
pub(crate) const CHUNK_BYTES: usize = 4 << 20;

/// The ranges of [`CHUNK_BYTES`] that make up a part of a file.
pub(crate) fn chunks(part: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = part.end;
    let end_of = move |start: u64| start.saturating_add(CHUNK_BYTES as u64).min(end);
    part.step_by(CHUNK_BYTES).map(move |start| start..end_of(start))
}

/// Feeds everything that a reader has to `update`, and returns the number of bytes. `size_bytes` is an estimate.
pub(crate) fn read_all(reader: &mut impl Read, size_bytes: u64, mut update: impl FnMut(&[u8])) -> io::Result<u64> {
    // One byte more, so that the first read already shows the end of a small file. No more than needed: it is zeroed
    // first.
    let length = usize::try_from(size_bytes).unwrap_or(usize::MAX).saturating_add(1).clamp(4 << 10, 1 << 20);
    let mut buffer = vec![0; length];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(n) => {
                update(buffer.get(..n).unwrap_or_default());
                total += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn a_reader_gives_the_digest_of_the_bytes() {
        for size in [0, 1, 4095, 4096, 4097, 3 << 20] {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let mut hasher = Hasher::default();
            assert_eq!(read_all(&mut bytes.as_slice(), size as u64, |b| hasher.update(b)).unwrap(), size as u64);
            assert_eq!(hasher.finish(), Digest::sha256_of(&bytes));
        }
    }

    #[test]
    fn chunks_make_up_the_file() {
        let all = |size: u64| chunks(0..size).map(|chunk| chunk.end - chunk.start).collect::<Vec<_>>();
        let chunk = CHUNK_BYTES as u64;
        assert!(all(0).is_empty());
        assert_eq!(all(chunk - 1), [chunk - 1]);
        assert_eq!(all(2 * chunk + 1), [chunk, chunk, 1]);
    }
}
