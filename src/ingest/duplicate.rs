//! A local file, in a private inode of its own: a clone, or a copy.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::take::take;
use super::{ContentFile, Options};
use crate::blob::{IngestMode, Pending, Sealed, SourceFacts, UsedMode};
use crate::error::Result;
use crate::fs::map::Map;
use crate::fs::source::Foreign;
use crate::fs::writeback::{Writeback, sync_meanwhile};
use crate::fs::{Session, atomic, link, meta_of, space, will_need};
use crate::hash::{Hashes, hash_both};

/// A large file is written to disk in parts of this size while it is copied.
const SYNC_EVERY_BYTES: u64 = 64 << 20;

/// So much of a clone is on its way from the disk while what comes before is hashed.
const READ_AHEAD_BYTES: u64 = 16 << 20;

/// Ingests a regular file of this machine.
pub(super) fn ingest_local<'r>(
    session: &Session<'r>,
    file: &ContentFile,
    path: &Path,
    mode: IngestMode,
    options: Options<'_>,
) -> Result<Sealed<'r>> {
    let source = Foreign::open(path)?;
    match mode {
        IngestMode::Link => match take(session, file, &source, UsedMode::Link, options)? {
            Some(sealed) => Ok(sealed),
            None => Err(source.in_use("it cannot be hardlinked into the root's file system")),
        },
        IngestMode::Move => match take(session, file, &source, UsedMode::Move, options)? {
            Some(sealed) => Ok(sealed),
            None => ingest_duplicate(session, file, source, mode, options),
        },
        IngestMode::Auto | IngestMode::Reflink | IngestMode::Copy => {
            ingest_duplicate(session, file, source, mode, options)
        }
    }
}

fn ingest_duplicate<'r>(
    session: &Session<'r>,
    file: &ContentFile,
    source: Foreign,
    mode: IngestMode,
    options: Options<'_>,
) -> Result<Sealed<'r>> {
    let duplicate = Duplicate::begin(session, source, mode)?;
    let hashes =
        if duplicate.is_clone() { duplicate.hash_clone(options)? } else { duplicate.copy_and_hash(options)? };
    duplicate.finish(file, hashes, options)
}

/// A source, and the private file that is its clone or becomes its copy.
pub(super) struct Duplicate<'r> {
    pub(super) source: Foreign,
    pub(super) pending: Pending<'r>,
    mode: IngestMode,
}

impl<'r> Duplicate<'r> {
    /// Makes the private file: a clone where `mode` lets it be one and the file system can, else empty.
    pub(super) fn begin(session: &Session<'r>, source: Foreign, mode: IngestMode) -> Result<Self> {
        let mut duplicate = Duplicate { source, pending: Pending::create(session)?, mode };
        let Duplicate { source, pending, .. } = &duplicate;
        let is_clone = mode != IngestMode::Copy
            && link::reflink(source.file(), pending.file()).map_err(|e| pending.fail("reflink the source to", e))?;
        if is_clone {
            duplicate.pending.set_mode(UsedMode::Reflink);
        } else if mode == IngestMode::Reflink {
            return Err(source.fail("reflink", io::ErrorKind::Unsupported.into()));
        }
        Ok(duplicate)
    }

    pub(super) fn is_clone(&self) -> bool {
        self.pending.mode() == UsedMode::Reflink
    }

    /// Gives the copy the size that it will have.
    pub(super) fn reserve(&self) -> Result<()> {
        let reserved = space::reserve(self.pending.file(), self.source.before().size_bytes);
        reserved.map_err(|e| self.pending.fail("write", e))
    }

    fn hash_clone(&self, options: Options<'_>) -> Result<Hashes> {
        let Duplicate { pending, .. } = self;
        // The clone is of one moment; its size may not be what was seen before.
        let size_bytes = meta_of(pending.file()).map_err(|e| pending.fail("look at", e))?.size_bytes;
        let mut asked = 0;
        let fetch = |part: Range<u64>| {
            // Nothing of a clone is in memory, though all of its source may be.
            let wanted = size_bytes.min(part.end.saturating_add(READ_AHEAD_BYTES));
            will_need(pending.file(), &(asked..wanted));
            asked = wanted;
            Map::read_in(pending.file(), part).map_err(|e| pending.fail("read", e))
        };
        hash_both(size_bytes, options.with_groups, fetch, options.advanced)
    }

    /// Copies a chunk, then hashes it where it has arrived while it is still in the processor's cache.
    fn copy_and_hash(&self, options: Options<'_>) -> Result<Hashes> {
        let Duplicate { source, pending, .. } = self;
        let size_bytes = source.before().size_bytes;
        // The full size first: a map reaches no further than the file. Nothing is written past it.
        self.reserve()?;
        let copy = |part: Range<u64>, writeback: &Writeback| {
            let wanted = part.end - part.start;
            // The kernel copies without passing the bytes through this process, where it can.
            let copied = link::copy_range(source.file(), pending.file(), &part);
            let copied = copied.map_err(|e| pending.fail("write", e))?;
            if copied != wanted {
                return Err(source.changed(format!("it ended {} bytes early", wanted - copied)));
            }
            writeback.wrote(wanted);
            Map::read_in(pending.file(), part).map_err(|e| pending.fail("write", e))
        };
        let is_synced_in_parts = options.durability.is_full() && size_bytes > SYNC_EVERY_BYTES;
        let sync = || atomic::sync_data(pending.root(), pending.file(), pending.name());
        let (hashes, synced) = sync_meanwhile(is_synced_in_parts.then_some(SYNC_EVERY_BYTES), sync, |writeback| {
            hash_both(size_bytes, options.with_groups, |part| copy(part, writeback), options.advanced)
        });
        synced?;
        let hashes = hashes?;
        source.check_ended()?;
        Ok(hashes)
    }

    /// All of it is here and hashed.
    pub(super) fn finish(self, file: &ContentFile, hashes: Hashes, options: Options<'_>) -> Result<Sealed<'r>> {
        let stamp = self.source.stamp_after();
        // What happens to the source is nothing to a clone.
        let stamp = if self.is_clone() { stamp.ok() } else { Some(stamp?) };
        let Duplicate { source, mut pending, mode } = self;
        pending.set_source(SourceFacts::of(&source, stamp));
        if mode == IngestMode::Move {
            pending.set_mode(UsedMode::Move);
        }
        file.accept(pending, hashes, options)
    }
}
