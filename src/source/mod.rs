//! Where models come from: a source pins a reference, lists its files, and opens ranges of them. It knows nothing of the store.
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
#[cfg(any(feature = "hf", feature = "oci", feature = "s3"))]
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
use crate::model_ref::ModelRef;
use crate::net::{Body, Client, Validator, shown_text};
use crate::observer::Observer;
use mirrors::Mirrors;
use ranged::Place;

/// Somewhere that models can be fetched from.
pub trait Source: Send + Sync {
    /// Metadata alone: pins a reference that can come to mean something else, and lists its files.
    fn resolve(&self, reference: &ModelRef, cx: &Cx<'_>) -> Result<Listing>;

    /// What a reference is pinned to by itself, such as a commit: it can never come to mean something else, and nobody has to be
    /// asked about it. `None`: it can.
    fn fixed(&self, _reference: &ModelRef) -> Option<String> {
        None
    }

    /// What a reference is pinned to now: less than [`resolve`](Source::resolve) asks. `None`: that alone tells.
    fn pin(&self, _reference: &ModelRef, _cx: &Cx<'_>) -> Result<Option<String>> {
        Ok(None)
    }

    /// The reference to the version that another one was pinned to. The same, where there is no such thing.
    fn at(&self, reference: &ModelRef, _pinned: &str) -> ModelRef {
        reference.clone()
    }

    /// Opens one range of a file, which has to lie inside it. What it gives may be the whole file, from a server that gives
    /// no parts.
    fn open(&self, file: &RemoteFile, range: Range<u64>, cx: &Cx<'_>) -> Result<Opened>;

    /// What each MiB of a file is, by the word of whoever has pushed it: see [`ReadAt::group_values`](crate::ReadAt::group_values).
    fn group_values(&self, _file: &RemoteFile, _cx: &Cx<'_>) -> Option<Vec<[u8; 32]>> {
        None
    }

    /// The same as somewhere that models can be pushed to. `None`: it takes none.
    fn sink(&self) -> Option<&dyn Sink> {
        None
    }
}

/// What a source works with.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    /// What speaks to servers.
    pub client: &'a Client,
    /// Told of what is asked again.
    pub observer: &'a dyn Observer,
    /// Only the files of a repository that match one of these patterns are wanted; all, if there is none.
    pub include: &'a [String],
    /// And none of the files that match one of these.
    pub exclude: &'a [String],
    /// Where the URL of the file that is read has led to.
    place: Option<&'a Place>,
    mirrors: Option<&'a Mirrors>,
}

impl<'a> Cx<'a> {
    /// With a client, and an observer that is told of what is asked again.
    #[must_use]
    pub fn new(client: &'a Client, observer: &'a dyn Observer) -> Self {
        Cx { client, observer, include: &[], exclude: &[], place: None, mirrors: None }
    }

    /// What ends the work.
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

/// What a reference means now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// What it was pinned to: a commit, a digest, a version; of a web server, the validator of the file.
    pub pinned: Option<String>,
    /// The reference cannot come to mean something else.
    pub immutable: bool,
    /// What the artifact is called: a file name.
    pub name: String,
    /// The party that has named the digests of all files, such as a host; `None`: at least one has none.
    pub named_by: Option<String>,
    /// One file, or a tree of them.
    pub kind: ArtifactKind,
    /// Its files.
    pub files: Vec<RemoteFile>,
}

impl Listing {
    /// One whose reference can come to mean something else.
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

/// What the bytes of a file have to be, by the word of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Expected {
    /// They hash to this.
    Sha256(Digest),
    /// As a blob of git's, they hash to this.
    GitBlobSha1([u8; 20]),
    /// The source does not say.
    Nothing,
}

/// A file of a source.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteFile {
    /// Below the tree, with `/` between the parts; of one file, its name.
    pub path: String,
    /// Where it is asked for. What that redirects to may change from one time to the next.
    pub url: String,
    /// How large it is, if the source says so.
    pub size_bytes: Option<u64>,
    /// What its bytes have to be.
    pub expected: Expected,
    /// By what another version is told.
    pub validator: Option<Validator>,
    /// The server gives parts of it.
    pub has_ranges: bool,
    /// The manifest that has named it.
    pub manifest: Option<Digest>,
    /// The registry that it is a blob of, as references name it.
    pub(crate) registry: Option<String>,
}

impl RemoteFile {
    /// A file of which nothing is known but where it is, and that its server gives parts.
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

/// Without the query of its URL, which may be a signature.
impl std::fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let RemoteFile { path, url, size_bytes, expected, validator, has_ranges, manifest: _, registry: _ } = self;
        let mut file = f.debug_struct("RemoteFile");
        file.field("path", path).field("url", &shown_text(url)).field("size_bytes", size_bytes);
        file.field("expected", expected).field("validator", validator).field("has_ranges", has_ranges).finish()
    }
}

/// A range of a file that is being sent.
#[non_exhaustive]
pub struct Opened {
    /// Its bytes.
    pub body: Body,
    /// Which bytes of the file they are. The end may be past what was asked for: what is not needed need not be read.
    pub range: Range<u64>,
    /// How large the file is, if the server has said so.
    pub size_bytes: Option<u64>,
    /// By what another version is told, if the server has said so.
    pub validator: Option<Validator>,
    /// The server has given what was asked for, and not all from the beginning.
    pub is_part: bool,
    /// The URL that has given it, after its redirects.
    pub url: String,
}

/// Without the query of its URL, which may be a signature.
impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Opened { body, range, size_bytes, validator, is_part, url } = self;
        let mut opened = f.debug_struct("Opened");
        opened.field("body", body).field("range", range).field("size_bytes", size_bytes);
        opened.field("validator", validator).field("is_part", is_part).field("url", &shown_text(url)).finish()
    }
}
