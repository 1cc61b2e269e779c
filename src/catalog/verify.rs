//! `verify`: whether the content is what it should be, and if not, where.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::FsCatalog;
use super::damage::views;
use crate::blob::{Checker, Pace, Subject, Verdict, outboard};
use crate::digest::{Digest, VerificationOutcome, verify_digest};
use crate::entry::{ArtifactKind, Record, TrustState};
use crate::error::{Error, Result};
use crate::fs::{Durability, now_ms};
use crate::hash::{HashFunction, hash_files};
use crate::index::Change;
use crate::observer::{Event, Observer};
use crate::{layout, view};

/// How thoroughly content is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Depth {
    /// Only whether it was changed since its last full check: one `stat` a file.
    Quick,
    /// Every byte, against the BLAKE3 groups that were made when it was brought in.
    #[default]
    Full,
    /// Every byte, against the SHA-256 that is the blob's name. Several times slower.
    ByName,
}

/// How content is checked. Later versions may add fields: build it with `..VerifyOptions::default()`.
#[derive(Clone, Default)]
pub struct VerifyOptions {
    /// How thoroughly.
    pub depth: Depth,
    /// Leave out what was checked in full within this time, and not changed since.
    pub max_age: Option<Duration>,
    /// Read no faster than this, in bytes a second.
    pub max_bytes_per_s: Option<u64>,
    /// Told of the progress.
    pub observer: Option<Arc<dyn Observer>>,
    /// When this becomes true, the work ends; what is checked by then is recorded, and reported.
    pub cancelled: Option<Arc<AtomicBool>>,
}

impl fmt::Debug for VerifyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyOptions")
            .field("depth", &self.depth)
            .field("max_age", &self.max_age)
            .field("max_bytes_per_s", &self.max_bytes_per_s)
            .finish_non_exhaustive()
    }
}

/// What a check of an entry found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The entry.
    pub id: String,
    /// Its content's digest.
    pub digest: Option<Digest>,
    /// Pass: its content is what was staged. Warn: there is nothing to compare with, or a quick check cannot tell. Fail: it is
    /// not what it should be.
    pub outcome: VerificationOutcome,
    /// What is damaged.
    pub bad: Vec<BadFile>,
    /// How many files it has, the manifest of a tree among them.
    pub files: u64,
    /// Bytes of it that were read. Of bytes that several entries share, each counts them.
    pub bytes_read: u64,
    /// From the call to this report.
    pub elapsed: Duration,
}

/// A file that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadFile {
    /// Below the tree, with `/` between the parts; empty when the artifact is this file, or when it is the tree's manifest.
    pub path: String,
    /// What it should hash to.
    pub digest: Digest,
    /// Where it is damaged, to the MiB; all of it when it is not there, or when nothing tells the parts apart.
    pub ranges: Vec<Range<u64>>,
    /// It was moved to `quarantine/`.
    pub quarantined: bool,
}

/// An entry that is being checked.
struct Pending {
    record: Record,
    /// Numbers of the files to check, each with its path in the tree.
    subjects: Vec<(usize, String)>,
    left: usize,
    bad: Vec<BadFile>,
    error: Option<Error>,
    bytes_read: u64,
    /// When the first of those files was checked that were left out because they were checked lately.
    left_out_ms: Option<u64>,
}

/// How many reports may wait until what they say is recorded, in one write.
const RECORD_AT_ONCE: usize = 256;

/// How long they may wait.
const RECORD_EVERY: Duration = Duration::from_secs(2);

impl FsCatalog {
    /// Checks the content of an entry. What is damaged is taken out of service: see [`Error::Damaged`].
    ///
    /// Reads the store's own files; works on a read-only root, where nothing is recorded or moved. What was not in memory
    /// before does not stay there.
    pub fn verify(&self, id: &str, options: &VerifyOptions) -> Result<VerifyReport> {
        let mut report = None;
        self.verify_many(&[id], options, &mut |answer| report = Some(answer));
        // Cancelled before it was done.
        report.unwrap_or_else(|| Err(Error::io("verify", self.root(), std::io::ErrorKind::Interrupted)))
    }

    /// Checks the content of several entries, on all cores, the largest files first; bytes that several need are read once.
    /// `each` is told of every entry as soon as it is checked and that is recorded.
    pub fn verify_many<S: AsRef<str>>(
        &self,
        ids: &[S],
        options: &VerifyOptions,
        each: &mut dyn FnMut(Result<VerifyReport>),
    ) {
        let start = Instant::now();
        let span = tracing::debug_span!("verify", entries = ids.len());
        let _entered = span.enter();
        let mut work = Work { subjects: Vec::new(), numbers: BTreeMap::new(), users: Vec::new(), pending: Vec::new() };
        for id in ids.iter().map(AsRef::as_ref) {
            let not_found = || Error::NotFound { id: id.to_owned(), root: self.root().to_path_buf() };
            let known = self.record(id).and_then(|record| record.ok_or_else(not_found));
            let answer = match known {
                Ok(record) if record.kind == ArtifactKind::Registered => {
                    Some(self.verify_registered(&record, options, start))
                }
                Ok(record) if options.depth == Depth::Quick => Some(self.verify_quick(&record, start)),
                Ok(record) => self.enqueue(record, &mut work).err().map(Err),
                Err(error) => Some(Err(error)),
            };
            if let Some(answer) = answer {
                each(answer);
            }
        }
        self.verify_in_full(work, options, start, each);
    }

    /// Lists what has to be read for an entry.
    fn enqueue(&self, record: Record, work: &mut Work) -> Result<()> {
        let Some(digest) = record.entry.digest else { return Ok(()) };
        let mut subjects = Vec::new();
        let manifest = (record.kind == ArtifactKind::Tree).then(|| (String::new(), self.present(&digest, None)));
        // A tree whose manifest is damaged has no other files that are known.
        let files = match self.files_of(record.kind, digest, record.size_bytes) {
            Ok(files) => files,
            Err(error) if error.is_corrupt() && manifest.is_some() => Vec::new(),
            Err(error) => return Err(error),
        };
        if let Some((path, subject)) = manifest {
            subjects.push((work.number_of(subject?), path));
        }
        let at = self.relative(&record.entry.local_path);
        for (file, path) in views(&record, &files, at) {
            let blob = self.present(&file.digest, Some(file.size_bytes))?;
            subjects.push((work.number_of(blob), file.path.clone()));
            let is_link = view::is_hardlink_of(&self.root, &file.digest, &path)?;
            // Of what is known to be damaged, the view was removed.
            let is_gone = record.damaged_ms.is_some() && self.root.meta(&path)?.is_none();
            if !is_link && !is_gone {
                let shown = Subject { path, digest: file.digest, size_bytes: Some(file.size_bytes) };
                subjects.push((work.number_of(shown), file.path.clone()));
            }
        }
        let entry = work.pending.len();
        let numbers: BTreeSet<usize> = subjects.iter().map(|(number, _)| *number).collect();
        for number in &numbers {
            if let Some(users) = work.users.get_mut(*number) {
                users.push(entry);
            }
        }
        let (left, bad) = (numbers.len(), Vec::new());
        work.pending.push(Pending { record, subjects, left, bad, error: None, bytes_read: 0, left_out_ms: None });
        Ok(())
    }

    /// The blob, or what is left of it in quarantine: that tells again where it is damaged.
    fn present(&self, digest: &Digest, size_bytes: Option<u64>) -> Result<Subject> {
        let blob = Subject::blob(digest, size_bytes);
        if self.root.meta(&blob.path)?.is_some() {
            return Ok(blob);
        }
        let quarantined = self.quarantined(digest)?.into_iter().next();
        Ok(quarantined.map_or(blob, |path| Subject { path, digest: *digest, size_bytes }))
    }

    fn verify_in_full(
        &self,
        mut work: Work,
        options: &VerifyOptions,
        start: Instant,
        each: &mut dyn FnMut(Result<VerifyReport>),
    ) {
        let observer = options.observer.clone().unwrap_or_else(|| Arc::new(()));
        let never = Arc::new(AtomicBool::new(false));
        let cancelled = options.cancelled.clone().unwrap_or(never);
        let pace = options.max_bytes_per_s.map(Pace::new);
        let checker = Checker {
            root: &self.root,
            by_name: options.depth == Depth::ByName,
            durability: Durability::Relaxed,
            pace: pace.as_ref(),
            cancelled: &cancelled,
            advanced: &|bytes| observer.on(&Event::Advanced { bytes }),
        };
        let mut recorder = Recorder { catalog: self, start, waiting: Vec::new(), since: Instant::now(), each };
        let subjects = std::mem::take(&mut work.subjects);
        let (mut due, mut chosen) = (Vec::new(), Vec::new());
        for (number, subject) in subjects.into_iter().enumerate() {
            match self.checked_lately(&subject, options) {
                Some(checked_ms) => {
                    work.settle(self, number, &subject, Ok(Found::Lately { checked_ms }), &mut recorder);
                }
                None => {
                    due.push((number, self.readable_bytes(&subject)));
                    chosen.push(subject);
                }
            }
        }
        work.report_empty(&mut recorder);
        let bytes_total = due.iter().map(|(_, bytes)| bytes).sum();
        let what = format!("{} files", chosen.len());
        observer.on(&Event::Started { what: &what, bytes_total });
        checker.run(&chosen, &mut |number, verdict| {
            let (Some((number, bytes)), Some(subject)) = (due.get(number), chosen.get(number)) else { return };
            let found = verdict.map(|verdict| Found::Now { verdict, bytes_read: *bytes });
            work.settle(self, *number, subject, found, &mut recorder);
        });
        observer.on(&Event::Finished);
        recorder.flush();
    }

    /// When a file was checked, if that was so lately that it need not be checked now.
    fn checked_lately(&self, subject: &Subject, options: &VerifyOptions) -> Option<u64> {
        let max_age = options.max_age?;
        let meta = self.root.meta(&subject.path).ok()??;
        let (outboard, now_ms) = (outboard::read(&self.root, &subject.digest)?, now_ms());
        // A time in the future is that of a clock that was wrong.
        let is_young = outboard.checked_ms <= now_ms
            && u128::from(now_ms - outboard.checked_ms) < max_age.as_millis()
            && outboard.fits(&meta);
        is_young.then_some(outboard.checked_ms)
    }

    /// How much of a file a check reads: nothing of what should not be there.
    fn readable_bytes(&self, subject: &Subject) -> u64 {
        let there = self.root.meta(&subject.path).ok().flatten().map_or(0, |meta| meta.size_bytes);
        subject.size_bytes.unwrap_or(u64::MAX).min(there)
    }

    /// Takes what was found bad out of service at once. Answers whether it is in quarantine now.
    fn quarantine_bad(&self, record: &Record, subject: &Subject, verdict: &Verdict) -> bool {
        if subject.path.starts_with(layout::QUARANTINE) {
            // Whoever has moved it there may have ended before, or had no room to say so.
            if record.damaged_ms.is_none()
                && let Err(error) = self.mark_unmarked(&record.entry.id)
            {
                tracing::warn!(id = %record.entry.id, %error, "that it is damaged could not be recorded");
            }
            return true;
        }
        let Verdict::Bad { file, .. } = verdict else { return false };
        let taken = if subject.path == layout::blob(&subject.digest) {
            self.take_out_of_service(&subject.digest, file)
        } else {
            self.take_view_out_of_service(&record.entry.id, subject, file)
        };
        taken.unwrap_or_else(|error| {
            tracing::warn!(id = %record.entry.id, %error, "what is damaged could not be moved to quarantine");
            false
        })
    }

    /// By stamps alone.
    fn verify_quick(&self, record: &Record, start: Instant) -> Result<VerifyReport> {
        let report = |outcome, bad| report_of(record, outcome, bad, 0, start);
        if record.damaged_ms.is_some() {
            let reason = "it is known to be damaged".to_owned();
            return Ok(report(VerificationOutcome::Fail { reason }, Vec::new()));
        }
        let Some(digest) = record.entry.digest else {
            return Ok(report(VerificationOutcome::Warn { reason: "nothing was staged".into() }, Vec::new()));
        };
        let mut doubtful = self.doubtful_views(record)?;
        let files = self.files_of(record.kind, digest, record.size_bytes)?;
        for file in &files {
            let blob = Subject::blob(&file.digest, Some(file.size_bytes));
            let meta = self.root.meta(&blob.path)?;
            let is_known =
                meta.is_some_and(|meta| outboard::fits(&self.root, &file.digest, &meta, Durability::Relaxed));
            if !is_known && !doubtful.contains(&blob) {
                doubtful.push(blob);
            }
        }
        let mut bad = Vec::new();
        for subject in &doubtful {
            let found = self.root.meta(&subject.path)?.map(|meta| meta.size_bytes);
            let expected = subject.size_bytes.unwrap_or(0);
            if found == Some(expected) {
                continue;
            }
            let found = found.unwrap_or(0);
            let path = files.iter().find(|file| file.digest == subject.digest).map(|file| file.path.clone());
            let ranges = vec![found.min(expected)..found.max(expected).max(1)];
            bad.push(BadFile { path: path.unwrap_or_default(), digest: subject.digest, ranges, quarantined: false });
        }
        let changed = doubtful.iter().map(|subject| self.root.absolute(&subject.path).display().to_string()).next();
        Ok(match (changed, bad.is_empty()) {
            (None, _) => {
                let reason = "not changed since its last full check".into();
                report(VerificationOutcome::Pass { reason }, bad)
            }
            (Some(path), true) => {
                let reason =
                    format!("{path} was changed since its last full check, or never had one; check it in full");
                report(VerificationOutcome::Warn { reason }, bad)
            }
            (Some(path), false) => {
                let reason = format!("{path} is not there or has another size");
                report(VerificationOutcome::Fail { reason }, bad)
            }
        })
    }

    /// A path that was registered ahead of staging: somebody else's file, which is read and never mapped.
    fn verify_registered(&self, record: &Record, options: &VerifyOptions, start: Instant) -> Result<VerifyReport> {
        let path = &record.entry.local_path;
        let meta = match std::fs::metadata(path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotStaged { id: record.entry.id.clone(), path: path.clone() });
            }
            Err(e) => return Err(Error::io("look at", path, e)),
        };
        let warn = |reason: &str| VerificationOutcome::Warn { reason: reason.into() };
        let report = |outcome, bad, read| report_of(record, outcome, bad, read, start);
        let Some(expected) = record.entry.digest else {
            return Ok(report(
                warn("it was registered without a digest, so there is nothing to compare with"),
                Vec::new(),
                0,
            ));
        };
        if options.depth == Depth::Quick || !meta.is_file() {
            return Ok(report(warn("it was registered and not staged; stage it to have it checked"), Vec::new(), 0));
        }
        let observer = options.observer.clone().unwrap_or_else(|| Arc::new(()));
        let hashed = hash_files(std::slice::from_ref(path), HashFunction::Sha256, &*observer);
        let hash = hashed.into_iter().next().expect("there is one result for each path")?;
        let actual: Digest = format!("sha256:{}", hash.hex).parse()?;
        let outcome = verify_digest(Some(&actual), Some(&expected));
        let bad = match outcome {
            VerificationOutcome::Pass { .. } => {
                self.note_verified(&[(&record.entry.id, now_ms())], true);
                Vec::new()
            }
            _ => {
                let ranges = vec![0..hash.size_bytes.max(1)];
                vec![BadFile { path: String::new(), digest: expected, ranges, quarantined: false }]
            }
        };
        Ok(report(outcome, bad, hash.size_bytes))
    }

    /// Records when entries were checked in full. Best effort: the root may be read-only.
    fn note_verified(&self, checked: &[(&str, u64)], against_expected: bool) {
        let times: BTreeMap<&str, u64> = checked.iter().copied().collect();
        let ids: Vec<&str> = times.keys().copied().collect();
        let noted = self.edit(&ids, &mut |id, old| {
            let Some(mut record) = old else { return Ok(Change::Keep) };
            let before = record.clone();
            record.last_verified_ms = record.last_verified_ms.max(times.get(id).copied());
            if against_expected {
                record.trust = TrustState::Verified;
            }
            Ok(if record == before { Change::Keep } else { Change::Put(Box::new(record)) })
        });
        if let Err(error) = noted {
            tracing::debug!(%error, "that entries were checked is not recorded");
        }
    }
}

/// What is to be read, and for whom.
struct Work {
    subjects: Vec<Subject>,
    numbers: BTreeMap<PathBuf, usize>,
    /// Of each subject, the numbers of the entries that need it.
    users: Vec<Vec<usize>>,
    pending: Vec<Pending>,
}

impl Work {
    fn number_of(&mut self, subject: Subject) -> usize {
        let next = self.subjects.len();
        let number = *self.numbers.entry(subject.path.clone()).or_insert(next);
        if number == next {
            self.subjects.push(subject);
            self.users.push(Vec::new());
        }
        number
    }

    /// Tells every entry that needs a file what was found of it.
    fn settle(
        &mut self,
        catalog: &FsCatalog,
        number: usize,
        subject: &Subject,
        found: Result<Found>,
        recorder: &mut Recorder<'_>,
    ) {
        let mut quarantined = None;
        for entry in self.users.get(number).cloned().unwrap_or_default() {
            let Some(pending) = self.pending.get_mut(entry) else { continue };
            pending.left = pending.left.saturating_sub(1);
            match &found {
                Ok(Found::Lately { checked_ms }) => {
                    pending.left_out_ms = Some(pending.left_out_ms.map_or(*checked_ms, |other| other.min(*checked_ms)));
                }
                Ok(Found::Now { verdict, bytes_read }) => {
                    pending.bytes_read += bytes_read;
                    if let Some(ranges) = bad_ranges(subject, verdict) {
                        let quarantined = *quarantined
                            .get_or_insert_with(|| catalog.quarantine_bad(&pending.record, subject, verdict));
                        // A tree may have the same bytes under several names.
                        for (_, path) in pending.subjects.iter().filter(|(other, _)| *other == number) {
                            let (path, ranges) = (path.clone(), ranges.clone());
                            pending.bad.push(BadFile { path, digest: subject.digest, ranges, quarantined });
                        }
                    }
                }
                Err(error) => drop(pending.error.get_or_insert_with(|| error.clone())),
            }
            if pending.left == 0 {
                recorder.take(pending);
            }
        }
    }

    /// Entries without anything to read.
    fn report_empty(&mut self, recorder: &mut Recorder<'_>) {
        for pending in self.pending.iter_mut().filter(|pending| pending.subjects.is_empty()) {
            recorder.take(pending);
        }
    }
}

/// What is known of a file.
enum Found {
    /// It was checked now.
    Now { verdict: Verdict, bytes_read: u64 },
    /// It was checked lately, and not changed since.
    Lately { checked_ms: u64 },
}

/// Where a file is damaged; `None`: nowhere.
fn bad_ranges(subject: &Subject, verdict: &Verdict) -> Option<Vec<Range<u64>>> {
    match verdict {
        // It is good, and not where it should be.
        Verdict::Good if subject.path.starts_with(layout::QUARANTINE) => Some(Vec::new()),
        Verdict::Good => None,
        Verdict::Missing => Some(vec![0..subject.size_bytes.unwrap_or(0).max(1)]),
        Verdict::Bad { ranges, .. } => Some(ranges.clone()),
    }
}

/// Records what was found, several entries in one write, and then tells of it.
struct Recorder<'a> {
    catalog: &'a FsCatalog,
    start: Instant,
    /// Each with the time since which its content is known to be good.
    waiting: Vec<(Result<VerifyReport>, u64)>,
    since: Instant,
    each: &'a mut dyn FnMut(Result<VerifyReport>),
}

impl Recorder<'_> {
    fn take(&mut self, pending: &mut Pending) {
        let bad = std::mem::take(&mut pending.bad);
        let answer = match pending.error.take() {
            Some(error) => Err(error),
            None => {
                let outcome = outcome_of(&pending.record, &bad, pending.left_out_ms.is_some());
                Ok(report_of(&pending.record, outcome, bad, pending.bytes_read, self.start))
            }
        };
        if matches!(&answer, Ok(report) if report.bad.is_empty()) {
            self.catalog.note_checked_views(&pending.record);
        }
        self.waiting.push((answer, pending.left_out_ms.unwrap_or_else(now_ms)));
        if self.waiting.len() >= RECORD_AT_ONCE || self.since.elapsed() >= RECORD_EVERY {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let passed: Vec<(&str, u64)> = self
            .waiting
            .iter()
            .filter_map(|(answer, checked_ms)| Some((answer.as_ref().ok()?, *checked_ms)))
            .filter(|(report, _)| matches!(report.outcome, VerificationOutcome::Pass { .. }))
            .map(|(report, checked_ms)| (report.id.as_str(), checked_ms))
            .collect();
        if !passed.is_empty() {
            self.catalog.note_verified(&passed, false);
        }
        for (answer, _) in self.waiting.drain(..) {
            if let Ok(report) = &answer {
                tracing::debug!(id = %report.id, digest = ?report.digest, bytes = report.bytes_read, elapsed = ?report.elapsed, "verified");
            }
            (self.each)(answer);
        }
        self.since = Instant::now();
    }
}

fn outcome_of(record: &Record, bad: &[BadFile], is_left_out: bool) -> VerificationOutcome {
    let Some(first) = bad.first() else {
        if record.damaged_ms.is_some() {
            let reason = "its bytes are good again, and its path is not made anew yet; repair it".into();
            return VerificationOutcome::Fail { reason };
        }
        let reason = match is_left_out {
            true => "what was not checked lately is as it was staged, the rest was not changed since",
            false => "every byte is as it was staged",
        };
        return VerificationOutcome::Pass { reason: reason.into() };
    };
    let name = if first.path.is_empty() { "its content".to_owned() } else { format!("{:?}", first.path) };
    let more = if bad.len() > 1 { format!(", and {} more files", bad.len() - 1) } else { String::new() };
    let ranges = first.ranges.iter().map(|range| format!("{}..{}", range.start, range.end)).collect::<Vec<_>>();
    let what =
        if ranges.is_empty() { "in quarantine".to_owned() } else { format!("damaged in bytes {}", ranges.join(", ")) };
    VerificationOutcome::Fail { reason: format!("{name} is {what}{more}") }
}

fn report_of(
    record: &Record,
    outcome: VerificationOutcome,
    bad: Vec<BadFile>,
    bytes_read: u64,
    start: Instant,
) -> VerifyReport {
    VerifyReport {
        id: record.entry.id.clone(),
        digest: record.entry.digest,
        outcome,
        bad,
        files: record.files + u64::from(record.kind == ArtifactKind::Tree),
        bytes_read,
        elapsed: start.elapsed(),
    }
}
