//! Work that a round of a commit finds missing. It is done without the store lock, because it may read or write
//! hundreds of gigabytes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Store;
use super::commit::{Progress, Unit};
use crate::blob::{Checker, Sealed, Subject, Verdict};
use crate::digest::Digest;
use crate::error::Result;
use crate::fs::{Meta, Session};
use crate::layout;
use crate::view::{self, Judged};

/// A piece of work to do before the next round.
pub(super) enum Chore {
    /// Check a blob that is here but not known to be good.
    Check(Digest),
    /// Sync a private file: the unit's blob with this index.
    Sync(usize),
    /// Make copies to use in place of hardlinks.
    Copy,
    /// Read files that are in the way.
    Judge(Vec<Subject>),
}

impl Chore {
    /// `settled` contains the blobs that were read in full, with their metadata from then.
    pub(super) fn run(
        self,
        store: &Store,
        session: &Session<'_>,
        unit: &mut Unit<'_, '_>,
        progress: &mut Progress,
        settled: &mut BTreeMap<Digest, Meta>,
    ) -> Result<()> {
        match self {
            // It was just checked for another unit, and is still the same file.
            Chore::Check(digest) if as_settled(store, settled.get(&digest), &digest)?.is_some() => {}
            Chore::Check(digest) => settled.extend(store.settle(&digest)?.map(|good| (digest, good))),
            Chore::Sync(blob) => return unit.blobs.get_mut(blob).map_or(Ok(()), Sealed::sync),
            Chore::Copy => make_copies(store, session, unit, progress)?,
            Chore::Judge(subjects) => judge(store, subjects, &mut progress.judged)?,
        }
        Ok(())
    }

    /// The path that it concerns, relative to the root.
    pub(super) fn place(&self, unit: Option<&Unit<'_, '_>>) -> Option<PathBuf> {
        match self {
            Chore::Check(digest) => Some(layout::blob(digest)),
            Chore::Judge(subjects) => subjects.first().map(|subject| subject.path.clone()),
            Chore::Copy | Chore::Sync(_) => Some(unit?.exhibit?.at.to_path_buf()),
        }
    }
}

/// The metadata of a blob from when it was read in full, if it is still the same unchanged file.
pub(super) fn as_settled<'m>(store: &Store, settled: Option<&'m Meta>, digest: &Digest) -> Result<Option<&'m Meta>> {
    let Some(then) = settled else { return Ok(None) };
    let now = store.root.meta(&layout::blob(digest))?;
    Ok(now.filter(|now| now.same_inode(then) && now.stamp() == then.stamp()).map(|_| then))
}

fn make_copies(store: &Store, session: &Session<'_>, unit: &Unit<'_, '_>, progress: &mut Progress) -> Result<()> {
    if let Some(exhibit) = &unit.exhibit {
        progress.copies = Some(view::copy(&store.root, exhibit.files, session, store.durability())?);
    }
    Ok(())
}

/// Reads files at paths of views, and records whether they have the right bytes.
fn judge(store: &Store, subjects: Vec<Subject>, judged: &mut Judged) -> Result<()> {
    for subject in subjects {
        let Some(before) = store.root.meta(&subject.path)? else { continue }; // the place is free by now
        let path = subject.path.clone();
        match Checker::quiet(&store.root, store.durability()).one(subject)? {
            Verdict::Good => drop(judged.insert(path, (before, true))),
            Verdict::Bad { .. } => drop(judged.insert(path, (before, false))),
            Verdict::Missing => {}
        }
    }
    Ok(())
}

impl Store {
    /// Checks a blob that is here already, and takes a bad one out of service. Returns a good one's metadata from
    /// before the check.
    fn settle(&self, digest: &Digest) -> Result<Option<Meta>> {
        let before = self.root.meta(&layout::blob(digest))?;
        match Checker::quiet(&self.root, self.durability()).one(Subject::blob(digest, None))? {
            Verdict::Good => Ok(before),
            Verdict::Missing => Ok(None),
            Verdict::Bad { file, .. } => self.take_out_of_service(digest, &file).map(|_| None),
        }
    }
}
