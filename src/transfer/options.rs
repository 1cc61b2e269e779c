//! How to push a model, and the result.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::json::millis;
use crate::observer::Observer;

/// How to push a model.
#[derive(Clone)]
#[non_exhaustive]
pub struct PushOptions {
    /// More names for the pushed version, in addition to that of the target.
    pub tags: Vec<String>,
    /// Only report what would be sent: servers are asked, but nothing is sent to them.
    pub is_dry_run: bool,
    /// Cancels the push.
    pub cancel: Cancel,
    /// Receives progress events.
    pub observer: Arc<dyn Observer>,
}

impl Default for PushOptions {
    fn default() -> Self {
        PushOptions { tags: Vec::new(), is_dry_run: false, cancel: Cancel::default(), observer: Arc::new(()) }
    }
}

impl fmt::Debug for PushOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PushOptions { tags, is_dry_run, cancel, .. } = self;
        let mut options = f.debug_struct("PushOptions");
        options.field("tags", tags).field("is_dry_run", is_dry_run).field("cancel", cancel).finish_non_exhaustive()
    }
}

impl PushOptions {
    /// Sets [`tags`](PushOptions::tags).
    #[must_use]
    pub fn with_tags(mut self, tags: impl Into<Vec<String>>) -> Self {
        self.tags = tags.into();
        self
    }

    /// Sets [`is_dry_run`](PushOptions::is_dry_run).
    #[must_use]
    pub fn with_dry_run(mut self, is_dry_run: bool) -> Self {
        self.is_dry_run = is_dry_run;
        self
    }

    /// Sets [`cancel`](PushOptions::cancel).
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// Sets [`observer`](PushOptions::observer).
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Arc::new(observer);
        self
    }
}

/// What a push did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct PushReceipt {
    /// The entry's id.
    pub id: String,
    /// The digest of its content.
    pub digest: Digest,
    /// Where it is now: a repository, or a bucket with its prefix.
    pub place: String,
    /// The reference by which others stage exactly this version.
    pub reference: String,
    /// The digest of the pushed manifest. For a tree it is the entry's digest; a file is pushed as a tree of one file.
    pub manifest: Digest,
    /// Bytes of blobs that were sent.
    pub pushed_bytes: u64,
    /// Bytes of blobs that were already there, or that an earlier attempt had sent.
    pub skipped_bytes: u64,
    /// Number of blobs that were sent.
    pub pushed_blobs: u64,
    /// Number of blobs that were already there.
    pub skipped_blobs: u64,
    /// Number of requests, including retries.
    pub requests: u64,
    /// Nothing was sent; the receipt says what would be.
    pub dry_run: bool,
    /// How long it took.
    #[serde(rename = "elapsed_ms", serialize_with = "millis")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub elapsed: Duration,
}
