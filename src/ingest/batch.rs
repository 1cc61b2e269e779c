//! Many files ingested at once, several on each core.

use std::num::NonZero;
use std::sync::OnceLock;
use std::thread::available_parallelism;

use rayon::prelude::*;

use super::duplicate::Duplicate;
use super::{ContentFile, Options, Origin, ingest_one};
use crate::blob::{IngestMode, Sealed};
use crate::error::{Error, Result};
use crate::fs::source::Foreign;
use crate::fs::{Session, atomic};
use crate::hash::groups::GroupHasher;
use crate::hash::{Buffer, Buffers, Hashes, Stream, digest_streams};

/// A file that is to be ingested.
pub(crate) struct Job<'a> {
    pub(crate) file: ContentFile,
    pub(crate) options: Options<'a>,
    /// The first error of the files that are of no use without each other. The others are not begun then, or given up.
    pub(crate) failed: &'a OnceLock<Error>,
}

impl Job<'_> {
    fn check_wanted(&self) -> Result<()> {
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }
}

/// Ingests files. One result for each, in their order.
pub(crate) fn ingest_all<'r>(session: &Session<'r>, jobs: Vec<Job<'_>>) -> Vec<Result<Sealed<'r>>> {
    let results: Vec<OnceLock<Result<Sealed<'r>>>> = jobs.iter().map(|_| OnceLock::new()).collect();
    let keep = |job: &Job<'_>, result: &OnceLock<_>, sealed: Result<Sealed<'r>>| {
        if let Err(error) = &sealed {
            let _ = job.failed.set(error.clone()); // the first one counts
        }
        let _ = result.set(sealed); // each is told of once
    };
    let is_alone = alone(&jobs, available_parallelism().map_or(1, NonZero::get));
    let (alone, streams): (Vec<_>, Vec<_>) = jobs.into_iter().zip(&results).partition(|(job, _)| is_alone(job));
    let buffers = Buffers::default();
    let begin = |(job, result)| LocalStream { session, job, result, buffers: &buffers, open: None };
    let streams: Vec<_> = streams.into_iter().map(begin).collect();
    let ingest_alone = |alone: Vec<(Job<'_>, &OnceLock<_>)>| {
        alone.into_par_iter().for_each(|(job, result)| {
            let sealed = job.check_wanted().and_then(|()| ingest_one(session, &job.file, job.options));
            keep(&job, result, sealed);
        });
    };
    // One file stays on this thread: no pool is started for it.
    if streams.is_empty() {
        drop(streams);
        ingest_alone(alone);
    } else {
        rayon::join(
            || ingest_alone(alone),
            || {
                digest_streams(streams, |stream, digest| {
                    let LocalStream { job, result, open, .. } = stream;
                    let sealed = digest.and_then(|digest| {
                        let Open { duplicate, groups, .. } = open.expect("a stream that has ended was begun");
                        let hashes = Hashes { digest, groups: groups.map(GroupHasher::finish) };
                        duplicate.finish(&job.file, hashes, job.options)
                    });
                    keep(&job, result, sealed);
                });
            },
        );
    }
    results.into_iter().map(|result| result.into_inner().expect("each file is told of once")).collect()
}

/// Which of these are ingested by themselves, with a thread for SHA-256 and another one for the rest: when there is one
/// alone; what is not a local file; what is taken as it is, since its owner may still change it; and a file that is more
/// than its share of the cores' work: it decides how long all of it takes, and as one of many streams it would take longer.
fn alone(jobs: &[Job<'_>], cores: usize) -> impl Fn(&Job<'_>) -> bool + use<> {
    let total_bytes = jobs.iter().fold(0_u64, |sum, job| sum.saturating_add(job.file.size_bytes));
    let (is_only, share_bytes) = (jobs.len() == 1, total_bytes / cores.max(1) as u64);
    move |job| {
        let is_read = match &job.file.origin {
            Origin::Local { mode, .. } => !matches!(mode, IngestMode::Link | IngestMode::Move),
            Origin::Remote(_) | Origin::Memory(_) => false,
        };
        is_only || !is_read || (cores > 1 && job.file.size_bytes > share_bytes)
    }
}

/// One of many local files: a part of it is read, written to its copy, and hashed from the same buffer.
struct LocalStream<'a, 'r> {
    session: &'a Session<'r>,
    job: Job<'a>,
    result: &'a OnceLock<Result<Sealed<'r>>>,
    buffers: &'a Buffers,
    open: Option<Open<'a, 'r>>,
}

struct Open<'a, 'r> {
    duplicate: Duplicate<'r>,
    groups: Option<GroupHasher>,
    buffer: Buffer<'a>,
    read_bytes: u64,
}

impl<'a, 'r> LocalStream<'a, 'r> {
    fn open(&self) -> Result<Open<'a, 'r>> {
        let Origin::Local { path, mode } = &self.job.file.origin else { unreachable!("the others are alone") };
        let duplicate = Duplicate::begin(self.session, Foreign::open(path)?, *mode)?;
        let size_bytes = duplicate.source.before().size_bytes;
        let buffer = self.buffers.take(size_bytes);
        if !duplicate.is_clone() && size_bytes > buffer.capacity_bytes() {
            duplicate.reserve()?;
        }
        let groups = self.job.options.with_groups.then(GroupHasher::default);
        Ok(Open { duplicate, groups, buffer, read_bytes: 0 })
    }
}

impl Stream for LocalStream<'_, '_> {
    fn size_bytes(&self) -> u64 {
        self.job.file.size_bytes
    }

    fn advance(&mut self) -> Result<()> {
        self.job.check_wanted()?;
        if self.open.is_none() {
            self.open = Some(self.open()?);
        }
        let hashed_bytes = self.bytes().len() as u64;
        if hashed_bytes > 0 {
            (self.job.options.advanced)(hashed_bytes);
        }
        self.open.as_mut().map_or(Ok(()), Open::advance)
    }

    fn bytes(&self) -> &[u8] {
        self.open.as_ref().map_or(&[], |open| open.buffer.bytes())
    }
}

impl Open<'_, '_> {
    fn advance(&mut self) -> Result<()> {
        let Duplicate { source, pending, .. } = &self.duplicate;
        if self.duplicate.is_clone() {
            self.buffer.refill(&mut pending.file()).map_err(|e| pending.fail("read", e))?;
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
            atomic::write(pending.file(), self.buffer.bytes()).map_err(|e| pending.fail("write", e))?;
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
