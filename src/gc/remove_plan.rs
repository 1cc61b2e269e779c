//! What `remove` would do, without doing it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::remove::{LEASED, REFERENCED, RemoveReceipt};
use crate::blob::manifest::TreeFile;
use crate::blob::{self, LeaseBlock};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, LinkMode, Record};
use crate::error::Result;
use crate::fs::{Kind, Meta};
use crate::layout;
use crate::store::{Store, each_once, shown_files};
use crate::view;

/// Fills the receipt with what a removal of this entry would bring now.
pub(super) fn plan(store: &Store, record: &Record, receipt: &mut RemoveReceipt) -> Result<()> {
    let (Some(digest), ArtifactKind::File | ArtifactKind::Tree) = (record.entry.digest, record.kind) else {
        return Ok(());
    };
    if is_leased(store, &digest)? {
        receipt.keep(digest, record.size_bytes, LEASED);
        return Ok(());
    }
    let files = store.files_of(record.kind, digest, record.size_bytes)?;
    if record.view == Some(LinkMode::Copy) {
        receipt.bytes_reclaimed =
            view::copies_of(&store.root, store.relative(&record.entry.local_path), &files)?.size_bytes;
    }
    let others = needed_by_others(store, &record.entry.id)?;
    let names = names_of_views(store, record, &files)?;
    let content = files.iter().map(|file| file.digest).chain([digest]);
    for digest in each_once(content.chain(record.needs.iter().copied())) {
        let Some(meta) = store.root.meta(&layout::blob(&digest))? else { continue };
        if others.contains(&digest) {
            receipt.keep(digest, meta.size_bytes, REFERENCED);
        } else if is_leased(store, &digest)? {
            receipt.keep(digest, meta.size_bytes, LEASED);
        } else {
            receipt.blobs_removed += 1;
            // Its own name, and those of the entry's views, go; another one keeps its bytes.
            let going = names.get(&(meta.device, meta.inode)).copied().unwrap_or(0).saturating_add(1);
            let mut freed = blob::would_free(&store.root, &layout::blob(&digest), &meta, going);
            if record.view == Some(LinkMode::Reflink) && meta.links <= going {
                // What it shares its blocks with goes too.
                (freed.size_bytes, freed.shared_bytes) = (meta.size_bytes, 0);
            }
            receipt.bytes_reclaimed = receipt.bytes_reclaimed.saturating_add(freed.size_bytes);
            receipt.shared_bytes = receipt.shared_bytes.saturating_add(freed.shared_bytes);
        }
    }
    Ok(())
}

fn is_leased(store: &Store, digest: &Digest) -> Result<bool> {
    Ok(matches!(blob::block_leases(&store.root, digest)?, LeaseBlock::Leased))
}

fn needed_by_others(store: &Store, id: &str) -> Result<BTreeSet<Digest>> {
    let mut needed = BTreeSet::new();
    store.for_each_record(&mut |record, of_record| {
        needed.extend(of_record.blobs.into_iter().filter(|_| record.entry.id != id));
        Ok(())
    })?;
    Ok(needed)
}

/// How many names each inode has among what is shown under the id.
fn names_of_views(store: &Store, record: &Record, files: &[TreeFile]) -> Result<BTreeMap<(u64, u64), u64>> {
    let mut names = BTreeMap::new();
    let mut count = |meta: &Meta| *names.entry((meta.device, meta.inode)).or_default() += 1;
    let home = layout::view_home(&record.entry.id);
    let at = store.relative(&record.entry.local_path);
    if !at.starts_with(&home) {
        for (_, path) in shown_files(record, files, at) {
            store.root.meta(&path)?.iter().for_each(&mut count);
        }
    }
    let mut folders: Vec<PathBuf> = vec![home];
    while let Some(folder) = folders.pop() {
        for (name, meta) in entries(store, &folder)? {
            match meta.kind {
                Kind::Dir => folders.push(folder.join(name)),
                _ => count(&meta),
            }
        }
    }
    Ok(names)
}

fn entries(store: &Store, folder: &Path) -> Result<Vec<(std::ffi::OsString, Meta)>> {
    match store.root.meta(folder)? {
        Some(meta) if meta.kind == Kind::Dir => store.root.entries(folder),
        _ => Ok(Vec::new()),
    }
}
