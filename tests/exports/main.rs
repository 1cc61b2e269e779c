//! Exports: what each layout gets, what stays as it is, and what is taken away again.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;

mod command;
mod documents;
mod kills;
mod layouts;
mod names;
mod removal;
mod sync;
mod ways;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use catalog_core::{Export, ExportLayout, ExportOptions, ExportReceipt, ExportState, FsCatalog, Result};
use common::*;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A host with a file, `file`, and a tree, `hf:org/model`, whose files are of both kinds that a repository has.
pub(crate) fn host() -> (Host, FsCatalog) {
    let host = Host::new();
    let catalog = host.catalog();
    stage(&catalog, &fixture(), "file").unwrap();
    tree(&host, b"weights");
    stage(&catalog, &host.path("model"), "hf:org/model").unwrap();
    (host, catalog)
}

pub(crate) fn tree(host: &Host, weights: &[u8]) {
    host.file("model/config.json", "{}");
    host.file("model/model.safetensors", weights);
    host.file("model/sub/README.md", "read me");
}

pub(crate) fn to(host: &Host, layout: ExportLayout) -> PathBuf {
    host.dir.path().canonicalize().unwrap().join(format!("to {layout}"))
}

pub(crate) fn options_for(host: &Host, layout: ExportLayout) -> ExportOptions {
    let options = ExportOptions::new(layout).with_to(to(host, layout));
    if matches!(layout, ExportLayout::Hf | ExportLayout::LlamaCpp) {
        options.with_revision(COMMIT.to_owned())
    } else {
        options
    }
}

/// The id that a layout can show.
pub(crate) fn id_for(layout: ExportLayout) -> &'static str {
    if layout == ExportLayout::Ollama { "file" } else { "hf:org/model" }
}

pub(crate) fn export(host: &Host, catalog: &FsCatalog, layout: ExportLayout) -> Result<ExportReceipt> {
    catalog.export(id_for(layout), &options_for(host, layout))
}

/// Every name below a folder that is no folder, with what is there: the target of a symlink, or the bytes.
pub(crate) fn content(folder: &Path) -> BTreeMap<String, String> {
    let mut content = BTreeMap::new();
    for path in files_below(folder) {
        let name = path.strip_prefix(folder).unwrap().display().to_string();
        let what = match fs::read_link(&path) {
            Ok(target) => format!("-> {}", target.display()),
            Err(_) => String::from_utf8_lossy(&fs::read(&path).unwrap()).chars().take(60).collect(),
        };
        content.insert(name, what);
    }
    content
}

/// The names below a folder, without the lock files of the tool, which stay.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    content(folder).into_keys().filter(|name| !name.starts_with(".locks/")).collect()
}

/// All exports, each of which can be read.
pub(crate) fn exports(catalog: &FsCatalog) -> Vec<Export> {
    catalog.exports().unwrap().into_iter().map(Result::unwrap).collect()
}

pub(crate) fn only(catalog: &FsCatalog) -> Export {
    let mut exports = exports(catalog);
    assert_eq!(exports.len(), 1, "{exports:?}");
    exports.remove(0)
}

pub(crate) fn state(catalog: &FsCatalog) -> ExportState {
    only(catalog).state
}

/// Whether a file is the very file of a blob.
pub(crate) fn is_a_blob(root: &Path, file: &Path) -> bool {
    let inode = fs::symlink_metadata(file).unwrap().ino();
    files_below(&root.join("blobs")).iter().any(|blob| inode_of(blob) == inode)
}
