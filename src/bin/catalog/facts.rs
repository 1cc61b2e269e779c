//! What JSON says of an entry, in `list` and in `show`.

use std::borrow::Cow;

use catalog_core::{Digest, LifecycleState, Record, TrustState};
use serde::Serialize;

/// The facts that both verbs give.
#[derive(Serialize)]
pub(crate) struct Facts<'a> {
    id: &'a str,
    digest: Option<Digest>,
    local_path: Cow<'a, str>,
    size: u64,
    lifecycle: LifecycleState,
    trust: TrustState,
    last_verified_ms: Option<u64>,
    last_used_ms: Option<u64>,
    damaged: bool,
}

impl<'a> From<&'a Record> for Facts<'a> {
    fn from(record: &'a Record) -> Self {
        let entry = &record.entry;
        Facts {
            id: &entry.id,
            digest: entry.digest,
            local_path: entry.local_path.to_string_lossy(),
            size: record.size_bytes,
            lifecycle: entry.lifecycle,
            trust: record.trust,
            last_verified_ms: entry.last_verified_ms,
            last_used_ms: record.last_used_ms,
            damaged: record.damaged_ms.is_some(),
        }
    }
}
