//! How a model is pushed, and what came of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::json::millis;
use crate::observer::Observer;

/// How a model is pushed.
#[derive(Clone)]
#[non_exhaustive]
pub struct PushOptions {
    /// Further names of the version that is pushed, beside the one of the target.
    pub tags: Vec<String>,
    /// Only says what would be sent: servers are asked, and nothing is sent to them.
    pub is_dry_run: bool,
    /// Ends it when it is used.
    pub cancel: Cancel,
    /// Told of the progress.
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

/// What a push has come to, or would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct PushReceipt {
    /// The entry.
    pub id: String,
    /// The digest of its content.
    pub digest: Digest,
    /// Where it is now: a repository, a bucket with its prefix.
    pub place: String,
    /// By what others stage this very version.
    pub reference: String,
    /// The digest of the manifest there. For a tree it is the digest of the entry; a file is a tree of one there.
    pub manifest: Digest,
    /// Bytes of blobs that were sent.
    pub pushed_bytes: u64,
    /// Bytes of blobs that were there, or that an earlier attempt had sent.
    pub skipped_bytes: u64,
    /// Blobs that were sent.
    pub pushed_blobs: u64,
    /// Blobs that were there.
    pub skipped_blobs: u64,
    /// Requests that were made, with those that were made again.
    pub requests: u64,
    /// Nothing was sent; what is said to have been sent would be.
    pub dry_run: bool,
    /// How long it took.
    #[serde(rename = "elapsed_ms", serialize_with = "millis")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub elapsed: Duration,
}
