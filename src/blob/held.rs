//! A blob that is here already, held for an artifact that needs it: by a private name of its inode, which takes no room.

use super::pending::{PrivateName, Provenance};
use super::{NOBODY_ELSE, Sealed, SourceFacts, UsedMode, outboard};
use crate::digest::Digest;
use crate::error::Result;
use crate::fs::atomic::is_link_refusal;
use crate::fs::{Durability, Session};
use crate::hash::Hashes;
use crate::layout;

/// Holds a blob that was found to have the bytes of a source. Published like any private file, it is found there; or it is
/// there again, when a sweep has taken it meanwhile. `None`: it is gone, was changed since its last full check, or can
/// get no further name.
pub(crate) fn hold<'r>(session: &Session<'r>, digest: &Digest, source: SourceFacts) -> Result<Option<Sealed<'r>>> {
    let (root, name) = (session.root(), session.next_name());
    match root.link(&layout::blob(digest), &name) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound || is_link_refusal(&e) => return Ok(None),
        Err(e) => return Err(root.fail("link", &name, e)),
    }
    let private = PrivateName::of_session(root, name);
    let Some(meta) = root.meta(&private.name)? else { return Ok(None) };
    let Some(known) = outboard::read(root, digest).filter(|outboard| outboard.fits(root, &meta, NOBODY_ELSE)) else {
        return Ok(None);
    };
    let synced = if known.is_durable() { Durability::Full } else { Durability::Relaxed };
    let hashes = Hashes { digest: *digest, groups: known.groups(root, digest) };
    let provenance = Provenance { mode: UsedMode::Present, source, resumed_bytes: 0 };
    Ok(Some(Sealed::new(private, meta, hashes, provenance, synced)))
}
