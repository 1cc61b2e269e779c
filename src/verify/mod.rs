//! `verify`: finds out whether content is intact, and where it is not.

mod json;
mod quick;
mod recorder;
mod work;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::blob::{Checker, Pace, Subject, outboard};
use crate::cancel::Cancel;
use crate::digest::{Digest, VerificationOutcome};
use crate::entry::{ArtifactKind, Record};
use crate::error::{Error, Result};
use crate::fs::{Durability, now_ms};
use crate::observer::{Event, Observer};
use crate::store::Store;
use crate::sum::SumBytes;
use crate::words::words;
use recorder::Recorder;
use work::{Found, Pending, Work};

/// How thoroughly to check content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VerifyDepth {
    /// Only whether it has changed since its last full check: one `stat` per file.
    Quick,
    /// Every byte, against the BLAKE3 groups computed when it was ingested.
    #[default]
    Full,
    /// Every byte, against the SHA-256 that is the blob's name. Several times slower.
    ByName,
}

words!(VerifyDepth, "depth of a check", { Quick => "quick", Full => "full", ByName => "by_name" });

/// How to check content.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// How thoroughly to check.
    pub depth: VerifyDepth,
    /// Skip files that were checked in full within this time and have not changed since.
    pub max_age: Option<Duration>,
    /// Limit for reading, in bytes per second.
    pub max_bytes_per_s: Option<u64>,
    /// Receives progress events.
    pub observer: Option<Arc<dyn Observer>>,
    /// Cancels the work. Entries already checked are still recorded and reported.
    pub cancel: Option<Cancel>,
}

impl VerifyOptions {
    /// Sets [`depth`](VerifyOptions::depth).
    #[must_use]
    pub fn with_depth(mut self, depth: VerifyDepth) -> Self {
        self.depth = depth;
        self
    }

    /// Sets [`max_age`](VerifyOptions::max_age).
    #[must_use]
    pub fn with_max_age(mut self, max_age: impl Into<Option<Duration>>) -> Self {
        self.max_age = max_age.into();
        self
    }

    /// Sets [`max_bytes_per_s`](VerifyOptions::max_bytes_per_s).
    #[must_use]
    pub fn with_max_bytes_per_s(mut self, max_bytes_per_s: impl Into<Option<u64>>) -> Self {
        self.max_bytes_per_s = max_bytes_per_s.into();
        self
    }

    /// Sets [`observer`](VerifyOptions::observer).
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Sets [`cancel`](VerifyOptions::cancel).
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = Some(cancel);
        self
    }
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

/// The result of checking an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it says whether the content is what it should be"]
#[non_exhaustive]
pub struct VerifyReport {
    /// The entry's id.
    pub id: String,
    /// The digest of its content.
    pub digest: Option<Digest>,
    /// Pass: the content is what was staged. Warn: there is nothing to compare with, or a quick check cannot tell.
    /// Fail: the content is damaged.
    pub outcome: VerificationOutcome,
    /// The damaged files.
    pub bad: Vec<BadFile>,
    /// Number of files, including the manifest of a tree.
    pub files: u64,
    /// Bytes of it that were read. Bytes shared by several entries count for each of them.
    pub bytes_read: u64,
    /// Time from the call to this report.
    pub elapsed: Duration,
}

/// A file with damaged content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BadFile {
    /// Path below the tree, with `/` between the parts. Empty if the artifact is this file, or if this is the tree's
    /// manifest or not part of the content.
    pub path: String,
    /// It is an additional blob that the entry [needs](Record::needs), such as a signature, and not part of its
    /// content.
    pub is_needed: bool,
    /// The digest that it should have.
    pub digest: Digest,
    /// The damaged ranges, to the MiB. The whole file if it is missing, or if its parts cannot be told apart.
    pub ranges: Vec<Range<u64>>,
    /// Whether it was moved to `quarantine/`.
    pub quarantined: bool,
}

/// Checks the content of one entry.
pub(crate) fn verify(store: &Store, id: &str, options: &VerifyOptions) -> Result<VerifyReport> {
    let mut report = None;
    verify_many(store, &[id], options, &mut |answer| report = Some(answer));
    // Cancelled before it was done.
    report.unwrap_or_else(|| Err(Error::Cancelled { what: format!("verifying {id:?}") }))
}

/// Checks the content of several entries on all cores, largest files first. Bytes that several entries need are read
/// once. Calls `each` for every entry as soon as its result is recorded.
pub(crate) fn verify_many<S: AsRef<str>>(
    store: &Store,
    ids: &[S],
    options: &VerifyOptions,
    each: &mut dyn FnMut(Result<VerifyReport>),
) {
    let start = Instant::now();
    let span = tracing::debug_span!("verify", entries = ids.len());
    let _entered = span.enter();
    let mut work = Work { subjects: Vec::new(), numbers: BTreeMap::new(), users: Vec::new(), pending: Vec::new() };
    for id in ids.iter().map(AsRef::as_ref) {
        let answer = match store.require(id) {
            Ok(record) if record.kind == ArtifactKind::Registered => {
                Some(quick::verify_registered(store, &record, options, start))
            }
            Ok(record) if options.depth == VerifyDepth::Quick => Some(quick::verify_quick(store, &record, start)),
            Ok(record) => work.enqueue(store, record).err().map(Err),
            Err(error) => Some(Err(error)),
        };
        if let Some(answer) = answer {
            each(answer);
        }
    }
    verify_in_full(store, work, options, start, each);
}

fn verify_in_full(
    store: &Store,
    mut work: Work,
    options: &VerifyOptions,
    start: Instant,
    each: &mut dyn FnMut(Result<VerifyReport>),
) {
    let observer = options.observer.clone().unwrap_or_else(|| Arc::new(()));
    let pace = options.max_bytes_per_s.map(Pace::new);
    let checker = Checker {
        root: &store.root,
        by_name: options.depth == VerifyDepth::ByName,
        durability: Durability::Relaxed,
        pace: pace.as_ref(),
        cancel: options.cancel.as_ref(),
        advanced: &|bytes| observer.on(&Event::Advanced { bytes }),
    };
    let mut recorder = Recorder { store, start, waiting: Vec::new(), since: Instant::now(), each };
    let subjects = std::mem::take(&mut work.subjects);
    let (mut due, mut chosen) = (Vec::new(), Vec::new());
    for (number, subject) in subjects.into_iter().enumerate() {
        match checked_lately(store, &subject, options) {
            Some(checked_ms) => {
                work.settle(store, number, &subject, Ok(Found::Lately { checked_ms }), &mut recorder);
            }
            None => {
                due.push((number, readable_bytes(store, &subject)));
                chosen.push(subject);
            }
        }
    }
    work.report_empty(&mut recorder);
    let bytes_total = due.iter().map(|(_, bytes)| bytes).sum_bytes();
    let what = match work.pending.as_slice() {
        [one] => one.record.entry.id.clone(),
        several => format!("{} models", several.len()),
    };
    observer.on(&Event::Started { what: &what, bytes_total });
    checker.run(&chosen, &mut |number, verdict| {
        let (Some((number, bytes)), Some(subject)) = (due.get(number), chosen.get(number)) else { return };
        let found = verdict.map(|verdict| Found::Now { verdict, bytes_read: *bytes });
        work.settle(store, *number, subject, found, &mut recorder);
    });
    observer.on(&Event::Finished);
    recorder.flush();
}

/// Returns when a file was checked, if that was so recently that it need not be checked now.
fn checked_lately(store: &Store, subject: &Subject, options: &VerifyOptions) -> Option<u64> {
    let max_age = options.max_age?;
    let meta = store.root.meta(&subject.path).ok()??;
    let (outboard, now_ms) = (outboard::read(&store.root, &subject.digest)?, now_ms());
    // A time in the future comes from a wrong clock.
    let is_young = outboard.checked_ms <= now_ms
        && u128::from(now_ms - outboard.checked_ms) < max_age.as_millis()
        && outboard.fits(&store.root, &meta, &subject.owners);
    is_young.then_some(outboard.checked_ms)
}

/// How much of a file a check reads: nothing beyond its expected size.
fn readable_bytes(store: &Store, subject: &Subject) -> u64 {
    let there = store.root.meta(&subject.path).ok().flatten().map_or(0, |meta| meta.size_bytes);
    subject.size_bytes.unwrap_or(u64::MAX).min(there)
}

fn outcome_of(entry: &Pending, bad: &[BadFile]) -> VerificationOutcome {
    let fail = |reason| VerificationOutcome::Fail { reason };
    if let Some(first) = bad.first() {
        let name = match (first.is_needed, first.path.as_str()) {
            (true, _) => format!("{}, which it needs besides its content,", first.digest),
            (false, "") => "its content".to_owned(),
            (false, path) => format!("{path:?}"),
        };
        let more = if bad.len() > 1 {
            format!(", and {} more {}", bad.len() - 1, if bad.len() == 2 { "file" } else { "files" })
        } else {
            String::new()
        };
        let ranges = first.ranges.iter().map(|range| format!("{}..{}", range.start, range.end)).collect::<Vec<_>>();
        let what = match ranges.is_empty() {
            true => "in quarantine".to_owned(),
            false => format!("damaged in bytes {}", ranges.join(", ")),
        };
        return fail(format!("{name} is {what}{more}"));
    }
    if let Some(why) = &entry.unknown_files {
        return fail(format!("its files are unknown: {why}"));
    }
    if entry.record.damaged_ms.is_some() {
        return fail("its bytes are good again, but its path has not been restored yet".into());
    }
    if let Some(what) = entry.elsewhere.first() {
        return fail(format!("its content is whole, but {what}"));
    }
    let reason = match entry.left_out_ms.is_some() {
        true => "what had not been checked recently is as it was staged, and the rest has not changed since",
        false => "every byte is as it was staged",
    };
    VerificationOutcome::Pass { reason: reason.into() }
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
