//! A finding as JSON: its fields, and what its kind means.

use std::borrow::Cow;

use serde::Serialize;

use super::{Finding, FindingKind, Remedy, Severity};
use crate::json::json_as;

#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct FindingJson<'a> {
    /// What was found.
    kind: FindingKind,
    /// How bad it is.
    severity: Severity,
    /// Where, absolute.
    path: Cow<'a, str>,
    /// The entry that it concerns.
    id: Option<&'a str>,
    /// What is wrong there, for a person.
    what: &'a str,
    /// What follows from it, for a person.
    meaning: &'static str,
    /// What puts it right.
    remedy: Remedy,
    /// What to do, for a person.
    advice: &'a str,
}

impl<'a> From<&'a Finding> for FindingJson<'a> {
    fn from(finding: &'a Finding) -> Self {
        FindingJson {
            kind: finding.kind,
            severity: finding.severity(),
            path: finding.path.to_string_lossy(),
            id: finding.id.as_deref(),
            what: &finding.what,
            meaning: finding.meaning(),
            remedy: finding.remedy,
            advice: &finding.advice,
        }
    }
}

json_as!(Finding, FindingJson);
