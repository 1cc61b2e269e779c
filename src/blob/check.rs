//! The full check of one file, in parts that several threads may take.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::outboard::{self, Outboard};
use super::verify::{Checker, Subject, Verdict};
use crate::error::Result;
use crate::fs::cached::Visit;
use crate::fs::map::is_bad_medium;
use crate::fs::{Durability, Meta, atomic, meta_of};
use crate::hash::groups::{self, GROUP_BYTES, Groups};
use crate::hash::{Hashes, hash_both};

/// How much one thread takes at a time: enough for a disk to read at full speed, but not so much that threads wait for
/// each other at the end.
pub(super) const PART_BYTES: u64 = 8 * GROUP_BYTES as u64;

/// A file that is checked in parts.
pub(super) struct InParts {
    subject: usize,
    file: File,
    before: Meta,
    groups: Groups,
    next_part: AtomicU64,
    parts_left: AtomicU64,
    found: Mutex<Result<Vec<Range<u64>>>>,
    /// What is recorded about the blob.
    known: Outboard,
}

impl Checker<'_> {
    /// Opens a file. If it cannot be checked in parts, checks all of it.
    pub(super) fn begin(&self, number: usize, subject: &Subject) -> Result<Begun> {
        let Some(file) = self.root.open_file(&subject.path)? else { return Ok(Begun::Done(Verdict::Missing)) };
        let before = meta_of(&file).map_err(|e| self.root.fail("look at", &subject.path, e))?;
        let known = outboard::read(self.root, &subject.digest);
        let is_believed =
            known.as_ref().is_some_and(|outboard| outboard.speaks_for(self.root, &before, &subject.owners));
        let groups = known
            .as_ref()
            .and_then(|outboard| outboard.groups(self.root, &subject.digest))
            .filter(|groups| subject.size_bytes.is_none_or(|size| size == groups.size_bytes()));
        match (groups, known) {
            (Some(groups), Some(known)) if is_believed && !self.by_name => {
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
                    known,
                };
                Ok(Begun::InParts(Box::new(file)))
            }
            (groups, known) => {
                let known = Known { groups: groups.as_ref(), outboard: known.as_ref() };
                self.check_by_name(&file, before, subject, known).map(Begun::Done)
            }
        }
    }

    /// Checks parts of a file until none are left to take.
    pub(super) fn help(&self, file: &InParts, subjects: &[Subject], tell: &dyn Fn(usize, Result<Verdict>)) {
        while let Some(part) = file.take_part() {
            let readable = file.readable(&part);
            self.wait(readable.end.saturating_sub(readable.start));
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
        let visit = match Visit::to(&file.file, readable.clone()) {
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
            let is_noted = self.is_good_as_known(&file.before, subject, &file.known)
                && outboard::note_again(self.root, &subject.digest, &file.known);
            if !is_noted {
                self.note_good(&file.file, &file.before, subject, Some(&file.groups), Some(&file.known))?;
            }
            return Ok(Verdict::Good);
        }
        if file.groups.values().is_empty() {
            // For a single group, only the digest can tell whether it is the outboard that is damaged.
            let known = Known { groups: None, outboard: Some(&file.known) };
            return self.check_by_name(&file.file, file.before, subject, known);
        }
        Ok(Verdict::Bad { file: file.before, ranges: joined(bad) })
    }

    /// Reads the whole file and compares it with the blob's digest.
    fn check_by_name(&self, file: &File, before: Meta, subject: &Subject, known: Known<'_>) -> Result<Verdict> {
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
                self.note_good(file, &before, subject, groups.as_ref(), known.outboard)?;
                Ok(Verdict::Good)
            }
            Ok(Hashes { groups, .. }) => {
                let ranges = known.groups.zip(groups).map(|(known, now)| differences(known, &now)).unwrap_or_default();
                Ok(bad(if ranges.is_empty() { vec![whole] } else { ranges }))
            }
            Err(e) if is_bad_medium(&e) => Ok(bad(vec![whole])),
            Err(e) => Err(self.root.fail("read", &subject.path, e)),
        }
    }

    /// Whether a blob that was found good is what its outboard says, and all that it can say.
    fn is_good_as_known(&self, meta: &Meta, subject: &Subject, known: &Outboard) -> bool {
        subject.is_blob()
            && known.fits(self.root, meta, &subject.owners)
            && (known.is_durable() || !self.durability.is_full())
    }

    /// Records the stamp of the checked file, and the hashes of its groups for the next check.
    fn note_good(
        &self,
        file: &File,
        meta: &Meta,
        subject: &Subject,
        groups: Option<&Groups>,
        known: Option<&Outboard>,
    ) -> Result<()> {
        if !subject.is_blob() {
            return Ok(());
        }
        let (root, digest) = (self.root, &subject.digest);
        let was_durable = known.is_some_and(|known| known.is_durable() && known.fits(root, meta, &subject.owners));
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
}

/// What is recorded about a blob whose bytes are compared with its name.
#[derive(Clone, Copy)]
struct Known<'k> {
    groups: Option<&'k Groups>,
    outboard: Option<&'k Outboard>,
}

pub(super) enum Begun {
    Done(Verdict),
    InParts(Box<InParts>),
}

impl InParts {
    fn size_bytes(&self) -> u64 {
        self.groups.size_bytes().max(self.before.size_bytes)
    }

    /// Where reading ends: what is missing or beyond the blob's end needs none.
    fn readable_end(&self) -> u64 {
        self.before.size_bytes.min(self.groups.size_bytes())
    }

    /// What a check reads of a part.
    fn readable(&self, part: &Range<u64>) -> Range<u64> {
        part.start.min(self.before.size_bytes)..part.end.min(self.readable_end())
    }

    pub(super) fn has_parts(&self) -> bool {
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
