//! What a path in a root is, from the path alone: the inverse of what [`layout`](super) joins.

use std::ffi::OsStr;
#[cfg(any(test, feature = "testing"))]
use std::path::PathBuf;
use std::path::{Component, Path};

use super::{
    BLOBS, CACHEDIR_TAG, DATA, EXPORTS, FETCH, FOLDERS, INDEX, INGEST, JOURNAL, KEY_DIGITS, LOCKS, LOG, OUTBOARDS,
    PARTIALS, QUARANTINE, RESERVE, SHA256, STORE_JSON, STRANGER, TRASH, USES, VIEW_DIGITS, VIEWS,
};
use crate::digest::Digest;

/// What a path below the root stands for. It says nothing about whether anything exists there, or of which kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    /// The root itself.
    Root,
    CachedirTag,
    StoreJson,
    Reserve,
    /// A folder that every store has.
    Folder,
    Shard(u8),
    PreviousShard(u8),
    ShardClaim {
        number: u8,
        generation: u64,
    },
    /// A temporary file that will be renamed within this folder.
    Temporary,
    /// `blobs/sha256/<xx>`.
    BlobFolder(u8),
    Blob(Digest),
    /// `outboards/sha256/<xx>`.
    OutboardFolder(u8),
    Outboard(Digest),
    OutboardGroups(Digest),
    Facts(Digest),
    /// `views/<slug>`.
    ViewHome,
    /// `views/<slug>/<40 hex>`, with the digits of the digest of its artifact; `None` for a folder that the store did
    /// not make.
    ViewFolder(Option<String>),
    /// Below that: the view itself, and the files in it.
    InView,
    Session,
    InSession,
    /// The key of the partial.
    Partial(String),
    PartialData(String),
    PartialJournal(String),
    Trashed {
        digest: Digest,
        trashed_ms: u64,
    },
    /// With the digest that the blob should have had; `None` if it is not a blob.
    Quarantined(Option<Digest>),
    /// In a folder that was moved into quarantine.
    InQuarantined,
    /// With the key of its id, and its number.
    UseNote {
        key: String,
        number: u32,
    },
    /// With its key.
    ExportRecord(String),
    /// Events of a shard, with the number of the first.
    LogSegment {
        number: u8,
        first: u64,
    },
    Lock(LockFile),
    /// In a folder of the store, under a name that the store does not use there.
    Strange,
    /// Not the store's: a path below the root that belongs to users.
    Foreign,
}

/// A lock file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockFile {
    Probe,
    Gate,
    Store,
    Shard(u8),
    Fetch,
}

impl Thing {
    /// Whether it may be left over from a writer that did not finish; nothing reads it.
    pub(crate) fn is_unfinished(&self) -> bool {
        matches!(self, Thing::Temporary | Thing::ShardClaim { .. })
    }

    /// The blob to which a file of an outboard belongs.
    pub(crate) fn outboard_of(&self) -> Option<Digest> {
        match self {
            Thing::Outboard(digest) | Thing::OutboardGroups(digest) | Thing::Facts(digest) => Some(*digest),
            _ => None,
        }
    }

    /// Its path, if what is known of it determines the path.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let fan_out = |folder, first: u8| super::fan_out_folders(folder).nth(usize::from(first));
        Some(match self {
            Thing::Root => PathBuf::new(),
            Thing::CachedirTag => CACHEDIR_TAG.into(),
            Thing::StoreJson => STORE_JSON.into(),
            Thing::Reserve => RESERVE.into(),
            Thing::Shard(number) => super::shard(*number),
            Thing::PreviousShard(number) => super::shard_prev(*number),
            Thing::ShardClaim { number, generation } => super::shard_claim(*number, *generation),
            Thing::BlobFolder(first) => fan_out(BLOBS, *first)?,
            Thing::Blob(digest) => super::blob(digest),
            Thing::OutboardFolder(first) => fan_out(OUTBOARDS, *first)?,
            Thing::Outboard(digest) => super::outboard(digest),
            Thing::OutboardGroups(digest) => super::outboard_groups(digest),
            Thing::Facts(digest) => super::facts(digest),
            Thing::Partial(key) => super::partial(key),
            Thing::PartialData(key) => super::partial(key).join(DATA),
            Thing::PartialJournal(key) => super::partial(key).join(JOURNAL),
            Thing::Trashed { digest, trashed_ms } => super::trash(digest, *trashed_ms),
            Thing::UseNote { key, number } => super::use_note(key, *number),
            Thing::ExportRecord(key) => super::export(key),
            Thing::LogSegment { number, first } => super::log_segment(*number, *first),
            Thing::Lock(LockFile::Probe) => super::lock_probe(),
            Thing::Lock(LockFile::Gate) => super::lock_gate(),
            Thing::Lock(LockFile::Store) => super::lock_store(),
            Thing::Lock(LockFile::Shard(number)) => super::lock_shard(*number),
            _ => return None,
        })
    }
}

/// Only paths below views, sessions and quarantine have this many parts or more.
const DEEPEST: usize = 5;

/// Classifies a path relative to the root.
pub(crate) fn classify(relative: &Path) -> Thing {
    thing(relative.components())
}

/// Classifies a name in a folder.
pub(crate) fn classify_in(folder: &Path, name: &OsStr) -> Thing {
    thing(folder.components().chain([Component::Normal(name)]))
}

fn thing<'a>(components: impl Iterator<Item = Component<'a>>) -> Thing {
    let mut parts = [""; DEEPEST];
    let mut depth = 0;
    for component in components {
        let Component::Normal(name) = component else { return Thing::Strange };
        if let Some(part) = parts.get_mut(depth) {
            // No name of the store is empty, so an empty part stands for one that is not UTF-8.
            *part = name.to_str().unwrap_or_default();
            depth += 1;
        }
    }
    let found = match parts.get(..depth).unwrap_or_default() {
        [] => Some(Thing::Root),
        [CACHEDIR_TAG] => Some(Thing::CachedirTag),
        [STORE_JSON] => Some(Thing::StoreJson),
        [RESERVE] => Some(Thing::Reserve),
        [INDEX | BLOBS | OUTBOARDS | VIEWS | INGEST | PARTIALS | TRASH | QUARANTINE | USES | EXPORTS | LOG | LOCKS]
        | [BLOBS | OUTBOARDS, SHA256]
        | [LOCKS, INDEX | FETCH] => Some(Thing::Folder),
        [name] if is_random_temporary(name) => Some(Thing::Temporary),
        [INDEX, name] => in_index(name),
        [BLOBS, SHA256, first] => byte(first).map(Thing::BlobFolder),
        [BLOBS, SHA256, first, name] => digest_in(first, name).map(Thing::Blob),
        [OUTBOARDS, SHA256, first] => byte(first).map(Thing::OutboardFolder),
        [OUTBOARDS, SHA256, first, name] => in_outboards(first, name),
        [VIEWS, _] => Some(Thing::ViewHome),
        [VIEWS, _, digits] => Some(Thing::ViewFolder(is_hex(digits, VIEW_DIGITS).then(|| (*digits).to_owned()))),
        [VIEWS, ..] => Some(Thing::InView),
        [INGEST, name] => is_random(name).then_some(Thing::Session),
        [INGEST, name, ..] => is_random(name).then_some(Thing::InSession),
        [PARTIALS, key] => is_key(key).then(|| Thing::Partial((*key).to_owned())),
        [PARTIALS, key, DATA] => is_key(key).then(|| Thing::PartialData((*key).to_owned())),
        [PARTIALS, key, JOURNAL] => is_key(key).then(|| Thing::PartialJournal((*key).to_owned())),
        [PARTIALS, key, name] => (is_key(key) && is_random_temporary(name)).then_some(Thing::Temporary),
        [TRASH, name] => trashed(name).map(|(digest, trashed_ms)| Thing::Trashed { digest, trashed_ms }),
        [QUARANTINE, name] => quarantined(name).map(Thing::Quarantined),
        [QUARANTINE, name, ..] => quarantined(name).map(|_| Thing::InQuarantined),
        [USES, name] => use_note(name),
        [EXPORTS, name] => in_exports(name),
        [LOG, name] => in_log(name),
        [LOCKS, below @ ..] => lock_file(below).map(Thing::Lock),
        [first, ..] if !is_own(first) => Some(Thing::Foreign),
        _ => None,
    };
    found.unwrap_or(Thing::Strange)
}

/// Whether a name in the root is the store's. Case is ignored, because some file systems ignore it.
fn is_own(name: &str) -> bool {
    let own = [STORE_JSON, RESERVE, CACHEDIR_TAG].into_iter().chain(FOLDERS);
    own.into_iter().any(|own| own.eq_ignore_ascii_case(name))
}

fn in_index(name: &str) -> Option<Thing> {
    if is_random_temporary(name) {
        return Some(Thing::Temporary);
    }
    if let Some((number, generation)) =
        name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp")?.split_once('.'))
    {
        return Some(Thing::ShardClaim { number: byte(number)?, generation: decimal(generation)? });
    }
    match name.strip_suffix(".prev") {
        Some(shard) => shard_name(shard).map(Thing::PreviousShard),
        None => shard_name(name).map(Thing::Shard),
    }
}

fn in_outboards(first: &str, name: &str) -> Option<Thing> {
    if let Some(digits) = name.strip_suffix(".json") {
        return digest_in(first, digits).map(Thing::Outboard);
    }
    if let Some(digits) = name.strip_suffix(".groups") {
        return digest_in(first, digits).map(Thing::OutboardGroups);
    }
    if let Some(digits) = name.strip_suffix(".facts") {
        return digest_in(first, digits).map(Thing::Facts);
    }
    (byte(first).is_some() && is_random_temporary(name)).then_some(Thing::Temporary)
}

fn in_log(name: &str) -> Option<Thing> {
    if is_random_temporary(name) {
        return Some(Thing::Temporary);
    }
    let (number, first) = name.strip_suffix(".jsonl")?.split_once('.')?;
    Some(Thing::LogSegment { number: byte(number)?, first: decimal(first)? })
}

fn lock_file(below: &[&str]) -> Option<LockFile> {
    match below {
        ["probe"] => Some(LockFile::Probe),
        ["gate"] => Some(LockFile::Gate),
        ["store"] => Some(LockFile::Store),
        [INDEX, number] => byte(number).map(LockFile::Shard),
        [FETCH, key] => is_key(key).then_some(LockFile::Fetch),
        _ => None,
    }
}

/// Parses a name in `trash/`.
fn trashed(name: &str) -> Option<(Digest, u64)> {
    let (digits, trashed_ms) = name.split_once('.')?;
    Some((Digest::from_sha256_hex(digits)?, decimal(trashed_ms)?))
}

fn use_note(name: &str) -> Option<Thing> {
    let (key, number) = name.split_once('.')?;
    let number = u32::try_from(decimal(number)?).ok()?;
    is_key(key).then(|| Thing::UseNote { key: key.to_owned(), number })
}

fn in_exports(name: &str) -> Option<Thing> {
    if is_random_temporary(name) {
        return Some(Thing::Temporary);
    }
    let key = name.strip_suffix(".json")?;
    is_key(key).then(|| Thing::ExportRecord(key.to_owned()))
}

/// Parses a name in `quarantine/`; `Some(None)` for something that is not a blob.
fn quarantined(name: &str) -> Option<Option<Digest>> {
    let (what, tag) = name.rsplit_once('.')?;
    let is_other = matches!(what, STORE_JSON | STRANGER) || shard_name(what).is_some();
    let digest = Digest::from_sha256_hex(what);
    (is_random(tag) && (is_other || digest.is_some())).then_some(digest)
}

fn shard_name(name: &str) -> Option<u8> {
    byte(name.strip_suffix(".json")?)
}

fn digest_in(first: &str, digits: &str) -> Option<Digest> {
    if digits.starts_with(first) && first.len() == 2 { Digest::from_sha256_hex(digits) } else { None }
}

/// Two lowercase hex digits.
fn byte(digits: &str) -> Option<u8> {
    if is_hex(digits, 2) { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// A number in canonical form: no sign and no leading zero.
fn decimal(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

fn is_key(name: &str) -> bool {
    is_hex(name, KEY_DIGITS)
}

/// Whether it is a name by `atomic::random_name`.
fn is_random(name: &str) -> bool {
    is_hex(name, 16)
}

fn is_random_temporary(name: &str) -> bool {
    name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp")).is_some_and(is_random)
}

/// Whether the text is exactly `digits` lowercase hex digits.
pub(super) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
