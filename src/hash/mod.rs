//! Hashing: of what the store owns through a memory map, of anybody's files by reading.

mod files;

pub use files::{FileHash, HashFunction, hash_files};

use std::io::{self, Read};
use std::ops::Range;

use sha2::Digest as _;

use crate::digest::Digest;
use crate::fs::map::Map;

/// How much is handed on at a time: large enough for the read to cost nothing, small enough to stay in the cache.
pub(crate) const CHUNK_BYTES: usize = 4 << 20;

/// The digest of bytes that come one chunk after the other.
#[derive(Default)]
pub(crate) struct Hasher(sha2::Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest::from_sha256(self.0.finalize().into())
    }
}

/// Hashes a mapped file of the store. `advanced` is told of every chunk.
pub(crate) fn hash_map(map: &Map, size_bytes: u64, advanced: &dyn Fn(u64)) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    for chunk in chunks(size_bytes) {
        let bytes = map.part(chunk)?;
        hasher.update(bytes);
        advanced(bytes.len() as u64);
    }
    Ok(hasher.finish())
}

/// The ranges of [`CHUNK_BYTES`] that make up a file.
pub(crate) fn chunks(size_bytes: u64) -> impl Iterator<Item = Range<usize>> {
    let size = usize::try_from(size_bytes).unwrap_or(usize::MAX);
    (0..size).step_by(CHUNK_BYTES).map(move |start| start..start.saturating_add(CHUNK_BYTES).min(size))
}

/// Feeds everything that a reader has to `update`, and answers how many bytes that were; about `size_bytes`, it is
/// thought.
pub(crate) fn read_all(reader: &mut impl Read, size_bytes: u64, mut update: impl FnMut(&[u8])) -> io::Result<u64> {
    // One more, so that the end of a small file shows in the first read. Not more than is needed: it is filled first.
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
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn a_map_and_a_reader_give_the_digest_of_the_bytes() {
        let sizes = [
            0, // empty: cannot be mapped
            1,
            CHUNK_BYTES - 1, // one short chunk
            CHUNK_BYTES,     // one full chunk
            CHUNK_BYTES + 1, // a chunk of one byte
        ];
        for size in sizes {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, &bytes).unwrap();
            let map = Map::of_owned(&file, size as u64).unwrap();
            let told = std::cell::Cell::new(0);
            let digest = hash_map(&map, size as u64, &|n| told.set(told.get() + n)).unwrap();
            assert_eq!(digest, Digest::of_bytes(&bytes), "{size}");
            assert_eq!(told.get(), size as u64);
            let mut hasher = Hasher::default();
            assert_eq!(read_all(&mut bytes.as_slice(), size as u64, |b| hasher.update(b)).unwrap(), size as u64);
            assert_eq!(hasher.finish(), digest);
        }
    }
}
