//! Lists all partials of a root, tells whether a process fills one, and removes them.

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

/// Whether a process is working on an unfinished copy or fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PartialState {
    /// A process fills it or waits to record it.
    Alive,
    /// No process is working on it. The next process that wants the same bytes resumes it.
    Dead,
    /// Another user owns it, so this process cannot tell.
    Unknown,
}

/// An unfinished copy or fetch, either interrupted or still running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct PartialInfo {
    /// Its name in `partials/`.
    pub key: String,
    /// Where its bytes come from, for humans: a path or a URL. Empty if that cannot be read.
    #[serde(rename = "reference")]
    pub name: String,
    /// Whether a process is working on it.
    pub state: PartialState,
    /// Number of bytes that it has so far.
    #[serde(rename = "bytes_done")]
    pub done_bytes: u64,
    /// Size of the whole file in bytes.
    #[serde(rename = "bytes_total")]
    pub size_bytes: u64,
    /// Bytes on disk that its removal frees: its full size, which is reserved from the start, but nothing if it is a
    /// clone.
    pub disk_bytes: u64,
    /// Time of the last write, in milliseconds since the Unix epoch.
    pub changed_ms: u64,
}

/// Whether a file is the journal of a partial.
#[cfg(all(feature = "testing", feature = "hf"))]
pub(crate) fn is_journal(bytes: &[u8]) -> bool {
    Summary::read(bytes).is_some_and(|summary| {
        assert!(summary.done_bytes <= summary.size_bytes, "{summary:?}");
        true
    })
}

/// Returns every partial, sorted by key. One that cannot be read is listed with what is known of it.
pub(crate) fn partials(root: &Root) -> Result<Vec<PartialInfo>> {
    Ok(keys(root)?.into_iter().map(|(key, meta)| partial(root, &key, meta.mtime_ns)).collect())
}

/// Bytes on disk of all partials, including those being filled. Locks none of them, so other processes can resume them
/// meanwhile.
pub(crate) fn bytes_of_partials(root: &Root) -> Result<u64> {
    let bytes = |key: &str| {
        let folder = layout::partial(key);
        own_bytes(root, &folder, &root.entries(&folder).unwrap_or_default())
    };
    Ok(keys(root)?.iter().map(|(key, _)| bytes(key)).sum_bytes())
}

/// The keys of all partials, with the metadata of their folders.
fn keys(root: &Root) -> Result<Vec<(String, Meta)>> {
    let folder = Path::new(layout::PARTIALS);
    let known = |(name, meta): (OsString, Meta)| match layout::classify_in(folder, &name) {
        Thing::Partial(key) if meta.kind == Kind::Dir => Some((key, meta)),
        _ => None, // this crate did not create it
    };
    Ok(root.entries(folder)?.into_iter().filter_map(known).collect())
}

/// Describes one partial. `made_ns` is the modification time of its folder.
pub(crate) fn partial(root: &Root, key: &str, made_ns: i128) -> PartialInfo {
    let folder = layout::partial(key);
    let files = root.entries(&folder);
    let state = match OwnedFolder::claim(root, &folder) {
        Ok(Some(_)) => PartialState::Dead, // the claim ends right away
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

/// Bytes that its removal frees. Data that is already published belongs to the blob.
fn own_bytes(root: &Root, folder: &Path, files: &[(OsString, Meta)]) -> u64 {
    let freeing = Freeing::of(root);
    files.iter().map(|(name, meta)| freeing.bytes(&folder.join(name), meta, 1)).sum_bytes()
}

/// Removes a partial that no process is working on. Returns the bytes freed on disk, or `None` if a process is working
/// on it or it is gone.
pub(crate) fn remove_partial(root: &Root, key: &str) -> Result<Option<u64>> {
    let Some(dead) = OwnedFolder::claim(root, &layout::partial(key))? else { return Ok(None) };
    let files = root.entries(dead.path())?;
    let freed_bytes = own_bytes(root, dead.path(), &files);
    // Keep the lock until the folder is gone: a process that has created the folder and not yet locked it then creates
    // another.
    root.remove_all(dead.path())?;
    Ok(Some(freed_bytes))
}

/// Returns the folder of the partial that an earlier process left of this file, and how much room it has reserved. A
/// new copy or fetch needs only the rest.
pub(crate) fn reserved(root: &Root, file: &ContentFile) -> Option<(PathBuf, u64)> {
    let (what, size_bytes) = match &file.origin {
        Origin::Local { path, .. } => {
            let source = source_meta(path).ok()?;
            (What::local(path, &source), source.size_bytes)
        }
        Origin::Remote(ranges) => (What::of_ranges(file.expected.as_ref(), ranges)?, file.size_bytes),
        Origin::Memory(_) => return None,
    };
    let dead = OwnedFolder::claim(root, &what.folder()).ok()??; // a process that fills it has its room
    let data = root.meta(&dead.path().join(DATA)).ok()??;
    let is_usable = data.size_bytes == size_bytes && data.links == 1;
    is_usable.then(|| (dead.path().to_path_buf(), data.allocated_bytes))
}

/// The folders that partials of a file can have. Small files have none, and cost nothing here.
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

/// Removes the partial that a killed process left of a file that is in the store by now. If that fails, `gc` removes
/// it.
pub(crate) fn remove_left(root: &Root, folder: &Path) {
    if let Ok(Some(dead)) = OwnedFolder::claim(root, folder) {
        let _ = root.remove_all(dead.path()); // never waits: a process that works on the folder removes it
    }
}
