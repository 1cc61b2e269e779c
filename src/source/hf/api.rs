//! The two requests that describe a repository completely.

use serde::Deserialize;
use url::Url;

use super::options::HfOptions;
use super::tree::{Entry, Trouble};
use super::{Repository, link, refusal};
use crate::error::{Error, NetError, Result};
use crate::excerpt::excerpt;
use crate::model_ref::is_commit;
use crate::net::{Response, shown};
use crate::source::Cx;

/// The most that the Hub may send about one repository: enough for some hundred thousand files.
const LIMIT_BYTES: u64 = 64 << 20;

pub(super) struct Hub<'a> {
    options: &'a HfOptions,
    repository: &'a Repository<'a>,
    cx: &'a Cx<'a>,
}

#[derive(Deserialize)]
struct Info {
    sha: String,
}

impl<'a> Hub<'a> {
    pub(super) fn new(options: &'a HfOptions, repository: &'a Repository<'a>, cx: &'a Cx<'a>) -> Self {
        Hub { options, repository, cx }
    }

    /// Returns the commit that the revision points to.
    pub(super) fn pin(&self) -> Result<String> {
        let url = self.api("revision", self.repository.revision);
        let (response, bytes) = self.get(&url, LIMIT_BYTES)?;
        let Info { sha } = read(&response, &bytes)?;
        if !is_commit(&sha) {
            let source = NetError::malformed(format!("it names {:?}, which is not a commit", excerpt(&sha)));
            return Err(Error::Net { url: shown(&url), source });
        }
        Ok(sha)
    }

    /// Lists everything in a commit, from all pages.
    pub(super) fn tree(&self, commit: &str) -> Result<Vec<Entry>> {
        let mut next = Some(self.tree_url(commit));
        let (mut entries, mut left_bytes) = (Vec::new(), LIMIT_BYTES);
        while let Some(url) = next {
            let (response, bytes) = self.get(&url, left_bytes)?;
            left_bytes = left_bytes.saturating_sub(bytes.len() as u64);
            let fail = |detail: &str| Error::Net { url: shown(&url), source: NetError::malformed(detail) };
            next = match response.header("link").and_then(link::next) {
                None => None,
                Some(target) => Some(url.join(target).map_err(|_| fail("the next page has no URL"))?),
            };
            // The token is sent to that page, too.
            if next.as_ref().is_some_and(|next| next.origin() != self.options.endpoint().origin()) {
                return Err(fail("the next page is on another server"));
            }
            let page: Vec<Entry> = read(&response, &bytes)?;
            // Otherwise a server could send next pages for ever.
            if page.is_empty() && next.is_some() {
                return Err(fail("an empty page has a next one"));
            }
            entries.extend(page);
        }
        Ok(entries)
    }

    /// The URL of a file of a commit.
    pub(super) fn file_url(&self, commit: &str, path: &str) -> String {
        let Repository { org, name, .. } = self.repository;
        self.options.url([*org, *name, "resolve", commit].into_iter().chain(path.split('/'))).into()
    }

    /// Builds an error about the content of a commit.
    pub(super) fn fail_tree(&self, commit: &str, trouble: Trouble) -> Error {
        let Repository { org, name, .. } = self.repository;
        let page = || self.options.url([*org, *name, "tree", commit]).into();
        let source = match trouble {
            Trouble::Hub(problem) => NetError::Hub { problem, page: page(), request_id: None },
            Trouble::Malformed(detail) => NetError::Malformed { detail },
        };
        Error::Net { url: shown(&self.tree_url(commit)), source }
    }

    fn api(&self, what: &str, revision: &str) -> Url {
        let Repository { org, name, .. } = self.repository;
        self.options.url(["api", "models", org, name, what, revision])
    }

    fn tree_url(&self, commit: &str) -> Url {
        let mut url = self.api("tree", commit);
        url.set_query(Some("recursive=true&expand=false"));
        url
    }

    fn get(&self, url: &Url, limit_bytes: u64) -> Result<(Response, Vec<u8>)> {
        let request = self.cx.client.get(url.as_str()).with_headers(&self.options.headers(url));
        request.read_or(limit_bytes, self.cx.observer, &|response| refusal::read(response, self.options))
    }
}

/// Parses the JSON of a response.
fn read<T: for<'de> Deserialize<'de>>(response: &Response, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| {
        let kind = excerpt(response.header("content-type").unwrap_or("none"));
        let source = NetError::malformed(format!("it is not what the Hub says there ({e}; type {kind:?})"));
        Error::Net { url: shown(response.url()), source }
    })
}
