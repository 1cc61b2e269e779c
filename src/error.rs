//! What went wrong: the action, the path, the cause; and, apart from the message, what to do about it.

mod hub;
mod kinds;
mod net;

pub use hub::HubProblem;
pub use net::{NetError, Refused};

use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::digest::{Digest, DigestError};
use crate::excerpt::excerpt;
use crate::hint::{Collection, Hint};

/// `Result` with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every way in which an operation of this crate fails.
///
/// Callers that only need the kind ask [`is_not_found`](Error::is_not_found),
/// [`is_corrupt`](Error::is_corrupt), [`is_busy`](Error::is_busy),
/// [`is_invalid_input`](Error::is_invalid_input) or [`is_no_space`](Error::is_no_space); of what a server has to do with,
/// [`is_refused`](Error::is_refused), [`is_unreachable`](Error::is_unreachable) or [`is_denied`](Error::is_denied).
/// Each message is one line: what was being done, to what, why it failed. What to do about it is
/// [`hint`](Error::hint). A variant may get further fields, so programs make no values of it but by
/// [`not_found`](Error::not_found) and [`io`](Error::io), which implementors of this crate's traits need.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Text that is not a digest.
    #[error(transparent)]
    InvalidDigest(#[from] DigestError),
    /// Text that is not a model reference.
    #[error("could not read {input:?} as a model reference: {reason}")]
    #[non_exhaustive]
    InvalidRef {
        /// The text, cut to a printable length.
        input: String,
        /// What is wrong with it and how to write it.
        reason: String,
    },
    /// Text that cannot be an id.
    #[error("could not use {id:?} as an id: {reason}; an id is 1 to 1024 bytes of UTF-8 without control characters")]
    #[non_exhaustive]
    InvalidId {
        /// The text, cut to a printable length.
        id: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Text that stands for several entries, where one is wanted.
    #[error("could not tell which entry {text:?} means: it stands for {}", few(ids))]
    #[non_exhaustive]
    Ambiguous {
        /// The text, cut to a printable length.
        text: String,
        /// The ids of all of them, sorted.
        ids: Vec<String>,
    },
    /// A path that the catalog cannot record.
    #[error("could not use the path {}: {reason}", path.display())]
    #[non_exhaustive]
    InvalidPath {
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
        /// What to do about it.
        hint: Hint,
    },

    /// The catalog has no entry of this name.
    #[error("could not find {id:?} in the catalog at {}: no such entry", root.display())]
    #[non_exhaustive]
    NotFound {
        /// The id, or the reference's own string.
        id: String,
        /// The catalog's root.
        root: PathBuf,
    },
    /// The entry is there, its file is not.
    #[error("could not resolve {id:?}: {} is not there", path.display())]
    #[non_exhaustive]
    NotStaged {
        /// The entry.
        id: String,
        /// The recorded `local_path`.
        path: PathBuf,
    },
    /// A source file or directory that is not there.
    #[error("could not read {}: no such file or directory", path.display())]
    #[non_exhaustive]
    SourceMissing {
        /// The source as it was looked up.
        path: PathBuf,
    },
    /// No catalog at this root, and the operation does not make one.
    #[error("could not open a catalog at {}: there is none", root.display())]
    #[non_exhaustive]
    NoCatalog {
        /// Where it was looked for.
        root: PathBuf,
    },
    /// A root that cannot be meant as it is written, or that leads nowhere. Nothing was made.
    #[error("could not use {root:?} as the catalog's root: {reason}")]
    #[non_exhaustive]
    InvalidRoot {
        /// The root as it was given, or the symlink on the way to it.
        root: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
        /// What to do about it.
        hint: Hint,
    },
    /// A directory with somebody else's things in it, where a catalog was to be made. Nothing was made.
    #[error("could not make a catalog at {}: it has other things in it, such as {name:?}, and is no catalog", root.display())]
    #[non_exhaustive]
    RootNotEmpty {
        /// The directory.
        root: PathBuf,
        /// The first of those things.
        name: OsString,
    },
    /// A reference whose scheme this build cannot fetch.
    #[error("could not fetch {reference}: this build has no fetcher for `{scheme}:` and the catalog does not hold it")]
    #[non_exhaustive]
    NoFetcher {
        /// `hf`, `https`, `s3`, …
        scheme: String,
        /// The reference's own string.
        reference: String,
    },

    /// A target that takes no models.
    #[error("could not push to {target}: this build pushes nothing to `{scheme}:`")]
    #[non_exhaustive]
    NoSink {
        /// `hf`, `https`, `file`, …
        scheme: String,
        /// The target's own string.
        target: String,
    },
    /// An entry that cannot be what a registry or a bucket has.
    #[error("could not push {id:?}: {reason}")]
    #[non_exhaustive]
    NotPushable {
        /// The entry's id.
        id: String,
        /// Why not.
        reason: &'static str,
    },

    /// A source that is neither a regular file nor a directory.
    #[error("could not read {}: it is a {kind}, which is never opened", path.display())]
    #[non_exhaustive]
    UnsupportedFileType {
        /// The source.
        path: PathBuf,
        /// "FIFO", "socket", "character device", …
        kind: &'static str,
    },
    /// The source was written to while it was read. Nothing of it was kept.
    #[error("could not stage {}: it changed while it was read ({detail})", path.display())]
    #[non_exhaustive]
    SourceChanged {
        /// The source.
        path: PathBuf,
        /// What was seen to change.
        detail: String,
    },
    /// `link` or `move` of a file that somebody could still write to.
    #[error("could not take {} as it is: {reason}", path.display())]
    #[non_exhaustive]
    SourceInUse {
        /// The source.
        path: PathBuf,
        /// The process or program that can still write to it.
        reason: String,
    },
    /// A symlink in a tree that leads out of it.
    #[error("could not stage {}: the symlink leads out of the tree to {}", link.display(), target.display())]
    #[non_exhaustive]
    LinkLeadsOut {
        /// The symlink.
        link: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A tree that cannot be walked to its end.
    #[error("could not stage the tree {}: {reason}", path.display())]
    #[non_exhaustive]
    UnusableTree {
        /// The place in the tree.
        path: PathBuf,
        /// A loop, a dangling symlink, no file at all.
        reason: &'static str,
    },
    /// Two names of a tree that the root's file system holds to be one.
    #[error("could not make the view {}: this file system cannot keep the name apart from another of the same tree (case or Unicode form)", path.display())]
    #[non_exhaustive]
    NameCollision {
        /// The second of the two names.
        path: PathBuf,
    },

    /// A `local_path` in one of the store's own folders.
    #[error("could not record {}: this place belongs to the store itself", path.display())]
    #[non_exhaustive]
    ReservedPath {
        /// The path as it was given.
        path: PathBuf,
    },
    /// A path that starts under the root and leaves it, or a folder of the store that has become a symlink.
    #[error("could not use {}: it leads out of the root {}", path.display(), root.display())]
    #[non_exhaustive]
    PathEscapesRoot {
        /// The path as it was given.
        path: PathBuf,
        /// The catalog's root.
        root: PathBuf,
    },

    /// The content is not what the caller said it would be. Nothing was recorded.
    #[error("could not accept {}: its digest is {actual}, expected {expected}", path.display())]
    #[non_exhaustive]
    DigestMismatch {
        /// The source.
        path: PathBuf,
        /// What the caller gave.
        expected: Digest,
        /// What the bytes hash to.
        actual: Digest,
    },
    /// A file of the store that cannot be read as what it should be. It is never taken for an empty one.
    #[error("could not read {}: {reason}", path.display())]
    #[non_exhaustive]
    CorruptIndex {
        /// The shard, or `store.json`.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob that is not its name.
    #[error("could not trust {}: {reason}", path.display())]
    #[non_exhaustive]
    CorruptBlob {
        /// The blob.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry whose content was found to be damaged. The damaged file is in `quarantine/`, and the entry's path is gone.
    #[error("could not use {id:?}: its content at {} is damaged", path.display())]
    #[non_exhaustive]
    Damaged {
        /// The entry.
        id: String,
        /// Its `local_path`.
        path: PathBuf,
    },
    /// Another file stands where the entry's should be. It was not moved; the entry's own content is whole in the store.
    #[error("could not use {id:?}: {} is another file than the one that was staged", path.display())]
    #[non_exhaustive]
    Occupied {
        /// The entry.
        id: String,
        /// Where the other file is.
        path: PathBuf,
    },
    /// A repair found no good bytes. Nothing was changed, but that what is damaged is out of service.
    #[error("could not repair {}: no source has good data for {}{}", path.display(), part(range), tried_text(tried))]
    #[non_exhaustive]
    NoGoodSource {
        /// The blob.
        path: PathBuf,
        /// Which of its bytes; empty: all of it, since nothing tells its parts apart.
        range: Range<u64>,
        /// What was tried.
        tried: Vec<String>,
    },
    /// The store was written by a newer version. Nothing was touched.
    #[error("could not open {}: it needs {found}, this version knows {supported}", path.display())]
    #[non_exhaustive]
    UnsupportedFormat {
        /// The file that says so.
        path: PathBuf,
        /// The format or feature that is asked for.
        found: String,
        /// What this version has.
        supported: String,
    },

    /// Somebody has asked for the entry to be kept.
    #[error("could not remove {id:?}: it is pinned as {}", quoted(pins))]
    #[non_exhaustive]
    Pinned {
        /// The entry.
        id: String,
        /// The names of its pins.
        pins: Vec<String>,
    },
    /// Neither the quota nor the disk has room, and no more can be made.
    #[error("could not make room at {}: {needed_bytes} bytes are needed, {available_bytes} are available and {evictable_bytes} can be evicted{}", root.display(), kept_text(*young_bytes, *quarantine_bytes))]
    #[non_exhaustive]
    NoRoom {
        /// The catalog's root.
        root: PathBuf,
        /// What the operation needs.
        needed_bytes: u64,
        /// What quota and file system have.
        available_bytes: u64,
        /// What a collection could bring: the rest is leased, open, pinned, young, or shared with files outside the store.
        evictable_bytes: u64,
        /// What entries have that stay because they were staged or used within the grace, an hour.
        young_bytes: u64,
        /// What is in `quarantine/`, which no collection takes by itself.
        quarantine_bytes: u64,
        /// The collection that makes the room, if one can: it evicts what nobody has allowed to be evicted by itself.
        collection: Option<Collection>,
    },
    /// Under this limit nothing could stay in the store.
    #[error("could not set {name} to {value} at {}: nothing could stay in the store then", root.display())]
    #[non_exhaustive]
    InvalidLimit {
        /// The catalog's root.
        root: PathBuf,
        /// Which limit.
        name: &'static str,
        /// What it was to be.
        value: String,
    },
    /// Collecting needs file locks, and here they exclude nobody.
    #[error("could not collect at {}: file locks do nothing on this file system, so what is in use cannot be seen", root.display())]
    #[non_exhaustive]
    LocksDoNothing {
        /// The catalog's root.
        root: PathBuf,
    },

    /// Timed out waiting for a lock.
    #[error("could not lock {what} at {} for {} s: {} holds it", path.display(), waited.as_secs(), holder.as_deref().unwrap_or("another process"))]
    #[non_exhaustive]
    Busy {
        /// What the lock protects.
        what: &'static str,
        /// The lock file.
        path: PathBuf,
        /// How long it was tried.
        waited: Duration,
        /// The processes that hold it, in words, where the system tells.
        holder: Option<String>,
    },

    /// Something on a server could not be had.
    #[error("could not fetch {url}: {source}")]
    #[non_exhaustive]
    Net {
        /// What was asked for, without what is secret in it.
        url: String,
        /// Why.
        source: NetError,
    },
    /// A server did not take something.
    #[error("could not push {id:?} to {url}: {source}")]
    #[non_exhaustive]
    Push {
        /// The entry's id.
        id: String,
        /// Where it was to go, without what is secret in it.
        url: String,
        /// Why.
        source: Box<NetError>,
    },
    /// Text that is not a rule of the network policy.
    #[error("could not read {rule:?} as a rule of the network policy: {reason}")]
    #[non_exhaustive]
    InvalidNetRule {
        /// The text, cut to a printable length.
        rule: String,
        /// What is wrong with it and how to write it.
        reason: String,
    },
    /// What the environment or this machine says of the network cannot be used. Nothing was sent.
    #[error("could not use {what}: {reason}")]
    #[non_exhaustive]
    InvalidNetSetting {
        /// A file, or an environment variable.
        what: String,
        /// What is wrong with it.
        reason: String,
    },

    /// Nobody was to be asked, and the catalog does not hold it.
    #[error("could not fetch {reference}: it is not here, and no server is asked while offline")]
    #[non_exhaustive]
    Offline {
        /// The reference's own string.
        reference: String,
    },

    /// It was asked to end, by a [`Cancel`](crate::Cancel).
    #[error("cancelled: {what}")]
    #[non_exhaustive]
    Cancelled {
        /// What was being done.
        what: String,
    },

    /// A sync has failed: what was written may not be on the disk, and no later sync would say so. Nothing was acknowledged.
    #[error("could not make {} durable: {source}", path.display())]
    #[non_exhaustive]
    SyncFailed {
        /// What was to be synced.
        path: PathBuf,
        /// The system's answer; shared, because one failed sync can be the failure of many entries.
        source: Arc<io::Error>,
    },

    /// The operating system said no.
    #[error("could not {action} {}: {source}", path.display())]
    #[non_exhaustive]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer; shared, because one failed sync can be the failure of many entries.
        source: Arc<io::Error>,
    },
}

fn part(range: &Range<u64>) -> String {
    if range.is_empty() { "all of it".into() } else { format!("bytes {} to {}", range.start, range.end) }
}

fn kept_text(young_bytes: u64, quarantine_bytes: u64) -> String {
    let mut text = String::new();
    if young_bytes > 0 {
        text.push_str(&format!("; {young_bytes} stay because they were staged or used within the last hour"));
    }
    if quarantine_bytes > 0 {
        text.push_str(&format!("; {quarantine_bytes} are in quarantine"));
    }
    text
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// The first of these names, and how many more there are.
fn few(names: &[String]) -> String {
    const FEW: usize = 3;
    let shown: Vec<String> = names.iter().take(FEW).map(|name| excerpt(name)).collect();
    match names.len() - shown.len() {
        0 => quoted(&shown),
        more => format!("{} and {more} more", quoted(&shown)),
    }
}

fn tried_text(tried: &[String]) -> String {
    if tried.is_empty() { String::new() } else { format!(" (tried {})", tried.join(", ")) }
}

impl Error {
    /// The operating system's answer to `action`, a verb such as "read", that was done to `path`.
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Error::Io { action, path: path.as_ref().to_path_buf(), source: Arc::new(source.into()) }
    }

    /// The catalog at `root` has no entry of this id.
    pub fn not_found(id: impl Into<String>, root: impl AsRef<Path>) -> Self {
        Error::NotFound { id: id.into(), root: root.as_ref().to_path_buf() }
    }

    /// The error in `source`, from something that gives bytes, read as a file: this crate's own error where it is one.
    pub(crate) fn of_reader(path: impl AsRef<Path>, source: io::Error) -> Self {
        match source.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => error.clone(),
            None => Error::io("read", path, source),
        }
    }
}
