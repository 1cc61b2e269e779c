//! What a tool itself needs of what an export has made: it can point to the same content, as when huggingface_hub makes
//! a snapshot from blobs that are there, or Ollama copies a model.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::index;
use super::options::ExportLayout;
use super::record::ExportRecord;
use crate::error::Result;
use crate::fs::{Kind, Root};

/// A manifest of a tool that is larger is not read, and everything counts as used.
const MAX_BYTES: u64 = 32 << 20;

/// The names that something in the tool's folder leads to.
pub(super) enum InUse {
    These(BTreeSet<String>),
    /// Something could not be read, so that anything may be in use.
    Anything,
}

impl InUse {
    /// To call once the pointers that are to go are gone.
    pub(super) fn of(root: &Root, record: &ExportRecord) -> Result<Self> {
        let mut used = BTreeSet::new();
        let is_known = match record.layout {
            ExportLayout::Hf | ExportLayout::LlamaCpp => hf(root, record, &mut used)?,
            ExportLayout::Ollama => ollama(root, Path::new("manifests"), &mut used)?,
            ExportLayout::RamaLama => ramalama(root, record, &mut used)?,
            ExportLayout::Oci if !record.is_archive() => oci(root, &mut used)?,
            _ => true,
        };
        Ok(if is_known { InUse::These(used) } else { InUse::Anything })
    }

    pub(super) fn has(&self, path: &str) -> bool {
        match self {
            InUse::These(used) => used.contains(path),
            InUse::Anything => true,
        }
    }
}

/// The folders with this name above the names of the export.
fn folders(record: &ExportRecord, name: &str) -> BTreeSet<PathBuf> {
    let paths = record.files.iter().map(|made| Path::new(&made.path));
    let above = paths.flat_map(Path::ancestors).filter(|above| above.file_name().is_some_and(|last| last == name));
    above.map(Path::to_path_buf).collect()
}

fn files_below(root: &Root, folder: &Path, files: &mut Vec<(PathBuf, Kind)>) -> Result<()> {
    for (name, meta) in root.entries(folder)? {
        let path = folder.join(name);
        match meta.kind {
            Kind::Dir => files_below(root, &path, files)?,
            kind => files.push((path, kind)),
        }
    }
    Ok(())
}

fn json(root: &Root, path: &Path) -> Result<Option<Value>> {
    let Some(meta) = root.meta(path)? else { return Ok(None) };
    if meta.kind != Kind::File || meta.size_bytes > MAX_BYTES {
        return Ok(None);
    }
    Ok(root.read(path, MAX_BYTES)?.and_then(|text| serde_json::from_slice(&text).ok()))
}

/// Every snapshot of the repository points to blobs by relative symlinks.
fn hf(root: &Root, record: &ExportRecord, used: &mut BTreeSet<String>) -> Result<bool> {
    for snapshots in folders(record, "snapshots") {
        let repo = snapshots.parent().unwrap_or(Path::new("")).to_path_buf();
        let mut files = Vec::new();
        files_below(root, &snapshots, &mut files)?;
        for (path, kind) in files {
            let target = if kind == Kind::Symlink { root.read_link(&path)? } else { None };
            if let Some(name) = target.as_deref().and_then(Path::file_name) {
                used.insert(repo.join("blobs").join(name).to_string_lossy().into_owned());
            }
        }
    }
    Ok(true)
}

/// Every manifest names blobs.
fn ollama(root: &Root, folder: &Path, used: &mut BTreeSet<String>) -> Result<bool> {
    let mut files = Vec::new();
    files_below(root, folder, &mut files)?;
    for (path, _) in files {
        let Some(manifest) = json(root, &path)? else { return Ok(false) };
        used.extend(digests(&manifest).map(|digest| format!("blobs/{}", digest.replace(':', "-"))));
    }
    Ok(true)
}

/// The digests of the configuration and the layers.
fn digests(manifest: &Value) -> impl Iterator<Item = &str> {
    let layers = manifest.get("layers").and_then(Value::as_array).into_iter().flatten();
    let all = manifest.get("config").into_iter().chain(layers);
    all.filter_map(|named| named.get("digest").and_then(Value::as_str))
}

/// Every reference of the model names its snapshot and its files.
fn ramalama(root: &Root, record: &ExportRecord, used: &mut BTreeSet<String>) -> Result<bool> {
    for refs in folders(record, "refs") {
        let model = refs.parent().unwrap_or(Path::new("")).to_path_buf();
        let mut files = Vec::new();
        files_below(root, &refs, &mut files)?;
        for (path, _) in files {
            let Some(reference) = json(root, &path)? else { return Ok(false) };
            let text =
                |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let snapshot = model.join("snapshots").join(text(&reference, "hash"));
            for file in reference.get("files").and_then(Value::as_array).into_iter().flatten() {
                let paths = [model.join("blobs").join(text(file, "hash")), snapshot.join(text(file, "name"))];
                used.extend(paths.map(|path| path.to_string_lossy().into_owned()));
            }
        }
    }
    Ok(true)
}

/// The index names manifests, and these name blobs.
fn oci(root: &Root, used: &mut BTreeSet<String>) -> Result<bool> {
    if root.meta(Path::new(index::NAME))?.is_none() {
        return Ok(true);
    }
    used.insert(crate::oci::LAYOUT.0.to_owned());
    let Some(list) = json(root, Path::new(index::NAME))? else { return Ok(false) };
    let path = |digest: &str| format!("blobs/{}", digest.replace(':', "/"));
    for listed in list.get("manifests").and_then(Value::as_array).into_iter().flatten() {
        let Some(digest) = listed.get("digest").and_then(Value::as_str) else { return Ok(false) };
        let at = path(digest);
        let manifest = if crate::layout::is_plain_path(&at) { json(root, Path::new(&at))? } else { None };
        // An index within the index could name anything.
        let Some(manifest) = manifest.filter(|manifest| manifest.get("manifests").is_none()) else { return Ok(false) };
        used.extend(digests(&manifest).map(path));
        used.insert(at);
    }
    Ok(true)
}
