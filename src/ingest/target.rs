//! The private file that bytes go into: a clone, a copy that ends with this process, or a partial that outlives it.

use std::fs::File;
use std::io;
use std::ops::Range;

use super::partial::{Begin, Partial, What};
use super::reader::Reader;
use super::{ContentFile, Options};
use crate::blob::{Pending, Sealed, SourceFacts, UsedMode};
use crate::error::{Error, Result};
use crate::fs::map::Map;
use crate::fs::source::Foreign;
use crate::fs::sparse::Blocks;
use crate::fs::writeback::{Writeback, sync_meanwhile};
use crate::fs::{Session, atomic, space};
use crate::hash::{Hashes, hash_both};

/// A large file is written to disk in parts of this size while it is copied.
const SYNC_EVERY_BYTES: u64 = 64 << 20;

/// From this size on a copy outlives its process: below, copying again costs less than a tenth of a second.
pub(crate) const PARTIAL_FROM_BYTES: u64 = 64 << 20;

/// From this size on what is fetched outlives its process. A network is slower than a disk.
pub(super) const FETCH_PARTIAL_FROM_BYTES: u64 = 8 << 20;

/// No size is so large that it outlives its process: for what is begun anew.
pub(super) const NO_PARTIAL: u64 = u64::MAX;

/// A private file that is being filled.
pub(super) enum Target<'r> {
    /// It has all of its bytes, and shares them with the source.
    Clone(Pending<'r>),
    Private(Pending<'r>),
    Partial(Partial<'r>),
}

impl<'r> Target<'r> {
    /// One that a copy goes into: a partial if the bytes can be named and are enough to be worth one, else `empty` if there
    /// is such a file.
    pub(super) fn copy(
        session: &Session<'r>,
        empty: Option<Pending<'r>>,
        what: Option<What>,
        size_bytes: u64,
        blocks: Blocks,
        options: Options<'_>,
    ) -> Result<Self> {
        let what = what.filter(|_| size_bytes >= options.partial_from_bytes);
        match what.and_then(|what| Partial::open(session.root(), &what, size_bytes, Begin::Empty(blocks))) {
            Some(partial) => Ok(Target::Partial(partial)),
            None => empty.map_or_else(|| Pending::create(session), Ok).map(Target::Private),
        }
    }

    /// One that shares the source's bytes, as `clone` does: a partial where a copy would be one, so that what is hashed of it
    /// outlives this process.
    pub(super) fn clone_of(clone: Pending<'r>, what: Option<What>, source: &Foreign, options: Options<'_>) -> Self {
        let size_bytes = source.before().size_bytes;
        let what = what.filter(|_| size_bytes >= options.partial_from_bytes).map(What::of_clone);
        match what.and_then(|what| Partial::open(clone.root(), &what, size_bytes, Begin::As(&clone))) {
            Some(partial) => Target::Partial(partial),
            None => Target::Clone(clone),
        }
    }

    pub(super) fn is_clone(&self) -> bool {
        match self {
            Target::Clone(_) => true,
            Target::Private(_) => false,
            Target::Partial(partial) => partial.is_clone(),
        }
    }

    pub(super) fn file(&self) -> &File {
        match self {
            Target::Clone(pending) | Target::Private(pending) => pending.file(),
            Target::Partial(partial) => partial.data(),
        }
    }

    /// The error of this file.
    pub(super) fn fail(&self, action: &'static str, error: io::Error) -> Error {
        match self {
            Target::Clone(pending) | Target::Private(pending) => pending.fail(action, error),
            Target::Partial(partial) => partial.fail(action, error),
        }
    }

    /// Gives it its final size.
    pub(super) fn set_size(&self, size_bytes: u64, blocks: Blocks) -> Result<()> {
        match self {
            Target::Private(pending) => {
                space::set_size(pending.file(), size_bytes, blocks).map_err(|e| pending.fail("write", e))
            }
            // It has it.
            Target::Clone(_) | Target::Partial(_) => Ok(()),
        }
    }

    /// Copies a chunk, then hashes it where it has arrived while it is still in the processor's cache.
    pub(super) fn fill(
        &mut self,
        reader: Reader<'_>,
        size_bytes: u64,
        options: Options<'_>,
        cancelled: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Hashes> {
        // The full size first: a map reaches no further than the file. Nothing is written past it.
        self.set_size(size_bytes, reader.blocks())?;
        let handle = self.file().try_clone().map_err(|e| self.fail("write", e))?;
        let (root, name) = match self {
            Target::Clone(pending) | Target::Private(pending) => (pending.root(), pending.name().to_path_buf()),
            Target::Partial(partial) => (partial.root(), partial.name()),
        };
        let sync = || atomic::sync_data(root, &handle, &name);
        let is_synced_in_parts = options.durability.is_full() && size_bytes > SYNC_EVERY_BYTES;
        let (hashes, synced) =
            sync_meanwhile(is_synced_in_parts.then_some(SYNC_EVERY_BYTES), sync, |writeback| match self {
                Target::Clone(pending) | Target::Private(pending) => {
                    fill_private(pending, reader, size_bytes, options, writeback, cancelled)
                }
                Target::Partial(partial) => partial.fill(reader, options, writeback, cancelled),
            });
        synced?;
        hashes
    }

    /// Makes it ready to be filled once more, since the whole has the wrong digest. `false`: that would change nothing.
    pub(super) fn doubt(&mut self) -> Result<bool> {
        match self {
            Target::Clone(_) => Ok(false),
            Target::Private(_) => Ok(true),
            Target::Partial(partial) => partial.doubt(),
        }
    }

    /// Seals it, complete. `None`: an earlier process had left wrong bytes in the partial. The partial is gone, and the
    /// caller has to begin again.
    pub(super) fn seal(
        self,
        file: &ContentFile,
        hashes: Hashes,
        source: SourceFacts,
        mode: UsedMode,
        options: Options<'_>,
    ) -> Result<Option<Sealed<'r>>> {
        let mut pending = match self {
            Target::Clone(pending) | Target::Private(pending) => pending,
            Target::Partial(partial) => match file.check(hashes.digest) {
                Ok(()) => partial.into_pending(),
                Err(error) => {
                    let was_resumed = partial.resumed_bytes() > 0;
                    partial.remove();
                    return if was_resumed { Ok(None) } else { Err(error) };
                }
            },
        };
        pending.set_source(source);
        pending.set_mode(mode);
        file.accept(pending, hashes, options).map(Some)
    }

    /// Ends it unfinished. A partial stays for the next process, unless it can never be completed or a failed sync makes its
    /// bytes doubtful.
    ///
    /// `Ok(None)`: an earlier process had left wrong bytes in it, as of [`seal`](Target::seal).
    pub(super) fn give_up<T>(self, error: Error) -> Result<Option<T>> {
        let Target::Partial(partial) = self else { return Err(error) };
        let has_wrong_bytes = matches!(error, Error::CorruptBlob { .. });
        if has_wrong_bytes || error.is_failed_sync() || matches!(error, Error::SourceChanged { .. }) {
            partial.remove();
        }
        if has_wrong_bytes { Ok(None) } else { Err(error) }
    }
}

fn fill_private(
    pending: &Pending<'_>,
    reader: Reader<'_>,
    size_bytes: u64,
    options: Options<'_>,
    writeback: &Writeback,
    cancelled: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Hashes> {
    let fetch = |part: Range<u64>| {
        cancelled()?;
        reader.copy(&part, pending.file(), |e| pending.fail("write", e))?;
        writeback.wrote(part.end - part.start);
        Map::read_in(pending.file(), part).map_err(|e| pending.fail("write", e))
    };
    hash_both(size_bytes, options.with_groups, fetch, options.advanced)
}
