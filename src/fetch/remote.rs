//! What staging asks of whoever speaks to servers. It is here, and not where they are spoken to, so that staging needs no network
//! code: a build without one has nobody to ask.

use std::fmt;
use std::sync::Arc;

use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::error::Result;
use crate::model_ref::ModelRef;
use crate::observer::Observer;
use crate::read_at::ReadAt;

/// Finds out what references mean, and reads what they lead to.
pub(crate) trait Resolver: fmt::Debug + Send + Sync {
    /// Whether it knows references of this kind.
    fn takes(&self, reference: &ModelRef) -> bool;

    /// What a reference is pinned to by itself, such as a commit: it can never come to mean something else, so nobody has to be
    /// asked about it.
    fn fixed(&self, reference: &ModelRef) -> Option<String>;

    /// The reference to what another one was pinned to.
    fn at(&self, reference: &ModelRef, pinned: &str) -> ModelRef;

    /// Asks what a reference is pinned to now, and nothing more. `None`: only [`resolve`](Resolver::resolve) tells.
    fn pin(&self, reference: &ModelRef, asking: &Asking) -> Result<Option<String>>;

    /// Asks what a reference means now.
    fn resolve(&self, reference: &ModelRef, selection: &Selection, asking: &Asking) -> Result<Remote>;
}

/// Which files of a repository are wanted. Patterns are those of Python's `fnmatch`: `*` also crosses `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Files that match one of these; all, if there is none.
    pub(crate) include: Vec<String>,
    /// And none of these.
    pub(crate) exclude: Vec<String>,
}

impl Selection {
    /// What tells it from another one; `None` for all files.
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

/// What a question is asked with.
#[derive(Clone)]
#[cfg_attr(not(feature = "net"), expect(dead_code, reason = "nobody is asked in a build without the network"))]
pub(crate) struct Asking {
    /// Told of what is tried again.
    pub(crate) observer: Arc<dyn Observer>,
    /// Gives it up when it is used.
    pub(crate) cancel: Cancel,
    /// Whoever asks knows the digest of what comes.
    pub(crate) has_digest: bool,
    /// The digest, of what is one file.
    pub(crate) digest: Option<Digest>,
    /// Others may be asked that have what a server has. What they give is checked as a whole, and asked for again if it is wrong.
    pub(crate) mirrors: bool,
}

/// What a reference means now.
pub(crate) struct Remote {
    /// A commit, the digest of a manifest, a version.
    pub(crate) pinned: Option<String>,
    pub(crate) kind: ArtifactKind,
    /// What it is called: the name of its view.
    pub(crate) name: String,
    /// The party that has named the digests of all its files; `None`: at least one has none.
    pub(crate) named_by: Option<String>,
    pub(crate) files: Vec<RemoteContent>,
}

/// One of its files.
pub(crate) struct RemoteContent {
    /// Below the tree, with `/` between the parts; empty when it is the one file.
    pub(crate) path: String,
    pub(crate) expected: Option<Digest>,
    /// What its origin promises to change with every byte.
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
