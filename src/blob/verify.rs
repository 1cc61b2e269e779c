//! Full checks of files that should have a blob's bytes: many at once, on all cores. `check` has the check of one.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};

use super::Pace;
use super::check::{Begun, InParts, PART_BYTES};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::Result;
use crate::fs::{Durability, Meta, Root};
use crate::hash::groups::GROUP_BYTES;
use crate::layout;
use crate::threads;

/// A smaller file takes longer to open than to check. More of them than there are cores are opened at the same time.
const SMALL_BYTES: u64 = GROUP_BYTES as u64;

/// For each core, how many threads check parts of files: while one waits for the disk, the other checks.
const THREADS: usize = 2;

/// For each core, how many more threads check small files.
const MORE_THREADS: usize = 2;

/// A file of the store that should have the bytes of a blob: the blob itself, or a view that is a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
    /// Its expected size, if known. The largest files are checked first.
    pub(crate) size_bytes: Option<u64>,
    /// The users that its record names. What is recorded about files of other users is not trusted.
    pub(crate) owners: BTreeSet<u32>,
}

impl Subject {
    pub(crate) fn blob(digest: &Digest, size_bytes: Option<u64>) -> Self {
        Subject { path: layout::blob(digest), digest: *digest, size_bytes, owners: BTreeSet::new() }
    }

    /// The same, with the owners that a record names.
    pub(crate) fn owned_by(self, owners: &BTreeSet<u32>) -> Self {
        Subject { owners: owners.clone(), ..self }
    }

    fn is_small(&self) -> bool {
        self.size_bytes.is_some_and(|size_bytes| size_bytes <= SMALL_BYTES)
    }

    /// How many parts of it threads can take; many, if its size is not known.
    fn parts(&self) -> usize {
        let parts = self.size_bytes.map(|size_bytes| size_bytes.div_ceil(PART_BYTES).max(1));
        parts.and_then(|parts| usize::try_from(parts).ok()).unwrap_or(usize::MAX)
    }

    /// Whether it is the blob itself and not a view.
    pub(crate) fn is_blob(&self) -> bool {
        self.path == layout::blob(&self.digest)
    }
}

/// The result of a check.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// It has the blob's bytes.
    Good,
    /// The file does not exist.
    Missing,
    /// It has other bytes, or the disk cannot read them.
    Bad {
        /// The file that was checked.
        file: Meta,
        /// The bad ranges, in whole groups; the whole file if its parts cannot be told apart.
        ranges: Vec<Range<u64>>,
    },
}

/// How files are checked.
pub(crate) struct Checker<'a> {
    pub(crate) root: &'a Root,
    /// Whether to check against the blob's digest and not only by its outboard.
    pub(crate) by_name: bool,
    /// A file that was found good is made at least this durable.
    pub(crate) durability: Durability,
    pub(crate) pace: Option<&'a Pace>,
    /// Cancels the work.
    pub(crate) cancel: Option<&'a Cancel>,
    /// Called with the number of bytes read.
    pub(crate) advanced: &'a (dyn Fn(u64) + Sync),
}

/// What a thread takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Files, and parts of the files of others.
    All,
    /// Small files, once there are only such. Then no disk must read them between the parts of a large one.
    Small,
}

/// The work that is left.
#[derive(Default)]
struct Queue {
    /// Indices of subjects, the largest first.
    waiting: VecDeque<usize>,
    /// Files that are checked in parts, which any thread may take.
    shared: Vec<Arc<InParts>>,
    /// Threads that are opening a file and may soon share it.
    opening: usize,
}

impl Queue {
    /// The next file that is for such a thread.
    fn next(&mut self, takes: Takes, subjects: &[Subject]) -> Option<usize> {
        let is_small = |number: &usize| subjects.get(*number).is_some_and(Subject::is_small);
        match takes {
            Takes::Small if !self.waiting.front().is_some_and(is_small) => None,
            _ => self.waiting.pop_front(),
        }
    }
}

impl<'a> Checker<'a> {
    /// A checker for a file that is about to be used: at full speed, without progress.
    pub(crate) fn quiet(root: &'a Root, durability: Durability) -> Self {
        let advanced = &|_| {};
        Checker { root, by_name: false, durability, pace: None, cancel: None, advanced }
    }

    /// Checks one file.
    pub(crate) fn one(&self, subject: Subject) -> Result<Verdict> {
        let mut verdict = Ok(Verdict::Missing);
        self.run(&[subject], &mut |_, found| verdict = found);
        verdict
    }

    /// Checks files on all cores. Returns each with its verdict, in the same order, or the first error.
    pub(crate) fn all<'s>(&self, subjects: &'s [Subject]) -> Result<Vec<(&'s Subject, Verdict)>> {
        let mut found: Vec<Option<Result<Verdict>>> = subjects.iter().map(|_| None).collect();
        self.run(subjects, &mut |number, verdict| {
            found.get_mut(number).map(|slot| slot.replace(verdict));
        });
        let told = subjects.iter().zip(found).filter_map(|(subject, verdict)| Some((subject, verdict?)));
        told.map(|(subject, verdict)| Ok((subject, verdict?))).collect()
    }

    /// Checks files on all cores. It calls `done` on the calling thread with the index and verdict of each file as soon
    /// as it is known; if the work is cancelled, not for all files. It holds no lock, because it may read terabytes.
    pub(crate) fn run(&self, subjects: &[Subject], done: &mut dyn FnMut(usize, Result<Verdict>)) {
        let mut order: Vec<usize> = (0..subjects.len()).collect();
        order.sort_by_key(|number| {
            std::cmp::Reverse(subjects.get(*number).and_then(|subject| subject.size_bytes).unwrap_or(0))
        });
        let queue = Mutex::new(Queue { waiting: order.into(), ..Queue::default() });
        let changed = Condvar::new();
        let alone = |done: &mut dyn FnMut(usize, Result<Verdict>)| {
            let done = RefCell::new(done);
            let tell = |number, verdict| done.borrow_mut()(number, verdict);
            self.work(subjects, Takes::All, &queue, &changed, &tell);
        };
        // A thread takes longer to start than a small file to check.
        if let [subject] = subjects
            && subject.is_small()
        {
            return alone(done);
        }
        threads::ready_for_rayon();
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            let cores = rayon::current_num_threads();
            let small = subjects.iter().filter(|subject| subject.is_small()).count();
            let parts = subjects.iter().fold(0_usize, |parts, subject| parts.saturating_add(subject.parts()));
            let readers = parts.clamp(1, THREADS * cores);
            for number in 0..readers + small.saturating_sub(readers).min(MORE_THREADS * cores) {
                let (sender, queue, changed) = (sender.clone(), &queue, &changed);
                let takes = if number < readers { Takes::All } else { Takes::Small };
                let started = threads::spawn(scope, move || {
                    self.work(subjects, takes, queue, changed, &|number, verdict| {
                        let _ = sender.send((number, verdict)); // the receiver outlives this thread
                    });
                });
                match started {
                    Ok(_) => {}
                    Err(_) if number > 0 => break, // the threads that exist do all the work
                    Err(_) => return alone(done),
                }
            }
            drop(sender);
            receiver.iter().for_each(|(number, verdict)| done(number, verdict));
        });
    }

    fn work(
        &self,
        subjects: &[Subject],
        takes: Takes,
        queue: &Mutex<Queue>,
        changed: &Condvar,
        tell: &dyn Fn(usize, Result<Verdict>),
    ) {
        let mut held = lock(queue);
        while !self.is_cancelled() {
            if let Some(number) = held.next(takes, subjects) {
                held.opening += 1;
                drop(held);
                let begun = subjects.get(number).map(|subject| self.begin(number, subject));
                let shared = match begun {
                    Some(Ok(Begun::InParts(file))) => Some(Arc::new(*file)),
                    Some(Ok(Begun::Done(verdict))) => {
                        tell(number, Ok(verdict));
                        None
                    }
                    Some(Err(error)) if !self.is_cancelled() => {
                        tell(number, Err(error));
                        None
                    }
                    _ => None,
                };
                held = lock(queue);
                held.opening -= 1;
                held.shared.extend(shared.clone());
                changed.notify_all();
                if let Some(file) = shared {
                    drop(held);
                    self.help(&file, subjects, tell);
                    held = lock(queue);
                    held.shared.retain(|other| !Arc::ptr_eq(other, &file));
                }
            } else if takes == Takes::Small {
                if held.waiting.is_empty() {
                    break;
                }
                held = changed.wait(held).unwrap_or_else(PoisonError::into_inner);
            } else if let Some(file) = held.shared.iter().find(|file| file.has_parts()).cloned() {
                drop(held);
                self.help(&file, subjects, tell);
                held = lock(queue);
            } else if held.opening > 0 {
                held = changed.wait(held).unwrap_or_else(PoisonError::into_inner);
            } else {
                break;
            }
        }
        drop(held);
        changed.notify_all();
    }

    pub(super) fn wait(&self, bytes: u64) {
        if let Some(pace) = self.pace {
            pace.wait(bytes, || self.is_cancelled());
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.is_some_and(Cancel::is_cancelled)
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when a small file is opened between the parts of a large one, or when nobody but the first threads takes any.
    #[test]
    fn more_threads_take_small_files_once_there_are_only_such() {
        let subject = |size_bytes| Subject::blob(&Digest::sha256_of(b"a"), size_bytes);
        let subjects = [None, Some(SMALL_BYTES + 1), Some(SMALL_BYTES), Some(0)].map(subject);
        let mut queue = Queue { waiting: (0..4).collect(), ..Queue::default() };
        for large in [0, 1] {
            assert_eq!(queue.next(Takes::Small, &subjects), None);
            assert_eq!(queue.next(Takes::All, &subjects), Some(large));
        }
        let rest = [Takes::Small, Takes::All, Takes::Small].map(|takes| queue.next(takes, &subjects));
        assert_eq!(rest, [Some(2), Some(3), None]);
    }
}
