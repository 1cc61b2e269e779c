//! Making exports again. What a tool or a user has removed on purpose is not made again.

use std::collections::BTreeSet;

use super::options::{ExportLayout, ExportOptions};
use super::receipt::{ExportState, ExportSync, SyncAction};
use super::record::ExportRecord;
use super::records::Records;
use super::run::export_many;
use super::{remove, state};
use crate::error::{Error, Result};
use crate::store::Store;

/// Syncs all exports; see [`FsCatalog::sync_exports`](crate::FsCatalog::sync_exports).
pub(crate) fn sync(
    store: &Store,
    known: &Records,
    each: &mut dyn FnMut(Option<&str>, Result<ExportSync>),
) -> Result<()> {
    let all = known.all(store)?;
    let mut archives = BTreeSet::new();
    for record in &all.records {
        // One archive has several records, and is made again as a whole.
        if record.is_archive() && !archives.insert(&record.to) {
            continue;
        }
        let ids: Vec<&str> = match record.is_archive() {
            true => all.records.iter().filter(|other| other.to == record.to).map(|other| other.id.as_str()).collect(),
            false => vec![&record.id],
        };
        each(Some(&record.id), sync_one(store, known, record, &ids));
    }
    all.unreadable.into_iter().for_each(|error| each(None, Err(error)));
    Ok(())
}

fn sync_one(store: &Store, known: &Records, record: &ExportRecord, ids: &[&str]) -> Result<ExportSync> {
    let (state, _) = state::state(store, record)?;
    let is_here = store.record(&record.id)?.is_some();
    let mut notes = Vec::new();
    let action = match state {
        ExportState::Whole => SyncAction::Nothing,
        ExportState::Orphaned => {
            notes.push("its id is no longer in the catalog; the files there stay".to_owned());
            SyncAction::Nothing
        }
        ExportState::Unreachable => {
            notes.push("its folder is not there: it was removed, or its file system is not mounted".to_owned());
            SyncAction::Nothing
        }
        ExportState::Removed => forget(store, known, record)?,
        ExportState::Unfinished if !is_here => forget(store, known, record)?,
        _ if !is_here => {
            notes.push("its id is no longer in the catalog, so it cannot be made again".to_owned());
            SyncAction::Nothing
        }
        ExportState::Outdated | ExportState::Unfinished | ExportState::Incomplete | ExportState::Changed => {
            match again(store, known, record, ids) {
                Ok(()) if state == ExportState::Outdated => SyncAction::Updated,
                Ok(()) => SyncAction::Made,
                // The tool or a user wants something else there.
                Err(Error::ExportInTheWay { path, reason }) if state == ExportState::Changed => {
                    notes.push(format!("{}: {reason}", path.display()));
                    SyncAction::Nothing
                }
                Err(error) => return Err(error),
            }
        }
    };
    let (id, layout, to, name) = (record.id.clone(), record.layout, record.to.clone().into(), record.name.clone());
    Ok(ExportSync { id, layout, to, name, state, action, notes })
}

fn forget(store: &Store, known: &Records, record: &ExportRecord) -> Result<SyncAction> {
    remove::remove(store, known, &record.key())?;
    Ok(SyncAction::Forgotten)
}

fn again(store: &Store, known: &Records, record: &ExportRecord, ids: &[&str]) -> Result<()> {
    let options = ExportOptions {
        layout: record.layout,
        to: Some(record.to.clone().into()),
        repo: if record.is_archive() { record.repo.clone() } else { Some(asked_name(record)) },
        revision: record.revision.clone(),
    };
    let mut first = Ok(());
    export_many(store, known, ids, &options, &mut |_, done| {
        if let (Err(error), true) = (done, first.is_ok()) {
            first = Err(error);
        }
    })?;
    first
}

/// The name that gives the export the name that it has.
fn asked_name(record: &ExportRecord) -> String {
    match record.layout {
        ExportLayout::RamaLama => {
            let name = record.name.trim_start_matches("huggingface://");
            name.rsplit_once(':').map_or(name, |(name, _)| name).to_owned()
        }
        _ => record.name.clone(),
    }
}
