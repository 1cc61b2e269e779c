//! Which process leases what.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::blob;
use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::error::Result;
use crate::fs::lock::{Hold, try_lock_file};
use crate::fs::{Root, command_of_process, is_open_elsewhere, sharers};
use crate::layout;
use crate::store::Store;

/// A process that leases an artifact; see [`FsCatalog::leases`](crate::FsCatalog::leases).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct LeaseHolder {
    /// The entry's id. A lease is on content, so all entries of the same content are listed. Null if the content has no
    /// entry any more; a collection takes it once the lease has ended.
    pub id: Option<String>,
    /// The process. Null if the system does not say which it is: it is in another container or on another host, or this
    /// system is not Linux.
    pub pid: Option<u32>,
    /// Its command line, the words separated by blanks. Null if the process is not known.
    pub command: Option<String>,
    /// The digest of the file, or of the tree's manifest.
    pub digest: Digest,
}

/// The holders of all leases, sorted by id; see [`FsCatalog::leases`](crate::FsCatalog::leases).
pub(crate) fn holders(store: &Store) -> Result<Vec<LeaseHolder>> {
    let blobs = blob::all_with_meta(&store.root)?;
    let ids = ids(store)?;
    let sharers = sharers::of(blobs.values());
    let mut holders = Vec::new();
    for (digest, meta) in &blobs {
        let pids = sharers.get(&(meta.device, meta.inode)).into_iter().flatten();
        // A process that has ended in the meantime leases nothing.
        let mut theirs: Vec<_> = pids.filter_map(|pid| Some((Some(*pid), Some(command_of_process(*pid)?)))).collect();
        if theirs.is_empty() && is_leased_by_one_unseen(&store.root, digest)? {
            theirs.push((None, None));
        }
        let ids = ids.get(digest);
        let ids: Vec<Option<&String>> = ids.map_or_else(|| vec![None], |ids| ids.iter().map(Some).collect());
        for (pid, command) in theirs {
            let holder =
                |id: &Option<&String>| LeaseHolder { id: id.cloned(), pid, command: command.clone(), digest: *digest };
            holders.extend(ids.iter().map(holder));
        }
    }
    holders.sort_unstable();
    Ok(holders)
}

/// The entries of each content that can be leased.
fn ids(store: &Store) -> Result<BTreeMap<Digest, BTreeSet<String>>> {
    let mut ids: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
    store.index.each(&mut |record| {
        if let Some(digest) = record.entry.digest.filter(|_| record.kind != ArtifactKind::Registered) {
            ids.entry(digest).or_default().insert(record.entry.id);
        }
        Ok(())
    })?;
    Ok(ids)
}

/// Whether a blob is leased, given that no process was found that leases it.
fn is_leased_by_one_unseen(root: &Root, digest: &Digest) -> Result<bool> {
    let name = layout::blob(digest);
    let Some(file) = root.open_file(&name)? else { return Ok(false) };
    // A process that leases the blob has it open. This is checked first, because trying the lock delays a new lease and
    // makes a collection skip the blob.
    if is_open_elsewhere(&file) == Some(false) || try_lock_file(root, file, &name, Hold::Exclusive)?.is_some() {
        return Ok(false);
    }
    // If the lock is not a lease's but that of a sweep, which keeps leases off, it is exclusive, and this fails too.
    let Some(file) = root.open_file(&name)? else { return Ok(false) };
    Ok(try_lock_file(root, file, &name, Hold::Shared)?.is_some())
}
