//! Sparse files: the copy of a file with holes has holes too.
//!
//! Holes are found by reading. `SEEK_HOLE` has been wrong on a file system that had not yet written its data (OpenZFS),
//! and the copy then lacked data.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;

use super::{Meta, atomic, fault, link, sys};

/// Smaller holes are not worth it on any file system.
const BLOCK_BYTES: usize = 4096;
const BUFFER_BYTES: usize = 256 << 10;

/// How a file gets its blocks while it is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocks {
    /// All blocks are reserved before the first byte, so that a full disk is noticed then.
    Reserved,
    /// Blocks of zeros get none.
    AsNeeded,
}

impl Blocks {
    /// How a copy of `source` gets its blocks. A compressed source looks sparse too, and is then searched for holes in
    /// vain.
    pub(crate) fn of(source: &Meta) -> Self {
        let is_sparse = source.allocated_bytes.saturating_add(BLOCK_BYTES as u64) < source.size_bytes;
        if is_sparse { Blocks::AsNeeded } else { Blocks::Reserved }
    }
}

/// Copies a part of a file to the same offset of another file, which has its full size. Returns how many bytes the
/// source had there.
pub(crate) fn copy_range(mut from: &File, to: &File, part: &Range<u64>, blocks: Blocks) -> io::Result<u64> {
    if blocks == Blocks::Reserved {
        return link::copy_range(from, to, part);
    }
    fault::step("copy")?;
    from.seek(SeekFrom::Start(part.start))?;
    let mut left = from.take(part.end.saturating_sub(part.start));
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut copied_bytes = 0;
    loop {
        buffer.clear();
        let read_bytes = (&mut left).take(BUFFER_BYTES as u64).read_to_end(&mut buffer)? as u64;
        if read_bytes == 0 {
            return Ok(copied_bytes);
        }
        write_at(to, part.start.saturating_add(copied_bytes), &buffer, blocks)?;
        copied_bytes += read_bytes;
    }
}

/// Writes all bytes starting at `offset`. With `Blocks::AsNeeded` it skips blocks that the file has already: zeros,
/// unless an earlier process left something.
pub(crate) fn write_at(to: &File, offset: u64, bytes: &[u8], blocks: Blocks) -> io::Result<()> {
    let there = match blocks {
        Blocks::Reserved => None,
        Blocks::AsNeeded => read_at(to, offset, bytes.len())?,
    };
    let Some(there) = there else { return atomic::write_at(to, offset, bytes) };
    // Start of the bytes that still have to be written.
    let mut begin = 0;
    for (number, (new, old)) in bytes.chunks(BLOCK_BYTES).zip(there.chunks(BLOCK_BYTES)).enumerate() {
        if new == old {
            let at = number * BLOCK_BYTES;
            write_part(to, offset, bytes, begin..at)?;
            begin = at + new.len();
        }
    }
    write_part(to, offset, bytes, begin..bytes.len())
}

/// Writes this part of `bytes`, whose first byte belongs at `offset`.
fn write_part(to: &File, offset: u64, bytes: &[u8], part: Range<usize>) -> io::Result<()> {
    let at = offset.saturating_add(part.start as u64);
    match bytes.get(part) {
        None | Some([]) => Ok(()),
        Some(bytes) => atomic::write_at(to, at, bytes),
    }
}

/// `None`: the file does not have that many bytes yet.
fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut there = vec![0; length];
    match sys::read_exact_at(file, offset, &mut there) {
        Ok(()) => Ok(Some(there)),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use super::*;
    use crate::fs::meta_of;
    use crate::skip::skip;

    const MIB: u64 = 1 << 20;

    // Red when zeros are skipped although the file has other bytes there, and when the zeros of a hole are written.
    #[test]
    fn a_copy_has_the_bytes_of_its_source_and_its_holes() {
        let source = tempfile::tempfile().unwrap();
        source.set_len(8 * MIB).unwrap();
        source.write_all_at(b"one", MIB + 1).unwrap();
        source.write_all_at(&[7; 10_000], 5 * MIB - 77).unwrap();
        source.write_all_at(b"end", 8 * MIB - 3).unwrap();
        let blocks = Blocks::of(&meta_of(&source).unwrap());
        if blocks == Blocks::Reserved {
            return skip("this file system has no holes");
        }
        let bytes = |file: &File| {
            let mut bytes = vec![0; 8 << 20];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        let copy = tempfile::tempfile().unwrap();
        copy.set_len(8 * MIB).unwrap();
        for part in [0..3 * MIB + 5, 3 * MIB + 5..8 * MIB] {
            assert_eq!(copy_range(&source, &copy, &part, blocks).unwrap(), part.end - part.start);
        }
        assert!(bytes(&copy) == bytes(&source));
        assert!(copy.metadata().unwrap().blocks() * 512 < MIB);

        let dirty = tempfile::tempfile().unwrap();
        dirty.write_all_at(&[9; 8 << 20], 0).unwrap();
        assert_eq!(copy_range(&source, &dirty, &(0..9 * MIB), blocks).unwrap(), 8 * MIB, "it has no more");
        assert!(bytes(&dirty) == bytes(&source));
    }
}
