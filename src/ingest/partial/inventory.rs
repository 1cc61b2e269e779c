//! All partials of a root: what each is, whether a process fills it, and how to remove it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::journal::Summary;
use super::{DATA, JOURNAL, What};
use crate::error::Result;
use crate::fs::freed::Freeing;
use crate::fs::owned::OwnedFolder;
use crate::fs::source::source_meta;
use crate::fs::{Kind, Meta, Root};
use crate::ingest::target::{FETCH_PARTIAL_FROM_BYTES, PARTIAL_FROM_BYTES};
use crate::ingest::{ContentFile, Origin};
use crate::layout::{self, Thing};
use crate::sum::SumBytes;

/// Whether a process works on an unfinished copy or fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PartialState {
    /// A process fills it, or waits to record it.
    Alive,
    /// No process does. The next one that wants the same bytes goes on with it.
    Dead,
    /// It belongs to another user, so that this process cannot tell.
    Unknown,
}

/// What an interrupted copy or fetch has left, or one that goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct PartialInfo {
    /// Its name in `partials/`.
    pub key: String,
    /// Where its bytes come from, for people: a path, a URL. Empty if that cannot be read.
    #[serde(rename = "reference")]
    pub name: String,
    /// Whether a process works on it.
    pub state: PartialState,
    /// Bytes that are here.
    #[serde(rename = "bytes_done")]
    pub done_bytes: u64,
    /// Bytes of the whole file.
    #[serde(rename = "bytes_total")]
    pub size_bytes: u64,
    /// Bytes on disk that its removal frees: all of its room, which is reserved from the beginning; nothing of a clone's.
    pub disk_bytes: u64,
    /// When it was last written to, in milliseconds since the Unix epoch.
    pub changed_ms: u64,
}

/// Whether a text is the journal of a partial.
#[cfg(all(feature = "testing", feature = "hf"))]
pub(crate) fn is_journal(bytes: &[u8]) -> bool {
    Summary::read(bytes).is_some_and(|summary| {
        assert!(summary.done_bytes <= summary.size_bytes, "{summary:?}");
        true
    })
}

/// Every partial, sorted by key. One that cannot be read is listed with what is known of it.
pub(crate) fn partials(root: &Root) -> Result<Vec<PartialInfo>> {
    Ok(keys(root)?.into_iter().map(|(key, meta)| partial(root, &key, meta.mtime_ns)).collect())
}

/// Bytes on disk of all of them, those that are filled just now among them. Claims none: whoever wants to go on with one
/// meanwhile can.
pub(crate) fn bytes_of_partials(root: &Root) -> Result<u64> {
    let bytes = |key: &str| {
        let folder = layout::partial(key);
        own_bytes(root, &folder, &root.entries(&folder).unwrap_or_default())
    };
    Ok(keys(root)?.iter().map(|(key, _)| bytes(key)).sum_bytes())
}

/// The keys of all of them, with their folders.
fn keys(root: &Root) -> Result<Vec<(String, Meta)>> {
    let folder = Path::new(layout::PARTIALS);
    let known = |(name, meta): (OsString, Meta)| match layout::classify_in(folder, &name) {
        Thing::Partial(key) if meta.kind == Kind::Dir => Some((key, meta)),
        _ => None, // nothing that this crate has put there
    };
    Ok(root.entries(folder)?.into_iter().filter_map(known).collect())
}

/// One of them, whose folder was changed last at `made_ns`.
pub(crate) fn partial(root: &Root, key: &str, made_ns: i128) -> PartialInfo {
    let folder = layout::partial(key);
    let files = root.entries(&folder);
    let state = match OwnedFolder::claim(root, &folder) {
        Ok(Some(_)) => PartialState::Dead, // claimed for this moment only
        Ok(None) => PartialState::Alive,
        Err(_) => PartialState::Unknown,
    };
    let files = files.unwrap_or_default();
    let journal = root.open_file(&folder.join(JOURNAL)).ok().flatten();
    let Summary { name, size_bytes, done_bytes } = journal.and_then(Summary::read).unwrap_or_default();
    let changed_ns = files.iter().map(|(_, meta)| meta.mtime_ns).max().unwrap_or(made_ns);
    PartialInfo {
        key: key.to_owned(),
        name,
        state,
        size_bytes,
        done_bytes,
        disk_bytes: own_bytes(root, &folder, &files),
        changed_ms: u64::try_from(changed_ns / 1_000_000).unwrap_or(0),
    }
}

/// What its removal frees: data that was published already is a blob's.
fn own_bytes(root: &Root, folder: &Path, files: &[(OsString, Meta)]) -> u64 {
    let freeing = Freeing::of(root);
    files.iter().map(|(name, meta)| freeing.bytes(&folder.join(name), meta, 1)).sum_bytes()
}

/// Removes a partial that no process works on, and returns how many bytes on disk that frees. `None`: a process works on
/// it, or it is gone.
pub(crate) fn remove_partial(root: &Root, key: &str) -> Result<Option<u64>> {
    let Some(dead) = OwnedFolder::claim(root, &layout::partial(key))? else { return Ok(None) };
    let files = root.entries(dead.path())?;
    let freed_bytes = own_bytes(root, dead.path(), &files);
    // The lock is held until it is gone: a process that has just made the folder and not locked it yet makes another one.
    root.remove_all(dead.path())?;
    Ok(Some(freed_bytes))
}

/// The partial that an earlier process has left of this file, by its folder, and how much room it has reserved: a new copy, or
/// fetch, needs only the rest.
pub(crate) fn reserved(root: &Root, file: &ContentFile) -> Option<(PathBuf, u64)> {
    let (what, size_bytes) = match &file.origin {
        Origin::Local { path, .. } => {
            let source = source_meta(path).ok()?;
            (What::local(path, &source), source.size_bytes)
        }
        Origin::Remote(ranges) => (What::of_ranges(file.expected.as_ref(), ranges)?, file.size_bytes),
        Origin::Memory(_) => return None,
    };
    let dead = OwnedFolder::claim(root, &what.folder()).ok()??; // one that is filled is nobody else's
    let data = root.meta(&dead.path().join(DATA)).ok()??;
    let is_usable = data.size_bytes == size_bytes && data.links == 1;
    is_usable.then(|| (dead.path().to_path_buf(), data.allocated_bytes))
}

/// The folders of the partials that there may be of a file. Small files have none, and cost nothing here.
pub(crate) fn partials_of(file: &ContentFile) -> Vec<PathBuf> {
    let from_bytes = match &file.origin {
        Origin::Local { .. } => PARTIAL_FROM_BYTES,
        Origin::Remote(_) | Origin::Memory(_) => FETCH_PARTIAL_FROM_BYTES,
    };
    if file.size_bytes < from_bytes {
        return Vec::new();
    }
    let whats = match &file.origin {
        Origin::Local { path, .. } => match source_meta(path) {
            Ok(source) => vec![What::local(path, &source), What::local(path, &source).of_clone()],
            Err(_) => Vec::new(),
        },
        Origin::Remote(ranges) => What::of_ranges(file.expected.as_ref(), ranges).into_iter().collect(),
        Origin::Memory(_) => file.expected.iter().map(|digest| What::digest(digest, String::new())).collect(),
    };
    whats.iter().map(What::folder).collect()
}

/// Removes what a process that was killed has left of something that is in the store by now. If that fails, a collection does it.
pub(crate) fn remove_left(root: &Root, folder: &Path) {
    if let Ok(Some(dead)) = OwnedFolder::claim(root, folder) {
        let _ = root.remove_all(dead.path()); // no lock is waited for: who works on it removes it
    }
}
