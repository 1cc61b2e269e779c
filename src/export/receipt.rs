//! What came of an export, and what is known of earlier ones.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::options::ExportLayout;
use crate::digest::Digest;
use crate::json::{lossy, millis};
use crate::words::words;

/// How a name of an export came to be, the cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ExportWay {
    /// It was there, and has the same bytes. It belongs to the tool, and no removal takes it.
    Kept,
    /// A symlink to another file of the same layout.
    Pointer,
    /// An entry in the layout's own list.
    Entry,
    /// A small file that the layout needs, such as a manifest.
    Written,
    /// A second name of the blob: it needs no bytes and no blocks.
    Hardlink,
    /// A file that shares the blocks of the blob until one of the two is written.
    Reflink,
    /// A file with its own blocks.
    Copy,
}

words!(ExportWay, "way of an export", {
    Kept => "kept",
    Pointer => "pointer",
    Entry => "entry",
    Written => "written",
    Hardlink => "hardlink",
    Reflink => "reflink",
    Copy => "copy",
});

/// What [`FsCatalog::export`](crate::FsCatalog::export) did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ExportReceipt {
    /// The entry's id.
    pub id: String,
    /// The digest of its content.
    pub digest: Digest,
    /// The layout.
    pub layout: ExportLayout,
    /// The tool's folder.
    #[serde(serialize_with = "lossy")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub to: PathBuf,
    /// The model's name there.
    pub name: String,
    /// The file or folder there that is the model.
    #[serde(serialize_with = "lossy")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub path: PathBuf,
    /// Bytes of the model.
    pub size_bytes: u64,
    /// Bytes of copies that were made: what the export takes on disk.
    pub copied_bytes: u64,
    /// Number of files that were there with the same bytes, and stay the tool's own.
    pub kept_files: u64,
    /// The costliest way that a file of the model needed.
    pub way: ExportWay,
    /// Why there is no cheaper way, for humans; null if there is none that is cheaper.
    pub reason: Option<String>,
    /// What is good to know, for humans.
    pub notes: Vec<String>,
    /// How long it took.
    #[serde(rename = "elapsed_ms", serialize_with = "millis")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub elapsed: Duration,
}

/// A name that an export has in a tool's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ExportedFile {
    /// The path in the tool's folder.
    pub path: String,
    /// How it came to be.
    pub way: ExportWay,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Whether an export is still what was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ExportState {
    /// All its names are there and are what was made.
    Whole,
    /// It is whole, and its id has other content, or other documents that belong to the export, by now.
    Outdated,
    /// It is there, and its id is no longer in the catalog.
    Orphaned,
    /// It was interrupted.
    Unfinished,
    /// Some of its names are missing.
    Incomplete,
    /// Some of its names lead to something else, which the tool or a user has put there.
    Changed,
    /// The tool or a user has removed the model there.
    Removed,
    /// The folder that it is in is not there: it was removed, or its file system is not mounted.
    Unreachable,
}

words!(ExportState, "state of an export", {
    Whole => "whole",
    Outdated => "outdated",
    Orphaned => "orphaned",
    Unfinished => "unfinished",
    Incomplete => "incomplete",
    Changed => "changed",
    Removed => "removed",
    Unreachable => "unreachable",
});

/// An export that the store has a record of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Export {
    /// The key of its record.
    pub key: String,
    /// The id that was exported.
    pub id: String,
    /// The digest of the content that was exported.
    pub digest: Digest,
    /// The layout.
    pub layout: ExportLayout,
    /// The tool's folder.
    #[serde(serialize_with = "lossy")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub to: PathBuf,
    /// The model's name there.
    pub name: String,
    /// Whether it is still what was made.
    pub state: ExportState,
    /// The names that differ from what was made, each with how, for humans.
    pub differences: Vec<String>,
    /// Its names, in the order in which they were made.
    pub files: Vec<ExportedFile>,
    /// When it was last made, in milliseconds since the Unix epoch.
    pub exported_ms: u64,
}

/// What the removal of an export did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ExportRemoval {
    /// The id that was exported.
    pub id: String,
    /// The tool's folder.
    #[serde(serialize_with = "lossy")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub to: PathBuf,
    /// Number of names that were removed.
    pub removed_files: u64,
    /// Bytes of the removed files that were copies.
    pub removed_bytes: u64,
    /// What stays in the tool's folder, each with the reason, for humans.
    pub kept: Vec<String>,
}

/// What [`FsCatalog::sync_exports`](crate::FsCatalog::sync_exports) did with an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SyncAction {
    /// Nothing: it is whole, or cannot be reached.
    Nothing,
    /// It was made again, or completed.
    Made,
    /// It has the id's new content now.
    Updated,
    /// Its record was removed, because the tool or a user has removed the model there.
    Forgotten,
}

words!(SyncAction, "action", {
    Nothing => "nothing",
    Made => "made",
    Updated => "updated",
    Forgotten => "forgotten",
});

/// What [`FsCatalog::sync_exports`](crate::FsCatalog::sync_exports) did with an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ExportSync {
    /// The id that was exported.
    pub id: String,
    /// The layout.
    pub layout: ExportLayout,
    /// The tool's folder.
    #[serde(serialize_with = "lossy")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub to: PathBuf,
    /// The model's name there.
    pub name: String,
    /// The state in which it was.
    pub state: ExportState,
    /// What was done.
    pub action: SyncAction,
    /// What is good to know, for humans.
    pub notes: Vec<String>,
}
