//! The stamp of a blob's last full check, in `outboards/`. It is advice: without it, or when it does not fit, the blob
//! is checked in full.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::entry::Stamp;
use crate::error::Result;
use crate::fs::{Durability, Kind, Meta, Root, atomic, now_ms};
use crate::layout;

#[derive(Serialize, Deserialize)]
struct Outboard {
    format: u32,
    stamp: Stamp,
    checked_ms: u64,
    /// Whether its bytes are known to have reached the disk.
    #[serde(default)]
    is_durable: bool,
}

/// Records that the blob was checked in full while it had this stamp, and is as durable as this.
pub(super) fn write(root: &Root, digest: &Digest, stamp: &Stamp, durability: Durability) -> Result<()> {
    let path = layout::outboard(digest);
    root.make_dirs(path.parent().unwrap_or(&path))?;
    let outboard =
        Outboard { format: layout::FORMAT, stamp: *stamp, checked_ms: now_ms(), is_durable: durability.is_full() };
    let mut text = serde_json::to_vec(&outboard).map_err(|e| root.fail("encode", &path, e.into()))?;
    text.push(b'\n');
    // Not synced: when a power cut takes it, the next use of the blob checks it in full.
    atomic::replace(root, &path, &text, Durability::Relaxed)
}

/// Whether the blob is as it was at its last full check, and as durable as this. Anything that cannot be read means
/// "not known".
pub(super) fn fits(root: &Root, digest: &Digest, blob: &Meta, durability: Durability) -> bool {
    let Ok(Some(text)) = root.read(&layout::outboard(digest)) else { return false };
    let Ok(outboard) = serde_json::from_slice::<Outboard>(&text) else { return false };
    outboard.format == layout::FORMAT
        && blob.kind == Kind::File
        && outboard.stamp == blob.stamp()
        && (outboard.is_durable || !durability.is_full())
}

pub(super) fn remove(root: &Root, digest: &Digest) -> Result<()> {
    root.remove_file(&layout::outboard(digest)).map(drop)
}
