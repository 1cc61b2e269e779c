//! The interface between staging and the code that talks to servers. It is separate from that code so that staging
//! needs no network code: a build without the network simply has no resolver.

use std::fmt;
use std::sync::Arc;

use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, DocumentKind};
use crate::error::Result;
use crate::model_ref::ModelRef;
use crate::observer::Observer;
use crate::read_at::ReadAt;

/// Finds out what references stand for, and reads the files that they lead to.
pub(crate) trait Resolver: fmt::Debug + Send + Sync {
    /// Whether it handles references of this kind.
    fn takes(&self, reference: &ModelRef) -> bool;

    /// The version that a reference pins by itself, such as a commit. It can never stand for anything else, so no
    /// server has to be asked.
    fn fixed(&self, reference: &ModelRef) -> Option<String>;

    /// Returns the reference fixed to the version that it was pinned to.
    fn at(&self, reference: &ModelRef, pinned: &str) -> ModelRef;

    /// Asks only which version a reference stands for now. Returns `None` if only [`resolve`](Resolver::resolve) can
    /// tell.
    fn pin(&self, reference: &ModelRef, asking: &Asking) -> Result<Option<String>>;

    /// Asks what a reference stands for now.
    fn resolve(&self, reference: &ModelRef, selection: &Selection, asking: &Asking) -> Result<Remote>;

    /// Fetches the documents beside the version that a reference was pinned to, and gives each to `take`.
    fn documents(
        &self,
        reference: &ModelRef,
        pinned: &str,
        asking: &Asking,
        take: &mut dyn FnMut(RemoteDocument),
    ) -> Result<()>;
}

/// A document that a source has beside a model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteDocument {
    /// What it is, by the word of the source.
    pub kind: DocumentKind,
    /// Its name there.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl RemoteDocument {
    /// A document with these bytes.
    #[must_use]
    pub fn new(kind: DocumentKind, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        RemoteDocument { kind, name: name.into(), bytes: bytes.into() }
    }
}

/// Which files of a repository are wanted. Patterns work like Python's `fnmatch`: `*` also matches `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Files that match one of these patterns; all files if it is empty.
    pub(crate) include: Vec<String>,
    /// But no files that match one of these.
    pub(crate) exclude: Vec<String>,
}

impl Selection {
    /// Distinguishes selections; `None` for all files.
    pub(crate) fn fingerprint(&self) -> Option<String> {
        if self.include.is_empty() && self.exclude.is_empty() {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        for (kind, patterns) in [("include", &self.include), ("exclude", &self.exclude)] {
            let mut patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
            patterns.sort_unstable();
            patterns.dedup();
            for pattern in patterns {
                hasher.update(format!("{kind} {} {pattern}\0", pattern.len()).as_bytes());
            }
        }
        Some(hasher.finalize().to_hex().to_string())
    }
}

/// The context of a question.
#[derive(Clone)]
#[cfg_attr(not(feature = "net"), expect(dead_code, reason = "nobody is asked in a build without the network"))]
pub(crate) struct Asking {
    /// Receives an event for each retry.
    pub(crate) observer: Arc<dyn Observer>,
    /// Cancels the question.
    pub(crate) cancel: Cancel,
    /// Whether the caller knows the digest of the result.
    pub(crate) has_digest: bool,
    /// The digest, if the result is a single file.
    pub(crate) digest: Option<Digest>,
    /// Whether mirrors may be asked. What they send is checked as a whole, and fetched again if it is wrong.
    pub(crate) mirrors: bool,
}

/// What a reference stands for now.
pub(crate) struct Remote {
    /// A commit, the digest of a manifest, or a version.
    pub(crate) pinned: Option<String>,
    pub(crate) kind: ArtifactKind,
    /// Its name, which becomes the name of the view.
    pub(crate) name: String,
    /// The party that vouches for the digests of all its files; `None` if at least one file has none.
    pub(crate) named_by: Option<String>,
    pub(crate) files: Vec<RemoteContent>,
}

/// A file of the artifact.
pub(crate) struct RemoteContent {
    /// Path below the tree, with `/` between the parts. Empty if it is the only file.
    pub(crate) path: String,
    pub(crate) expected: Option<Digest>,
    /// Its hash as a blob of a git repository, if that is all that the origin names it by.
    pub(crate) git_sha1: Option<[u8; 20]>,
    /// A value that the origin promises to change with every byte.
    pub(crate) validator: Option<String>,
    pub(crate) reader: Arc<dyn ReadAt>,
}

impl fmt::Debug for RemoteContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteContent")
            .field("path", &self.path)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}
