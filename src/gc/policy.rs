//! What garbage collection may take, and how much room it has to make.

use std::time::Duration;

use serde::Serialize;

use crate::json::{maybe_millis, millis};
use crate::store::MinFree;

/// What [`plan_gc`](crate::FsCatalog::plan_gc) goes by. The default takes no entry at all: only leftovers and blobs
/// that nothing references.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GcPolicy {
    /// The most that the store's blobs may occupy, in bytes on disk; entries are evicted, least recently used first,
    /// until they do. Bytes that files outside the store have as well do not count.
    pub max_bytes: Option<u64>,
    /// What has to stay free on the file system; entries are evicted in the same order until it is. It asks for nothing where
    /// the file system does not tell its room: see [`FsCatalog::free_bytes`](crate::FsCatalog::free_bytes).
    pub min_free: Option<MinFree>,
    /// Entries that were not used for this long are evicted, whether there is room or not.
    #[serde(rename = "max_idle_ms", serialize_with = "maybe_millis")]
    pub max_idle: Option<Duration>,
    /// Entries that were retired this long ago are evicted, whether there is room or not.
    #[serde(rename = "retired_after_ms", serialize_with = "maybe_millis")]
    pub retired_after: Option<Duration>,
    /// What has been in `quarantine/` for this long is removed for good: damaged content, and files of somebody else that
    /// stood in the place of a view. Never unless told.
    #[serde(rename = "quarantine_after_ms", serialize_with = "maybe_millis")]
    pub quarantine_after: Option<Duration>,
    /// Entries that were staged or used within this time are not evicted for room; what is put into `trash/` stays
    /// there for this long unless the room is needed. One hour unless told otherwise.
    ///
    /// Use is recorded at most once an hour, so an entry counts as used until an hour after its recorded use. Zero
    /// protects nothing but what is leased or pinned.
    #[serde(rename = "grace_ms", serialize_with = "millis")]
    pub grace: Duration,
    /// Entries that can be had again are the first that are evicted for room: what was pushed to a registry or a bucket
    /// ([`Record::pushed`](crate::Record::pushed)), and what came from one. Whether it is still there, nobody is asked.
    #[serde(rename = "if_pushed")]
    pub pushed_first: bool,
}

impl GcPolicy {
    /// Sets [`max_bytes`](GcPolicy::max_bytes).
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: impl Into<Option<u64>>) -> Self {
        self.max_bytes = max_bytes.into();
        self
    }

    /// Sets [`min_free`](GcPolicy::min_free).
    #[must_use]
    pub fn with_min_free(mut self, min_free: impl Into<Option<MinFree>>) -> Self {
        self.min_free = min_free.into();
        self
    }

    /// Sets [`max_idle`](GcPolicy::max_idle).
    #[must_use]
    pub fn with_max_idle(mut self, max_idle: impl Into<Option<Duration>>) -> Self {
        self.max_idle = max_idle.into();
        self
    }

    /// Sets [`retired_after`](GcPolicy::retired_after).
    #[must_use]
    pub fn with_retired_after(mut self, retired_after: impl Into<Option<Duration>>) -> Self {
        self.retired_after = retired_after.into();
        self
    }

    /// Sets [`quarantine_after`](GcPolicy::quarantine_after).
    #[must_use]
    pub fn with_quarantine_after(mut self, quarantine_after: impl Into<Option<Duration>>) -> Self {
        self.quarantine_after = quarantine_after.into();
        self
    }

    /// Sets [`pushed_first`](GcPolicy::pushed_first).
    #[must_use]
    pub fn with_pushed_first(mut self, pushed_first: bool) -> Self {
        self.pushed_first = pushed_first;
        self
    }

    /// Sets [`grace`](GcPolicy::grace).
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

impl Default for GcPolicy {
    fn default() -> Self {
        GcPolicy {
            max_bytes: None,
            min_free: None,
            max_idle: None,
            retired_after: None,
            quarantine_after: None,
            grace: Duration::from_secs(3600),
            pushed_first: false,
        }
    }
}
