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

/// While a large file is copied, it is written to disk in parts of this size.
pub(super) const SYNC_EVERY_BYTES: u64 = 64 << 20;

/// A copy of at least this size outlives its process. Copying a smaller file again takes less than a tenth of a second.
pub(crate) const PARTIAL_FROM_BYTES: u64 = 64 << 20;

/// A fetch of at least this size outlives its process. The limit is lower because a network is slower than a disk.
pub(super) const FETCH_PARTIAL_FROM_BYTES: u64 = 8 << 20;

/// A limit that no file reaches, so that a restarted copy uses no partial.
pub(super) const NO_PARTIAL: u64 = u64::MAX;

/// A private file that is being filled.
pub(super) enum Target<'r> {
    /// It shares all its bytes with the source.
    Clone(Pending<'r>),
    Private(Pending<'r>),
    Partial(Partial<'r>),
}

impl<'r> Target<'r> {
    /// Creates a target for a copy: a partial if the bytes can be named and the file is large enough, otherwise `empty`
    /// if given, otherwise a new private file.
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

    /// Creates a target that shares the source's bytes, as `clone` does. Where a copy would be a partial, so is the
    /// clone: its hashes then outlive this process.
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

    /// Builds an error that names this file.
    pub(super) fn fail(&self, action: &'static str, error: io::Error) -> Error {
        match self {
            Target::Clone(pending) | Target::Private(pending) => pending.fail(action, error),
            Target::Partial(partial) => partial.fail(action, error),
        }
    }

    /// Gives the file its final size.
    pub(super) fn set_size(&self, size_bytes: u64, blocks: Blocks) -> Result<()> {
        match self {
            Target::Private(pending) => {
                space::set_size(pending.file(), size_bytes, blocks).map_err(|e| pending.fail("write", e))
            }
            // They already have it.
            Target::Clone(_) | Target::Partial(_) => Ok(()),
        }
    }

    /// Copies each chunk, then hashes it in its new place while it is still in the processor's cache.
    pub(super) fn fill(
        &mut self,
        reader: Reader<'_>,
        size_bytes: u64,
        options: Options<'_>,
        cancelled: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Hashes> {
        // Set the full size first: a map reaches no further than the file. Nothing is written past it.
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

    /// Prepares to fill the file again because the whole has the wrong digest. Returns `false` if that would change
    /// nothing.
    pub(super) fn doubt(&mut self) -> Result<bool> {
        match self {
            Target::Clone(_) => Ok(false),
            Target::Private(_) => Ok(true),
            Target::Partial(partial) => partial.doubt(),
        }
    }

    /// Seals the complete file. Returns `None` if an earlier process had left wrong bytes in the partial, which is gone
    /// then: the file is ingested again from its beginning.
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

    /// Ends the file unfinished. A partial stays for the next process, unless it can never be completed or a failed
    /// sync makes its bytes doubtful.
    ///
    /// `Ok(None)`: an earlier process had left wrong bytes in it, as for [`seal`](Target::seal).
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
