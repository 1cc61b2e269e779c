//! Where models can be pushed to. A push sends exactly what a catalog stores: blobs under their digests, and a manifest
//! that names them. This module knows nothing about the store.

use std::collections::BTreeSet;

use super::Cx;
use crate::digest::Digest;
use crate::error::Result;
use crate::model_ref::ModelRef;
use crate::read_at::ReadAt;

/// A place that models can be pushed to, such as a registry or a bucket.
///
/// Blobs are sent first, and the manifest that names them last: if a manifest is there, so is everything that it names.
pub trait Sink: Send + Sync {
    /// Where a target stores its blobs, without the names of versions: two targets with the same place need each blob
    /// only once.
    fn place(&self, target: &ModelRef) -> Result<String>;

    /// The reference by which others can stage this version.
    fn reference(&self, target: &ModelRef, manifest: &Digest) -> Result<String>;

    /// The target for one of several models that are pushed below one target. `id` is its id in the catalog.
    fn below(&self, target: &ModelRef, id: &str) -> Result<ModelRef>;

    /// Checks whether a manifest can be published there under these tags, as far as is possible without a request.
    fn check(&self, target: &ModelRef, manifest: &Digest, tags: &[String]) -> Result<()>;

    /// Whether a manifest is there. If so, everything that it names is there, too.
    fn holds(&self, target: &ModelRef, manifest: &Digest, cx: &Cx<'_>) -> Result<bool>;

    /// Whether a blob is there.
    fn has(&self, target: &ModelRef, blob: &Digest, size_bytes: u64, cx: &Cx<'_>) -> Result<bool>;

    /// Uploads a blob, which is checked against its digest before it counts as there. Returns how many bytes were sent:
    /// fewer than its size if an earlier attempt had sent some. `None`: nothing was sent, because the other end already
    /// has it.
    fn put(&self, target: &ModelRef, blob: Outgoing<'_>, cx: &Cx<'_>) -> Result<Option<u64>>;

    /// Uploads a document of the type `application/vnd.catalog-core.outboards.v1` for a manifest that is published
    /// next. It has the values of each MiB of the manifest's files.
    fn attach(&self, target: &ModelRef, manifest: &[u8], outboards: &[u8], cx: &Cx<'_>) -> Result<()>;

    /// The manifests that are known there as referrers of a manifest, which need not be there. `None`: the place keeps
    /// no referrers.
    fn referrers(&self, target: &ModelRef, manifest: &Digest, cx: &Cx<'_>) -> Result<Option<BTreeSet<Digest>>> {
        let _ = (target, manifest, cx);
        Ok(None)
    }

    /// Uploads a document that the model's user has attached, and its referrer: a manifest of the OCI image
    /// specification that names the document, with the model's manifest as its subject. Called only if
    /// [`referrers`](Sink::referrers) returns a list without it.
    fn refer(&self, target: &ModelRef, manifest: &Digest, referrer: &[u8], document: &[u8], cx: &Cx<'_>) -> Result<()> {
        let _ = (target, manifest, referrer, document, cx);
        Ok(())
    }

    /// Publishes a manifest, all of whose blobs are there, under the name of the target and under these tags. A name
    /// that stood for another manifest stands for this one from then on. `id` is its id in the catalog, for places
    /// whose targets have no names.
    fn publish(&self, target: &ModelRef, manifest: &[u8], id: &str, tags: &[String], cx: &Cx<'_>) -> Result<()>;
}

/// A blob that is pushed.
#[non_exhaustive]
pub struct Outgoing<'a> {
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub content: &'a dyn ReadAt,
    /// Other references known to have it: if one has the same place, nothing need be sent.
    pub elsewhere: &'a [ModelRef],
    /// Where the state of an interrupted upload is remembered.
    pub memory: &'a dyn UploadMemory,
}

impl<'a> Outgoing<'a> {
    /// Creates a blob without known copies elsewhere, and without memory of an upload.
    #[must_use]
    pub fn new(digest: Digest, content: &'a dyn ReadAt) -> Self {
        Outgoing { digest, content, elsewhere: &[], memory: &() }
    }
}

/// Remembers the state of one upload, of one blob to one place, so that another process can resume it.
pub trait UploadMemory {
    /// What was kept last.
    fn recall(&self) -> Option<String>;

    /// Replaces what was kept; `None` removes it. A failure to keep it is not an error: the bytes are sent again after
    /// an interruption.
    fn keep(&self, text: Option<&str>);
}

/// Remembers nothing.
impl UploadMemory for () {
    fn recall(&self) -> Option<String> {
        None
    }

    fn keep(&self, _: Option<&str>) {}
}
