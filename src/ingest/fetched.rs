//! Files of a batch that come from servers. Such a job mostly waits for responses, so more of them run at once than
//! there are cores, on their own threads: on rayon's threads they would block all other work.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::thread;

use super::batch::Job;
use super::partial::What;
use super::{Origin, target};
use crate::blob::Sealed;
use crate::error::Result;
use crate::fs::Session;
use crate::threads;

/// How many files are fetched at once. The HTTP agent keeps this many idle connections per host.
const AT_ONCE: usize = 32;

/// How much memory they may use together.
const MEMORY_BYTES: u64 = 32 << 20;

/// A job, and where to put its result.
type Due<'a, 'j, 'r> = (Job<'j>, &'a OnceLock<Result<Sealed<'r>>>);

/// Whether its bytes come from a server.
pub(super) fn is_fetched(job: &Job<'_>) -> bool {
    matches!(job.file.origin, Origin::Remote(_)) && job.file.present.is_none()
}

/// Fetches the jobs, and identical files only once. `ingest` runs a job, and `keep` stores a result.
pub(super) fn fetch_all<'a, 'j, 'r>(
    session: &Session<'r>,
    jobs: Vec<Due<'a, 'j, 'r>>,
    ingest: &(impl Fn(Due<'a, 'j, 'r>) + Sync),
    keep: &impl Fn(&Job<'j>, &OnceLock<Result<Sealed<'r>>>, Result<Sealed<'r>>),
) {
    let mut firsts: BTreeMap<String, &OnceLock<_>> = BTreeMap::new();
    let (mut once, mut again) = (Vec::with_capacity(jobs.len()), Vec::new());
    for (job, result) in jobs {
        let what = what(&job);
        match what.as_ref().and_then(|what| firsts.get(what)) {
            Some(first) => again.push((job, result, *first)),
            None => {
                firsts.extend(what.map(|what| (what, result)));
                once.push((job, result));
            }
        }
    }
    on_threads(once, ingest);
    for (job, result, first) in again {
        let twin = match first.get() {
            Some(Ok(sealed)) => sealed.twin(session),
            _ => Ok(None), // the first one has nothing to share: run this job by itself
        };
        match twin {
            Ok(None) => ingest((job, result)),
            Ok(Some(twin)) => {
                (job.options.advanced)(job.file.size_bytes);
                keep(&job, result, job.file.check(twin.digest()).map(|()| twin));
            }
            Err(error) => keep(&job, result, Err(error)),
        }
    }
}

/// Jobs with equal names have equal bytes.
fn what(job: &Job<'_>) -> Option<String> {
    let Origin::Remote(ranges) = &job.file.origin else { return None };
    What::of_ranges(job.file.expected.as_ref(), ranges).map(What::into_text)
}

/// How much memory a job may use: twice the size of a small file, for its arrival and the copy. A large file is read by
/// several workers, one group at a time.
fn memory_bytes(job: &Job<'_>) -> u64 {
    match job.file.size_bytes {
        large if large >= target::FETCH_PARTIAL_FROM_BYTES => MEMORY_BYTES / 2,
        small => small * 2,
    }
}

fn on_threads<'a, 'j, 'r>(jobs: Vec<Due<'a, 'j, 'r>>, ingest: &(impl Fn(Due<'a, 'j, 'r>) + Sync)) {
    let workers = jobs.len().min(AT_ONCE);
    let queue = Mutex::new(jobs.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let memory = Memory { left_bytes: Mutex::new(MEMORY_BYTES), freed: Condvar::new() };
    let work = || {
        while let Some(due) = next() {
            let _held = memory.take(memory_bytes(&due.0));
            ingest(due);
        }
    };
    thread::scope(|scope| {
        // If no more threads can be started, this one does the remaining work.
        let _ = (1..workers).try_for_each(|_| threads::spawn(scope, work).map(drop));
        work();
    });
}

struct Memory {
    left_bytes: Mutex<u64>,
    freed: Condvar,
}

struct Held<'m> {
    memory: &'m Memory,
    bytes: u64,
}

impl Memory {
    /// Waits until this much is free. A request for more than the total gets all of it.
    fn take(&self, bytes: u64) -> Held<'_> {
        let bytes = bytes.min(MEMORY_BYTES);
        let left = self.left_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.freed.wait_while(left, |left| *left < bytes);
        *left.unwrap_or_else(PoisonError::into_inner) -= bytes;
        Held { memory: self, bytes }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.memory.left_bytes.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.memory.freed.notify_all();
    }
}
