//! SHA-256 of many streams, several at once on each thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::kernel::{self, Mode};
use super::lane::Lane;
use super::schedule::{self, Load};
use crate::digest::Digest;
use crate::error::Result;
use crate::fs::spare_descriptors;
use crate::sum::SumBytes;
use crate::threads;

/// Bytes that arrive part by part: from a file that is read, or copied and then hashed.
pub(crate) trait Stream: Send {
    /// About how many bytes the stream has. Only the order of the work depends on it.
    fn size_bytes(&self) -> u64;

    /// Gets the next bytes; none at the end. The previous bytes have been hashed by then. The first call opens the
    /// stream's files: thousands of streams may wait, and only a few are open at a time.
    fn advance(&mut self) -> Result<()>;

    /// The bytes that the last [`advance`](Self::advance) got.
    fn bytes(&self) -> &[u8];
}

/// Hashes every stream, on all cores. It calls `done` for each stream, on any thread and in any order. An error ends
/// only its own stream.
///
/// It does not use rayon's threads: a stream may itself use rayon, and a thread that waits in rayon takes other work,
/// which must not be this function again.
pub(crate) fn digest_streams<S: Stream>(streams: Vec<S>, done: impl Fn(S, Result<Digest>) + Sync) {
    let bytes = streams.iter().map(Stream::size_bytes).sum_bytes();
    let at_once = schedule::streams_within(spare_descriptors());
    let threads =
        if streams.len() > 1 { schedule::threads(streams.len(), bytes, threads::cores()).min(at_once) } else { 1 };
    digest_on(threads, schedule::allowed(kernel::modes(), threads, at_once), streams, done);
}

fn digest_on<S: Stream>(threads: usize, modes: &[Mode], streams: Vec<S>, done: impl Fn(S, Result<Digest>) + Sync) {
    let work = Work::new(threads, modes, streams);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            if threads::spawn(scope, || work.work(&done)).is_err() {
                break; // the threads that exist do all the work
            }
        }
        work.work(&done);
    });
}

/// The state that the threads share.
struct Work<'m, S> {
    threads: usize,
    modes: &'m [Mode],
    unfinished_bytes: AtomicU64,
    queue: Mutex<Queue<S>>,
    changed: Condvar,
}

struct Queue<S> {
    /// The streams that wait for a thread, sorted so that the longest is last.
    lanes: Vec<Lane<S>>,
    unfinished_streams: usize,
    /// Threads that have nothing to do while others still work.
    idle_threads: usize,
}

impl<'m, S: Stream> Work<'m, S> {
    fn new(threads: usize, modes: &'m [Mode], streams: Vec<S>) -> Self {
        let mut lanes: Vec<_> = streams.into_iter().map(Lane::new).collect();
        lanes.sort_by_key(Lane::remaining_bytes);
        let bytes = lanes.iter().map(Lane::remaining_bytes).sum_bytes();
        Work {
            threads,
            modes,
            unfinished_bytes: AtomicU64::new(bytes),
            queue: Mutex::new(Queue { unfinished_streams: lanes.len(), lanes, idle_threads: 0 }),
            changed: Condvar::new(),
        }
    }

    /// The loop of each thread, until every stream is done.
    fn work(&self, done: &impl Fn(S, Result<Digest>)) {
        let _leave = Leave(self);
        threads::ready_for_rayon(); // a stream may use rayon in `advance`
        let mut lanes = Vec::new();
        while let Some(mode) = self.deal(&mut lanes) {
            let over: Vec<_> = lanes.extract_if(.., Lane::refill).collect();
            if !over.is_empty() {
                over.into_iter().for_each(|lane| self.finish(lane, done));
                continue;
            }
            if lanes.len() > mode.streams {
                // Those with the most bytes left first, so that all end at about the same time and none runs alone at
                // the end.
                lanes.sort_by_key(|lane| std::cmp::Reverse(lane.remaining_bytes()));
            }
            let mut runs: Vec<_> = lanes.iter_mut().take(mode.streams).map(Lane::run).collect();
            let blocks = mode.kernel.compress(&mut runs);
            for lane in lanes.iter_mut().take(mode.streams) {
                let before = lane.remaining_bytes();
                lane.hashed(blocks);
                self.unfinished_bytes.fetch_sub(before - lane.remaining_bytes(), Ordering::Relaxed);
            }
        }
    }

    /// Gives lanes to idle threads, takes new ones, and chooses the next mode. `None` once everything is done.
    fn deal(&self, lanes: &mut Vec<Lane<S>>) -> Option<Mode> {
        let mut queue = self.lock();
        loop {
            if queue.idle_threads > 0 && queue.lanes.is_empty() && lanes.len() > 1 {
                let mut is_given = false;
                let given = lanes.extract_if(.., |_| {
                    is_given = !is_given;
                    is_given
                });
                queue.lanes.extend(given);
                queue.lanes.sort_by_key(Lane::remaining_bytes);
                self.changed.notify_all();
            }
            let waiting = queue.lanes.last().map(Lane::remaining_bytes);
            let load = Load {
                streams: lanes.len() + queue.lanes.len(),
                longest_bytes: lanes.iter().map(Lane::remaining_bytes).chain(waiting).max().unwrap_or(0),
                unfinished_bytes: self.unfinished_bytes.load(Ordering::Relaxed),
                threads: self.threads,
            };
            let mode = *schedule::choose(self.modes, &load)?;
            // Lanes that were given away are for the idle threads.
            if lanes.is_empty() || queue.idle_threads == 0 {
                let free = mode.streams.saturating_sub(lanes.len());
                let kept = queue.lanes.len().saturating_sub(free);
                lanes.extend(queue.lanes.drain(kept..));
            }
            if !lanes.is_empty() {
                return Some(mode);
            }
            if queue.unfinished_streams == 0 {
                return None;
            }
            queue.idle_threads += 1;
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle_threads -= 1;
        }
    }

    fn finish(&self, lane: Lane<S>, done: &impl Fn(S, Result<Digest>)) {
        self.unfinished_bytes.fetch_sub(lane.remaining_bytes(), Ordering::Relaxed);
        let (stream, outcome) = lane.finish();
        if let Some(outcome) = outcome {
            done(stream, outcome);
        }
        let mut queue = self.lock();
        // It is already 0 if a thread has panicked.
        queue.unfinished_streams = queue.unfinished_streams.saturating_sub(1);
        if queue.unfinished_streams == 0 {
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<S>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that panics never finishes its streams; this keeps the others from waiting for them.
struct Leave<'w, 'm, S: Stream>(&'w Work<'m, S>);

impl<S: Stream> Drop for Leave<'_, '_, S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().unfinished_streams = 0;
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests;
