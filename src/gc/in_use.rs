//! What protects an entry from eviction under any policy: current use.

use std::path::Path;

use super::GcReason;
use super::entries::EntryFacts;
use crate::blob::{self, LeaseBlock};
use crate::entry::{LinkMode, Record};
use crate::error::Result;
use crate::fs::{Kind, Root, is_open_elsewhere};
use crate::layout;
use crate::store::Store;

/// Whether an entry is leased, or a process has it open.
pub(super) fn used_by(store: &Store, entry: EntryFacts<'_>) -> Result<Option<GcReason>> {
    let Some(digest) = entry.digest() else { return Ok(None) };
    if matches!(blob::block_leases(&store.root, digest)?, LeaseBlock::Leased) {
        return Ok(Some(GcReason::Leased));
    }
    let record = store.record(entry.id)?;
    Ok(record.filter(|record| is_open(store, record)).map(|_| GcReason::Open))
}

/// Whether a process has a file of an entry open or mapped, such as an engine that was given the path and took no
/// lease. A view usually is the blob itself. Returns `false` if this cannot be determined.
pub(super) fn is_open(store: &Store, record: &Record) -> bool {
    let blobs = store.content_of(record).unwrap_or_default();
    let copy = (record.view == Some(LinkMode::Copy)).then(|| store.relative(&record.entry.local_path));
    blobs.iter().any(|digest| is_any_open(&store.root, &layout::blob(digest)))
        || copy.is_some_and(|path| is_any_open(&store.root, path))
}

/// Checks a file, or all files below a folder.
fn is_any_open(root: &Root, path: &Path) -> bool {
    match root.meta(path) {
        Ok(Some(meta)) if meta.kind == Kind::Dir => {
            let names = root.names(path).unwrap_or_default();
            names.iter().any(|name| is_any_open(root, &path.join(name)))
        }
        Ok(Some(meta)) if meta.kind == Kind::File => {
            let file = root.open_file(path).ok().flatten();
            file.is_some_and(|file| is_open_elsewhere(&file) == Some(true))
        }
        _ => false,
    }
}
