//! All sources together, as staging uses them.

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "http")]
use super::HttpSource;
use super::mirrors::{self, Mirrors};
use super::{Cx, Expected, Listing, RemoteFile, RemoteReader, Sink, Source};
#[cfg(feature = "hf")]
use super::{GitBlobReader, HfOptions, HfSource};
#[cfg(feature = "oci")]
use super::{OciOptions, OciSource};
#[cfg(feature = "s3")]
use super::{S3Options, S3Source};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::error::{Error, Result};
use crate::fetch::{Asking, Remote, RemoteContent, RemoteDocument, Resolver, Selection};
use crate::model_ref::ModelRef;
#[cfg(not(feature = "hf"))]
use crate::net::shown_text;
use crate::net::{Client, ClientOptions, Policy};

/// The default number of connections for one file.
const CONNECTIONS: usize = 4;

/// Where a catalog fetches from: see [`FsCatalog::with_sources`](crate::FsCatalog::with_sources). Clones share their
/// connections.
///
/// Its methods block. An async program should stage in its runtime's `spawn_blocking`.
#[derive(Clone)]
pub struct Sources {
    client: Client,
    connections: usize,
    /// The sources, by the schemes that they handle.
    by_schemes: Vec<(&'static [&'static str], Arc<dyn Source>)>,
    mirrors: Mirrors,
}

impl Sources {
    /// Creates an empty set of sources, with a client that may contact what `policy` allows.
    pub fn new(policy: Policy) -> Result<Self> {
        Self::with_options(policy, ClientOptions::default())
    }

    /// Like `new`, with these options for the client. A call is cancelled by its own
    /// [`cancel`](crate::StageOptions::cancel), not by that of the options.
    pub fn with_options(policy: Policy, options: ClientOptions) -> Result<Self> {
        let client = Client::new(policy, options)?;
        Ok(Sources { client, connections: CONNECTIONS, by_schemes: Vec::new(), mirrors: Mirrors::default() })
    }

    /// Sets how many connections one file is fetched over. The default is 4; more than 16 are never used.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Also asks these servers for files with a known digest, in this order and before `host` itself. Each has the
    /// content of `https://host/path` at its own URL followed by `/path`. `host` is written as in references, with its
    /// port: `docker.io`, `huggingface.co`, `registry.example.org:5000`.
    ///
    /// The policy must allow each mirror. If a mirror is refused, gone or slow, or sends something unusable, it is left
    /// in the middle of a file, and the rest comes from the next one. Fails if a URL is not that of a server.
    pub fn with_mirrors<S: AsRef<str>>(mut self, host: &str, urls: impl IntoIterator<Item = S>) -> Result<Self> {
        self.mirrors.add(&self.client, host, urls)?;
        Ok(self)
    }

    /// Checks whether [`with_mirrors`](Sources::with_mirrors) accepts these.
    pub fn check_mirrors<S: AsRef<str>>(host: &str, urls: impl IntoIterator<Item = S>) -> Result<()> {
        mirrors::check(host, urls)
    }

    /// Adds files on web servers: `https://…`, and `http://…` if the policy allows it.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn http(self) -> Self {
        self.with_source(&["http", "https"], HttpSource::new())
    }

    /// Adds repositories of the Hugging Face Hub: `hf:org/repo`.
    #[cfg(feature = "hf")]
    #[must_use]
    pub fn hf(self, options: HfOptions) -> Self {
        self.with_source(&["hf"], HfSource::new(options))
    }

    /// Like `hf`, but reads the options when the Hub is first contacted. If that fails, every reference to the Hub
    /// fails, and no other.
    #[cfg(feature = "hf")]
    #[must_use]
    pub fn hf_with(self, read: impl FnOnce() -> Result<HfOptions> + Send + 'static) -> Self {
        self.with_source(&["hf"], HfSource::with(read))
    }

    /// Adds OCI registries: `oci:`.
    #[cfg(feature = "oci")]
    #[must_use]
    pub fn oci(self, options: OciOptions) -> Self {
        self.with_source(&["oci"], OciSource::new(options))
    }

    /// Like `oci`, but reads the logins when a registry first asks for one. If that fails, every reference to such a
    /// registry fails, and no other.
    #[cfg(feature = "oci")]
    #[must_use]
    pub fn oci_with(self, read: impl FnOnce() -> Result<OciOptions> + Send + 'static) -> Self {
        self.with_source(&["oci"], OciSource::with(read))
    }

    /// Adds S3 buckets: `s3://bucket/key`.
    #[cfg(feature = "s3")]
    #[must_use]
    pub fn s3(self, options: S3Options) -> Self {
        self.with_source(&["s3"], S3Source::new(options))
    }

    /// Like `s3`, but reads the options when a bucket is first contacted. If that fails, every reference to a bucket
    /// fails, and no other.
    #[cfg(feature = "s3")]
    #[must_use]
    pub fn s3_with(self, read: impl FnOnce() -> Result<S3Options> + Send + 'static) -> Self {
        self.with_source(&["s3"], S3Source::with(read))
    }

    /// Adds a source of the caller's own, for references with these schemes.
    #[must_use]
    pub fn with_source(mut self, schemes: &'static [&'static str], source: impl Source + 'static) -> Self {
        self.by_schemes.push((schemes, Arc::new(source)));
        self
    }

    fn of(&self, reference: &ModelRef) -> Option<&Arc<dyn Source>> {
        let scheme = reference.scheme();
        self.by_schemes.iter().find(|(schemes, _)| schemes.contains(&scheme)).map(|(_, source)| source)
    }

    fn mirrors_for(&self, asking: &Asking) -> Option<&Mirrors> {
        asking.mirrors.then_some(&self.mirrors)
    }

    /// Returns what pushes to a target, for work that `cancel` ends.
    pub(crate) fn pusher(&self, target: &ModelRef, cancel: &Cancel) -> Result<Pusher> {
        match self.of(target).filter(|source| source.sink().is_some()) {
            Some(source) => {
                let (source, client) = (Arc::clone(source), self.client.with_cancel(cancel));
                Ok(Pusher { source, client, connections: self.connections })
            }
            None => Err(no_sink(target)),
        }
    }

    fn content(
        &self,
        source: &Arc<dyn Source>,
        kind: ArtifactKind,
        mut file: RemoteFile,
        client: Client,
        asking: &Asking,
    ) -> Result<RemoteContent> {
        if let (Expected::Nothing, ArtifactKind::File, Some(digest)) = (file.expected, kind, asking.digest) {
            file.expected = Expected::Sha256(digest);
        }
        let path = if kind == ArtifactKind::File { String::new() } else { file.path.clone() };
        let observer = asking.observer.clone();
        let has_digest = asking.has_digest || file.expected != Expected::Nothing;
        client.check_file(&file.url, file.size_bytes.unwrap_or(0), has_digest)?;
        match file.expected {
            #[cfg(feature = "hf")]
            Expected::GitBlobSha1(hash) => {
                let reader = GitBlobReader::new(source.clone(), file, client, observer)?;
                let validator = Some(format!("git blob {}", hex::encode(hash)));
                Ok(RemoteContent { path, expected: None, git_sha1: Some(hash), validator, reader: Arc::new(reader) })
            }
            // In such a build, only the caller's own sources name git blobs.
            #[cfg(not(feature = "hf"))]
            Expected::GitBlobSha1(_) => {
                let detail = "its git blob cannot be checked without the feature hf".into();
                Err(Error::Net { url: shown_text(&file.url), source: crate::error::NetError::Malformed { detail } })
            }
            _ => {
                let expected = sha256_of(&file);
                let registry = file.registry.clone();
                let reader = RemoteReader::new(source.clone(), file, client, observer)?;
                let mirrors = self
                    .mirrors_for(asking)
                    .and_then(|mirrors| mirrors.of(reader.url(), registry.as_deref(), &asking.cancel));
                let validator = reader.validator().map(|validator| validator.as_str().to_owned());
                let reader = Arc::new(reader.with_connections(self.connections).with_mirrors(mirrors));
                Ok(RemoteContent { path, expected, git_sha1: None, validator, reader })
            }
        }
    }
}

fn no_sink(target: &ModelRef) -> Error {
    Error::NoSink { scheme: target.scheme().to_owned(), target: target.shown() }
}

/// Pushes to one target.
pub(crate) struct Pusher {
    source: Arc<dyn Source>,
    pub(crate) client: Client,
    /// Number of blobs sent at the same time.
    pub(crate) connections: usize,
}

impl Pusher {
    pub(crate) fn sink(&self, target: &ModelRef) -> Result<&dyn Sink> {
        self.source.sink().ok_or_else(|| no_sink(target))
    }
}

fn sha256_of(file: &RemoteFile) -> Option<Digest> {
    if let Expected::Sha256(digest) = file.expected { Some(digest) } else { None }
}

impl Resolver for Sources {
    fn takes(&self, reference: &ModelRef) -> bool {
        self.of(reference).is_some()
    }

    fn fixed(&self, reference: &ModelRef) -> Option<String> {
        self.of(reference)?.fixed(reference)
    }

    fn pin(&self, reference: &ModelRef, asking: &Asking) -> Result<Option<String>> {
        let client = self.client.with_cancel(&asking.cancel);
        let cx = Cx::new(&client, &*asking.observer);
        self.of(reference).map_or(Ok(None), |source| source.pin(reference, &cx))
    }

    fn at(&self, reference: &ModelRef, pinned: &str) -> ModelRef {
        self.of(reference).map_or_else(|| reference.clone(), |source| source.at(reference, pinned))
    }

    fn resolve(&self, reference: &ModelRef, selection: &Selection, asking: &Asking) -> Result<Remote> {
        let Some(source) = self.of(reference) else {
            return Err(Error::NoFetcher { scheme: reference.scheme().to_owned(), reference: reference.shown() });
        };
        asking.cancel.check(|| format!("asking for {}", reference.shown()))?;
        let client = self.client.with_cancel(&asking.cancel);
        let cx = Cx::new(&client, &*asking.observer).with_selection(&selection.include, &selection.exclude);
        let cx = cx.with_mirrors(self.mirrors_for(asking));
        let Listing { pinned, kind, files, name, named_by, .. } = source.resolve(reference, &cx)?;
        let files = files
            .into_iter()
            .map(|file| self.content(source, kind, file, client.clone(), asking))
            .collect::<Result<_>>()?;
        Ok(Remote { pinned, kind, name, named_by, files })
    }

    fn documents(
        &self,
        reference: &ModelRef,
        pinned: &str,
        asking: &Asking,
        take: &mut dyn FnMut(RemoteDocument),
    ) -> Result<()> {
        let Some(source) = self.of(reference) else { return Ok(()) };
        let client = self.client.with_cancel(&asking.cancel);
        source.documents(&source.at(reference, pinned), &Cx::new(&client, &*asking.observer), take)
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schemes: Vec<_> = self.by_schemes.iter().flat_map(|(schemes, _)| *schemes).collect();
        f.debug_struct("Sources")
            .field("client", &self.client)
            .field("schemes", &schemes)
            .field("mirrors", &self.mirrors)
            .finish_non_exhaustive()
    }
}
