//! Fetches what a partial lacks of a remote file: workers fetch segments, each over its own connection, and SHA-256
//! follows in order. Arriving bytes are hashed in groups and recorded before SHA-256 gets them.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use blake3::hazmat::ChainingValue;

use super::fill::{groups_in, runs};
use super::journal::{Fact, Journal};
use crate::error::{Error, Result};
use crate::fs::atomic;
use crate::fs::writeback::Writeback;
use crate::hash::groups::{GROUP_BYTES, value_of};
use crate::read_at::ReadAt;
use crate::threads;

/// What a worker requests at once. If a worker is killed, only the group that was arriving is lost.
const SEGMENT_BYTES: u64 = 8 << 20;

/// How far workers may be ahead of SHA-256, so that the bytes it reads back are still in memory.
const AHEAD_BYTES: u64 = 128 << 20;

/// More workers than this would only wait for SHA-256, each with a buffer.
const MOST_WORKERS: usize = (AHEAD_BYTES / SEGMENT_BYTES) as usize;

/// How often a group is fetched again if it differs from what the source reported. After that it is accepted: the
/// source may have reported a wrong value, and the digest of the whole decides.
const MOST_AGAIN: u32 = 2;

/// How often a waiting thread checks for cancellation.
const TICK: Duration = Duration::from_millis(100);

/// Where the bytes come from and where they go.
pub(super) struct Way<'a> {
    pub(super) source: &'a dyn ReadAt,
    pub(super) data: &'a File,
    pub(super) journal: &'a Journal,
    /// The groups that `data` has from an earlier pull whose digest was wrong. A group that arrives unchanged is not
    /// written.
    pub(super) before: &'a [Option<ChainingValue>],
    /// The value that the source reported for each group; empty if it reported none.
    pub(super) told: &'a [ChainingValue],
    /// Builds an error that names `data`.
    pub(super) fail: &'a (dyn Fn(io::Error) -> Error + Sync),
    pub(super) writeback: &'a Writeback,
    pub(super) cancelled: &'a (dyn Fn() -> Result<()> + Sync),
}

/// A running pull.
pub(super) struct Pull<'a> {
    way: Way<'a>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Segments that no worker has begun, in order.
    segments: VecDeque<Range<u64>>,
    /// How many segments workers are fetching.
    begun: usize,
    /// The value of each group that is there.
    values: Vec<Option<ChainingValue>>,
    /// A segment that begins at this offset or later has to wait.
    begin_before: u64,
    /// Whether the first group has arrived.
    has_begun: bool,
    /// Why no more groups arrive.
    ended: Option<Error>,
    /// No more groups are wanted.
    is_over: bool,
    /// How often each group differed from what the source reported.
    wrong: BTreeMap<usize, u32>,
}

impl<'a> Pull<'a> {
    /// `values` are those of the groups that are already there.
    pub(super) fn new(way: Way<'a>, values: &[Option<ChainingValue>], size_bytes: u64) -> Self {
        let missing = (0..values.len()).filter(|number| values.get(*number) == Some(&None));
        let segments = runs(missing, size_bytes).into_iter().flat_map(segments_of).collect();
        let values = values.to_vec();
        let state = State {
            segments,
            begun: 0,
            values,
            begin_before: AHEAD_BYTES,
            has_begun: false,
            ended: None,
            is_over: false,
            wrong: BTreeMap::new(),
        };
        Pull { way, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Runs `work` while workers fetch what is missing. If no thread can be started, there are no workers, and `work`
    /// gets `false`.
    pub(super) fn with_workers<T>(&self, work: impl FnOnce(bool) -> T) -> T {
        thread::scope(|scope| {
            let _over = Over(self); // also after a panic, or the workers would wait for ever
            let wanted = self.way.source.connections().min(MOST_WORKERS).min(self.lock().segments.len());
            let start = |number| threads::spawn(scope, move || self.work(number)).ok();
            let started = (0..wanted).map_while(start).count();
            work(started > 0 || wanted == 0)
        })
    }

    fn work(&self, number: usize) {
        let guard = Panicked(self);
        let mut buffer = vec![0; GROUP_BYTES];
        while let Some(segment) = self.next_segment(number) {
            let brought = self.bring(segment, &mut buffer);
            self.lock().begun -= 1;
            self.changed.notify_all();
            if let Err(error) = brought {
                self.end(error);
                break;
            }
        }
        std::mem::forget(guard);
    }

    fn end(&self, error: Error) {
        self.lock().ended.get_or_insert(error);
        self.changed.notify_all();
    }

    /// Returns the next segment for a worker; `None` if there is none, or if this worker is one too many.
    fn next_segment(&self, number: usize) -> Option<Range<u64>> {
        let mut state = self.lock();
        loop {
            if state.is_over || state.ended.is_some() {
                return None;
            }
            let Some(first) = state.segments.front() else {
                // Another worker may still give its segment back and leave, but the first one may always go on.
                if number > 0 || state.begun == 0 {
                    return None;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            // Only the first response shows whether the server supports ranges, and that may change later.
            let is_one_too_many = number > 0 && number >= self.way.source.connections();
            if is_one_too_many {
                return None;
            }
            let may_begin = number == 0 || state.has_begun;
            if may_begin && first.start < state.begin_before {
                state.begun += 1;
                return state.segments.pop_front();
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns the part of a segment that a server without ranges did not send: the first worker reads all of it, in
    /// order.
    fn give_back(&self, rest: Range<u64>) {
        insert_in_order(&mut self.lock().segments, rest);
        self.changed.notify_all();
    }

    /// Fetches a segment, one group at a time.
    fn bring(&self, segment: Range<u64>, buffer: &mut [u8]) -> Result<()> {
        let Way { source, .. } = self.way;
        let (mut offset, end) = (segment.start, segment.end);
        let mut failed = None;
        let read = source.read_range(segment, buffer, &mut |bytes| {
            let kept = self.keep(offset, bytes);
            offset += bytes.len() as u64;
            kept.map_err(|error| {
                failed = Some(error);
                io::ErrorKind::Other.into()
            })
        });
        match (failed, read) {
            (Some(error), _) => Err(error),
            (None, Err(e)) if e.kind() == io::ErrorKind::Unsupported && source.connections() == 1 => {
                self.give_back(offset..end);
                Ok(())
            }
            (None, read) => read.map_err(|e| Error::of_reader(source.name(), e)),
        }
    }

    /// Writes a group, and records that it is there.
    fn keep(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let Way { source, data, journal, before, told, fail, writeback, cancelled } = &self.way;
        cancelled()?;
        if self.lock().is_over {
            return Err(fail(io::ErrorKind::Interrupted.into()));
        }
        let number = offset / GROUP_BYTES as u64;
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        let value = value_of(number, bytes);
        if told.get(place).is_some_and(|told| *told != value) && self.is_to_come_again(place) {
            let range = offset..offset + bytes.len() as u64;
            source.gave_wrong(range.clone());
            self.give_back(range);
            return Ok(());
        }
        if before.get(place).copied().flatten() != Some(value) {
            atomic::write_at(data, offset, bytes).map_err(fail)?;
            writeback.wrote(bytes.len() as u64);
        }
        // Only after the bytes that the record describes.
        journal.append(&[Fact::Group { number, value }]);
        let mut state = self.lock();
        state.has_begun = true;
        if let Some(slot) = state.values.get_mut(place) {
            *slot = Some(value);
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Whether to fetch a group again that differs from what the source reported.
    fn is_to_come_again(&self, place: usize) -> bool {
        let mut state = self.lock();
        let times = state.wrong.entry(place).or_default();
        *times += 1;
        *times <= MOST_AGAIN
    }

    /// Waits until a part is there, and returns the values of its groups.
    pub(super) fn wait_for(&self, part: &Range<u64>) -> Result<Vec<ChainingValue>> {
        let mut state = self.lock();
        state.begin_before = part.start.saturating_add(AHEAD_BYTES);
        self.changed.notify_all();
        loop {
            let groups = state.values.get(groups_in(part)).unwrap_or_default();
            if let Some(values) = groups.iter().copied().collect() {
                return Ok(values);
            }
            if let Some(error) = &state.ended {
                return Err(error.clone());
            }
            (self.way.cancelled)()?;
            state = self.changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker that panicked. No other worker fetches its segment, so waiters would wait for ever.
struct Panicked<'p, 'a>(&'p Pull<'a>);

impl Drop for Panicked<'_, '_> {
    fn drop(&mut self) {
        self.0.end(Error::io("read", self.0.way.source.name(), io::Error::other("a worker has panicked")));
    }
}

/// Stops the workers of a pull.
struct Over<'p, 'a>(&'p Pull<'a>);

impl Drop for Over<'_, '_> {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.changed.notify_all();
    }
}

/// Inserts in order, because a stream only goes forward.
pub(super) fn insert_in_order(segments: &mut VecDeque<Range<u64>>, segment: Range<u64>) {
    let at = segments.partition_point(|other| other.start < segment.start);
    segments.insert(at, segment);
}

fn segments_of(run: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = run.end;
    run.step_by(SEGMENT_BYTES as usize).map(move |start| start..start.saturating_add(SEGMENT_BYTES).min(end))
}
