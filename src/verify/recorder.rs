//! Records results, several entries in one write.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::work::Pending;
use super::{VerifyReport, outcome_of, report_of};
use crate::digest::VerificationOutcome;
use crate::entry::{Record, TrustState};
use crate::error::Result;
use crate::fs::now_ms;
use crate::index::Change;
use crate::store::Store;

/// How many reports may wait to be recorded together.
const RECORD_AT_ONCE: usize = 256;

/// How long they may wait.
const RECORD_EVERY: Duration = Duration::from_secs(2);

/// Records results, several entries in one write, and then reports them.
pub(super) struct Recorder<'a> {
    pub(super) store: &'a Store,
    pub(super) start: Instant,
    /// Each with the time since which its content is known to be good.
    pub(super) waiting: Vec<(Result<VerifyReport>, u64)>,
    pub(super) since: Instant,
    pub(super) each: &'a mut dyn FnMut(Result<VerifyReport>),
}

impl Recorder<'_> {
    pub(super) fn take(&mut self, pending: &mut Pending) {
        let bad = std::mem::take(&mut pending.bad);
        let answer = match pending.error.take() {
            Some(error) => Err(error),
            None => {
                let outcome = outcome_of(pending, &bad);
                Ok(report_of(&pending.record, outcome, bad, pending.bytes_read, self.start))
            }
        };
        let answer = self.unless_gone(&pending.record, answer);
        if matches!(&answer, Ok(report) if matches!(report.outcome, VerificationOutcome::Pass { .. })) {
            let files = std::mem::take(&mut pending.files);
            self.store.note_checked_views(&pending.record, &files, pending.view.take());
        }
        self.waiting.push((answer, pending.left_out_ms.unwrap_or_else(now_ms)));
        if self.waiting.len() >= RECORD_AT_ONCE || self.since.elapsed() >= RECORD_EVERY {
            self.flush();
        }
    }

    /// While an entry is checked, it may be removed or receive other content. A finding then says nothing about its
    /// current state.
    fn unless_gone(&self, record: &Record, answer: Result<VerifyReport>) -> Result<VerifyReport> {
        if matches!(&answer, Ok(report) if matches!(report.outcome, VerificationOutcome::Pass { .. })) {
            return answer;
        }
        let id = &record.entry.id;
        let reason = match self.store.record(id) {
            Ok(None) => "it was removed while it was checked",
            Ok(Some(now)) if now.is_same_content(record) => return answer,
            Ok(Some(_)) => "it was given other content while it was checked; verify it again",
            Err(_) => return answer,
        };
        tracing::debug!(id, reason, "ignoring what was found about the entry");
        Ok(report_of(record, VerificationOutcome::Warn { reason: reason.into() }, Vec::new(), 0, self.start))
    }

    pub(super) fn flush(&mut self) {
        let passed: Vec<(&str, u64)> = self
            .waiting
            .iter()
            .filter_map(|(answer, checked_ms)| Some((answer.as_ref().ok()?, *checked_ms)))
            .filter(|(report, _)| matches!(report.outcome, VerificationOutcome::Pass { .. }))
            .map(|(report, checked_ms)| (report.id.as_str(), checked_ms))
            .collect();
        if !passed.is_empty() {
            note_verified(self.store, &passed, false);
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

/// Records when entries were checked in full. Best effort: the root may be read-only.
pub(super) fn note_verified(store: &Store, checked: &[(&str, u64)], against_expected: bool) {
    let times: BTreeMap<&str, u64> = checked.iter().copied().collect();
    let ids: Vec<&str> = times.keys().copied().collect();
    let noted = store.edit(&ids, &mut |id, old| {
        let Some(mut record) = old else { return Ok(Change::Keep) };
        let before = record.clone();
        record.last_verified_ms = record.last_verified_ms.max(times.get(id).copied());
        if against_expected {
            record.trust = TrustState::Verified;
        }
        Ok(if record == before { Change::Keep } else { Change::Put(Box::new(record)) })
    });
    if let Err(error) = noted {
        tracing::debug!(%error, "could not record that entries were checked");
    }
}
