//! Bringing a foreign file in: into a private inode first, hashed there.

use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use super::incoming::{Private, mapped};
use super::{Incoming, IngestMode, UsedMode};
use crate::error::Result;
use crate::fs::ahead::{Ahead, sync_meanwhile};
use crate::fs::source::Foreign;
use crate::fs::{Durability, Session, atomic, link, meta_of, space, will_need};
use crate::hash::{BothHasher, Hashes, hash_both, read_all};

/// A large file is written to disk in parts of this size while it is copied.
const SYNC_EVERY_BYTES: u64 = 64 << 20;

/// So much of a clone is on its way from the disk while what comes before is hashed.
const READ_AHEAD_BYTES: u64 = 16 << 20;

/// How a file is brought in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) mode: IngestMode,
    /// With `Full` it is synced here, before any lock is taken; a batch passes `Relaxed` and syncs the file system once.
    pub(crate) durability: Durability,
    /// Make the BLAKE3 groups on the way.
    pub(crate) with_groups: bool,
}

/// Brings the bytes of a regular file in and hashes them, with all cores for itself. `advanced` is told of every hashed
/// chunk.
pub(super) fn bring<'r>(
    session: &Session<'r>,
    source: &Path,
    how: How,
    advanced: &(dyn Fn(u64) + Sync),
) -> Result<Incoming<'r>> {
    let source = Foreign::open(source)?;
    match how.mode {
        IngestMode::Link => match take(session, &source, UsedMode::Link, how, advanced)? {
            Some(incoming) => Ok(incoming),
            None => Err(source.in_use("it cannot be hardlinked into the root's file system")),
        },
        IngestMode::Move => match take(session, &source, UsedMode::Move, how, advanced)? {
            Some(incoming) => Ok(incoming),
            None => {
                let mut incoming = clone_or_copy(session, source, how, advanced)?;
                incoming.mode = UsedMode::Move;
                Ok(incoming)
            }
        },
        IngestMode::Auto | IngestMode::Reflink | IngestMode::Copy => clone_or_copy(session, source, how, advanced),
    }
}

fn clone_or_copy<'r>(
    session: &Session<'r>,
    source: Foreign,
    how: How,
    advanced: &(dyn Fn(u64) + Sync),
) -> Result<Incoming<'r>> {
    let begun = Begun::new(session, source, how)?;
    let hashes = if begun.is_clone() {
        // The clone is of one moment; its size may not be what was seen before.
        let size = meta_of(&begun.private.file).map_err(|e| begun.fail("look at", e))?.size_bytes;
        let mut asked = 0;
        let fetch = |part: Range<u64>| {
            // Nothing of a clone is in memory, though all of its source may be.
            let wanted = size.min(part.end.saturating_add(READ_AHEAD_BYTES));
            will_need(&begun.private.file, &(asked..wanted));
            asked = wanted;
            mapped(&begun.private.file, part).map_err(|e| begun.fail("read", e))
        };
        hash_both(size, how.with_groups, fetch, advanced)?
    } else {
        copy_and_hash(session, &begun, how, advanced)?
    };
    begun.finish(hashes, how.durability)
}

/// Copies a chunk, then hashes it where it has arrived while it is still in the processor's cache.
fn copy_and_hash(
    session: &Session<'_>,
    begun: &Begun<'_>,
    how: How,
    advanced: &(dyn Fn(u64) + Sync),
) -> Result<Hashes> {
    let Begun { source, private } = begun;
    let size = source.before().size_bytes;
    // The full size first: a map reaches no further than the file. Nothing is written past it.
    begun.reserve()?;
    let copy = |part: Range<u64>, ahead: &Ahead| {
        let wanted = part.end - part.start;
        // The kernel copies without passing the bytes through this process, where it can.
        let copied = link::copy_bytes(&mut (source.file()).take(wanted), &private.file);
        let copied = copied.map_err(|e| begun.fail("write", e))?;
        if copied != wanted {
            return Err(source.changed(format!("it ended {} bytes early", wanted - copied)));
        }
        ahead.wrote(wanted);
        mapped(&private.file, part).map_err(|e| begun.fail("write", e))
    };
    let every_bytes = (how.durability.is_full() && size > SYNC_EVERY_BYTES).then_some(SYNC_EVERY_BYTES);
    let sync = || atomic::sync_data(session.root(), &private.file, private.incoming.name());
    let (hashes, synced) =
        sync_meanwhile(every_bytes, sync, |ahead| hash_both(size, how.with_groups, |part| copy(part, ahead), advanced));
    synced?;
    let hashes = hashes?;
    source.check_ended()?;
    Ok(hashes)
}

/// Takes the source's inode as it is; `None` where that needs a link that the file systems do not give.
fn take<'r>(
    session: &Session<'r>,
    source: &Foreign,
    mode: UsedMode,
    how: How,
    advanced: &(dyn Fn(u64) + Sync),
) -> Result<Option<Incoming<'r>>> {
    let root = session.root();
    source.check_nobody_writes()?;
    let name = session.next_name();
    match root.link_file(source.file(), &name) {
        Ok(()) => {}
        Err(e) if atomic::is_link_refusal(&e) => return Ok(None),
        Err(e) => return Err(root.fail("link the source to", &name, e)),
    }
    let handle = source.file().try_clone().map_err(|e| source.fail("read", e))?;
    let mut private = Private::around(root, name, handle, mode)?;
    private.incoming.borrowed_mode = Some(source.before().mode);
    // It may still be changed by its owner, so it is read and not mapped.
    let mut hasher = BothHasher::new(how.with_groups);
    let size_bytes = source.before().size_bytes;
    let read_bytes = read_all(&mut source.file(), size_bytes, |bytes| {
        hasher.update(bytes);
        advanced(bytes.len() as u64);
    })
    .map_err(|e| source.fail("read", e))?;
    if read_bytes != size_bytes {
        return Err(source.changed(format!("{read_bytes} bytes were read of {size_bytes}")));
    }
    private.hashed(hasher.finish());
    private.note(source, Some(source.stamp_after()?));
    let incoming = private.seal(how.durability)?;
    // Again: now that it is read-only, nobody new can come.
    source.check_nobody_writes()?;
    source.stamp_after()?;
    Ok(Some(incoming))
}

/// A source, and the private file that is its clone or becomes its copy.
pub(super) struct Begun<'r> {
    pub(super) source: Foreign,
    pub(super) private: Private<'r>,
}

impl<'r> Begun<'r> {
    /// Makes the private file: a clone where `how` lets it be one and the file system can, else empty.
    pub(super) fn new(session: &Session<'r>, source: Foreign, how: How) -> Result<Self> {
        let mut begun = Begun { source, private: Private::create(session)? };
        let reflinked = how.mode != IngestMode::Copy
            && link::reflink(begun.source.file(), &begun.private.file)
                .map_err(|e| begun.fail("reflink the source to", e))?;
        if reflinked {
            begun.private.incoming.mode = UsedMode::Reflink;
        } else if how.mode == IngestMode::Reflink {
            return Err(begun.source.fail("reflink", io::ErrorKind::Unsupported.into()));
        }
        Ok(begun)
    }

    pub(super) fn is_clone(&self) -> bool {
        self.private.incoming.mode == UsedMode::Reflink
    }

    /// Gives the copy the size that it will have.
    pub(super) fn reserve(&self) -> Result<()> {
        space::reserve(&self.private.file, self.source.before().size_bytes).map_err(|e| self.fail("write", e))
    }

    /// All of it is here and hashed.
    pub(super) fn finish(self, hashes: Hashes, durability: Durability) -> Result<Incoming<'r>> {
        let stamp = self.source.stamp_after();
        // What happens to the source is nothing to a clone.
        let stamp = if self.is_clone() { stamp.ok() } else { Some(stamp?) };
        let mut private = self.private;
        private.hashed(hashes);
        private.note(&self.source, stamp);
        private.seal(durability)
    }

    /// The error of the private file.
    pub(super) fn fail(&self, action: &'static str, error: io::Error) -> crate::error::Error {
        let incoming = &self.private.incoming;
        incoming.root().fail(action, incoming.name(), error)
    }
}
