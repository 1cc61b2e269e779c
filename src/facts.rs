//! The files of an entry, and its facts from their stored bytes.

mod kept;

use std::path::PathBuf;

use serde::Serialize;

use crate::digest::Digest;
use crate::entry::{ArtifactKind, Record};
use crate::error::Result;
use crate::formats::{Facts, ModelFile, ModelFiles, facts_of};
use crate::fs::source::Foreign;
use crate::json::lossy;
use crate::layout;
use crate::read_at::ReadAt;
use crate::store::Store;

/// A file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct StoredFile {
    /// Its path in the model, with `/` as separator; its name, if it is the whole model.
    pub path: String,
    /// Where it is below the model's `local_path`.
    #[serde(serialize_with = "lossy")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub local_path: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
}

/// The files of an entry, sorted by path. One that is only registered has none.
pub(crate) fn files(store: &Store, record: &Record) -> Result<Vec<StoredFile>> {
    let digest = record.entry.digest.filter(|_| record.kind != ArtifactKind::Registered);
    let Some(digest) = digest else { return Ok(Vec::new()) };
    let local_path = &record.entry.local_path;
    let name = || local_path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let files = store.files_of(record.kind, digest, record.size_bytes)?.into_iter();
    let stored = files.map(|file| match record.kind {
        ArtifactKind::Tree => {
            let local_path = local_path.join(&file.path);
            StoredFile { path: file.path, local_path, digest: file.digest, size_bytes: file.size_bytes }
        }
        _ => {
            let (path, local_path) = (name(), local_path.clone());
            StoredFile { path, local_path, digest: file.digest, size_bytes: file.size_bytes }
        }
    });
    Ok(stored.collect())
}

/// What is known of an entry by its bytes. Nothing is known of one that is only registered. What the headers say is
/// kept, if the content is known to be what was staged.
pub(crate) fn facts(store: &Store, record: &Record) -> Result<Facts> {
    find(store, record, true)
}

/// The same, for a look that writes nothing.
pub(crate) fn facts_without_trace(store: &Store, record: &Record) -> Result<Facts> {
    find(store, record, false)
}

fn find(store: &Store, record: &Record, may_write: bool) -> Result<Facts> {
    let digest = record.entry.digest.filter(|_| record.kind != ArtifactKind::Registered);
    let Some(digest) = digest else { return Ok(Facts::default()) };
    let local_path = &record.entry.local_path;
    let name = match record.kind {
        ArtifactKind::Tree => String::new(),
        _ => local_path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    // A blob that is lost has no facts.
    let is_there = store.root.meta(&layout::blob(&digest))?.is_some();
    if let Some(facts) = is_there.then(|| kept::read(store, record, &digest, &name)).flatten() {
        return Ok(facts);
    }
    let is_good = || {
        let blobs = store.content_of(record);
        blobs.and_then(|blobs| store.are_good_by_stamp(&blobs, &record.owners)).unwrap_or(false)
    };
    // Good before and after: what was read in between is what was staged.
    let may_write = may_write && is_good();
    let facts = read(store, record)?;
    if may_write && is_good() {
        kept::write(store, record, &digest, &name, &facts);
    }
    Ok(facts)
}

/// Reads the headers.
fn read(store: &Store, record: &Record) -> Result<Facts> {
    let stored = files(store, record)?;
    let file = |file: &StoredFile| ModelFile { path: file.path.clone(), size_bytes: file.size_bytes };
    let open = |place: usize| {
        let blob = stored.get(place).map(|file| layout::blob(&file.digest)).unwrap_or_default();
        Ok(Box::new(Foreign::open(store.root.absolute(&blob))?) as Box<dyn ReadAt>)
    };
    facts_of(&ModelFiles::new(&stored.iter().map(file).collect::<Vec<_>>(), &open))
}
