//! Takes back what a failed commit left, by one sweep.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::{Store, Sweep};
use crate::digest::Digest;
use crate::error::Result;
use crate::fs::lock::Wait;

/// The next `gc` removes what stays, so there is no need to wait long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Removes unreferenced blobs, and views that no record names. If there are none of either, there is no sweep.
pub(crate) fn undo(store: &Store, stored: &BTreeSet<Digest>, views: &[PathBuf]) {
    if stored.is_empty() && views.is_empty() {
        return;
    }
    if let Err(error) = take_back(&store.with_lock_wait(Wait::UpTo(PATIENCE)), stored, views) {
        tracing::warn!(%error, "could not clean up after a failed stage; the next collection will");
    }
}

fn take_back(store: &Store, stored: &BTreeSet<Digest>, views: &[PathBuf]) -> Result<()> {
    let mut sweep = Sweep::begin(store)?;
    for folder in views {
        sweep.remove_stray_view(folder)?;
    }
    for digest in stored {
        sweep.remove_blob(digest, true)?;
        sweep.unblock_leases();
    }
    sweep.finish().map(drop)
}
