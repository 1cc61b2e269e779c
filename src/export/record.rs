//! The record of an export: one small file in `exports/`, which names everything that the export has made elsewhere.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::options::ExportLayout;
use super::receipt::{ExportWay, ExportedFile};
use crate::digest::Digest;
use crate::entry::Stamp;
use crate::error::{Error, Result};
use crate::fs::{Kind, Meta, Root, atomic};
use crate::layout::{self, Thing};
use crate::store::{Shared, Store};
use crate::sum::SumBytes as _;

const FORMAT: u32 = 1;

/// Everything about one export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ExportRecord {
    pub(super) format: u32,
    pub(super) id: String,
    pub(super) digest: Digest,
    pub(super) layout: ExportLayout,
    /// Absolute, without symlinks.
    pub(super) to: String,
    pub(super) name: String,
    /// The name and the version that were asked for.
    #[serde(default)]
    pub(super) repo: Option<String>,
    #[serde(default)]
    pub(super) revision: Option<String>,
    pub(super) exported_ms: u64,
    /// Whether all names are there.
    pub(super) is_done: bool,
    /// The folder in `to` with files that do not have their names yet.
    #[serde(default)]
    pub(super) private: Option<String>,
    /// The folders that the export made, parents first.
    pub(super) folders: Vec<String>,
    /// The names, in the order in which they appear.
    pub(super) files: Vec<Made>,
}

/// A name outside the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// Relative to `to`.
    pub(super) path: String,
    pub(super) way: ExportWay,
    pub(super) size_bytes: u64,
    /// Of the file that gets the name. `None`: it does not exist yet, or is no file.
    #[serde(default)]
    pub(super) stamp: Option<Stamp>,
    /// For a pointer, where it leads; for an entry, the digest that it names.
    #[serde(default)]
    pub(super) target: Option<String>,
    /// Whether a user sees the model by this name: if all such names are gone, the model was removed there.
    pub(super) is_head: bool,
    /// Whether the export is whole without it.
    #[serde(default)]
    pub(super) is_optional: bool,
}

impl Made {
    /// Whether the file at its name is still what the export has made. Not for an entry.
    pub(super) fn is_still(&self, root: &Root, there: &Meta) -> Result<bool> {
        Ok(match (self.way, self.stamp) {
            (ExportWay::Kept | ExportWay::Entry, _) => false,
            (ExportWay::Pointer, _) => {
                let target = if there.kind == Kind::Symlink { root.read_link(Path::new(&self.path))? } else { None };
                target.is_some() && target == self.target.as_ref().map(PathBuf::from)
            }
            (_, None) => false,
            // A tool may set the times of a blob, and its inode remains ours.
            (ExportWay::Hardlink, Some(made)) => {
                there.kind == Kind::File && (there.inode, there.size_bytes) == (made.inode, made.size_bytes)
            }
            (_, Some(made)) => there.kind == Kind::File && there.stamp() == made,
        })
    }
}

impl ExportRecord {
    pub(super) fn new(id: &str, digest: Digest, layout: ExportLayout, to: String, name: String) -> Self {
        ExportRecord {
            format: FORMAT,
            id: id.to_owned(),
            digest,
            layout,
            to,
            name,
            repo: None,
            revision: None,
            exported_ms: 0,
            is_done: false,
            private: None,
            folders: Vec::new(),
            files: Vec::new(),
        }
    }

    /// One export of an id has one record: by its layout, its folder and its name there.
    pub(super) fn key(&self) -> String {
        layout::export_key(&[self.layout.as_str(), &self.to, &self.name, &self.id])
    }

    /// Writes the record durably.
    pub(super) fn write(&self, store: &Store) -> Result<()> {
        let path = layout::export(&self.key());
        let text = serde_json::to_vec(self).map_err(|e| Error::io("write", store.root.absolute(&path), e))?;
        store.root.make_dirs(Path::new(layout::EXPORTS))?;
        // No sweep may take the unfinished file for one that a dead process has left.
        let _shared = Shared::lock(store)?;
        atomic::replace(&store.root, &path, &text, store.durability())
    }

    pub(super) fn forget(&self, store: &Store) -> Result<()> {
        store.root.remove_file(&layout::export(&self.key())).map(drop)
    }

    pub(super) fn exported_files(&self) -> Vec<ExportedFile> {
        let file = |made: &Made| ExportedFile { path: made.path.clone(), way: made.way, size_bytes: made.size_bytes };
        self.files.iter().map(file).collect()
    }

    pub(super) fn is_archive(&self) -> bool {
        self.layout == ExportLayout::Oci && is_archive(Path::new(&self.to))
    }

    /// The folder that its names are in.
    pub(super) fn folder(&self) -> &Path {
        let to = Path::new(&self.to);
        if self.is_archive() { to.parent().unwrap_or(to) } else { to }
    }
}

/// Whether an image layout is written as one archive here.
pub(super) fn is_archive(to: &Path) -> bool {
    to.extension().is_some_and(|ending| ending == "tar")
}

/// All records, sorted by id, layout and folder. A damaged record is an error that names its file.
pub(super) fn read_all(store: &Store) -> Result<Vec<ExportRecord>> {
    let records: Result<Vec<Option<ExportRecord>>> = keys(store)?.iter().map(|key| read(store, key)).collect();
    let mut records: Vec<ExportRecord> = records?.into_iter().flatten().collect();
    records.sort_by(|a, b| (&a.id, a.layout, &a.to, &a.name).cmp(&(&b.id, b.layout, &b.to, &b.name)));
    Ok(records)
}

/// For what only mentions exports: a record that cannot be read is passed over.
fn read_readable(store: &Store) -> Vec<ExportRecord> {
    let keys = keys(store).unwrap_or_else(|error| {
        tracing::warn!(%error, "could not list the records of exports");
        Vec::new()
    });
    let readable = |key: &String| {
        let record = read(store, key);
        record.inspect_err(|error| tracing::warn!(%error, "could not read the record of an export")).ok().flatten()
    };
    keys.iter().filter_map(readable).collect()
}

fn keys(store: &Store) -> Result<Vec<String>> {
    let folder = Path::new(layout::EXPORTS);
    let key = |name: &std::ffi::OsString| match layout::classify_in(folder, name) {
        Thing::ExportRecord(key) => Some(key),
        _ => None,
    };
    Ok(store.root.names(folder)?.iter().filter_map(key).collect())
}

/// Reads one record; `None` if there is none.
pub(super) fn read(store: &Store, key: &str) -> Result<Option<ExportRecord>> {
    let path = layout::export(key);
    let Some(text) = store.root.read(&path, layout::MAX_EXPORT_BYTES)? else { return Ok(None) };
    let damaged = |reason: String| Error::CorruptIndex { path: store.root.absolute(&path), reason };
    let record: ExportRecord =
        serde_json::from_slice(&text).map_err(|e| damaged(format!("it is not the record of an export: {e}")))?;
    if record.format != FORMAT {
        let (found, supported) = (format!("format {}", record.format), format!("format {FORMAT}"));
        return Err(Error::UnsupportedFormat { path: store.root.absolute(&path), found, supported });
    }
    // What it names is removed later, so nothing in it may lead out of its folder.
    let paths = record.files.iter().map(|made| &made.path).chain(&record.folders).chain(&record.private);
    if let Some(path) = paths.into_iter().find(|path| !layout::is_plain_path(path)) {
        return Err(damaged(format!("it names the path {path:?}, which could lead out of its folder")));
    }
    if record.key() != key {
        return Err(damaged("it belongs to another export".into()));
    }
    Ok(Some(record))
}

/// The exports of an id, each as its layout and its folder.
pub(crate) fn of_id(store: &Store, id: &str) -> Vec<String> {
    let records = read_readable(store).into_iter().filter(|record| record.id == id);
    records.map(|record| format!("{} in {}", record.layout, record.to)).collect()
}

/// Bytes that all exports together take outside the store: those of their copies.
pub(crate) fn bytes_of_copies(store: &Store) -> u64 {
    let records = read_readable(store);
    let copies = records.iter().flat_map(|record| record.files.iter().map(move |made| (&record.to, made)));
    // Several exports to one folder can share a file.
    let copies = copies.filter(|(_, made)| made.way == ExportWay::Copy);
    let copies: std::collections::BTreeMap<_, _> =
        copies.map(|(to, made)| ((to, &made.path), made.size_bytes)).collect();
    copies.values().sum_bytes()
}
