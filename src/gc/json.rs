//! Plans as JSON: each step is one object that says what is done to which id, digest or path.

use std::borrow::Cow;
use std::path::Path;

use serde::{Serialize, Serializer};

use super::{GcAction, GcFailure, GcKept, GcReason, GcStep};
use crate::digest::Digest;
use crate::json::json_as;

impl GcAction {
    /// The word for what is done. For a blob it depends on `at_once`.
    fn word(&self, at_once: bool) -> &'static str {
        match self {
            GcAction::RemoveLeftover { .. } => "remove_leftover",
            GcAction::RemoveView { .. } => "remove_view",
            GcAction::RemoveQuarantined { .. } => "remove_quarantined",
            GcAction::EmptyTrash { .. } => "empty_trash",
            GcAction::RemoveBlob { .. } if at_once => "remove_blob",
            GcAction::RemoveBlob { .. } => "trash_blob",
            GcAction::EvictEntry { .. } => "evict",
        }
    }

    /// The entry that the action affects.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match self {
            GcAction::EvictEntry { id, .. } => Some(id),
            _ => None,
        }
    }

    /// The blob that the action affects.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            GcAction::RemoveBlob { digest } | GcAction::EmptyTrash { digest } => Some(digest),
            _ => None,
        }
    }

    /// The path that the action affects, relative to the root.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            GcAction::RemoveView { path }
            | GcAction::RemoveLeftover { path }
            | GcAction::RemoveQuarantined { path } => Some(path),
            _ => None,
        }
    }
}

impl GcStep {
    /// The word for what is done: `evict`, `remove_blob`, `trash_blob`, `empty_trash`, `remove_view`, `remove_leftover`
    /// or `remove_quarantined`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.action.word(self.at_once)
    }
}

impl Serialize for GcReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A step, and what it is about.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct StepJson<'a> {
    #[serde(flatten)]
    action: ActionJson<'a>,
    /// Why, for a person; stable for scripts but for the name of a pin.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    reason: &'a GcReason,
    /// Bytes on disk that this brings, as far as can be told beforehand.
    bytes: u64,
}

#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct ActionJson<'a> {
    /// `evict`, `remove_blob`, `trash_blob`, `empty_trash`, `remove_view`, `remove_leftover` or `remove_quarantined`.
    action: &'static str,
    /// The entry that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    /// The blob that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a Digest>,
    /// The place that it is about, relative to the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Cow<'a, str>>,
}

impl GcAction {
    fn to_json(&self, at_once: bool) -> ActionJson<'_> {
        let path = self.path().map(Path::to_string_lossy);
        ActionJson { action: self.word(at_once), id: self.id(), digest: self.digest(), path }
    }
}

impl<'a> From<&'a GcStep> for StepJson<'a> {
    fn from(step: &'a GcStep) -> Self {
        StepJson { action: step.action.to_json(step.at_once), reason: &step.reason, bytes: step.bytes }
    }
}

json_as!(GcStep, StepJson);

/// An entry that stays.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct KeptJson<'a> {
    /// `keep`.
    action: &'static str,
    /// The entry.
    id: &'a str,
    /// Why it stays, for a person; stable for scripts but for the name of a pin.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    reason: &'a GcReason,
    /// Its bytes on disk.
    bytes: u64,
}

impl<'a> From<&'a GcKept> for KeptJson<'a> {
    fn from(kept: &'a GcKept) -> Self {
        KeptJson { action: "keep", id: &kept.id, reason: &kept.reason, bytes: kept.bytes }
    }
}

json_as!(GcKept, KeptJson);

impl Serialize for GcFailure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct FailureJson<'a> {
            action: Option<ActionJson<'a>>,
            error: String,
        }

        let action = self.action.as_ref().map(|action| action.to_json(true));
        FailureJson { action, error: self.error.to_string() }.serialize(serializer)
    }
}
