//! Errors: what was being done, to which path, and why it failed; and, separate from the message, what to do about it.

mod hub;
mod kinds;
mod net;
mod text;

pub use hub::HubProblem;
pub use net::{NetError, Refused};

use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::digest::{Digest, DigestError};
use crate::hint::{Collection, Hint};
use text::{asked_by, document_text, few, kept_text, part, quoted, taken_text, tried_text};

/// `Result` with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every way in which an operation of this crate can fail.
///
/// Callers that only need the kind ask [`is_not_found`](Error::is_not_found), [`is_corrupt`](Error::is_corrupt),
/// [`is_busy`](Error::is_busy), [`is_invalid_input`](Error::is_invalid_input) or [`is_no_space`](Error::is_no_space);
/// for errors that concern servers, [`is_refused`](Error::is_refused), [`is_unreachable`](Error::is_unreachable) or
/// [`is_denied`](Error::is_denied). Each message is one line: what was being done, to what, and why it failed.
/// [`hint`](Error::hint) returns what to do about it. Variants may get more fields, so other crates cannot construct
/// them. Implementors of this crate's traits use [`not_found`](Error::not_found) and [`io`](Error::io).
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

    /// The catalog has no entry with this id.
    #[error("could not find {id:?} in the catalog at {}: no such entry", root.display())]
    #[non_exhaustive]
    NotFound {
        /// The id, or the reference's own string.
        id: String,
        /// The catalog's root.
        root: PathBuf,
    },
    /// The entry exists, but its file does not.
    #[error("could not resolve {id:?}: {} is missing", path.display())]
    #[non_exhaustive]
    NotStaged {
        /// The entry's id.
        id: String,
        /// The recorded `local_path`.
        path: PathBuf,
    },
    /// A source file or directory does not exist.
    #[error("could not read {}: no such file or directory", path.display())]
    #[non_exhaustive]
    SourceMissing {
        /// The source as it was looked up.
        path: PathBuf,
    },
    /// There is no catalog at this root, and the operation does not create one.
    #[error("could not open a catalog at {}: there is none", root.display())]
    #[non_exhaustive]
    NoCatalog {
        /// Where it was expected.
        root: PathBuf,
    },
    /// The root, as it is written, is probably a mistake, or leads nowhere. Nothing was created.
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
    /// The directory for a new catalog already has other content. Nothing was created.
    #[error("could not create a catalog at {}: it is not a catalog and contains other things, such as {name:?}", root.display())]
    #[non_exhaustive]
    RootNotEmpty {
        /// The directory.
        root: PathBuf,
        /// The first name found there.
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

    /// A target that models cannot be pushed to.
    #[error("could not push to {target}: this build cannot push to `{scheme}:`")]
    #[non_exhaustive]
    NoSink {
        /// `hf`, `https`, `file`, …
        scheme: String,
        /// The target's own string.
        target: String,
    },
    /// An entry that a registry or a bucket cannot represent.
    #[error("could not push {id:?}: {reason}")]
    #[non_exhaustive]
    NotPushable {
        /// The entry's id.
        id: String,
        /// Why not.
        reason: &'static str,
    },

    /// An option of an export that cannot be used.
    #[error("could not use {value:?} for an export: {reason}")]
    #[non_exhaustive]
    InvalidExport {
        /// The value, cut to a printable length.
        value: String,
        /// What is wrong with it and how to write it.
        reason: String,
    },
    /// An entry that the layout of another tool cannot represent.
    #[error("could not export {id:?} as {layout}: {reason}")]
    #[non_exhaustive]
    NotExportable {
        /// The entry's id.
        id: String,
        /// The layout.
        layout: &'static str,
        /// Why not.
        reason: String,
    },
    /// Something else is at a path that an export needs. It stays.
    #[error("could not export to {}: {reason}", path.display())]
    #[non_exhaustive]
    ExportInTheWay {
        /// The path in the tool's folder.
        path: PathBuf,
        /// What is there, and what to do about it.
        reason: String,
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
        /// What has changed.
        detail: String,
    },
    /// `link` or `move` of a file that another process or user could still write to.
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
    /// A tree that cannot be staged as a whole.
    #[error("could not stage the tree {}: {reason}", path.display())]
    #[non_exhaustive]
    UnusableTree {
        /// The path in the tree.
        path: PathBuf,
        /// A loop, a dangling symlink, or no file at all.
        reason: &'static str,
    },
    /// Two names of a tree that the root's file system treats as equal.
    #[error("could not make the view {}: this file system cannot tell the name from another one in the same tree (case or Unicode form)", path.display())]
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
    /// A path that starts below the root and leaves it, or a folder of the store that was replaced by a symlink.
    #[error("could not use {}: it leads out of the root {}", path.display(), root.display())]
    #[non_exhaustive]
    PathEscapesRoot {
        /// The path as it was given.
        path: PathBuf,
        /// The catalog's root.
        root: PathBuf,
    },

    /// The content does not have the expected digest. Nothing was recorded.
    #[error("could not accept {}: its digest is {actual}, expected {expected}", path.display())]
    #[non_exhaustive]
    DigestMismatch {
        /// The source.
        path: PathBuf,
        /// The digest that the caller gave.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// A file in another tool's store is not what its name says. Nothing of its model was recorded.
    #[error("could not adopt {}: the cache is damaged: its name says {named}, its bytes are {actual}", path.display())]
    #[non_exhaustive]
    DamagedCache {
        /// The file.
        path: PathBuf,
        /// The hash that it is named by.
        named: String,
        /// The hash of its bytes.
        actual: String,
    },
    /// Something is missing of a model that was to be complete. Nothing of it was recorded.
    #[error("could not take {id:?} for a complete model: {}", missing.join("; "))]
    #[non_exhaustive]
    Incomplete {
        /// The id.
        id: String,
        /// What is missing, each for humans.
        missing: Vec<String>,
    },
    /// A signature does not hold, or is none.
    #[error("could not verify the signature of {id:?}: {reason}")]
    #[non_exhaustive]
    BadSignature {
        /// The id.
        id: String,
        /// The reason, for humans.
        reason: String,
    },
    /// An entry that is not signed by whom the rules of the store, or the caller, ask for. It was not recorded, or is not
    /// handed out.
    #[error("could not accept {id:?}: {reason}{}", asked_by(pattern))]
    #[non_exhaustive]
    Unsigned {
        /// The id.
        id: String,
        /// The pattern of the rule that it does not meet; `None` if the caller asked for a signature.
        pattern: Option<String>,
        /// The reason, for humans.
        reason: String,
    },
    /// A damaged file of the store. It never counts as an empty one.
    #[error("could not read {}: {reason}", path.display())]
    #[non_exhaustive]
    CorruptIndex {
        /// The shard, or `store.json`.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob whose bytes do not match its name.
    #[error("could not trust {}: {reason}", path.display())]
    #[non_exhaustive]
    CorruptBlob {
        /// The blob.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry with damaged content. The damaged file is in `quarantine/`, and the entry's path is gone.
    #[error("could not use {id:?}: its content at {} is damaged", path.display())]
    #[non_exhaustive]
    Damaged {
        /// The entry's id.
        id: String,
        /// Its `local_path`.
        path: PathBuf,
    },
    /// Another file is at the entry's path. It was not moved, and the entry's content in the store is intact.
    #[error("could not use {id:?}: {} is not the file that was staged", path.display())]
    #[non_exhaustive]
    Occupied {
        /// The entry's id.
        id: String,
        /// Where the other file is.
        path: PathBuf,
    },
    /// A repair found no good bytes. Nothing was changed, except that the damaged file is now in quarantine.
    #[error("could not repair {}: no source has good data for {}{}", path.display(), part(range), tried_text(tried))]
    #[non_exhaustive]
    NoGoodSource {
        /// The blob.
        path: PathBuf,
        /// The range of bad bytes; empty if its parts cannot be told apart, so that all of it is bad.
        range: Range<u64>,
        /// The sources that were tried.
        tried: Vec<String>,
    },
    /// The store was written by a newer version. Nothing was changed.
    #[error("could not open {}: it needs {found}, and this version supports {supported}", path.display())]
    #[non_exhaustive]
    UnsupportedFormat {
        /// The file that requires it.
        path: PathBuf,
        /// The required format or feature.
        found: String,
        /// What this version supports.
        supported: String,
    },

    /// The entry is pinned.
    #[error("could not remove {id:?}: it is pinned as {}", quoted(pins))]
    #[non_exhaustive]
    Pinned {
        /// The entry's id.
        id: String,
        /// The names of its pins.
        pins: Vec<String>,
    },
    /// The id that an entry was to get is there already.
    #[error("could not give {id:?} the id {new_id:?}: {}", taken_text(*has_same_content))]
    #[non_exhaustive]
    IdTaken {
        /// The entry that was to get it.
        id: String,
        /// The id that is there.
        new_id: String,
        /// Whether both are of the same content.
        has_same_content: bool,
    },
    /// The entry has a document with the name or the bytes of the one that was to be attached.
    #[error("could not attach {name:?} to {id:?}: {}", document_text(same_bytes.as_deref()))]
    #[non_exhaustive]
    DocumentExists {
        /// The entry's id.
        id: String,
        /// The name of the new document.
        name: String,
        /// The name of the document that has the same bytes. `None`: one with the same name has other bytes.
        same_bytes: Option<String>,
    },
    /// Neither the quota nor the disk has enough room, and no more can be made.
    #[error("could not make room at {}: {needed_bytes} bytes are needed, {available_bytes} are available and {evictable_bytes} can be evicted{}", root.display(), kept_text(*young_bytes, *quarantine_bytes))]
    #[non_exhaustive]
    NoRoom {
        /// The catalog's root.
        root: PathBuf,
        /// Bytes that the operation needs.
        needed_bytes: u64,
        /// Bytes that the quota and the file system have left.
        available_bytes: u64,
        /// Bytes that a collection could free. The rest is leased, open, pinned, young, or shared with files outside
        /// the store.
        evictable_bytes: u64,
        /// Bytes of entries that stay because they were staged or used within the grace period of an hour.
        young_bytes: u64,
        /// Bytes in `quarantine/`, which no collection removes by default.
        quarantine_bytes: u64,
        /// A collection that makes enough room, if there is one. It evicts entries that automatic eviction may not.
        collection: Option<Collection>,
    },
    /// With this limit, nothing could stay in the store.
    #[error("could not set {name} to {value} at {}: nothing could stay in the store with this limit", root.display())]
    #[non_exhaustive]
    InvalidLimit {
        /// The catalog's root.
        root: PathBuf,
        /// The name of the limit.
        name: &'static str,
        /// The rejected value.
        value: String,
    },
    /// Collecting needs file locks, and they are not exclusive here.
    #[error("could not collect at {}: file locks do nothing on this file system, so it is unknown what is in use", root.display())]
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
        /// The processes that hold it, for humans, if the system reports them.
        holder: Option<String>,
    },

    /// A request to a server failed.
    #[error("could not fetch {url}: {source}")]
    #[non_exhaustive]
    Net {
        /// What was requested, without secrets.
        url: String,
        /// Why.
        source: NetError,
    },
    /// A push to a server failed.
    #[error("could not push {id:?} to {url}: {source}")]
    #[non_exhaustive]
    Push {
        /// The entry's id.
        id: String,
        /// The target, without secrets.
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
    /// A network setting of the environment or of this machine is invalid. Nothing was sent.
    #[error("could not use {what}: {reason}")]
    #[non_exhaustive]
    InvalidNetSetting {
        /// The file or the environment variable.
        what: String,
        /// What is wrong with it.
        reason: String,
    },

    /// No server was to be contacted, and the catalog does not hold the model.
    #[error("could not fetch {reference}: the catalog does not hold it, and no server is contacted while offline")]
    #[non_exhaustive]
    Offline {
        /// The reference's own string.
        reference: String,
    },

    /// Cancelled by a [`Cancel`](crate::Cancel).
    #[error("cancelled: {what}")]
    #[non_exhaustive]
    Cancelled {
        /// What was being done.
        what: String,
    },

    /// A sync failed: written data may not be on the disk, and no later sync would report that. Nothing was
    /// acknowledged.
    #[error("could not make {} durable: {source}", path.display())]
    #[non_exhaustive]
    SyncFailed {
        /// What was to be synced.
        path: PathBuf,
        /// The system's error. Shared, because one failed sync can fail many entries.
        source: Arc<io::Error>,
    },

    /// The operating system reported an error.
    #[error("could not {action} {}: {source}", path.display())]
    #[non_exhaustive]
    Io {
        /// The action, a verb such as "read".
        action: &'static str,
        /// The path that it was done to.
        path: PathBuf,
        /// The system's error. Shared, because one failed operation can fail many entries.
        source: Arc<io::Error>,
    },
}

impl Error {
    /// The operating system's error for `action`, a verb such as "read", on `path`.
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Error::Io { action, path: path.as_ref().to_path_buf(), source: Arc::new(source.into()) }
    }

    /// The catalog at `root` has no entry with this id.
    pub fn not_found(id: impl Into<String>, root: impl AsRef<Path>) -> Self {
        Error::NotFound { id: id.into(), root: root.as_ref().to_path_buf() }
    }

    /// Converts an error of a reader: returns this crate's own error if `source` contains one, otherwise a read error
    /// for `path`.
    pub(crate) fn of_reader(path: impl AsRef<Path>, source: io::Error) -> Self {
        match source.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => error.clone(),
            None => Error::io("read", path, source),
        }
    }
}
