//! What is here: reads only, so all of it works on a read-only root.

use std::sync::Arc;

use super::FsCatalog;
use crate::entry::{ArtifactKind, CatalogEntry, Record, check_id};
use crate::error::{Error, Result};
use crate::fetch::ResolvedModel;
use crate::index::Records;
use crate::model_ref::ModelRef;

/// An id, or a reference whose own string is the id.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Key<'a> {
    /// The id itself.
    Id(&'a str),
    /// A reference.
    Ref(&'a ModelRef),
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(id: &'a str) -> Self {
        Key::Id(id)
    }
}

impl<'a> From<&'a String> for Key<'a> {
    fn from(id: &'a String) -> Self {
        Key::Id(id)
    }
}

impl<'a> From<&'a ModelRef> for Key<'a> {
    fn from(reference: &'a ModelRef) -> Self {
        Key::Ref(reference)
    }
}

impl FsCatalog {
    /// Everything that the catalog knows of an id.
    pub fn record(&self, id: &str) -> Result<Option<Record>> {
        self.index.get(id)
    }

    /// All records, sorted by id. Fails when any part of the index cannot be read.
    pub fn records(&self) -> Result<Vec<Record>> {
        let shards = self.index.all()?;
        Ok(sorted(&shards).into_iter().cloned().collect())
    }

    /// All entries, sorted by id.
    pub(super) fn entries(&self) -> Result<Vec<CatalogEntry>> {
        let shards = self.index.all()?;
        Ok(sorted(&shards).into_iter().map(|record| record.entry.clone()).collect())
    }

    /// Whether there is an entry of this id, or of this reference's own string. It may be one that was registered ahead
    /// of staging: whether the artifact is there is what [`locate`](FsCatalog::locate) says.
    pub fn exists<'a>(&self, key: impl Into<Key<'a>>) -> Result<bool> {
        match key.into() {
            Key::Id(id) => Ok(self.record(id)?.is_some()),
            Key::Ref(reference) => Ok(self.record(&reference.id()?)?.is_some()),
        }
    }

    /// Where the artifact of this reference is. `None` when the catalog has no entry for it, and when the entry's
    /// `local_path` is not there: in both cases it is to be staged. What was found to be damaged is not there; whether it
    /// was changed is not looked at, which [`locate_and_touch`](FsCatalog::locate_and_touch) does.
    pub fn locate(&self, reference: &ModelRef) -> Result<Option<ResolvedModel>> {
        let Some(record) = self.record(&reference.id()?)? else { return Ok(None) };
        // Of a damaged tree, the folder is there, and other files in it.
        let here = record.damaged_ms.is_none() && is_there(&record)?;
        Ok(here.then_some(ResolvedModel { id: record.entry.id, local_path: record.entry.local_path }))
    }

    /// Looks up what a person typed: an id that exists wins; else the text is parsed as a reference and its own string
    /// is looked up. An error for which [`is_not_found`](Error::is_not_found) holds when there is neither.
    pub fn find(&self, id_or_reference: &str) -> Result<Record> {
        check_id(id_or_reference)?;
        if let Some(record) = self.record(id_or_reference)? {
            return Ok(record);
        }
        let id = ModelRef::parse(id_or_reference)?.id()?;
        let not_found = || Error::NotFound { id: id_or_reference.to_owned(), root: self.root().to_path_buf() };
        self.record(&id)?.ok_or_else(not_found)
    }

    /// The record of what a person typed, whose `local_path` is there: what an engine can open.
    ///
    /// When its files are not as they were at their last full check, they are checked in full first (see
    /// [`with_check`](FsCatalog::with_check)); what is damaged is not given out, and gives [`Error::Damaged`].
    pub fn resolve(&self, id_or_reference: &str) -> Result<Record> {
        let record = self.find(id_or_reference)?;
        self.ensure_usable(&record)?;
        Ok(record)
    }

    pub(super) fn ensure_usable(&self, record: &Record) -> Result<()> {
        // First, since the path of what is damaged is gone.
        self.ensure_intact(record)?;
        if is_there(record)? {
            return Ok(());
        }
        Err(Error::NotStaged { id: record.entry.id.clone(), path: record.entry.local_path.clone() })
    }
}

/// Sorts before anything is copied: a record is large.
fn sorted(shards: &[Arc<Records>]) -> Vec<&Record> {
    let mut records: Vec<&Record> = shards.iter().flat_map(|shard| shard.all()).collect();
    records.sort_unstable_by(|a, b| a.entry.id.cmp(&b.entry.id));
    records
}

/// Whether what the record promises is at its path: a file of its size, or a folder.
pub(super) fn is_there(record: &Record) -> Result<bool> {
    let path = &record.entry.local_path;
    match std::fs::metadata(path) {
        Ok(meta) => Ok(match record.kind {
            ArtifactKind::File => meta.is_file() && meta.len() == record.size_bytes,
            ArtifactKind::Tree => meta.is_dir(),
            ArtifactKind::Registered => true,
        }),
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(Error::io("look at", path, e)),
    }
}
