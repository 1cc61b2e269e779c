//! All records of exports. A handle reads each once, and again when its file has changed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::receipt::ExportWay;
use super::record::{ExportRecord, read};
use crate::entry::SourceStamp;
use crate::error::{Error, Result};
use crate::layout::{self, Thing};
use crate::store::Store;
use crate::sum::SumBytes as _;

/// The records by their keys, each with the stamp of its file.
#[derive(Debug, Default)]
pub(crate) struct Records(Mutex<BTreeMap<String, (SourceStamp, Arc<ExportRecord>)>>);

/// What is in `exports/`.
#[derive(Default)]
pub(super) struct All {
    /// Sorted by id, layout and folder.
    pub(super) records: Vec<Arc<ExportRecord>>,
    /// Why each of the others could not be read. The error names its file.
    pub(super) unreadable: Vec<Error>,
}

impl Records {
    pub(super) fn all(&self, store: &Store) -> Result<All> {
        let folder = Path::new(layout::EXPORTS);
        let mut before = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut now, mut all) = (BTreeMap::new(), All::default());
        for (name, meta) in store.root.entries(folder)? {
            let Thing::ExportRecord(key) = layout::classify_in(folder, &name) else { continue };
            let known = before.remove(&key).filter(|(stamp, _)| *stamp == meta.source_stamp());
            let (read_began, is_new) = (SystemTime::now(), known.is_none());
            let record = match known {
                Some((_, record)) => record,
                None => match read(store, &key) {
                    Ok(Some(record)) => Arc::new(record),
                    Ok(None) => continue,
                    Err(error) => {
                        all.unreadable.push(error);
                        continue;
                    }
                },
            };
            all.records.push(record.clone());
            // A file that has just changed can change again without a new stamp.
            if !(is_new && (meta.is_racy(read_began) || meta.is_change_racy(read_began))) {
                now.insert(key, (meta.source_stamp(), record));
            }
        }
        *before = now;
        all.records.sort_by(|a, b| (&a.id, a.layout, &a.to, &a.name).cmp(&(&b.id, b.layout, &b.to, &b.name)));
        Ok(all)
    }

    /// The records that can be read. A damaged one does not stop what is done with the others.
    pub(super) fn readable(&self, store: &Store) -> Result<Vec<Arc<ExportRecord>>> {
        let all = self.all(store)?;
        for error in &all.unreadable {
            tracing::warn!(%error, "could not read the record of an export");
        }
        Ok(all.records)
    }

    /// For what only mentions exports.
    fn mentioned(&self, store: &Store) -> Vec<Arc<ExportRecord>> {
        let readable = self.readable(store);
        readable
            .inspect_err(|error| tracing::warn!(%error, "could not list the records of exports"))
            .unwrap_or_default()
    }

    /// The exports of an id, each as its layout and its folder.
    pub(crate) fn of_id(&self, store: &Store, id: &str) -> Vec<String> {
        let all = self.mentioned(store);
        let records = all.iter().filter(|record| record.id == id);
        records.map(|record| format!("{} in {}", record.layout, record.to)).collect()
    }

    /// Bytes that all exports together take outside the store: those of their copies.
    pub(crate) fn bytes_of_copies(&self, store: &Store) -> u64 {
        let all = self.mentioned(store);
        let files = all.iter().flat_map(|record| record.files.iter().map(move |made| (&record.to, made)));
        // Several exports to one folder can share a file.
        let copies = files.filter(|(_, made)| made.way == ExportWay::Copy);
        let copies: BTreeMap<_, _> = copies.map(|(to, made)| ((to, &made.path), made.size_bytes)).collect();
        copies.values().sum_bytes()
    }
}
