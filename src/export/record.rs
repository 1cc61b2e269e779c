//! The record of an export: one small file in `exports/`, which names everything that the export has made elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::options::ExportLayout;
use super::receipt::{ExportWay, ExportedFile};
use crate::digest::Digest;
use crate::entry::{Document, Record, Stamp};
use crate::error::{Error, Result};
use crate::fs::{Kind, Meta, Root, atomic};
use crate::layout;
use crate::store::{Shared, Store};

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
    /// The documents that were exported with it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) documents: BTreeMap<Digest, Document>,
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
    /// The stamp of the file that gets the name. `None`: it does not exist yet, or is no file.
    #[serde(default)]
    pub(super) stamp: Option<Stamp>,
    /// For a pointer, where it leads; for an entry, the digests that it names.
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
            documents: BTreeMap::new(),
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

/// The documents of an entry that an export in this layout has.
pub(super) fn exported_documents(layout: ExportLayout, record: &Record) -> BTreeMap<Digest, Document> {
    if layout.has_documents() { record.documents.clone() } else { BTreeMap::new() }
}

/// Whether an image layout is written as one archive here.
pub(super) fn is_archive(to: &Path) -> bool {
    to.extension().is_some_and(|ending| ending == "tar")
}

/// Whether a record can be read, or there is none.
pub(crate) fn check_record(store: &Store, key: &str) -> Result<()> {
    read(store, key).map(drop)
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
