//! A report as JSON: one list of what is damaged.

use std::ops::Range;

use serde::Serialize;

use super::{BadFile, VerifyReport};
use crate::digest::Digest;
use crate::json::{json_as, to_millis};

#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct ReportJson<'a> {
    /// The entry.
    id: &'a str,
    /// The digest that its content should have; null if it was never hashed.
    digest: Option<&'a Digest>,
    /// `pass`, `warn` or `fail`.
    outcome: &'static str,
    /// Why, for a person.
    reason: &'a str,
    /// What is damaged, to the MiB.
    bad_ranges: Vec<BadRange<'a>>,
    /// What is damaged was moved to `quarantine/`.
    quarantined: bool,
    /// How many files it has, the manifest of a tree among them.
    files: u64,
    /// Bytes of it that were read. Bytes that several entries share are counted by each.
    bytes_read: u64,
    /// How long the check took.
    elapsed_ms: u64,
}

/// A part of a file that is damaged.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct BadRange<'a> {
    /// The file of a tree that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    /// The blob of a document that the entry needs: the range is not part of the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<&'a Digest>,
    /// The first byte.
    start: u64,
    /// The byte after the last.
    end: u64,
}

fn ranges(bad: &BadFile) -> impl Iterator<Item = BadRange<'_>> {
    let path = Some(bad.path.as_str()).filter(|path| !path.is_empty());
    let needs = bad.is_needed.then_some(&bad.digest);
    bad.ranges.iter().map(move |&Range { start, end }| BadRange { path, needs, start, end })
}

impl<'a> From<&'a VerifyReport> for ReportJson<'a> {
    fn from(report: &'a VerifyReport) -> Self {
        ReportJson {
            id: &report.id,
            digest: report.digest.as_ref(),
            outcome: report.outcome.as_str(),
            reason: report.outcome.reason(),
            bad_ranges: report.bad.iter().flat_map(ranges).collect(),
            quarantined: report.bad.iter().any(|bad| bad.quarantined),
            files: report.files,
            bytes_read: report.bytes_read,
            elapsed_ms: to_millis(report.elapsed),
        }
    }
}

json_as!(VerifyReport, ReportJson);
