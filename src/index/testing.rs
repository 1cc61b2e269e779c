//! What the unit tests of the index share.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::StoredRecord;
use crate::entry::{ArtifactKind, LifecycleState, TrustState};
use crate::fs::Root;

/// A root that has all that the index needs, and no shard.
pub(super) fn root() -> (tempfile::TempDir, Arc<Root>) {
    let dir = tempfile::tempdir().unwrap();
    let root = Arc::new(Root::open(dir.path()).unwrap());
    for folder in ["index", "locks", "locks/index"] {
        root.make_dirs(Path::new(folder)).unwrap();
    }
    (dir, root)
}

/// A registered path.
pub(super) fn record(path: &str) -> StoredRecord {
    StoredRecord {
        created_ms: 1,
        damaged_ms: None,
        digest: None,
        files: 0,
        kind: ArtifactKind::Registered,
        last_used_ms: None,
        last_verified_ms: None,
        lifecycle: LifecycleState::Active,
        path: path.into(),
        pins: BTreeMap::new(),
        retired_ms: None,
        size_bytes: 0,
        source: None,
        trust: TrustState::Unverified,
        updated_ms: 2,
        view: None,
        view_listing: None,
    }
}
