//! What garbage collection may remove, and how much room it has to make.

use std::time::Duration;

use serde::Serialize;

use crate::json::{maybe_millis, millis};
use crate::store::MinFree;

/// The rules for [`plan_gc`](crate::FsCatalog::plan_gc). The default evicts no entry: it removes only leftovers and
/// unreferenced blobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GcPolicy {
    /// The most disk space, in bytes, that the store's blobs may occupy. Entries are evicted, least recently used
    /// first, until they fit. Bytes shared with files outside the store do not count.
    pub max_bytes: Option<u64>,
    /// How much must stay free on the file system. Entries are evicted in the same order until it is. Has no effect if
    /// the file system does not report its free space: see [`FsCatalog::free_bytes`](crate::FsCatalog::free_bytes).
    pub min_free: Option<MinFree>,
    /// Evict entries that have not been used for this long, even if there is room.
    #[serde(rename = "max_idle_ms", serialize_with = "maybe_millis")]
    pub max_idle: Option<Duration>,
    /// Evict entries that were retired this long ago, even if there is room.
    #[serde(rename = "retired_after_ms", serialize_with = "maybe_millis")]
    pub retired_after: Option<Duration>,
    /// Permanently remove what has been in `quarantine/` for this long: damaged content, and foreign files that stood
    /// in the place of a view. `None`: never.
    #[serde(rename = "quarantine_after_ms", serialize_with = "maybe_millis")]
    pub quarantine_after: Option<Duration>,
    /// Entries staged or used within this time are not evicted for room. What is moved to `trash/` stays there for this
    /// long, unless the room is needed. The default is one hour.
    ///
    /// Use is recorded at most once an hour, so an entry counts as used until an hour after its recorded use. Zero
    /// protects only leased and pinned entries.
    #[serde(rename = "grace_ms", serialize_with = "millis")]
    pub grace: Duration,
    /// When room is needed, first evict entries that can be fetched again: those pushed to a registry or a bucket
    /// ([`Record::pushed`](crate::Record::pushed)), and those that came from one. Does not ask whether they are still
    /// there.
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
