//! The Hugging Face Hub: `hf:org/repo[@revision][/path]`.
//!
//! Two requests describe a repository completely: which commit a revision points to, and which files it has, with their
//! sizes and hashes. There are no requests about single files.
//!
//! ```text
//! options.rs    the endpoint, the token, and where users of the Hub's own tools have put them
//! api.rs        the two requests
//! link.rs       where the next page is
//! tree.rs       the files of a commit
//! refusal.rs    what the Hub means when it does not give something
//! ```

mod api;
mod link;
mod options;
mod refusal;
mod tree;

pub use options::HfOptions;

#[cfg(feature = "testing")]
pub(crate) use link::next as next_page;

/// The files that a reference with this path names in one page of a tree, if the whole page is valid: the path of each
/// in the repository, and its name below the reference.
#[cfg(feature = "testing")]
pub(crate) fn files_of_page(text: &[u8], path: Option<&str>) -> Option<(ArtifactKind, Vec<(String, String)>)> {
    let entries = serde_json::from_slice(text).ok()?;
    let (kind, files) = tree::select(entries, path, &Selection::new(&[], &[])).ok()?;
    Some((kind, files.into_iter().map(|file| (file.path, file.name)).collect()))
}

use std::ops::Range;

use url::Url;

use super::lazy::Lazy;
use super::selection::Selection;
use super::{Cx, Listing, Opened, RemoteFile, Source};
#[cfg(feature = "testing")]
use crate::entry::ArtifactKind;
use crate::error::{Error, NetError, Result};
use crate::model_ref::{ModelRef, is_commit};
use crate::net::{shown, shown_text};
use api::Hub;

/// How often to ask the Hub for a signed URL: a storage server whose clock is ahead may reject one that was just
/// signed.
const SIGNATURES: u32 = 3;

/// Repositories of the Hugging Face Hub.
#[derive(Debug)]
pub struct HfSource {
    options: Lazy<HfOptions>,
}

impl Default for HfSource {
    fn default() -> Self {
        HfSource::new(HfOptions::default())
    }
}

impl HfSource {
    /// Creates the source. It has sent no request yet.
    #[must_use]
    pub fn new(options: HfOptions) -> Self {
        HfSource::with(|| Ok(options))
    }

    /// Like `new`, but reads the options when the Hub is first contacted.
    #[must_use]
    pub fn with(read: impl FnOnce() -> Result<HfOptions> + Send + 'static) -> Self {
        HfSource { options: Lazy::new(read) }
    }

    /// Returns the options, or an error if the Hub must not be contacted.
    fn online(&self, reference: impl FnOnce() -> String) -> Result<&HfOptions> {
        let options = self.options.get()?;
        if options.is_offline() { Err(Error::Offline { reference: reference() }) } else { Ok(options) }
    }
}

impl Source for HfSource {
    /// Pins the revision to a commit, and lists the file, or the files below the folder, that the reference names.
    fn resolve(&self, reference: &ModelRef, cx: &Cx<'_>) -> Result<Listing> {
        let repository = Repository::of(reference)?;
        let options = self.online(|| reference.shown())?;
        let hub = Hub::new(options, &repository, cx);
        let fixed = self.fixed(reference);
        let commit = match &fixed {
            Some(commit) => commit.clone(),
            None => hub.pin()?,
        };
        let (kind, files) = tree::select(hub.tree(&commit)?, repository.path, &Selection::new(cx.include, cx.exclude))
            .map_err(|trouble| hub.fail_tree(&commit, trouble))?;
        let files = files.into_iter().map(|file| {
            let url = hub.file_url(&commit, &file.path);
            RemoteFile::new(file.name, url).with_size(file.size_bytes).with_expected(file.expected)
        });
        let named_by = options.endpoint().host_str().map(str::to_owned);
        let listing = Listing::new(repository.label(), kind, files.collect()).with_named_by(named_by);
        Ok(listing.with_pinned(commit, fixed.is_some()))
    }

    /// A full commit hash.
    fn fixed(&self, reference: &ModelRef) -> Option<String> {
        reference.hf_revision().filter(|revision| is_commit(revision)).map(str::to_owned)
    }

    fn pin(&self, reference: &ModelRef, cx: &Cx<'_>) -> Result<Option<String>> {
        if let fixed @ Some(_) = self.fixed(reference) {
            return Ok(fixed);
        }
        let options = self.online(|| reference.shown())?;
        Hub::new(options, &Repository::of(reference)?, cx).pin().map(Some)
    }

    fn at(&self, reference: &ModelRef, pinned: &str) -> ModelRef {
        match reference {
            ModelRef::Hf { org, repo, path } => {
                let name = repo.split_once('@').map_or(repo.as_str(), |(name, _)| name);
                ModelRef::Hf { org: org.clone(), repo: format!("{name}@{pinned}"), path: path.clone() }
            }
            other => other.clone(),
        }
    }

    fn open(&self, file: &RemoteFile, range: Range<u64>, cx: &Cx<'_>) -> Result<Opened> {
        let url = Url::parse(&file.url).map_err(|e| Error::Net {
            url: shown_text(&file.url),
            source: NetError::malformed(format!("it is not a URL: {e}")),
        })?;
        let options = self.online(|| shown(&url))?;
        let headers = options.headers(&url);
        let refusal = |response| refusal::read(response, options);
        let mut times = 1;
        loop {
            match cx.open_range_or(file, &headers, range.clone(), &refusal) {
                // A denial by the Hub itself is a `NetError::Hub`.
                Err(Error::Net { source: NetError::Denied { .. }, .. }) if times < SIGNATURES => times += 1,
                other => return other,
            }
        }
    }
}

/// What a reference names.
struct Repository<'a> {
    org: &'a str,
    name: &'a str,
    revision: &'a str,
    path: Option<&'a str>,
}

impl<'a> Repository<'a> {
    fn of(reference: &'a ModelRef) -> Result<Self> {
        let ModelRef::Hf { org, repo, path } = reference else {
            let scheme = reference.scheme().to_owned();
            return Err(Error::NoFetcher { scheme, reference: reference.shown() });
        };
        let (name, revision) = repo.split_once('@').unwrap_or((repo, "main"));
        Ok(Repository { org, name, revision, path: path.as_deref() })
    }

    /// The name of the file, the folder, or the repository.
    fn label(&self) -> &str {
        self.path.and_then(|path| path.rsplit('/').next()).unwrap_or(self.name)
    }
}
