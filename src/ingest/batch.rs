//! Ingests many files at once, several per core.

use std::sync::OnceLock;

use rayon::prelude::*;

use super::fetched::{fetch_all, is_fetched};
use super::stream::DuplicateStream;
use super::{ContentFile, Options, Origin, ingest_one};
use crate::blob::{IngestMode, Sealed};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::Session;
use crate::hash::{Buffers, Stream, digest_streams};
use crate::sum::SumBytes;
use crate::threads::{cores, ready_for_rayon};

/// A file to ingest.
pub(crate) struct Job<'a> {
    pub(crate) file: ContentFile,
    pub(crate) options: Options<'a>,
    /// The first error of this artifact's files. The rest are skipped or abandoned, since an artifact needs all of
    /// them.
    pub(crate) failed: &'a OnceLock<Error>,
}

impl Job<'_> {
    fn check_wanted(&self) -> Result<()> {
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }
}

/// Ingests files. Returns one result each, in the same order.
pub(crate) fn ingest_all<'r>(session: &Session<'r>, jobs: Vec<Job<'_>>) -> Vec<Result<Sealed<'r>>> {
    let results: Vec<OnceLock<Result<Sealed<'r>>>> = jobs.iter().map(|_| OnceLock::new()).collect();
    let keep = |job: &Job<'_>, result: &OnceLock<_>, sealed: Result<Sealed<'r>>| {
        if let Err(error) = &sealed {
            let _ = job.failed.set(error.clone()); // the first error wins
        }
        let _ = result.set(sealed); // a job ends once
    };
    let is_alone = alone(&jobs, &cores);
    let (fetched, local): (Vec<_>, Vec<_>) = jobs.into_iter().zip(&results).partition(|(job, _)| is_fetched(job));
    let (alone, streams): (Vec<_>, Vec<_>) = local.into_iter().partition(|(job, _)| is_alone(job));
    let buffers = Buffers::default();
    let begin = |(job, result)| LocalStream { session, job, result, buffers: &buffers, begun: None };
    let streams: Vec<_> = streams.into_iter().map(begin).collect();
    let ingest_job = |(job, result): (Job<'_>, &OnceLock<_>)| {
        let sealed = job.check_wanted().and_then(|()| ingest_one(session, &job.file, job.options));
        keep(&job, result, sealed);
    };
    let ingest_alone = |alone: Vec<_>| alone.into_par_iter().for_each(ingest_job);
    fetch_all(session, fetched, &ingest_job, &keep);
    if streams.is_empty() && alone.len() == 1 {
        // A single file stays on this thread, so that no pool has to start.
        drop(streams);
        alone.into_iter().for_each(ingest_job);
    } else {
        ready_for_rayon();
        rayon::join(
            || ingest_alone(alone),
            || {
                digest_streams(streams, |mut stream, digest| {
                    let sealed = stream.finish(digest);
                    keep(&stream.job, stream.result, sealed);
                });
            },
        );
    }
    results.into_iter().map(|result| result.into_inner().expect("each file is told of once")).collect()
}

/// Selects the files that get one thread for SHA-256 and another for the rest: the only file of a batch; bytes in
/// memory or already in the store; an inode that is taken over, because its owner can still change it; and a file
/// larger than its share of the cores' work, because it determines the total time and would be slower as one of many
/// streams.
fn alone(jobs: &[Job<'_>], cores: &dyn Fn() -> usize) -> impl Fn(&Job<'_>) -> bool + use<> {
    let total_bytes = jobs.iter().map(|job| job.file.size_bytes).sum_bytes();
    let is_only = jobs.len() == 1;
    let cores = if is_only { 1 } else { cores().max(1) };
    let share_bytes = total_bytes / cores as u64;
    move |job| {
        let is_read = match &job.file.origin {
            _ if job.file.present.is_some() => false,
            Origin::Local { mode, .. } => !matches!(mode, IngestMode::Link | IngestMode::Move | IngestMode::Share),
            Origin::Remote(_) | Origin::Memory(_) => false,
        };
        is_only || !is_read || (cores > 1 && job.file.size_bytes > share_bytes)
    }
}

/// A local file that is ingested as one of many streams.
struct LocalStream<'a, 'r> {
    session: &'a Session<'r>,
    job: Job<'a>,
    result: &'a OnceLock<Result<Sealed<'r>>>,
    buffers: &'a Buffers,
    /// `None` before its turn.
    begun: Option<DuplicateStream<'a, 'r>>,
}

impl<'r> LocalStream<'_, 'r> {
    /// Finishes the stream, whether it succeeded or failed.
    fn finish(&mut self, digest: Result<Digest>) -> Result<Sealed<'r>> {
        let Job { file, options, .. } = &self.job;
        let sealed = match (self.begun.take(), digest) {
            (Some(begun), Ok(digest)) => begun.finish(file, digest, *options)?,
            (Some(begun), Err(error)) => begun.give_up(error)?,
            (None, Err(error)) => return Err(error),
            (None, Ok(_)) => unreachable!("a stream that has ended was begun"),
        };
        match sealed {
            Some(sealed) => Ok(sealed),
            None => ingest_one(self.session, file, *options),
        }
    }
}

impl Stream for LocalStream<'_, '_> {
    fn size_bytes(&self) -> u64 {
        self.job.file.size_bytes
    }

    fn advance(&mut self) -> Result<()> {
        let LocalStream { session, job, buffers, begun, .. } = self;
        let Job { file, options, .. } = &*job;
        job.check_wanted()?;
        file.check_cancelled(*options)?;
        let begun = match begun {
            Some(begun) => begun,
            None => {
                let Origin::Local { path, mode, links } = &file.origin else { unreachable!("the others are alone") };
                begun.insert(DuplicateStream::begin(session, links.open(path)?, *mode, *options, buffers)?)
            }
        };
        let hashed_bytes = begun.bytes().len() as u64;
        if hashed_bytes > 0 {
            (options.advanced)(hashed_bytes);
        }
        begun.advance()
    }

    fn bytes(&self) -> &[u8] {
        self.begun.as_ref().map_or(&[], DuplicateStream::bytes)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests;
