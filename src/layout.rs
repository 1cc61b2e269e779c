//! The only place where paths of the store are joined. All paths are relative to the root.
//!
//! ```text
//! <root>/                               default ~/.cache/models
//!   CACHEDIR.TAG                        so backup tools skip a cache
//!   store.json                          format version, feature flags, quota; the only file read at open
//!   store.reserve                       room that a removal gives up when it finds none
//!   index/<xx>.json                     256 shards, xx = first byte of SHA-256(id)
//!   index/<xx>.json.prev                the generation before
//!   blobs/sha256/<xx>/<64 hex>          mode 0444, never changed in place
//!   outboards/sha256/<xx>/<64 hex>.json  BLAKE3 root, and the stamp of the last full check
//!   outboards/sha256/<xx>/<64 hex>.groups  32 bytes for each MiB, of a blob of more than one
//!   outboards/sha256/<xx>/<64 hex>.facts  what the headers of the model say whose digest it is
//!   views/<slug>/<40 hex>/<name>        local_path; <40 hex> of the artifact's digest
//!   ingest/<session>/                   private in-flight files of one operation
//!   partials/<key>/data                 what a fetch or a large copy has brought so far; outlives its process
//!   partials/<key>/journal              which bytes of `data` are there
//!   trash/<64 hex>.<epoch ms>           swept, within grace
//!   quarantine/                         corrupt blobs, kept to look at
//!   uses/<key>.<number>                 empty: a use by somebody who cannot write the index, at its modification time
//!   exports/<key>.json                  what an export has made in another tool's folder
//!   log/<xx>.<number>.jsonl             older events of a shard's ids; the newest are in the shard
//!   locks/probe                         locked twice at open, to see whether locks work here
//!   locks/gate                          held while locks/store is waited for
//!   locks/store                         shared for a commit, exclusive for a sweep
//!   locks/index/<xx>                    one shard's read-modify-write
//!   locks/fetch/<key>                   one worker per reference
//! ```

mod classify;

use std::path::{Component, Path, PathBuf};

use classify::is_hex;
pub(crate) use classify::{LockFile, Thing, classify, classify_in};

use crate::digest::{Algorithm, Digest};

/// The format that this version reads and writes.
pub(crate) const FORMAT: u32 = 1;

/// How many shards the index has.
pub(crate) const SHARDS: usize = 256;

/// How many hex digits of an artifact's digest name the folder of its view: 160 bits. With the 48 bits of 12 digits,
/// two contents that agree in them could be found in seconds, and one would replace the other at a path that is in use.
const VIEW_DIGITS: usize = 40;

pub(crate) const STORE_JSON: &str = "store.json";
pub(crate) const RESERVE: &str = "store.reserve";
pub(crate) const CACHEDIR_TAG: &str = "CACHEDIR.TAG";
pub(crate) const INDEX: &str = "index";
pub(crate) const BLOBS: &str = "blobs";
pub(crate) const OUTBOARDS: &str = "outboards";
pub(crate) const INGEST: &str = "ingest";
pub(crate) const PARTIALS: &str = "partials";
pub(crate) const VIEWS: &str = "views";
pub(crate) const TRASH: &str = "trash";
pub(crate) const QUARANTINE: &str = "quarantine";
/// In `quarantine/`, the part of the name before the random part.
const STRANGER: &str = "stranger";
/// Mode 1777: every user may note a use, and none may remove another user's note.
pub(crate) const USES: &str = "uses";
/// What was exported to other tools' folders.
pub(crate) const EXPORTS: &str = "exports";
/// Older events.
pub(crate) const LOG: &str = "log";
pub(crate) const LOCKS: &str = "locks";
/// In `locks/`.
const FETCH: &str = "fetch";
/// In a folder of `partials/`: the bytes, at their offsets.
pub(crate) const DATA: &str = "data";
/// In a folder of `partials/`: which of the bytes are there.
pub(crate) const JOURNAL: &str = "journal";
/// In `blobs/` and `outboards/`.
const SHA256: &str = Algorithm::Sha256.as_str();

/// How many hex digits of a SHA-256 form a key in `partials/`, `uses/`, `exports/` and `locks/fetch/`.
const KEY_DIGITS: usize = 32;

/// A `store.json` is far smaller.
pub(crate) const MAX_STORE_JSON_BYTES: u64 = 1 << 20;
/// A shard of some 100,000 entries, each with the longest paths, fits. No larger shard is written.
pub(crate) const MAX_SHARD_BYTES: u64 = if cfg!(test) { 1 << 20 } else { 256 << 20 };
/// The small file of an outboard.
pub(crate) const MAX_OUTBOARD_BYTES: u64 = 64 << 10;

/// Kept facts of a model under up to eight names.
pub(crate) const MAX_FACTS_BYTES: u64 = 1 << 20;

/// The record of an export; a tree of 100,000 files fits.
pub(crate) const MAX_EXPORT_BYTES: u64 = 128 << 20;

/// Every folder that a new store has, parents first.
pub(crate) const FOLDERS: [&str; 16] = [
    INDEX,
    BLOBS,
    "blobs/sha256",
    OUTBOARDS,
    "outboards/sha256",
    VIEWS,
    INGEST,
    PARTIALS,
    TRASH,
    QUARANTINE,
    USES,
    EXPORTS,
    LOG,
    LOCKS,
    "locks/index",
    "locks/fetch",
];

/// The first eight bytes of the SHA-256 of an id; the first of them is the number of its shard.
pub(crate) fn id_hash(id: &str) -> u64 {
    let digest = Digest::sha256_of(id.as_bytes());
    u64::from_be_bytes(*digest.as_bytes().first_chunk().expect("SHA-256 gives 32 bytes"))
}

pub(crate) fn shard_number(id: &str) -> u8 {
    shard_of_hash(id_hash(id))
}

pub(crate) fn shard_of_hash(hash: u64) -> u8 {
    let [first, ..] = hash.to_be_bytes();
    first
}

pub(crate) fn shard(number: u8) -> PathBuf {
    PathBuf::from(format!("{INDEX}/{number:02x}.json"))
}

/// The name of a shard for [`as_path`], without an allocation: a look-up has little else to do.
pub(crate) fn shard_text(number: u8) -> [u8; 13] {
    let digit = |value: u8| b"0123456789abcdef".get(usize::from(value)).copied().unwrap_or(b'0');
    let mut text = *b"index/xx.json";
    let [.., high, low, _, _, _, _, _] = &mut text;
    (*high, *low) = (digit(number >> 4), digit(number & 15));
    text
}

/// ASCII as a path.
pub(crate) fn as_path(text: &[u8]) -> &Path {
    Path::new(std::str::from_utf8(text).unwrap_or_default())
}

pub(crate) fn shard_prev(number: u8) -> PathBuf {
    PathBuf::from(format!("{INDEX}/{number:02x}.json.prev"))
}

/// The events of a shard's ids from this number on, moved out of the shard.
pub(crate) fn log_segment(number: u8, first: u64) -> PathBuf {
    PathBuf::from(format!("{LOG}/{number:02x}.{first}.jsonl"))
}

/// The name under which a writer claims a new generation where locks do not work: see `index/generation_claim.rs`.
pub(crate) fn shard_claim(number: u8, generation: u64) -> PathBuf {
    PathBuf::from(format!("{INDEX}/.{number:02x}.{generation}.tmp"))
}

pub(crate) fn blob(digest: &Digest) -> PathBuf {
    fan_out(BLOBS, digest, "")
}

/// The target of a symlink at `place` that leads to a blob. It is relative, so it survives a move of the whole root.
pub(crate) fn blob_from(place: &Path, digest: &Digest) -> PathBuf {
    let up = place.components().skip(1).map(|_| "..");
    up.collect::<PathBuf>().join(blob(digest))
}

pub(crate) fn outboard(digest: &Digest) -> PathBuf {
    fan_out(OUTBOARDS, digest, ".json")
}

/// The chaining values of a blob's groups.
pub(crate) fn outboard_groups(digest: &Digest) -> PathBuf {
    fan_out(OUTBOARDS, digest, ".groups")
}

/// What is known of the model with this digest.
pub(crate) fn facts(digest: &Digest) -> PathBuf {
    fan_out(OUTBOARDS, digest, ".facts")
}

fn fan_out(folder: &str, digest: &Digest, ending: &str) -> PathBuf {
    let hex = digest.to_hex();
    PathBuf::from(format!("{folder}/{}/{hex:.2}/{hex}{ending}", digest.algorithm()))
}

/// `views/<slug>`: all views of this id.
pub(crate) fn view_home(id: &str) -> PathBuf {
    Path::new(VIEWS).join(slug(id))
}

/// `views/<slug>/<40 hex>/<name>`.
pub(crate) fn view(id: &str, digest: &Digest, name: &str) -> PathBuf {
    view_home(id).join(format!("{digest:.VIEW_DIGITS$x}")).join(name)
}

pub(crate) fn quarantine(digest: &Digest, tag: &str) -> PathBuf {
    Path::new(QUARANTINE).join(format!("{}.{tag}", digest.to_hex()))
}

/// Where a damaged file that is no blob is kept for inspection: a shard, `store.json`.
pub(crate) fn quarantine_other(name: &str, tag: &str) -> PathBuf {
    Path::new(QUARANTINE).join(format!("{name}.{tag}"))
}

/// A file that was in a view's folder but belongs to no entry. Nothing says what it should have been.
pub(crate) fn quarantine_stranger(tag: &str) -> PathBuf {
    quarantine_other(STRANGER, tag)
}

/// A blob in `trash/`, named after its digest and the time it was put there.
pub(crate) fn trash(digest: &Digest, trashed_ms: u64) -> PathBuf {
    Path::new(TRASH).join(format!("{}.{trashed_ms}", digest.to_hex()))
}

/// The folders below `blobs/` or `outboards/` that hold the files.
pub(crate) fn fan_out_folders(folder: &str) -> impl Iterator<Item = PathBuf> {
    (0..=u8::MAX).map(move |first| PathBuf::from(format!("{folder}/{SHA256}/{first:02x}")))
}

/// The key of a partial, from the description of what is fetched.
pub(crate) fn partial_key(what: &str) -> String {
    format!("{:.KEY_DIGITS$x}", Digest::sha256_of(what.as_bytes()))
}

/// The folder of a partial; `key` is a [`partial_key`].
pub(crate) fn partial(key: &str) -> PathBuf {
    debug_assert!(is_hex(key, KEY_DIGITS), "{key:?} is no key");
    Path::new(PARTIALS).join(key)
}

/// The key under which the uses of an id are noted.
pub(crate) fn use_key(id: &str) -> String {
    format!("{:.KEY_DIGITS$x}", Digest::sha256_of(id.as_bytes()))
}

/// A note that an id is used. There is more than one if their writers may not write each other's.
pub(crate) fn use_note(key: &str, number: u32) -> PathBuf {
    debug_assert!(is_hex(key, KEY_DIGITS), "{key:?} is no key");
    PathBuf::from(format!("{USES}/{key}.{number}"))
}

/// The key of an export, from what tells it from others.
pub(crate) fn export_key(parts: &[&str]) -> String {
    // No part has a line break: ids, names and layouts have no control characters, and the folder comes between them.
    format!("{:.KEY_DIGITS$x}", Digest::sha256_of(parts.join("\n").as_bytes()))
}

pub(crate) fn is_export_key(text: &str) -> bool {
    is_hex(text, KEY_DIGITS)
}

/// The record of an export; `key` is an [`export_key`].
pub(crate) fn export(key: &str) -> PathBuf {
    debug_assert!(is_hex(key, KEY_DIGITS), "{key:?} is no key");
    PathBuf::from(format!("{EXPORTS}/{key}.json"))
}

/// The file that the worker of a reference locks, and in which it reports its progress.
pub(crate) fn lock_fetch(reference: &str) -> PathBuf {
    PathBuf::from(format!("{LOCKS}/{FETCH}/{:.KEY_DIGITS$x}", Digest::sha256_of(reference.as_bytes())))
}

/// The folder of these files.
pub(crate) fn locks_fetch() -> PathBuf {
    PathBuf::from(format!("{LOCKS}/{FETCH}"))
}

/// Locked twice at open, to find out whether locks work here.
pub(crate) fn lock_probe() -> PathBuf {
    PathBuf::from("locks/probe")
}

pub(crate) fn lock_gate() -> PathBuf {
    PathBuf::from("locks/gate")
}

pub(crate) fn lock_store() -> PathBuf {
    PathBuf::from("locks/store")
}

pub(crate) fn lock_shard(number: u8) -> PathBuf {
    PathBuf::from(format!("locks/index/{number:02x}"))
}

/// A readable folder name for an id. No two ids share one on any file system, because it contains the hash of the id.
fn slug(id: &str) -> String {
    let hash = format!("{:.16x}", Digest::sha256_of(id.as_bytes()));
    let readable: String = id
        .chars()
        .take(64)
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => c,
            _ => '-',
        })
        .collect();
    // A leading dot hides the folder, a leading dash reads as an option.
    match readable.trim_start_matches(['.', '-']) {
        "" => hash,
        readable => format!("{readable}-{hash}"),
    }
}

/// Whether the text is a plain relative path: names separated by single slashes, nothing that leads elsewhere.
pub(crate) fn is_plain_path(text: &str) -> bool {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    !text.contains('\0')
        && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
        // On Unix the names between slashes are all there is to a path.
        && (cfg!(unix) || Path::new(text).components().all(plain))
}

/// What a path below the root means to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Below `views/`, where engines open artifacts.
    Views,
    /// The root itself, or a path that the store reserves for itself.
    Own,
    /// Anywhere else: for artifacts that users put below the root.
    Free,
}

/// Returns what a path relative to the root means to the store.
pub(crate) fn place(relative: &Path) -> Place {
    match classify(relative) {
        Thing::Foreign => Place::Free,
        Thing::ViewHome | Thing::ViewFolder(_) | Thing::InView => Place::Views,
        _ => Place::Own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_readable_and_never_collide() {
        assert_eq!(
            slug("file:/Models/Llama.gguf"),
            format!("file--models-llama.gguf-{}", &Digest::sha256_of(b"file:/Models/Llama.gguf").to_hex()[..16])
        );
        assert_ne!(slug("a"), slug("A"));
        assert_ne!(slug("é"), slug("e\u{301}"));
        for hostile in ["..", "../../etc", ".hidden", "-rf", "/", "é", &"x".repeat(1024)] {
            let slug = slug(hostile);
            assert!(slug.len() <= 64 + 17 && !slug.starts_with(['.', '-']) && !slug.contains('/'), "{slug}");
        }
    }

    #[test]
    fn the_stores_own_places() {
        for own in [
            "",
            "views",
            "store.json",
            "STORE.JSON",
            "store.reserve",
            "blobs/x",
            "Blobs",
            "index/00.json",
            "locks",
            "trash/a",
            "CACHEDIR.TAG",
            "cachedir.tag",
            "Views/a/b", // if the file system ignores case, a view that no sweep would recognize
            "partials/x",
            ".0123456789abcdef.tmp", // which a sweep removes
            "../x",
            "/x",
        ] {
            assert_eq!(place(Path::new(own)), Place::Own, "{own}");
        }
        assert_eq!(place(Path::new("views/a/b")), Place::Views);
        for free in ["a.gguf", "models/blobs/x", "blobs2", ".download.tmp"] {
            assert_eq!(place(Path::new(free)), Place::Free, "{free}");
        }
    }

    #[test]
    fn the_name_of_a_shard_is_the_same_with_and_without_an_allocation() {
        for number in 0..=u8::MAX {
            assert_eq!(as_path(&shard_text(number)), shard(number));
        }
    }

    #[test]
    fn plain_paths_stay_below() {
        for plain in ["a", "a/b c/d.gguf", "...", "a\\b", "é"] {
            assert!(is_plain_path(plain) || cfg!(windows), "{plain}");
        }
        for other in ["", "/", "/etc/passwd", "..", "../x", "a/../../x", "a//b", "a/", "./a", "a/.", "a\0"] {
            assert!(!is_plain_path(other), "{other}");
        }
    }

    #[test]
    fn blob_paths_come_from_digests() {
        let digest = Digest::sha256_of(b"");
        assert_eq!(
            blob(&digest),
            Path::new("blobs/sha256/e3/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        );
        assert_eq!(
            view("m", &digest, "a.gguf").components().nth(2).unwrap().as_os_str(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4"
        );
    }
}
