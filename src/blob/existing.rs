//! Blobs that are here already: full checks, and removal.

use super::{quarantine, stamps};
use crate::digest::Digest;
use crate::error::Result;
use crate::fs::lock::{Hold, try_lock_file};
use crate::fs::map::Map;
use crate::fs::{Durability, Root, meta_of};
use crate::hash::hash_map;
use crate::layout;

pub(super) fn settle(root: &Root, digest: &Digest, durability: Durability) -> Result<bool> {
    let name = layout::blob(digest);
    let Some(file) = root.open_file(&name)? else { return Ok(false) };
    let before = meta_of(&file).map_err(|e| root.fail("look at", &name, e))?;
    if stamps::fits(root, digest, &before) {
        return Ok(true);
    }
    let map = Map::of_owned(&file, before.size_bytes).map_err(|e| root.fail("map", &name, e))?;
    let actual = hash_map(&map, before.size_bytes, &|_| {});
    match actual {
        Ok(actual) if actual == *digest => {
            stamps::write(root, digest, &before.stamp())?;
            Ok(true)
        }
        // Wrong bytes, or bytes that the disk cannot give back: neither can be trusted.
        _ => {
            tracing::warn!(%digest, "a stored blob is not its name; moved to quarantine");
            quarantine(root, digest, durability)?;
            Ok(false)
        }
    }
}

/// Whether a live process holds a lease on the blob.
pub(crate) fn is_leased(root: &Root, digest: &Digest) -> Result<bool> {
    let name = layout::blob(digest);
    let Some(file) = root.open_file(&name)? else { return Ok(false) };
    Ok(try_lock_file(root, file, &name, Hold::Exclusive)?.is_none())
}

/// Removes a blob that nobody leases. The caller holds the store lock exclusive and knows that nothing references it.
/// Answers the size of the file that is gone; `None`: it is leased and stays.
pub(crate) fn remove_unleased(root: &Root, digest: &Digest) -> Result<Option<u64>> {
    let name = layout::blob(digest);
    let Some(file) = root.open_file(&name)? else { return Ok(Some(0)) };
    let meta = meta_of(&file).map_err(|e| root.fail("look at", &name, e))?;
    // Held until the name is gone: a lease that comes later finds no blob, one that came earlier is seen here.
    let Some(_unleased) = try_lock_file(root, file, &name, Hold::Exclusive)? else { return Ok(None) };
    root.remove_file(&name)?;
    stamps::remove(root, digest)?;
    // Another name of the inode, such as a source that was staged with `link`, keeps its blocks.
    Ok(Some(if meta.links <= 1 { meta.size_bytes } else { 0 }))
}
