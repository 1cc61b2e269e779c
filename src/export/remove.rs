//! Taking an export away: only names that are still what the export has made, pointers before what they lead to, then
//! the folders that it made and that are empty.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::in_use::InUse;
use super::index::Entry;
use super::receipt::{ExportRemoval, ExportWay};
use super::record::{self, ExportRecord, Made};
use super::records::Records;
use super::target;
use crate::error::{Error, Result};
use crate::fs::{Durability, Root};
use crate::layout;
use crate::store::Store;

/// Removes an export by the key of its record; see [`FsCatalog::remove_export`](crate::FsCatalog::remove_export).
pub(crate) fn remove(store: &Store, known: &Records, key: &str) -> Result<Option<ExportRemoval>> {
    if !layout::is_export_key(key) {
        return Ok(None);
    }
    let Some(found) = record::read(store, key)? else { return Ok(None) };
    let _one_at_a_time = target::lock_place(store, &found.to)?;
    // Another process may have made it anew while this one waited.
    let Some(record) = record::read(store, key)? else { return Ok(None) };
    let mut others = known.readable(store)?;
    others.retain(|other| other.to == record.to && other.key() != key);
    let mut removal = ExportRemoval { id: record.id.clone(), to: record.to.clone().into(), ..ExportRemoval::default() };
    clear(&record, &others, &mut removal)?;
    record.forget(store)?;
    Ok(Some(removal))
}

/// The names that exports to one folder have there.
pub(super) fn names(records: &[Arc<ExportRecord>]) -> BTreeSet<&str> {
    records.iter().flat_map(|record| &record.files).map(|made| made.path.as_str()).collect()
}

/// Removes what an export has made, except what others need too.
pub(super) fn clear(record: &ExportRecord, others: &[Arc<ExportRecord>], removal: &mut ExportRemoval) -> Result<()> {
    let Some(root) = target::find(record.folder())? else {
        removal.kept.push(format!("{} is not there", record.folder().display()));
        return Ok(());
    };
    // An interrupted removal leaves it, and the next one takes it.
    let private = format!(".catalog-{:.16}", record.key());
    let private = Path::new(&private);
    root.remove_all(private)?;
    if record.files.iter().any(|made| made.way == ExportWay::Entry) {
        root.make_private_dir(private)?;
    }
    let needed = names(others);
    let mut in_use = None;
    for made in record.files.iter().rev() {
        if made.way == ExportWay::Kept {
            continue;
        }
        if is_content(made) || in_use.is_some() {
            // The pointers of this export are gone by now.
            let in_use = match &in_use {
                Some(known) => known,
                None => in_use.insert(InUse::of(&root, record)?),
            };
            if in_use.has(&made.path) {
                if is_content(made) && root.meta(Path::new(&made.path))?.is_some() {
                    removal.kept.push(format!("{}: it is in use there", made.path));
                }
                continue;
            }
        }
        if made.way == ExportWay::Entry {
            if let Some(entry) = entry_of(record, made) {
                match entry.erase(&root, private, Durability::Full) {
                    Ok(was_there) => removal.removed_files += u64::from(was_there),
                    Err(Error::ExportInTheWay { reason, .. }) => removal.kept.push(format!("{}: {reason}", made.path)),
                    Err(error) => return Err(error),
                }
            }
            continue;
        }
        if needed.contains(made.path.as_str()) {
            removal.kept.push(format!("{}: another export needs it", made.path));
            continue;
        }
        match take(&root, made)? {
            Taken::Removed => {
                removal.removed_files += 1;
                if made.way == ExportWay::Copy {
                    removal.removed_bytes = removal.removed_bytes.saturating_add(made.size_bytes);
                }
            }
            Taken::Gone => {}
            // A branch that the tool has moved on is the tool's, and nothing to tell.
            Taken::Other if made.is_optional || made.stamp.is_none() && made.target.is_none() => {}
            Taken::Other => removal.kept.push(format!("{}: it is no longer what was exported", made.path)),
        }
    }
    for private in [Some(private), record.private.as_deref().map(Path::new)].into_iter().flatten() {
        root.remove_all(private)?;
    }
    take_empty_folders(&root, record.folders.iter())
}

/// Whether something else there may lead to it.
pub(super) fn is_content(made: &Made) -> bool {
    let is_file = matches!(made.way, ExportWay::Hardlink | ExportWay::Reflink | ExportWay::Copy | ExportWay::Written);
    is_file && !made.is_head && !made.is_optional
}

pub(super) fn entry_of(record: &ExportRecord, made: &Made) -> Option<Entry> {
    Entry::of_target(&record.id, &record.name, made.size_bytes, made.target.as_ref()?)
}

pub(super) enum Taken {
    Removed,
    Gone,
    /// Something else is there.
    Other,
}

/// Removes one name, if it is still what was made. Not for an entry.
pub(super) fn take(root: &Root, made: &Made) -> Result<Taken> {
    let at = Path::new(&made.path);
    let Some(there) = root.meta(at)? else { return Ok(Taken::Gone) };
    if !made.is_still(root, &there)? {
        return Ok(Taken::Other);
    }
    Ok(if root.remove_file(at)? { Taken::Removed } else { Taken::Gone })
}

/// Removes those of these folders that are empty. They come parents first.
pub(super) fn take_empty_folders<'f>(root: &Root, folders: impl DoubleEndedIterator<Item = &'f String>) -> Result<()> {
    for folder in folders.rev() {
        let folder = Path::new(folder);
        if root.meta(folder)?.is_some_and(|meta| meta.kind == crate::fs::Kind::Dir) {
            root.remove_empty_dir(folder)?;
        }
    }
    Ok(())
}
