//! Ingests bytes in memory, such as a tree's manifest.

use super::{ContentFile, Options};
use crate::blob::{Pending, Sealed};
use crate::error::Result;
use crate::fs::{Session, atomic};
use crate::hash::BothHasher;

pub(super) fn ingest_memory<'r>(
    session: &Session<'r>,
    file: &ContentFile,
    bytes: &[u8],
    options: Options<'_>,
) -> Result<Sealed<'r>> {
    let pending = Pending::create(session)?;
    atomic::write(pending.file(), bytes).map_err(|e| pending.fail("write", e))?;
    let mut hasher = BothHasher::new(options.with_groups);
    hasher.update(bytes);
    (options.advanced)(bytes.len() as u64);
    file.accept(pending, hasher.finish(), options)
}
