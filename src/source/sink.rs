//! Where models can be pushed to. What is pushed is what a catalog stores: blobs under their digests, and a manifest that names
//! them. It knows nothing of the store.

use super::Cx;
use crate::digest::Digest;
use crate::error::Result;
use crate::model_ref::ModelRef;
use crate::read_at::ReadAt;

/// Somewhere that models can be pushed to: a registry, a bucket.
///
/// Blobs come first, the manifest that names them last: a manifest that is there has all that it names.
pub trait Sink: Send + Sync {
    /// Where a target puts its blobs, without the names of versions: two targets of one place need each blob once.
    fn place(&self, target: &ModelRef) -> Result<String>;

    /// The reference by which others stage this version.
    fn reference(&self, target: &ModelRef, manifest: &Digest) -> Result<String>;

    /// The target of one of several models that are pushed below one target. `id` is what the catalog calls it.
    fn below(&self, target: &ModelRef, id: &str) -> Result<ModelRef>;

    /// Whether a manifest can be published there under these tags, as far as that can be told without asking anybody.
    fn check(&self, target: &ModelRef, manifest: &Digest, tags: &[String]) -> Result<()>;

    /// Whether a manifest is there. With it is all that it names.
    fn holds(&self, target: &ModelRef, manifest: &Digest, cx: &Cx<'_>) -> Result<bool>;

    /// Whether a blob is there.
    fn has(&self, target: &ModelRef, blob: &Digest, size_bytes: u64, cx: &Cx<'_>) -> Result<bool>;

    /// Brings a blob there, where it is checked against its digest before it counts as there. Returns how many bytes were sent: less
    /// than it has where an earlier attempt had sent some. `None`: nothing had to be sent, since the other end has it.
    fn put(&self, target: &ModelRef, blob: Outgoing<'_>, cx: &Cx<'_>) -> Result<Option<u64>>;

    /// Puts a document of the type `application/vnd.catalog-core.outboards.v1` beside a manifest that is published next: what each
    /// MiB of its files is.
    fn attach(&self, target: &ModelRef, manifest: &[u8], outboards: &[u8], cx: &Cx<'_>) -> Result<()>;

    /// Makes a manifest, all of whose blobs are there, known under the name of the target and under these tags. A name that meant
    /// something else means this from then on. `id` is what the catalog calls it, for a place whose targets have no names.
    fn publish(&self, target: &ModelRef, manifest: &[u8], id: &str, tags: &[String], cx: &Cx<'_>) -> Result<()>;
}

/// A blob that is pushed.
#[non_exhaustive]
pub struct Outgoing<'a> {
    /// What its bytes hash to.
    pub digest: Digest,
    /// Its bytes.
    pub content: &'a dyn ReadAt,
    /// Other references that are known to have it: what has the same place for both need not be sent.
    pub elsewhere: &'a [ModelRef],
    /// Where an upload that was interrupted is remembered.
    pub memory: &'a dyn UploadMemory,
}

impl<'a> Outgoing<'a> {
    /// A blob that nobody else is known to have, and of whose upload nothing is remembered.
    #[must_use]
    pub fn new(digest: Digest, content: &'a dyn ReadAt) -> Self {
        Outgoing { digest, content, elsewhere: &[], memory: &() }
    }
}

/// What is remembered of an upload, so that another process can go on with it. It is one of this blob and this place.
pub trait UploadMemory {
    /// What was kept last.
    fn recall(&self) -> Option<String>;

    /// Keeps this from now on, instead of what was kept before; `None`: nothing. What cannot be kept is sent again after an
    /// interruption, so it is no error.
    fn keep(&self, text: Option<&str>);
}

/// Remembers nothing.
impl UploadMemory for () {
    fn recall(&self) -> Option<String> {
        None
    }

    fn keep(&self, _: Option<&str>) {}
}
