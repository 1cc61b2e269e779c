//! One of many local files: each part is read, written to the copy, and hashed, all from the same buffer.

use super::duplicate::Duplicate;
use super::partial::Position;
use super::target::Target;
use super::{ContentFile, Options};
use crate::blob::{IngestMode, Sealed};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::Session;
use crate::fs::source::Foreign;
use crate::fs::sparse::{self, Blocks};
use crate::hash::groups::GroupHasher;
use crate::hash::{Buffer, Buffers, Hashes};

/// A file whose ingestion has begun.
pub(super) struct DuplicateStream<'a, 'r> {
    duplicate: Duplicate<'r>,
    state: State,
    buffer: Buffer<'a>,
}

/// How far it has come.
enum State {
    /// From start to end.
    Straight { groups: Option<GroupHasher>, read_bytes: u64 },
    /// In a partial that has some of the bytes.
    InPartial(Position),
    /// In a partial that has all of the bytes: nothing is read.
    Whole(Hashes),
}

impl<'a, 'r> DuplicateStream<'a, 'r> {
    pub(super) fn begin(
        session: &Session<'r>,
        source: Foreign,
        mode: IngestMode,
        options: Options<'_>,
        buffers: &'a Buffers,
    ) -> Result<Self> {
        let duplicate = Duplicate::begin(session, source, mode, options)?;
        let size_bytes = duplicate.source.before().size_bytes;
        let buffer = buffers.take(size_bytes);
        // A file written in one piece does not need its size set before.
        if size_bytes > buffer.capacity_bytes() || duplicate.source.blocks() == Blocks::AsNeeded {
            duplicate.set_size()?;
        }
        let state = match &duplicate.target {
            Target::Partial(partial) => match partial.whole() {
                Some(hashes) => {
                    (options.advanced)(size_bytes);
                    State::Whole(hashes)
                }
                None => State::InPartial(Position::default()),
            },
            Target::Clone(_) | Target::Private(_) => {
                State::Straight { groups: options.with_groups.then(GroupHasher::default), read_bytes: 0 }
            }
        };
        Ok(DuplicateStream { duplicate, state, buffer })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.bytes()
    }

    /// Reads the next bytes and writes them to the copy. The buffer is empty at the end.
    pub(super) fn advance(&mut self) -> Result<()> {
        let DuplicateStream { duplicate: Duplicate { source, target, .. }, state, buffer } = self;
        match (target, state) {
            (Target::Partial(partial), State::InPartial(position)) => position.advance(partial, source, buffer),
            (target, State::Straight { groups, read_bytes }) => {
                if let Target::Clone(pending) = target {
                    buffer.refill(&mut pending.file()).map_err(|e| pending.fail("read", e))?;
                } else {
                    buffer.refill(&mut source.file()).map_err(|e| source.fail("read", e))?;
                    let at = *read_bytes;
                    *read_bytes += buffer.bytes().len() as u64;
                    check_size(source, *read_bytes, buffer.bytes().is_empty())?;
                    let written = sparse::write_at(target.file(), at, buffer.bytes(), source.blocks());
                    written.map_err(|e| target.fail("write", e))?;
                }
                if let Some(groups) = groups {
                    groups.update(buffer.bytes());
                }
                Ok(())
            }
            (_, State::Whole(_)) => Ok(()),
            (_, State::InPartial(_)) => unreachable!("a target stays what it is"),
        }
    }

    /// Finishes after all bytes were read and hashed. `None`: see [`Target::seal`].
    pub(super) fn finish(self, file: &ContentFile, digest: Digest, options: Options<'_>) -> Result<Option<Sealed<'r>>> {
        let DuplicateStream { mut duplicate, state, .. } = self;
        let hashes = match (state, &mut duplicate.target) {
            (State::Straight { groups, .. }, _) => Hashes { digest, groups: groups.map(GroupHasher::finish) },
            (State::InPartial(position), Target::Partial(partial)) => {
                match position.finish(partial, &duplicate.source, digest) {
                    Ok(groups) => Hashes { digest, groups: Some(groups) },
                    Err(error) => return duplicate.target.give_up(error),
                }
            }
            (State::Whole(hashes), _) => hashes,
            (State::InPartial(_), _) => unreachable!("a target stays what it is"),
        };
        duplicate.finish(file, hashes, options)
    }

    /// Ends it unfinished: see [`Target::give_up`].
    pub(super) fn give_up(self, error: Error) -> Result<Option<Sealed<'r>>> {
        self.duplicate.target.give_up(error)
    }
}

fn check_size(source: &Foreign, read_bytes: u64, has_ended: bool) -> Result<()> {
    let size_bytes = source.before().size_bytes;
    if read_bytes > size_bytes {
        return Err(source.changed(format!("it has more than the {size_bytes} bytes of its size")));
    }
    if has_ended && read_bytes < size_bytes {
        return Err(source.changed(format!("it ended {} bytes early", size_bytes - read_bytes)));
    }
    Ok(())
}
