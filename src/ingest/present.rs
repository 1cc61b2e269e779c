//! Bytes of a local file that the store has already: compared where they are, and not brought in again.

use std::path::Path;

use rayon::prelude::*;

use crate::blob::{NOBODY_ELSE, SourceFacts, outboard};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::Root;
use crate::fs::source::Foreign;
use crate::hash::groups::{self, GROUP_BYTES, Groups};
use crate::layout;
use crate::read_at::ReadAt as _;
use crate::threads::ready_for_rayon;

/// A blob that has all bytes of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present {
    pub(crate) digest: Digest,
    /// Of the file, as it was while it was compared.
    pub(super) source: SourceFacts,
}

/// Finds one of these blobs that has the bytes of a local file, group by group, on all cores: equal groups to the end mean
/// equal content, since BLAKE3 has no known collisions. Of a blob that was changed since its last full check, or has no
/// groups, nothing is known. `None` also when the file cannot be read, which is told when it is ingested.
pub(crate) fn find_present(
    root: &Root,
    path: &Path,
    candidates: &[Digest],
    cancel: &Cancel,
    advanced: &(dyn Fn(u64) + Sync),
) -> Option<Present> {
    let found = try_find(root, path, candidates, cancel, advanced);
    found.inspect_err(|error| tracing::debug!(path = %path.display(), %error, "it was not compared")).ok()?
}

fn try_find(
    root: &Root,
    path: &Path,
    candidates: &[Digest],
    cancel: &Cancel,
    advanced: &(dyn Fn(u64) + Sync),
) -> Result<Option<Present>> {
    let source = Foreign::open(path)?;
    for digest in candidates {
        let Some(groups) = groups_of(root, digest)? else { continue };
        if groups.size_bytes() != source.size_bytes() || !has_group(&source, &groups, 0, &mut Vec::new())? {
            continue;
        }
        if has_all(&source, &groups, cancel)? {
            source.check_ended()?;
            advanced(source.size_bytes());
            let source = SourceFacts::of(&source, Some(source.stamp_after()?));
            return Ok(Some(Present { digest: *digest, source }));
        }
    }
    Ok(None)
}

/// What a blob's bytes are checked against, if it is as it was at its last full check.
fn groups_of(root: &Root, digest: &Digest) -> Result<Option<Groups>> {
    let Some(blob) = root.meta(&layout::blob(digest))? else { return Ok(None) };
    Ok(outboard::read(root, digest)
        .filter(|outboard| outboard.fits(root, &blob, NOBODY_ELSE))
        .and_then(|outboard| outboard.groups(root, digest)))
}

/// Whether a file has all groups; ends at the first that differs.
fn has_all(source: &Foreign, groups: &Groups, cancel: &Cancel) -> Result<bool> {
    ready_for_rayon();
    let differs = (1..groups::count(source.size_bytes())).into_par_iter().map_init(Vec::new, |buffer, number| {
        cancel.check(|| format!("comparing {}", source.path().display()))?;
        Ok(!has_group(source, groups, number, buffer)?)
    });
    let first = differs.find_any(|differs: &Result<bool>| !matches!(differs, Ok(false)));
    first.map_or(Ok(true), |differs| differs.map(|differs| !differs))
}

fn has_group(source: &Foreign, groups: &Groups, number: u64, buffer: &mut Vec<u8>) -> Result<bool> {
    let range = groups::range(number, source.size_bytes());
    buffer.resize(GROUP_BYTES, 0);
    let length = usize::try_from(range.end - range.start).unwrap_or(GROUP_BYTES);
    let Some(bytes) = buffer.get_mut(..length) else { return Ok(false) };
    source.read_exact_at(range.start, bytes).map_err(|e| Error::io("read", source.path(), e))?;
    Ok(groups.is_good(number, bytes))
}
