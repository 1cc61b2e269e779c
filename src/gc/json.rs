//! Plans as JSON: each step is one object that says what is done to which id, digest or path.

use std::path::Path;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::{GcAction, GcFailure, GcKept, GcReason, GcStep};
use crate::digest::Digest;

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

    fn write<M: serde::ser::SerializeMap>(&self, at_once: bool, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("action", self.word(at_once))?;
        if let Some(id) = self.id() {
            map.serialize_entry("id", id)?;
        }
        if let Some(digest) = self.digest() {
            map.serialize_entry("digest", digest)?;
        }
        if let Some(path) = self.path() {
            map.serialize_entry("path", &path.to_string_lossy())?;
        }
        Ok(())
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

impl Serialize for GcAction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.write(true, &mut map)?;
        map.end()
    }
}

impl Serialize for GcStep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.action.write(self.at_once, &mut map)?;
        map.serialize_entry("reason", &self.reason)?;
        map.serialize_entry("bytes", &self.bytes)?;
        map.end()
    }
}

impl Serialize for GcKept {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("action", "keep")?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("reason", &self.reason)?;
        map.serialize_entry("bytes", &self.bytes)?;
        map.end()
    }
}

impl Serialize for GcFailure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("action", &self.action)?;
        map.serialize_entry("error", &self.error.to_string())?;
        map.end()
    }
}
