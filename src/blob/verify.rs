//! Full checks of files that should have a blob's bytes: many at once, each in parts, on all cores.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};

use super::ahead::Ahead;
use super::{Pace, outboard};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::Result;
use crate::fs::cached::Visit;
use crate::fs::map::is_bad_medium;
use crate::fs::{Durability, Meta, Root, atomic, meta_of};
use crate::hash::groups::{self, GROUP_BYTES, Groups};
use crate::hash::{Hashes, hash_both};
use crate::layout;
use crate::threads;

/// How much one thread takes at a time: enough for a disk to read at full speed, but not so much that threads wait for
/// each other at the end.
const PART_BYTES: u64 = 8 * GROUP_BYTES as u64;

/// A smaller file takes longer to open than to check. More of them than there are cores are opened at the same time.
const SMALL_BYTES: u64 = GROUP_BYTES as u64;

/// For each core, how many more threads check small files.
const MORE_THREADS: usize = 3;

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

/// A file that is checked in parts.
struct InParts {
    subject: usize,
    file: File,
    before: Meta,
    groups: Groups,
    next_part: AtomicU64,
    parts_left: AtomicU64,
    found: Mutex<Result<Vec<Range<u64>>>>,
    ahead: Ahead,
}

impl Drop for InParts {
    fn drop(&mut self) {
        self.ahead.give_up(&self.file);
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
        threads::ready_for_rayon();
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            let cores = rayon::current_num_threads();
            let small = subjects.iter().filter(|subject| subject.is_small()).count();
            for number in 0..cores + small.min(MORE_THREADS * cores) {
                let (sender, queue, changed) = (sender.clone(), &queue, &changed);
                let takes = if number < cores { Takes::All } else { Takes::Small };
                let started = threads::spawn(scope, move || {
                    self.work(subjects, takes, queue, changed, &|number, verdict| {
                        let _ = sender.send((number, verdict)); // the receiver outlives this thread
                    });
                });
                match started {
                    Ok(_) => {}
                    Err(_) if number > 0 => break, // the threads that exist do all the work
                    Err(_) => {
                        let done = RefCell::new(&mut *done);
                        return self.work(subjects, Takes::All, queue, changed, &|number, verdict| {
                            done.borrow_mut()(number, verdict)
                        });
                    }
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
        let next = |queue: &mut Queue| {
            let is_small = |number: &&usize| subjects.get(**number).is_some_and(Subject::is_small);
            let is_mine = takes == Takes::All || queue.waiting.front().as_ref().is_some_and(is_small);
            if is_mine { queue.waiting.pop_front() } else { None }
        };
        let mut held = lock(queue);
        while !self.is_cancelled() {
            if let Some(number) = next(&mut held) {
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

    /// Opens a file. If it cannot be checked in parts, checks all of it.
    fn begin(&self, number: usize, subject: &Subject) -> Result<Begun> {
        let Some(file) = self.root.open_file(&subject.path)? else { return Ok(Begun::Done(Verdict::Missing)) };
        let before = meta_of(&file).map_err(|e| self.root.fail("look at", &subject.path, e))?;
        let known = outboard::read(self.root, &subject.digest);
        let is_believed =
            known.as_ref().is_some_and(|outboard| outboard.speaks_for(self.root, &before, &subject.owners));
        let groups = known
            .and_then(|outboard| outboard.groups(self.root, &subject.digest))
            .filter(|groups| subject.size_bytes.is_none_or(|size| size == groups.size_bytes()));
        match groups {
            Some(groups) if is_believed && !self.by_name => {
                // Bytes beyond the blob's end are damage too.
                let size_bytes = groups.size_bytes().max(before.size_bytes);
                let file = InParts {
                    subject: number,
                    file,
                    before,
                    parts_left: AtomicU64::new(size_bytes.div_ceil(PART_BYTES).max(1)),
                    next_part: AtomicU64::new(0),
                    groups,
                    found: Mutex::new(Ok(Vec::new())),
                    ahead: Ahead::default(),
                };
                Ok(Begun::InParts(Box::new(file)))
            }
            groups => self.check_by_name(&file, before, subject, groups.as_ref()).map(Begun::Done),
        }
    }

    /// Checks parts of a file until none are left to take.
    fn help(&self, file: &InParts, subjects: &[Subject], tell: &dyn Fn(usize, Result<Verdict>)) {
        while let Some(part) = file.take_part() {
            if self.is_cancelled() {
                return;
            }
            let found = self.check_part(file, part, subjects);
            let mut all = file.found.lock().unwrap_or_else(PoisonError::into_inner);
            match (&mut *all, found) {
                (Ok(all), Ok(found)) => all.extend(found),
                (all @ Ok(_), Err(error)) => *all = Err(error),
                (Err(_), _) => {}
            }
            drop(all);
            if file.parts_left.fetch_sub(1, Ordering::AcqRel) == 1 {
                let all =
                    std::mem::replace(&mut *file.found.lock().unwrap_or_else(PoisonError::into_inner), Ok(Vec::new()));
                if let Some(subject) = subjects.get(file.subject) {
                    tell(file.subject, all.and_then(|bad| self.conclude(file, subject, bad)));
                }
            }
        }
    }

    /// Returns the bad groups of a part.
    fn check_part(&self, file: &InParts, part: Range<u64>, subjects: &[Subject]) -> Result<Vec<Range<u64>>> {
        let name = subjects.get(file.subject).map_or(Path::new(""), |subject| &subject.path);
        let fail = |e| self.root.fail("read", name, e);
        let size_bytes = file.groups.size_bytes();
        let mut bad = Vec::new();
        // Bytes beyond the blob's end, and groups beyond the file's end, need no reading.
        let beyond = part.start.max(size_bytes)..part.end.max(size_bytes);
        bad.extend((!beyond.is_empty()).then_some(beyond));
        let readable = file.readable(&part);
        self.wait(readable.end.saturating_sub(readable.start));
        let visit = match file.ahead.visit(&file.file, readable.clone(), file.next_parts()) {
            Ok(visit) => Some(visit),
            Err(e) if is_bad_medium(&e) => None, // go group by group: most can still be read
            Err(e) => return Err(fail(e)),
        };
        let first = part.start / GROUP_BYTES as u64;
        for number in first..groups::count(part.end.min(size_bytes)) {
            let group = groups::range(number, size_bytes);
            let is_good = if group.end > file.before.size_bytes {
                false
            } else if let Some(visit) = &visit {
                let offset = |at: u64| usize::try_from(at.saturating_sub(readable.start)).unwrap_or(usize::MAX);
                let bytes = visit.get(offset(group.start)..offset(group.end));
                bytes.is_some_and(|bytes| file.groups.is_good(number, bytes))
            } else {
                match Visit::to(&file.file, group.clone()) {
                    Ok(visit) => file.groups.is_good(number, &visit),
                    Err(e) if is_bad_medium(&e) => false,
                    Err(e) => return Err(fail(e)),
                }
            };
            if !is_good {
                bad.push(group);
            }
        }
        (self.advanced)(readable.end.saturating_sub(readable.start));
        Ok(bad)
    }

    fn conclude(&self, file: &InParts, subject: &Subject, bad: Vec<Range<u64>>) -> Result<Verdict> {
        if bad.is_empty() && file.groups.size_bytes() == file.before.size_bytes {
            self.note_good(&file.file, &file.before, subject, Some(&file.groups))?;
            return Ok(Verdict::Good);
        }
        if file.groups.values().is_empty() {
            // For a single group, only the digest can tell whether it is the outboard that is damaged.
            return self.check_by_name(&file.file, file.before, subject, None);
        }
        Ok(Verdict::Bad { file: file.before, ranges: joined(bad) })
    }

    /// Reads the whole file and compares it with the blob's digest.
    fn check_by_name(&self, file: &File, before: Meta, subject: &Subject, known: Option<&Groups>) -> Result<Verdict> {
        let fetch = |part: Range<u64>| {
            if self.is_cancelled() {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            self.wait(part.end - part.start);
            Visit::to(file, part)
        };
        let whole = 0..before.size_bytes.max(subject.size_bytes.unwrap_or(0)).max(1);
        let bad = |ranges: Vec<Range<u64>>| Verdict::Bad { file: before, ranges };
        match hash_both(before.size_bytes, true, fetch, self.advanced) {
            Ok(Hashes { digest, groups }) if digest == subject.digest => {
                self.note_good(file, &before, subject, groups.as_ref())?;
                Ok(Verdict::Good)
            }
            Ok(Hashes { groups, .. }) => {
                let ranges = known.zip(groups).map(|(known, now)| differences(known, &now)).unwrap_or_default();
                Ok(bad(if ranges.is_empty() { vec![whole] } else { ranges }))
            }
            Err(e) if is_bad_medium(&e) => Ok(bad(vec![whole])),
            Err(e) => Err(self.root.fail("read", &subject.path, e)),
        }
    }

    /// Records the stamp of the checked file, and the hashes of its groups for the next check.
    fn note_good(&self, file: &File, meta: &Meta, subject: &Subject, groups: Option<&Groups>) -> Result<()> {
        if !subject.is_blob() {
            return Ok(());
        }
        let (root, digest) = (self.root, &subject.digest);
        let was_durable = outboard::fits(root, digest, meta, Durability::Full, &subject.owners);
        if self.durability.is_full() && !was_durable {
            // It may have been stored with `Relaxed` and never have reached the disk.
            atomic::sync(root, file, &subject.path)?;
        }
        let durability = if was_durable { Durability::Full } else { self.durability };
        if let Err(error) = outboard::write(root, digest, &meta.stamp(), groups, durability) {
            // The outboard is only a hint: the root may be read-only, or a sweep may have removed its temporary file.
            tracing::debug!(%digest, %error, "could not record that the blob was checked");
        }
        Ok(())
    }

    fn wait(&self, bytes: u64) {
        if let Some(pace) = self.pace {
            pace.wait(bytes, || self.is_cancelled());
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.is_some_and(Cancel::is_cancelled)
    }
}

enum Begun {
    Done(Verdict),
    InParts(Box<InParts>),
}

impl InParts {
    fn size_bytes(&self) -> u64 {
        self.groups.size_bytes().max(self.before.size_bytes)
    }

    /// What a check reads of a part.
    fn readable(&self, part: &Range<u64>) -> Range<u64> {
        let end = self.before.size_bytes.min(self.groups.size_bytes());
        part.start.min(self.before.size_bytes)..part.end.min(end)
    }

    /// What the next parts that nobody has taken read.
    fn next_parts(&self) -> impl Iterator<Item = Range<u64>> {
        let end = self.before.size_bytes.min(self.groups.size_bytes());
        let next = self.next_part.load(Ordering::Relaxed);
        let starts = (next..).map(|number| number.saturating_mul(PART_BYTES)).take_while(move |start| *start < end);
        starts.map(move |start| start..start.saturating_add(PART_BYTES).min(end))
    }

    fn has_parts(&self) -> bool {
        self.next_part.load(Ordering::Relaxed) < self.size_bytes().div_ceil(PART_BYTES).max(1)
    }

    fn take_part(&self) -> Option<Range<u64>> {
        if !self.has_parts() {
            return None;
        }
        let start = self.next_part.fetch_add(1, Ordering::Relaxed).saturating_mul(PART_BYTES);
        let is_left = start < self.size_bytes() || start == 0; // an empty file has one part
        is_left.then(|| start..start.saturating_add(PART_BYTES).min(self.size_bytes()))
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The groups in which two files differ.
fn differences(known: &Groups, now: &Groups) -> Vec<Range<u64>> {
    let size_bytes = known.size_bytes().max(now.size_bytes());
    let value = |groups: &Groups, number: u64| {
        let number = usize::try_from(number).ok()?;
        match groups.values() {
            [] if number == 0 => Some(*groups.root().as_bytes()),
            values => values.get(number).copied(),
        }
    };
    let bad = (0..groups::count(size_bytes)).filter(|number| value(known, *number) != value(now, *number));
    joined(bad.map(|number| groups::range(number, size_bytes)).collect())
}

/// Sorts the ranges and merges adjacent ones.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}
