//! Ingests a stream to its end. Its length is not known beforehand, and it can be read only once.

use std::io::{self, Read};
use std::path::Path;

use super::target::SYNC_EVERY_BYTES;
use super::{Options, check_digest};
use crate::blob::{Pending, Sealed};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::writeback::{Writeback, sync_meanwhile};
use crate::fs::{Session, atomic};
use crate::hash::groups::GroupHasher;
use crate::hash::{CHUNK_BYTES, Hasher, Hashes};
use crate::threads::ready_for_rayon;

/// Below this, a second thread costs more than it saves.
const BOTH_CORES_FROM_BYTES: usize = 256 << 10;

/// A stream that ends somewhere.
pub(crate) struct ToEnd<'a> {
    pub(crate) reader: &'a mut dyn Read,
    /// Its name in errors.
    pub(crate) label: &'a Path,
    pub(crate) expected: Option<Digest>,
    /// Called before each part is written, with the number of bytes before it and after it.
    pub(crate) make_room: &'a mut dyn FnMut(u64, u64) -> Result<()>,
}

/// Writes a stream to a private file, and hashes each part while it is in memory. Needs memory for one part.
pub(crate) fn ingest_to_end<'r>(session: &Session<'r>, stream: ToEnd<'_>, options: Options<'_>) -> Result<Sealed<'r>> {
    let pending = Pending::create(session)?;
    let (label, expected) = (stream.label, stream.expected);
    let handle = pending.file().try_clone().map_err(|e| pending.fail("write", e))?;
    let sync = || atomic::sync_data(pending.root(), &handle, pending.name());
    let every_bytes = options.durability.is_full().then_some(SYNC_EVERY_BYTES);
    let (hashes, synced) = sync_meanwhile(every_bytes, sync, |writeback| fill(&pending, stream, options, writeback));
    let hashes = hashes?;
    synced?;
    check_digest(|| label.to_path_buf(), expected, hashes.digest)?;
    pending.hashed(hashes).seal(options.durability)
}

fn fill(pending: &Pending<'_>, stream: ToEnd<'_>, options: Options<'_>, writeback: &Writeback) -> Result<Hashes> {
    let ToEnd { reader, label, make_room, .. } = stream;
    let (mut sha256, mut groups) = (Hasher::default(), options.with_groups.then(GroupHasher::default));
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut written_bytes = 0;
    loop {
        let cancelled = || options.cancel.check(|| format!("reading {}", label.display()));
        let length = read_part(reader, &mut buffer, label, &cancelled)?;
        let part = buffer.get(..length).unwrap_or_default();
        if part.is_empty() {
            return Ok(Hashes { digest: sha256.finish(), groups: groups.map(GroupHasher::finish) });
        }
        make_room(written_bytes, written_bytes + length as u64)?;
        let mut write = || -> Result<()> {
            atomic::write_at(pending.file(), written_bytes, part).map_err(|e| pending.fail("write", e))?;
            if let Some(groups) = &mut groups {
                groups.update(part);
            }
            Ok(())
        };
        if length < BOTH_CORES_FROM_BYTES {
            write()?;
            sha256.update(part);
        } else {
            ready_for_rayon();
            rayon::join(write, || sha256.update(part)).0?;
        }
        written_bytes += length as u64;
        writeback.wrote(length as u64);
        (options.advanced)(length as u64);
    }
}

/// Fills the buffer, or reads to the end of the stream: a single read from a pipe returns little.
fn read_part(
    reader: &mut dyn Read,
    buffer: &mut [u8],
    label: &Path,
    cancelled: &dyn Fn() -> Result<()>,
) -> Result<usize> {
    let mut length = 0;
    loop {
        cancelled()?;
        let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) else { return Ok(length) };
        match reader.read(rest) {
            Ok(0) => return Ok(length),
            Ok(more) => length += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::of_reader(label, e)),
        }
    }
}
