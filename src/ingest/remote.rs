//! Something remote: read range by range into a private file, and hashed as it arrives.

use std::ops::Range;
use std::path::PathBuf;

use super::{ContentFile, Options};
use crate::blob::{Pending, Sealed};
use crate::error::{Error, Result};
use crate::fs::{Session, atomic, space};
use crate::hash::hash_both;
use crate::read_at::ReadAt;

/// Reads all of it, a chunk at a time; BLAKE3 is made of a chunk while the one before is in SHA-256.
pub(super) fn ingest_ranges<'r>(
    session: &Session<'r>,
    file: &ContentFile,
    ranges: &dyn ReadAt,
    options: Options<'_>,
) -> Result<Sealed<'r>> {
    let pending = Pending::create(session)?;
    let size_bytes = ranges.size_bytes();
    space::reserve(pending.file(), size_bytes).map_err(|e| pending.fail("write", e))?;
    let fetch = |part: Range<u64>| read_part(ranges, &pending, part);
    let hashes = hash_both(size_bytes, options.with_groups, fetch, options.advanced)?;
    file.accept(pending, hashes, options)
}

fn read_part(ranges: &dyn ReadAt, pending: &Pending<'_>, part: Range<u64>) -> Result<Vec<u8>> {
    let length = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length];
    ranges.read_exact_at(part.start, &mut bytes).map_err(|e| Error::io("read", PathBuf::from(ranges.name()), e))?;
    atomic::write_at(pending.file(), part.start, &bytes).map_err(|e| pending.fail("write", e))?;
    Ok(bytes)
}

#[cfg(test)]
pub(super) mod tests;
