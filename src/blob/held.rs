//! A blob that is here already, held for an artifact that needs it: by a private name for its inode, which takes no
//! room, or by a lease if another name might cost a copy.

use super::pending::{PrivateName, Provenance};
use super::{NOBODY_ELSE, Sealed, SourceFacts, UsedMode, outboard};
use crate::digest::Digest;
use crate::error::Result;
use crate::fs::atomic::is_link_refusal;
use crate::fs::lock::{Hold, try_lock_file};
use crate::fs::{Durability, Root, Session, spare_descriptors};
use crate::hash::Hashes;
use crate::layout;

/// Each leased blob costs a descriptor; this many are left for the rest of the work.
const SPARE_DESCRIPTORS: usize = 64;

/// Holds a blob that has the bytes of a source. Publishing it like any private file finds the blob in place, or brings
/// it back if a sweep has removed it in the meantime. `None`: it is gone, has changed since its last full check, or
/// cannot get another name.
pub(crate) fn hold<'r>(session: &Session<'r>, digest: &Digest, source: SourceFacts) -> Result<Option<Sealed<'r>>> {
    let root = session.root();
    let private = if root.copies_up() { leased(root, digest)? } else { named(session, digest)? };
    let Some(private) = private else { return Ok(None) };
    let Some(meta) = root.meta(&private.name)? else { return Ok(None) };
    let Some(known) = outboard::read(root, digest).filter(|outboard| outboard.fits(root, &meta, NOBODY_ELSE)) else {
        return Ok(None);
    };
    let synced = if known.is_durable() { Durability::Full } else { Durability::Relaxed };
    let hashes = Hashes { digest: *digest, groups: known.groups(root, digest) };
    let provenance = Provenance { mode: UsedMode::Present, source, resumed_bytes: 0 };
    Ok(Some(Sealed::new(private, meta, hashes, provenance, synced)))
}

fn named<'r>(session: &Session<'r>, digest: &Digest) -> Result<Option<PrivateName<'r>>> {
    let (root, name) = (session.root(), session.next_name());
    match root.link(&layout::blob(digest), &name) {
        Ok(()) => Ok(Some(PrivateName::of_session(root, name))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound || is_link_refusal(&e) => Ok(None),
        Err(e) => Err(root.fail("link", &name, e)),
    }
}

/// Holds the blob under its own name by a lease, which keeps sweeps away.
fn leased<'r>(root: &'r Root, digest: &Digest) -> Result<Option<PrivateName<'r>>> {
    let name = layout::blob(digest);
    let file = if spare_descriptors() > SPARE_DESCRIPTORS { root.open_file(&name)? } else { None };
    let Some(file) = file else { return Ok(None) };
    let lock = try_lock_file(root, file, &name, Hold::Shared)?;
    // Between the open and the lock, a sweep may have removed it and a `stage` may have stored it again.
    let is_named = lock.as_ref().map_or(Ok(false), |lock| lock.is_named(root, &name))?;
    Ok(lock.filter(|_| is_named).map(|lock| PrivateName::leased(root, name, lock)))
}
