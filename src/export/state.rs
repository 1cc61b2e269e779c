//! Whether an export is still what was made. It reads names and stamps, and no content.

use std::path::Path;

use super::index::{self, Standing};
use super::receipt::{Export, ExportState, ExportWay};
use super::record::{ExportRecord, exported_documents};
use super::records::Records;
use super::{remove, target};
use crate::error::Result;
use crate::store::Store;

/// All exports with their states; see [`FsCatalog::exports`](crate::FsCatalog::exports).
pub(crate) fn exports(store: &Store, known: &Records) -> Result<Vec<Result<Export>>> {
    let all = known.all(store)?;
    let exports = all.records.iter().map(|record| export(store, record));
    Ok(exports.chain(all.unreadable.into_iter().map(Err)).collect())
}

fn export(store: &Store, record: &ExportRecord) -> Result<Export> {
    let (state, differences) = state(store, record)?;
    Ok(Export {
        key: record.key(),
        id: record.id.clone(),
        digest: record.digest,
        layout: record.layout,
        to: record.to.clone().into(),
        name: record.name.clone(),
        state,
        differences,
        files: record.exported_files(),
        exported_ms: record.exported_ms,
    })
}

pub(super) fn state(store: &Store, record: &ExportRecord) -> Result<(ExportState, Vec<String>)> {
    let Some(root) = target::find(record.folder())? else { return Ok((ExportState::Unreachable, Vec::new())) };
    let (mut missing, mut changed, mut heads, mut heads_gone) = (Vec::new(), Vec::new(), 0, 0);
    for made in record.files.iter().filter(|made| !made.is_optional) {
        let at = Path::new(&made.path);
        let (is_there, is_still) = match (made.way, root.meta(at)?) {
            (ExportWay::Entry, there) => {
                let entry = there.is_some().then(|| remove::entry_of(record, made)).flatten();
                let bytes = root.read(at, index::MAX_BYTES)?;
                let standing = entry.map(|entry| entry.standing(bytes.as_deref()).unwrap_or(Standing::Taken));
                match standing.unwrap_or(Standing::Missing) {
                    Standing::There => (true, true),
                    Standing::Missing => (false, false),
                    Standing::Older | Standing::Taken => (true, false),
                }
            }
            (_, None) => (false, false),
            (ExportWay::Kept, Some(_)) => (true, true),
            (_, Some(there)) => (true, made.is_still(&root, &there)?),
        };
        heads += usize::from(made.is_head);
        heads_gone += usize::from(made.is_head && !is_there);
        if !is_there {
            missing.push(format!("{} is missing", made.path));
        } else if !is_still {
            changed.push(format!("{} is no longer what was exported", made.path));
        }
    }
    let is_removed = heads > 0 && heads == heads_gone;
    let state = match (record.is_done, missing.is_empty(), changed.is_empty()) {
        (false, ..) => ExportState::Unfinished,
        _ if is_removed => ExportState::Removed,
        (_, false, _) => ExportState::Incomplete,
        (.., false) => ExportState::Changed,
        _ => match store.record(&record.id)? {
            None => ExportState::Orphaned,
            Some(now) if now.entry.digest != Some(record.digest) => ExportState::Outdated,
            Some(now) if exported_documents(record.layout, &now) != record.documents => ExportState::Outdated,
            Some(_) => ExportState::Whole,
        },
    };
    missing.extend(changed);
    Ok((state, missing))
}
