//! Ingests a local file into its own private inode: a clone or a copy.

use std::io;
use std::ops::Range;

use super::partial::What;
use super::reader::Reader;
use super::take::{Taking, share, take};
use super::target::Target;
use super::{ContentFile, Options};
use crate::blob::{IngestMode, Pending, Sealed, SourceFacts, UsedMode};
use crate::error::Result;
use crate::fs::link::Reflink;
use crate::fs::map::Map;
use crate::fs::source::Foreign;
use crate::fs::{Session, link, meta_of, will_need};
use crate::hash::{Hashes, hash_both};

/// While one part of a clone is hashed, this many bytes after it are read ahead from the disk.
const READ_AHEAD_BYTES: u64 = 16 << 20;

/// Ingests a regular local file. `None`: see [`Target::seal`].
pub(super) fn ingest_local<'r>(
    session: &Session<'r>,
    file: &ContentFile,
    source: Foreign,
    mode: IngestMode,
    options: Options<'_>,
) -> Result<Option<Sealed<'r>>> {
    let taken = match mode {
        IngestMode::Link => match take(session, file, &source, Taking::Link, options)? {
            Some(sealed) => Some(sealed),
            None => return Err(source.in_use("it cannot be hardlinked into the root's file system")),
        },
        IngestMode::Move => take(session, file, &source, Taking::Move, options)?,
        IngestMode::Share => return ingest_shared(session, file, source, options),
        IngestMode::Auto | IngestMode::Reflink | IngestMode::Copy => None,
    };
    if taken.is_some() {
        return Ok(taken);
    }
    Duplicate::begin(session, source, mode, options)?.ingest(file, options)
}

/// A clone, otherwise the source's own inode, otherwise a copy and the reason for it.
fn ingest_shared<'r>(
    session: &Session<'r>,
    file: &ContentFile,
    source: Foreign,
    options: Options<'_>,
) -> Result<Option<Sealed<'r>>> {
    let (source, empty) = match Duplicate::try_clone(session, source, options)? {
        Cloned::Made(duplicate) => return duplicate.ingest(file, options),
        Cloned::Refused { source, empty, .. } => (source, empty),
    };
    let reason = match share(session, file, &source, options)? {
        Ok(sealed) => return Ok(Some(sealed)),
        Err(reason) => reason,
    };
    let copied = Duplicate::copy(session, source, Some(empty), options)?.ingest(file, options)?;
    Ok(copied.map(|sealed| sealed.with_unshared(reason)))
}

/// A source, and the private file that is its clone or becomes its copy.
pub(super) struct Duplicate<'r> {
    pub(super) source: Foreign,
    pub(super) target: Target<'r>,
}

/// The result of an attempt to clone a source.
enum Cloned<'r> {
    Made(Duplicate<'r>),
    Refused { source: Foreign, empty: Pending<'r>, why: io::Error },
}

impl<'r> Duplicate<'r> {
    /// Creates the private file: a clone if `mode` and the file system allow it, otherwise a file to be filled.
    pub(super) fn begin(
        session: &Session<'r>,
        source: Foreign,
        mode: IngestMode,
        options: Options<'_>,
    ) -> Result<Self> {
        if mode == IngestMode::Copy {
            return Self::copy(session, source, None, options);
        }
        match Self::try_clone(session, source, options)? {
            Cloned::Made(duplicate) => Ok(duplicate),
            Cloned::Refused { source, why, .. } if mode == IngestMode::Reflink => Err(source.fail("reflink", why)),
            Cloned::Refused { source, empty, .. } => Self::copy(session, source, Some(empty), options),
        }
    }

    fn try_clone(session: &Session<'r>, source: Foreign, options: Options<'_>) -> Result<Cloned<'r>> {
        let pending = Pending::create(session)?;
        let reflinked = link::reflink(source.file(), pending.file());
        Ok(match reflinked.map_err(|e| pending.fail("reflink the source to", e))? {
            Reflink::Made => {
                let target = Target::clone_of(pending, what(&source), &source, options);
                Cloned::Made(Duplicate { source, target })
            }
            Reflink::Refused(why) => Cloned::Refused { source, empty: pending, why },
        })
    }

    /// Creates the file to be filled, in the empty private file if there is one.
    fn copy(session: &Session<'r>, source: Foreign, empty: Option<Pending<'r>>, options: Options<'_>) -> Result<Self> {
        let size_bytes = source.before().size_bytes;
        let target = Target::copy(session, empty, what(&source), size_bytes, source.blocks(), options)?;
        Ok(Duplicate { source, target })
    }

    /// Fills, hashes and seals it on this thread.
    fn ingest(mut self, file: &ContentFile, options: Options<'_>) -> Result<Option<Sealed<'r>>> {
        match self.fill(file, options) {
            Ok(hashes) => self.finish(file, hashes, options),
            Err(error) => self.target.give_up(error),
        }
    }

    /// Gives a copy its final size.
    pub(super) fn set_size(&self) -> Result<()> {
        self.target.set_size(self.source.before().size_bytes, self.source.blocks())
    }

    fn fill(&mut self, file: &ContentFile, options: Options<'_>) -> Result<Hashes> {
        let cancelled = || file.check_cancelled(options);
        match &mut self.target {
            Target::Clone(pending) => hash_clone(pending, options, &cancelled),
            target => {
                let size_bytes = self.source.before().size_bytes;
                let hashes = target.fill(Reader::Local(&self.source), size_bytes, options, &cancelled)?;
                if !target.is_clone() {
                    self.source.check_ended()?;
                }
                Ok(hashes)
            }
        }
    }

    /// Seals the file once all bytes are there and hashed. `None`: see [`Target::seal`].
    pub(super) fn finish(self, file: &ContentFile, hashes: Hashes, options: Options<'_>) -> Result<Option<Sealed<'r>>> {
        let Duplicate { source, target } = self;
        let (stamp, used) = match (target.is_clone(), source.stamp_after()) {
            // A later change of the source does not affect a clone.
            (true, stamp) => (stamp.ok(), UsedMode::Reflink),
            (false, Ok(stamp)) => (Some(stamp), UsedMode::Copy),
            (false, Err(error)) => return target.give_up(error),
        };
        target.seal(file, hashes, SourceFacts::of(&source, stamp), used, options)
    }
}

/// Names the bytes of a source if another process that computes the same name is certain to find the same bytes.
///
/// Never uses the expected digest: bytes in the store would then pass for those of a source that has different ones.
fn what(source: &Foreign) -> Option<What> {
    // A later write to a racy source might not change its times.
    (!source.is_racy()).then(|| What::local(source.path(), source.before()))
}

fn hash_clone(
    pending: &Pending<'_>,
    options: Options<'_>,
    cancelled: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Hashes> {
    // The clone is a snapshot; its size may differ from what was seen before.
    let size_bytes = meta_of(pending.file()).map_err(|e| pending.fail("look at", e))?.size_bytes;
    let mut asked = 0;
    let fetch = |part: Range<u64>| {
        cancelled()?;
        // No page of the clone is cached, even if the whole source is.
        let wanted = size_bytes.min(part.end.saturating_add(READ_AHEAD_BYTES));
        will_need(pending.file(), &(asked..wanted));
        asked = wanted;
        Map::read_in(pending.file(), part).map_err(|e| pending.fail("read", e))
    };
    hash_both(size_bytes, options.with_groups, fetch, options.advanced)
}
