//! What went wrong: the action, the path, the cause, and what to do about it.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::digest::Digest;

/// `Result` with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every way in which an operation of this crate fails.
///
/// Callers that only need the kind ask [`is_not_found`](Error::is_not_found),
/// [`is_corrupt`](Error::is_corrupt), [`is_busy`](Error::is_busy),
/// [`is_invalid_input`](Error::is_invalid_input) or [`is_no_space`](Error::is_no_space).
/// Each message is one line: what was being done, to what, why it failed, what to do next.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Text that is not a digest.
    #[error("could not read {input:?} as a digest: {reason}; write sha256:<64 lowercase hex digits>")]
    InvalidDigest {
        /// The text, cut to a printable length.
        input: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Text that is not a model reference.
    #[error("could not read {input:?} as a model reference: {reason}")]
    InvalidRef {
        /// The text, cut to a printable length.
        input: String,
        /// What is wrong with it and how to write it.
        reason: String,
    },
    /// Text that cannot be an id.
    #[error("could not use {id:?} as an id: {reason}; an id is 1 to 1024 bytes of UTF-8 without control characters")]
    InvalidId {
        /// The text, cut to a printable length.
        id: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A path that the catalog cannot record.
    #[error("could not use the path {}: {reason}", path.display())]
    InvalidPath {
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong with it and what to do.
        reason: &'static str,
    },

    /// The catalog has no entry of this name.
    #[error("could not find {id:?} in the catalog at {}: no such entry; `catalog list` shows what is here", root.display())]
    NotFound {
        /// The id, or the reference's own string.
        id: String,
        /// The catalog's root.
        root: PathBuf,
    },
    /// The entry is there, its file is not.
    #[error("could not resolve {id:?}: {} is not there; stage the model again under this id", path.display())]
    NotStaged {
        /// The entry.
        id: String,
        /// The recorded `local_path`.
        path: PathBuf,
    },
    /// A source file or directory that is not there.
    #[error("could not read {}: no such file or directory; check the path", path.display())]
    SourceMissing {
        /// The source as it was looked up.
        path: PathBuf,
    },
    /// No catalog at this root, and the operation does not make one.
    #[error("could not open a catalog at {}: there is none; `catalog stage FILE` makes one", root.display())]
    NoCatalog {
        /// Where it was looked for.
        root: PathBuf,
    },
    /// A reference whose scheme this build cannot fetch.
    #[error(
        "could not fetch {reference}: this build has no fetcher for `{scheme}:` and the catalog does not hold it; download the file and stage it with --id '{reference}'"
    )]
    NoFetcher {
        /// `hf`, `https`, `s3`, …
        scheme: String,
        /// The reference's own string.
        reference: String,
    },

    /// A source that is neither a regular file nor a directory.
    #[error("could not read {}: it is a {kind}, which is never opened; give a regular file or a directory", path.display())]
    UnsupportedFileType {
        /// The source.
        path: PathBuf,
        /// "FIFO", "socket", "character device", …
        kind: &'static str,
    },
    /// The source was written to while it was read. Nothing of it was kept.
    #[error("could not stage {}: it changed while it was read ({detail}); stage it again when its writer is done", path.display())]
    SourceChanged {
        /// The source.
        path: PathBuf,
        /// What was seen to change.
        detail: String,
    },
    /// `link` or `move` of a file that somebody could still write to.
    #[error("could not take {} as it is: {reason}; use --mode copy", path.display())]
    SourceInUse {
        /// The source.
        path: PathBuf,
        /// Who or what can still write to it.
        reason: String,
    },
    /// A symlink in a tree that leads out of it.
    #[error("could not stage {}: the symlink leads out of the tree to {}; --follow-links takes the file that it leads to", link.display(), target.display())]
    LinkLeadsOut {
        /// The symlink.
        link: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A tree that cannot be walked to its end.
    #[error("could not stage the tree {}: {reason}", path.display())]
    UnusableTree {
        /// The place in the tree.
        path: PathBuf,
        /// A loop, a dangling symlink, no file at all.
        reason: &'static str,
    },
    /// Two names of a tree that the root's file system holds to be one.
    #[error("could not make the view {}: this file system cannot keep the name apart from another of the same tree (case or Unicode form); rename one of the two", path.display())]
    NameCollision {
        /// The second of the two names.
        path: PathBuf,
    },

    /// A `local_path` in one of the store's own folders.
    #[error("could not record {}: this place belongs to the store itself; give a path elsewhere under the root, or outside it", path.display())]
    ReservedPath {
        /// The path as it was given.
        path: PathBuf,
    },
    /// A path that starts under the root and leaves it, or a folder of the store that has become a symlink.
    #[error("could not use {}: it leads out of the root {}; give a path that stays below it", path.display(), root.display())]
    PathEscapesRoot {
        /// The path as it was given.
        path: PathBuf,
        /// The catalog's root.
        root: PathBuf,
    },

    /// The content is not what the caller said it would be. Nothing was recorded.
    #[error("could not accept {}: its digest is {actual}, expected {expected}; get the file again, or correct the digest", path.display())]
    DigestMismatch {
        /// The source.
        path: PathBuf,
        /// What the caller gave.
        expected: Digest,
        /// What the bytes hash to.
        actual: Digest,
    },
    /// A file of the store that cannot be read as what it should be. It is never taken for an empty one.
    #[error("could not read {}: {reason}; `catalog doctor` says what can be restored", path.display())]
    CorruptIndex {
        /// The shard, or `store.json`.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob that is not its name.
    #[error("could not trust {}: {reason}; stage the model again from a good source", path.display())]
    CorruptBlob {
        /// The blob.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry whose content was found to be damaged. The damaged file is in `quarantine/`, and the entry's path is gone.
    #[error("could not use {id:?}: its content at {} is damaged; `catalog repair` mends it from a good copy (--from), or stage it again", path.display())]
    Damaged {
        /// The entry.
        id: String,
        /// Its `local_path`.
        path: PathBuf,
    },
    /// A repair found no good bytes. Nothing was changed, but that what is damaged is out of service.
    #[error("could not repair {}: no source has good data for {}{}; give a good copy with --from", path.display(), part(range), tried_text(tried))]
    NoGoodSource {
        /// The blob.
        path: PathBuf,
        /// Which of its bytes; empty: all of it, since nothing tells its parts apart.
        range: Range<u64>,
        /// What was tried.
        tried: Vec<String>,
    },
    /// The store was written by a newer version. Nothing was touched.
    #[error("could not open {}: it needs {found}, this version knows {supported}; use a newer catalog", path.display())]
    UnsupportedFormat {
        /// The file that says so.
        path: PathBuf,
        /// The format or feature that is asked for.
        found: String,
        /// What this version has.
        supported: String,
    },

    /// Neither the quota nor the disk has room, and no more can be made.
    #[error("could not make room at {}: {needed_bytes} bytes are needed, {available_bytes} are available and {evictable_bytes} can be evicted; remove or unpin models, or raise the quota with `catalog config`", root.display())]
    NoRoom {
        /// The catalog's root.
        root: PathBuf,
        /// What the operation needs.
        needed_bytes: u64,
        /// What quota and file system have.
        available_bytes: u64,
        /// What a collection could bring: the rest is leased, pinned or young.
        evictable_bytes: u64,
    },
    /// Collecting needs file locks, and here they exclude nobody.
    #[error("could not collect at {}: file locks do nothing on this file system, so what is in use cannot be seen; stop every other process that uses this root, and move it to a local file system", root.display())]
    LocksDoNothing {
        /// The catalog's root.
        root: PathBuf,
    },

    /// A lock was not had in time.
    #[error("could not lock {what} at {} for {} s: another process holds it; try again", path.display(), waited.as_secs())]
    Busy {
        /// What the lock protects.
        what: &'static str,
        /// The lock file.
        path: PathBuf,
        /// How long it was tried.
        waited: Duration,
    },

    /// It was asked to end, by a [`Cancel`](crate::Cancel).
    #[error("cancelled: {what}")]
    Cancelled {
        /// What was being done.
        what: String,
    },

    /// The operating system said no.
    #[error("could not {action} {}: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer; shared, because one failed sync can be the failure of many entries.
        source: Arc<io::Error>,
    },
}

fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => "; check who owns it and its mode",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room, for example with `catalog remove`",
        io::ErrorKind::ReadOnlyFilesystem => "; the catalog can be read here but not changed",
        io::ErrorKind::NotADirectory => "; a directory is needed here",
        _ => "",
    }
}

fn part(range: &Range<u64>) -> String {
    if range.is_empty() { "all of it".into() } else { format!("bytes {} to {}", range.start, range.end) }
}

fn tried_text(tried: &[String]) -> String {
    if tried.is_empty() { String::new() } else { format!(" (tried {})", tried.join(", ")) }
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Error::Io { action, path: path.as_ref().to_path_buf(), source: Arc::new(source.into()) }
    }

    /// What was asked for is not here: an entry, its file, a source, the catalog itself.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Error::NotFound { .. } | Error::NotStaged { .. } | Error::SourceMissing { .. } | Error::NoCatalog { .. }
        )
    }

    /// The file of the store that could not be read or trusted.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Error::Io { path, .. }
            | Error::PathEscapesRoot { path, .. }
            | Error::CorruptIndex { path, .. }
            | Error::CorruptBlob { path, .. } => Some(path),
            _ => None,
        }
    }

    /// The system found no such file.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// A sync has failed: the kernel has dropped what it could not write, and what comes later would not say so.
    pub(crate) fn is_failed_sync(&self) -> bool {
        matches!(self, Error::Io { action, .. } if action.starts_with("sync"))
    }

    /// Content is not what it should be: a digest that does not match, a damaged blob or index file.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(
            self,
            Error::DigestMismatch { .. }
                | Error::CorruptIndex { .. }
                | Error::CorruptBlob { .. }
                | Error::Damaged { .. }
                | Error::NoGoodSource { .. }
        )
    }

    /// A lock was not had in time: the same call may succeed later.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Error::Busy { .. })
    }

    /// The caller's text cannot mean anything: a malformed id, digest or reference.
    #[must_use]
    pub fn is_invalid_input(&self) -> bool {
        matches!(self, Error::InvalidDigest { .. } | Error::InvalidRef { .. } | Error::InvalidId { .. })
    }

    /// The work was given up because somebody asked for that.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Error::Cancelled { .. })
    }

    /// The disk or the quota is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Error::NoRoom { .. } => true,
            Error::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}

/// Cuts text from outside to a length that fits an error line.
pub(crate) fn excerpt(text: &str) -> String {
    const LIMIT_CHARS: usize = 120;
    if text.chars().nth(LIMIT_CHARS).is_none() {
        return text.to_owned();
    }
    text.chars().take(LIMIT_CHARS).chain("…".chars()).collect()
}
