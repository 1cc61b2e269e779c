//! Finds out that the store already has the bytes of a local file. They are compared in place and not ingested again.

use std::collections::BTreeMap;
use std::path::Path;

use blake3::hazmat::ChainingValue;
use rayon::prelude::*;

use super::Links;
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

/// Sorts before all others.
const LEAST: ChainingValue = [0; 32];

/// A blob that has exactly the bytes of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present {
    pub(crate) digest: Digest,
    /// The state of the file while it was compared.
    pub(super) source: SourceFacts,
}

/// Blobs that a file may be equal to, by their size and first group.
pub(crate) struct Candidates<'r> {
    root: &'r Root,
    by_first: BTreeMap<(u64, ChainingValue), Vec<Digest>>,
}

impl<'r> Candidates<'r> {
    /// Leaves out blobs that have changed since their last full check, and blobs without groups.
    pub(crate) fn of(root: &'r Root, digests: impl IntoIterator<Item = Digest>) -> Self {
        let mut by_first: BTreeMap<_, Vec<Digest>> = BTreeMap::new();
        for digest in digests {
            if let Some(groups) = groups_of(root, &digest) {
                by_first.entry((groups.size_bytes(), groups.first_value())).or_default().push(digest);
            }
        }
        Candidates { root, by_first }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_first.is_empty()
    }

    /// Returns the blob with this digest for a file that was not read and is expected to have it.
    pub(crate) fn by_digest(&self, digest: &Digest) -> Option<Present> {
        let is_here = self.by_first.values().any(|digests| digests.contains(digest));
        is_here.then(|| Present { digest: *digest, source: SourceFacts::default() })
    }

    /// Finds the blob that has the bytes of a local file, group by group, on all cores: if all groups are equal, so is
    /// the content, since BLAKE3 has no known collisions. Also returns `None` if the file cannot be read; ingesting it
    /// reports that.
    pub(crate) fn find(
        &self,
        path: &Path,
        links: Links,
        cancel: &Cancel,
        advanced: &(dyn Fn(u64) + Sync),
    ) -> Option<Present> {
        let found = links.open(path).and_then(|source| self.try_find(&source, cancel, advanced));
        found
            .inspect_err(|error| {
                tracing::debug!(path = %path.display(), %error, "could not compare the file with the stored blobs")
            })
            .ok()?
    }

    /// The blob that the file itself is, by another name. Its stamp vouches for its bytes, so none is read.
    fn blob_of(&self, source: &Foreign) -> Option<Digest> {
        let size_bytes = source.size_bytes();
        let of_size = self.by_first.range((size_bytes, LEAST)..).take_while(|((size, _), _)| *size == size_bytes);
        let is_it = |digest: &&Digest| {
            let blob = self.root.meta(&layout::blob(digest));
            blob.is_ok_and(|blob| blob.is_some_and(|blob| blob.same_inode(source.before())))
                && groups_of(self.root, digest).is_some()
        };
        of_size.flat_map(|(_, digests)| digests).find(is_it).copied()
    }

    fn try_find(&self, source: &Foreign, cancel: &Cancel, advanced: &(dyn Fn(u64) + Sync)) -> Result<Option<Present>> {
        let size_bytes = source.size_bytes();
        if !self.by_first.keys().any(|(size, _)| *size == size_bytes) {
            return Ok(None);
        }
        if let Some(digest) = self.blob_of(source) {
            advanced(size_bytes);
            return Ok(Some(Present { digest, source: SourceFacts::of(source, Some(source.stamp_after()?)) }));
        }
        let first = groups::first_value(size_bytes, read_group(source, 0, &mut Vec::new())?);
        for digest in self.by_first.get(&(size_bytes, first)).into_iter().flatten() {
            let Some(groups) = groups_of(self.root, digest) else { continue };
            if has_the_rest(source, &groups, cancel)? {
                source.check_ended()?;
                advanced(size_bytes);
                let source = SourceFacts::of(source, Some(source.stamp_after()?));
                return Ok(Some(Present { digest: *digest, source }));
            }
        }
        Ok(None)
    }
}

/// The groups to check a blob against, if the blob is unchanged since its last full check.
fn groups_of(root: &Root, digest: &Digest) -> Option<Groups> {
    let blob = root.meta(&layout::blob(digest)).ok()??;
    let outboard = outboard::read(root, digest)?;
    if outboard.fits(root, &blob, NOBODY_ELSE) { outboard.groups(root, digest) } else { None }
}

/// Whether a file has all groups after the first. Stops at the first that differs.
fn has_the_rest(source: &Foreign, groups: &Groups, cancel: &Cancel) -> Result<bool> {
    ready_for_rayon();
    let differs = (1..groups::count(source.size_bytes())).into_par_iter().map_init(Vec::new, |buffer, number| {
        cancel.check(|| format!("comparing {}", source.path().display()))?;
        Ok(!groups.is_good(number, read_group(source, number, buffer)?))
    });
    let first = differs.find_any(|differs: &Result<bool>| !matches!(differs, Ok(false)));
    first.map_or(Ok(true), |differs| differs.map(|differs| !differs))
}

fn read_group<'b>(source: &Foreign, number: u64, buffer: &'b mut Vec<u8>) -> Result<&'b [u8]> {
    let range = groups::range(number, source.size_bytes());
    buffer.resize(usize::try_from(range.end - range.start).unwrap_or(GROUP_BYTES), 0);
    source.read_exact_at(range.start, buffer).map_err(|e| Error::io("read", source.path(), e))?;
    Ok(buffer)
}
