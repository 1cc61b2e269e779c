//! What `remove` would do, without doing it.

use std::collections::BTreeSet;

use super::own_names::Names;
use super::remove::{LEASED, REFERENCED, RemoveReceipt, candidates};
use crate::blob::manifest::TreeFile;
use crate::blob::{self, LeaseBlock};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, LinkMode, Record};
use crate::error::{Error, Result};
use crate::layout;
use crate::store::Store;
use crate::view;

/// Fills the receipt with what removing this entry would free now.
pub(super) fn plan(store: &Store, record: &Record, files: &[TreeFile], receipt: &mut RemoveReceipt) -> Result<()> {
    let (Some(digest), ArtifactKind::File | ArtifactKind::Tree) = (record.entry.digest, record.kind) else {
        return Ok(());
    };
    if !store.locks_work {
        return Err(Error::LocksDoNothing { root: store.path().to_path_buf() });
    }
    if is_leased(store, &digest)? {
        receipt.keep(digest, record.size_bytes, LEASED);
        return Ok(());
    }
    if record.view == Some(LinkMode::Copy) {
        receipt.bytes_reclaimed =
            view::copies_of(&store.root, store.relative(&record.entry.local_path), files)?.size_bytes;
    }
    let others = needed_by_others(store, &record.entry.id)?;
    let mut names = Names::default();
    names.add_views(store, record)?;
    for digest in candidates(digest, files, &record.needs) {
        let Some(meta) = store.root.meta(&layout::blob(&digest))? else { continue };
        if others.contains(&digest) {
            receipt.keep(digest, meta.size_bytes, REFERENCED);
        } else if is_leased(store, &digest)? {
            receipt.keep(digest, meta.size_bytes, LEASED);
        } else {
            receipt.blobs_removed += 1;
            // Its own name and those of the entry's views go. Any other name keeps its bytes.
            let going = names.of(&meta).saturating_add(1);
            let mut freed = blob::would_free(&store.root, &layout::blob(&digest), &meta, going);
            if record.view == Some(LinkMode::Reflink) && meta.links <= going {
                // The files that share its blocks go, too.
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
