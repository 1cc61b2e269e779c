//! Where models come from: a source pins a reference, lists its files, and opens ranges of them. It knows nothing about
//! the store.
//!
//! ```text
//! http.rs       a file on a web server
//! hf/           the Hugging Face Hub
//! oci/          OCI registries
//! s3/           buckets
//! lazy.rs       options that are read when they are first needed
//! manifest.rs   the files that a manifest of a model has
//! outboards.rs  what each MiB of files is, beside a manifest
//! paths.rs      paths that a server names
//! selection.rs  which files of a repository
//! git_blob.rs   a small file as something that is read by offset: checked as a whole before it is
//! mirrors.rs    other servers that have the same
//! ranged.rs     one range of a file, with all that its answer has to say; where its URL has led to
//! reader.rs     a file of a source as something that is read by offset
//! sources.rs    all of them together, as staging asks
//! sink.rs       where models can be pushed to
//! ```

#[cfg(feature = "hf")]
mod git_blob;
#[cfg(feature = "hf")]
pub(crate) mod hf;
#[cfg(feature = "http")]
mod http;
#[cfg(any(feature = "hf", feature = "oci", feature = "s3"))]
mod lazy;
#[cfg(any(feature = "oci", feature = "s3"))]
mod manifest;
mod mirrors;
#[cfg(feature = "oci")]
pub(crate) mod oci;
pub(crate) mod outboards;
#[cfg(any(feature = "hf", feature = "oci", feature = "s3"))]
mod paths;
mod ranged;
mod reader;
#[cfg(feature = "s3")]
pub(crate) mod s3;
#[cfg(any(feature = "hf", feature = "oci", feature = "s3"))]
mod selection;
mod sink;
mod sources;

#[cfg(feature = "hf")]
pub use git_blob::GitBlobReader;
#[cfg(feature = "hf")]
pub use hf::{HfOptions, HfSource};
#[cfg(feature = "http")]
pub use http::HttpSource;
#[cfg(feature = "oci")]
pub use oci::{InvalidOciPlace, OciLogins, OciOptions, OciPlace, OciSource};
pub use reader::RemoteReader;
#[cfg(feature = "s3")]
pub use s3::{S3Options, S3Source};
pub use sink::{Outgoing, Sink, UploadMemory};
pub(crate) use sources::Pusher;
pub use sources::Sources;

use std::ops::Range;

use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::error::Result;
use crate::fetch::RemoteDocument;
use crate::model_ref::ModelRef;
use crate::net::{Body, Client, Validator, shown_text};
use crate::observer::Observer;
use mirrors::Mirrors;
use ranged::Place;

/// A place that models can be fetched from.
pub trait Source: Send + Sync {
    /// Pins a reference that may change its meaning, and lists its files. Requests only metadata.
    fn resolve(&self, reference: &ModelRef, cx: &Cx<'_>) -> Result<Listing>;

    /// The version that a reference pins by itself, such as a commit: it can never stand for anything else, so no
    /// server has to be asked. `None`: the reference may change its meaning.
    fn fixed(&self, _reference: &ModelRef) -> Option<String> {
        None
    }

    /// Asks only which version a reference stands for now, with fewer requests than [`resolve`](Source::resolve).
    /// `None`: only `resolve` can tell.
    fn pin(&self, _reference: &ModelRef, _cx: &Cx<'_>) -> Result<Option<String>> {
        Ok(None)
    }

    /// Returns the reference fixed to the version that it was pinned to. Returns it unchanged if that is not possible.
    fn at(&self, reference: &ModelRef, _pinned: &str) -> ModelRef {
        reference.clone()
    }

    /// Opens one range of a file, which must lie within the file. A server without range support may send the whole
    /// file.
    fn open(&self, file: &RemoteFile, range: Range<u64>, cx: &Cx<'_>) -> Result<Opened>;

    /// The value of each MiB of a file as reported by whoever pushed it: see
    /// [`ReadAt::group_values`](crate::ReadAt::group_values).
    fn group_values(&self, _file: &RemoteFile, _cx: &Cx<'_>) -> Option<Vec<[u8; 32]>> {
        None
    }

    /// Fetches the documents that somebody has attached to a model, see [`Sink::refer`], and gives each to `take`, so
    /// that only one at a time is in memory. The reference is fixed to a version.
    fn documents(&self, _reference: &ModelRef, _cx: &Cx<'_>, _take: &mut dyn FnMut(RemoteDocument)) -> Result<()> {
        Ok(())
    }

    /// The same place as a target for pushes. `None`: it accepts none.
    fn sink(&self) -> Option<&dyn Sink> {
        None
    }
}

/// The context that a source works with.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    /// The client for requests to servers.
    pub client: &'a Client,
    /// Receives an event for each retry.
    pub observer: &'a dyn Observer,
    /// Take only files of a repository that match one of these patterns; all files if it is empty.
    pub include: &'a [String],
    /// Skip files that match one of these patterns.
    pub exclude: &'a [String],
    /// Where the URL of the file being read has redirected to.
    place: Option<&'a Place>,
    mirrors: Option<&'a Mirrors>,
}

impl<'a> Cx<'a> {
    /// Creates a context with a client, and an observer that receives an event for each retry.
    #[must_use]
    pub fn new(client: &'a Client, observer: &'a dyn Observer) -> Self {
        Cx { client, observer, include: &[], exclude: &[], place: None, mirrors: None }
    }

    /// What cancels the work.
    #[must_use]
    pub fn cancel(&self) -> &'a Cancel {
        self.client.cancel()
    }

    /// Sets [`include`](Cx::include) and [`exclude`](Cx::exclude).
    #[must_use]
    pub fn with_selection(mut self, include: &'a [String], exclude: &'a [String]) -> Self {
        (self.include, self.exclude) = (include, exclude);
        self
    }

    fn with_mirrors(mut self, mirrors: Option<&'a Mirrors>) -> Self {
        self.mirrors = mirrors;
        self
    }

    fn with_place(mut self, place: &'a Place) -> Self {
        self.place = Some(place);
        self
    }
}

impl std::fmt::Debug for Cx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx").field("client", self.client).finish_non_exhaustive()
    }
}

/// What a reference stands for now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The version that it was pinned to: a commit, a digest, a version, or for a web server the validator of the file.
    pub pinned: Option<String>,
    /// Whether the reference can never stand for anything else.
    pub immutable: bool,
    /// The name of the artifact: a file name.
    pub name: String,
    /// The party that vouches for the digests of all files, such as a host; `None` if at least one file has none.
    pub named_by: Option<String>,
    /// One file, or a tree of files.
    pub kind: ArtifactKind,
    /// Its files.
    pub files: Vec<RemoteFile>,
}

impl Listing {
    /// Creates a listing whose reference may change its meaning.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: ArtifactKind, files: Vec<RemoteFile>) -> Self {
        Listing { name: name.into(), pinned: None, immutable: false, named_by: None, kind, files }
    }

    /// Sets [`named_by`](Listing::named_by).
    #[must_use]
    pub fn with_named_by(mut self, named_by: impl Into<Option<String>>) -> Self {
        self.named_by = named_by.into();
        self
    }

    /// Sets [`pinned`](Listing::pinned) and [`immutable`](Listing::immutable).
    #[must_use]
    pub fn with_pinned(mut self, pinned: impl Into<Option<String>>, immutable: bool) -> Self {
        (self.pinned, self.immutable) = (pinned.into(), immutable);
        self
    }
}

/// What the bytes of a file must be, according to its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Expected {
    /// They have this SHA-256.
    Sha256(Digest),
    /// They have this hash as a git blob.
    GitBlobSha1([u8; 20]),
    /// The source does not say.
    Nothing,
}

/// A file of a source.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteFile {
    /// Path below the tree, with `/` between the parts. A single file has its file name.
    pub path: String,
    /// The URL to request. It may redirect to a different place each time.
    pub url: String,
    /// The size of the file, if the source reports it.
    pub size_bytes: Option<u64>,
    /// What its bytes must be.
    pub expected: Expected,
    /// The value that identifies this version of the file.
    pub validator: Option<Validator>,
    /// Whether the server supports ranges of it.
    pub has_ranges: bool,
    /// The manifest that names it.
    pub manifest: Option<Digest>,
    /// The registry that it is a blob of, as references name it.
    pub(crate) registry: Option<String>,
}

impl RemoteFile {
    /// Creates a file with a known URL, whose server supports ranges. Nothing else is known about it.
    #[must_use]
    pub fn new(path: impl Into<String>, url: impl Into<String>) -> Self {
        let (path, url) = (path.into(), url.into());
        RemoteFile {
            path,
            url,
            size_bytes: None,
            expected: Expected::Nothing,
            validator: None,
            has_ranges: true,
            manifest: None,
            registry: None,
        }
    }

    /// Sets [`size_bytes`](RemoteFile::size_bytes).
    #[must_use]
    pub fn with_size(mut self, size_bytes: impl Into<Option<u64>>) -> Self {
        self.size_bytes = size_bytes.into();
        self
    }

    /// Sets [`expected`](RemoteFile::expected).
    #[must_use]
    pub fn with_expected(mut self, expected: Expected) -> Self {
        self.expected = expected;
        self
    }

    /// Sets [`manifest`](RemoteFile::manifest).
    #[must_use]
    pub fn with_manifest(mut self, manifest: impl Into<Option<Digest>>) -> Self {
        self.manifest = manifest.into();
        self
    }

    /// Sets [`validator`](RemoteFile::validator).
    #[must_use]
    pub fn with_validator(mut self, validator: impl Into<Option<Validator>>) -> Self {
        self.validator = validator.into();
        self
    }
}

/// Omits the query of its URL, which may be a signature.
impl std::fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let RemoteFile { path, url, size_bytes, expected, validator, has_ranges, manifest: _, registry: _ } = self;
        let mut file = f.debug_struct("RemoteFile");
        file.field("path", path).field("url", &shown_text(url)).field("size_bytes", size_bytes);
        file.field("expected", expected).field("validator", validator).field("has_ranges", has_ranges).finish()
    }
}

/// A range of a file that is being received.
#[non_exhaustive]
pub struct Opened {
    /// Its bytes.
    pub body: Body,
    /// Which bytes of the file these are. The range may extend past the requested end; the rest need not be read.
    pub range: Range<u64>,
    /// The size of the file, if the server reported it.
    pub size_bytes: Option<u64>,
    /// The validator of this version, if the server reported it.
    pub validator: Option<Validator>,
    /// Whether the server sent the requested range, and not everything from the start.
    pub is_part: bool,
    /// The URL that sent it, after redirects.
    pub url: String,
}

/// Omits the query of its URL, which may be a signature.
impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Opened { body, range, size_bytes, validator, is_part, url } = self;
        let mut opened = f.debug_struct("Opened");
        opened.field("body", body).field("range", range).field("size_bytes", size_bytes);
        opened.field("validator", validator).field("is_part", is_part).field("url", &shown_text(url)).finish()
    }
}
