//! Rebuilds the view of an entry from good blobs, for `repair` and `doctor --repair`.

use std::path::{Path, PathBuf};

use crate::entry::Record;
use crate::error::{Error, Result};
use crate::fs::Session;
use crate::fs::now_ms;
use crate::hint::Hint;
use crate::index::{Change, StoredRecord, encode_path};
use crate::layout;
use crate::store::{self, Store, Unit};
use crate::view::{Exhibit, Occupied, View};

/// For whom a view is rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// All blobs were just checked or repaired: the entry is whole again, and its damage mark is cleared.
    ByRepair,
    /// Only the view is wrong. An entry that is marked, or has changed since it was inspected, is left alone.
    ByDoctor,
}

/// The outcome.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Whether a name was made or replaced, or the entry now has another path.
    pub(crate) changed: bool,
    /// Number of other files that were moved to `quarantine/`.
    pub(crate) quarantined: u64,
    /// A path outside `views/` that holds another file. It was left alone, and the entry has a view below `views/`.
    pub(crate) occupied: Option<PathBuf>,
}

/// Shows the files of a record at its path. If a path outside `views/` holds something else, nothing is moved or
/// replaced: the entry gets a view below `views/`.
pub(crate) fn show_again(store: &Store, record: &Record, again: &Again) -> Result<Outcome> {
    let at = store.relative(&record.entry.local_path);
    match show_at(store, record, at, again) {
        Err(Error::Occupied { path, .. }) => {
            let (Some(digest), Some(name)) = (record.entry.digest, at.file_name().and_then(|name| name.to_str()))
            else {
                return Err(Error::Occupied { id: record.entry.id.clone(), path });
            };
            let own = layout::view(&record.entry.id, &digest, name);
            let shown = show_at(store, record, &own, again)?;
            Ok(Outcome { changed: true, occupied: Some(path), ..shown })
        }
        done => done,
    }
}

fn show_at(store: &Store, record: &Record, at: &Path, again: &Again) -> Result<Outcome> {
    let Some(digest) = record.entry.digest else { return Ok(Outcome::default()) };
    let files = store.files_of(record.kind, digest, record.size_bytes)?;
    let stored_path = encode_path(at).ok_or_else(|| Error::InvalidPath {
        path: store.root.absolute(at),
        reason: "it is not UTF-8, which the index needs",
        hint: Hint::Rename,
    })?;
    let session = Session::begin(&store.root)?;
    let is_due = || is_as_looked_at(store, record, again);
    let edit = |view: Option<&View>, old: Option<StoredRecord>| {
        // It may have received other content since it was read.
        let same = old.zip(view).filter(|(old, _)| old.digest == record.entry.digest);
        let Some((mut now, view)) = same else { return Ok(Change::Keep) };
        let before = now.clone();
        now.path.clone_from(&stored_path);
        now.view = Some(view.mode);
        now.view_fingerprint.clone_from(&view.fingerprint);
        if *again == Again::ByRepair {
            now.damaged_ms = None;
        }
        let is_same = now == before;
        if !is_same {
            now.updated_ms = now_ms();
        }
        if *again == Again::ByRepair {
            now.last_verified_ms = Some(now_ms());
        }
        Ok(if now == before { Change::Keep } else { Change::Put(Box::new(now)) })
    };
    let exhibit =
        Exhibit { id: &record.entry.id, files: &files, at, occupied: Occupied::at(at), durability: store.durability() };
    let unit =
        Unit { id: &record.entry.id, blobs: &mut [], exhibit: Some(exhibit), is_due: &is_due, record: Some(&edit) };
    let mut outcome = Outcome::default();
    for done in store::commit(store, &session, &mut [unit], false) {
        let view = done.result?;
        outcome.changed = view
            .is_some_and(|view| done.tally.made > 0 || done.tally.quarantined > 0 || Some(view.mode) != record.view);
        outcome.quarantined = done.tally.quarantined;
    }
    Ok(outcome)
}

/// Checks under the store lock whether the entry still has the inspected content. For `doctor`, it must also be
/// unmarked with all blobs good: another process may have removed one before the lock was taken.
fn is_as_looked_at(store: &Store, record: &Record, again: &Again) -> Result<bool> {
    let Some(now) = store.record(&record.entry.id)? else { return Ok(false) };
    Ok(match again {
        Again::ByRepair => now.is_same_content(record),
        Again::ByDoctor => {
            now.entry == record.entry
                && now.damaged_ms.is_none()
                && store.are_good_by_stamp(&store.content_of(record)?, &record.owners)?
        }
    })
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model_ref::ModelRef;
    use crate::{Durability, FsCatalog, StageOptions};

    // Red when `show_at` does not check under the lock that the entry is still the inspected one: its path then
    // reappears without a record, from a blob that happens to be there.
    #[test]
    fn an_entry_that_is_gone_by_then_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = FsCatalog::new(dir.path().join("root")).unwrap().with_durability(Durability::Relaxed);
        let file = dir.path().join("m.gguf");
        std::fs::write(&file, "model").unwrap();
        for id in ["m", "same"] {
            let options = StageOptions::default().with_id(Some(id.into()));
            catalog.stage(&ModelRef::File { path: file.clone() }, &options).unwrap();
        }
        let record = catalog.record("m").unwrap().unwrap();
        catalog.remove("m").unwrap().unwrap();
        let shown = show_again(catalog.store(), &record, &Again::ByDoctor).unwrap();
        assert!(!shown.changed && !record.entry.local_path.exists(), "{shown:?}");
        // It is shown when the entry is there.
        let record = catalog.record("same").unwrap().unwrap();
        std::fs::remove_file(&record.entry.local_path).unwrap();
        assert!(show_again(catalog.store(), &record, &Again::ByDoctor).unwrap().changed);
    }
}
