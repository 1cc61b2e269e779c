//! Bringing many foreign files in at once, several on each core.

use std::num::NonZero;
use std::path::Path;
use std::sync::OnceLock;
use std::thread::available_parallelism;

use rayon::prelude::*;

use super::bring::{Begun, How, bring};
use super::{Incoming, IngestMode};
use crate::error::{Error, Result};
use crate::fs::source::Foreign;
use crate::fs::{Session, atomic};
use crate::hash::groups::GroupHasher;
use crate::hash::{Buffer, Buffers, Hashes, Stream, digest_streams};

/// A file that is to be brought in.
pub(crate) struct Wanted<'a> {
    pub(crate) source: &'a Path,
    /// How large it is, it is thought.
    pub(crate) size_bytes: u64,
    pub(crate) how: How,
    /// Told of every hashed chunk.
    pub(crate) advanced: &'a (dyn Fn(u64) + Sync),
    /// The first error of the files that are of no use without each other. The others are not begun then, or given up.
    pub(crate) failed: &'a OnceLock<Error>,
}

impl Wanted<'_> {
    fn check_wanted(&self) -> Result<()> {
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }
}

/// Brings files in and hashes them. One result for each, in their order.
pub(crate) fn bring_many<'r>(session: &Session<'r>, files: Vec<Wanted<'_>>) -> Vec<Result<Incoming<'r>>> {
    let results: Vec<OnceLock<Result<Incoming<'r>>>> = files.iter().map(|_| OnceLock::new()).collect();
    let keep = |wanted: &Wanted<'_>, result: &OnceLock<_>, brought: Result<Incoming<'r>>| {
        if let Err(error) = &brought {
            let _ = wanted.failed.set(error.clone()); // the first one counts
        }
        let _ = result.set(brought); // each is told of once
    };
    let is_alone = alone(&files, available_parallelism().map_or(1, NonZero::get));
    let (alone, streams): (Vec<_>, Vec<_>) = files.into_iter().zip(&results).partition(|(wanted, _)| is_alone(wanted));
    let buffers = Buffers::default();
    let begin = |(wanted, result)| Bringing { session, wanted, result, buffers: &buffers, open: None };
    let streams: Vec<_> = streams.into_iter().map(begin).collect();
    let bring_alone = |alone: Vec<(Wanted<'_>, &OnceLock<_>)>| {
        alone.into_par_iter().for_each(|(wanted, result)| {
            let brought =
                wanted.check_wanted().and_then(|()| bring(session, wanted.source, wanted.how, wanted.advanced));
            keep(&wanted, result, brought);
        });
    };
    // One file stays on this thread: no pool is started for it.
    if streams.is_empty() {
        drop(streams);
        bring_alone(alone);
    } else {
        rayon::join(
            || bring_alone(alone),
            || {
                digest_streams(streams, |bringing, digest| {
                    let Bringing { wanted, result, open, .. } = bringing;
                    let brought = digest.and_then(|digest| {
                        let Open { begun, groups, .. } = open.expect("a stream that has ended was begun");
                        begun.finish(Hashes { digest, groups: groups.map(GroupHasher::finish) }, wanted.how.durability)
                    });
                    keep(&wanted, result, brought);
                });
            },
        );
    }
    results.into_iter().map(|result| result.into_inner().expect("each file is told of once")).collect()
}

/// Which of these are brought in by themselves, with a thread for SHA-256 and another one for the rest: when there is one
/// alone; what is taken as it is, since its owner may still change it; and a file that is more than its share of the cores'
/// work: it decides how long all of it takes, and as one of many streams it would take longer.
fn alone(files: &[Wanted<'_>], cores: usize) -> impl Fn(&Wanted<'_>) -> bool + use<> {
    let total_bytes = files.iter().fold(0_u64, |sum, wanted| sum.saturating_add(wanted.size_bytes));
    let (is_only, share_bytes) = (files.len() == 1, total_bytes / cores.max(1) as u64);
    move |wanted| {
        let is_taken = matches!(wanted.how.mode, IngestMode::Link | IngestMode::Move);
        is_only || is_taken || (cores > 1 && wanted.size_bytes > share_bytes)
    }
}

/// One of many files on its way in: a part of it is read, written to its copy, and hashed from the same buffer.
struct Bringing<'a, 'r> {
    session: &'a Session<'r>,
    wanted: Wanted<'a>,
    result: &'a OnceLock<Result<Incoming<'r>>>,
    buffers: &'a Buffers,
    open: Option<Open<'a, 'r>>,
}

struct Open<'a, 'r> {
    begun: Begun<'r>,
    groups: Option<GroupHasher>,
    buffer: Buffer<'a>,
    read_bytes: u64,
}

impl<'a, 'r> Bringing<'a, 'r> {
    fn open(&self) -> Result<Open<'a, 'r>> {
        let Wanted { source, how, .. } = self.wanted;
        let begun = Begun::new(self.session, Foreign::open(source)?, how)?;
        let size_bytes = begun.source.before().size_bytes;
        let buffer = self.buffers.take(size_bytes);
        if !begun.is_clone() && size_bytes > buffer.capacity_bytes() {
            begun.reserve()?;
        }
        Ok(Open { begun, groups: how.with_groups.then(GroupHasher::default), buffer, read_bytes: 0 })
    }
}

impl Stream for Bringing<'_, '_> {
    fn size_bytes(&self) -> u64 {
        self.wanted.size_bytes
    }

    fn advance(&mut self) -> Result<()> {
        self.wanted.check_wanted()?;
        if self.open.is_none() {
            self.open = Some(self.open()?);
        }
        let hashed_bytes = self.bytes().len() as u64;
        if hashed_bytes > 0 {
            (self.wanted.advanced)(hashed_bytes);
        }
        self.open.as_mut().map_or(Ok(()), Open::advance)
    }

    fn bytes(&self) -> &[u8] {
        self.open.as_ref().map_or(&[], |open| open.buffer.bytes())
    }
}

impl Open<'_, '_> {
    fn advance(&mut self) -> Result<()> {
        let Begun { source, private } = &self.begun;
        if self.begun.is_clone() {
            self.buffer.refill(&mut &private.file).map_err(|e| self.begun.fail("read", e))?;
        } else {
            self.buffer.refill(&mut source.file()).map_err(|e| source.fail("read", e))?;
            self.read_bytes += self.buffer.bytes().len() as u64;
            let size_bytes = source.before().size_bytes;
            if self.read_bytes > size_bytes {
                return Err(source.changed(format!("it has more than the {size_bytes} bytes of its size")));
            }
            if self.buffer.bytes().is_empty() && self.read_bytes < size_bytes {
                return Err(source.changed(format!("it ended {} bytes early", size_bytes - self.read_bytes)));
            }
            atomic::write(&private.file, self.buffer.bytes()).map_err(|e| self.begun.fail("write", e))?;
        }
        if let Some(groups) = &mut self.groups {
            groups.update(self.buffer.bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests;
