//! Helpers of the unit tests of the index.

use std::path::Path;
use std::sync::Arc;

use super::StoredRecord;
use crate::entry::ArtifactKind;
use crate::fs::Root;

/// A root with everything that the index needs, and no shard.
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
    StoredRecord { updated_ms: 2, ..StoredRecord::new(1, path, ArtifactKind::Registered) }
}
