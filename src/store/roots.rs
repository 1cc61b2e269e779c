//! What the records need: the roots that no sweep may remove.

use std::collections::BTreeSet;
use std::path::Path;

use super::Store;
use super::shown_paths::{GatheredPaths, ShownPaths};
use crate::blob::manifest::{self, TreeFile};
use crate::blob::{self, LeaseBlock};
use crate::counts::{Counting, Counts};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Record};
use crate::error::{Error, Result};
use crate::layout;

/// Gathers the roots, record by record.
#[derive(Default)]
pub(crate) struct GatheredRoots {
    digests: Counting<Digest>,
    paths: GatheredPaths,
}

/// Every blob and every path that records name, each with the number of records.
#[derive(Default)]
pub(crate) struct Roots {
    digests: Counts<Digest>,
    paths: ShownPaths,
}

/// What a record needs.
#[derive(Debug)]
pub(crate) struct Needed {
    /// Its blobs without duplicates, including the manifest of a tree and further documents.
    pub(crate) blobs: Vec<Digest>,
    /// The blobs of the files that it shows, one per name.
    pub(crate) names: Vec<Digest>,
}

impl GatheredRoots {
    pub(crate) fn add<'p>(&mut self, path: impl Into<Option<&'p Path>>, blobs: &[Digest]) {
        if let Some(path) = path.into() {
            self.paths.add(path);
        }
        for digest in blobs {
            self.digests.add(*digest, 1);
        }
    }

    pub(crate) fn counted(self) -> Roots {
        Roots { digests: self.digests.counted(), paths: self.paths.counted() }
    }
}

impl Roots {
    pub(crate) fn references(&self, digest: &Digest) -> bool {
        self.digests.of(digest) > 0
    }

    /// Whether a record shows something here: at this path, below it, or in a folder that contains it.
    pub(crate) fn needs_path(&self, relative: &Path) -> bool {
        self.paths.needs(relative)
    }

    /// Takes back what a record added that is now removed.
    pub(crate) fn release(&mut self, path: &Path, blobs: &[Digest]) {
        self.paths.release(path);
        for digest in blobs {
            self.digests.release(digest);
        }
    }
}

impl Store {
    /// Reads the whole index, and the manifest of every tree. An error if anything cannot be read: what it names is
    /// then unknown, and nothing may be removed.
    pub(crate) fn roots(&self) -> Result<Roots> {
        let mut roots = GatheredRoots::default();
        self.for_each_record(&mut |record, needed| {
            roots.add(self.relative(&record.entry.local_path), &needed.blobs);
            Ok(())
        })?;
        Ok(roots.counted())
    }

    /// Reads the whole index and passes each record with what it needs to `take`.
    ///
    /// Without the store lock, a record and its manifest can be removed between the two looks at them: that is not
    /// damage. It is damage if the record still names what cannot be read.
    pub(crate) fn for_each_record(&self, take: &mut dyn FnMut(&Record, Needed) -> Result<()>) -> Result<()> {
        self.try_each_record(&mut |record, needed| take(record, needed?))
    }

    /// The same, for those who can do with records of which it cannot be read what they need.
    pub(crate) fn try_each_record(&self, take: &mut dyn FnMut(&Record, Result<Needed>) -> Result<()>) -> Result<()> {
        self.index.each(&mut |mut record| {
            loop {
                match self.needed_by(&record) {
                    Ok(needed) => return take(&record, Ok(needed)),
                    Err(error) => match self.record(&record.entry.id)? {
                        Some(now) if now == record => return take(&record, Err(error)),
                        Some(now) => record = now,
                        None => return Ok(()),
                    },
                }
            }
        })
    }

    fn needed_by(&self, record: &Record) -> Result<Needed> {
        let (root, names) = self.root_and_names(record)?;
        let blobs = each_once(root.into_iter().chain(names.iter().copied()).chain(record.needs.iter().copied()));
        Ok(Needed { blobs, names })
    }

    /// The blobs of its content alone: the files that an engine can open, and the manifest of a tree.
    pub(crate) fn content_of(&self, record: &Record) -> Result<Vec<Digest>> {
        let (root, names) = self.root_and_names(record)?;
        Ok(each_once(root.into_iter().chain(names)))
    }

    /// The blob that a record names, and those of the files that it shows, one per name.
    fn root_and_names(&self, record: &Record) -> Result<(Option<Digest>, Vec<Digest>)> {
        match record.entry.digest {
            Some(digest) if record.kind != ArtifactKind::Registered => {
                let files = self.files_of(record.kind, digest, record.size_bytes)?;
                Ok((Some(digest), files.iter().map(|file| file.digest).collect()))
            }
            _ => Ok((None, Vec::new())),
        }
    }

    /// The files of an artifact; for a file, the file itself with an empty path.
    pub(crate) fn files_of(&self, kind: ArtifactKind, digest: Digest, size_bytes: u64) -> Result<Vec<TreeFile>> {
        match kind {
            ArtifactKind::File => Ok(vec![TreeFile { path: String::new(), digest, size_bytes }]),
            ArtifactKind::Tree => self.read_tree(digest),
            ArtifactKind::Registered => Ok(Vec::new()),
        }
    }

    /// Blobs that no record references but that a live process still needs, because it leased them while a record did.
    /// A lease on the manifest of a tree covers all its files.
    pub(crate) fn leased_orphans(&self, is_referenced: impl Fn(&Digest) -> bool + Sync) -> Result<BTreeSet<Digest>> {
        self.leased_among(&blob::all_that(&self.root, &|digest| !is_referenced(digest))?)
    }

    /// The same, if it is known which blobs no record references.
    pub(crate) fn leased_among(&self, unreferenced: &[Digest]) -> Result<BTreeSet<Digest>> {
        let mut leased = BTreeSet::new();
        for digest in unreferenced {
            if !matches!(blob::block_leases(&self.root, digest)?, LeaseBlock::Leased) {
                continue;
            }
            leased.insert(*digest);
            // Whatever parses as a manifest counts as one: at worst, a few blobs stay a little longer.
            if let Some(files) = self.read_if_tree(*digest)? {
                leased.extend(files.into_iter().map(|file| file.digest));
            }
        }
        Ok(leased)
    }

    /// The files of a blob that parses as a manifest.
    pub(super) fn read_if_tree(&self, digest: Digest) -> Result<Option<Vec<TreeFile>>> {
        let name = layout::blob(&digest);
        if self.root.read_start(&name, 1)?.as_deref() != Some(b"{") {
            return Ok(None); // do not read a whole model for this
        }
        let bytes = match self.root.read(&name, manifest::MAX_BYTES) {
            Err(Error::CorruptIndex { .. }) => None, // it is larger than any manifest
            other => other?,
        };
        Ok(bytes.and_then(|bytes| manifest::decode(&bytes).ok()))
    }

    /// Reads a tree's manifest. It is checked against its digest each time, because it is small.
    fn read_tree(&self, digest: Digest) -> Result<Vec<TreeFile>> {
        let name = layout::blob(&digest);
        let corrupt = |reason: String| Error::CorruptBlob { path: self.root.absolute(&name), reason };
        let bytes = match self.root.read(&name, manifest::MAX_BYTES) {
            Err(Error::CorruptIndex { reason, .. }) => return Err(corrupt(reason)),
            other => other?.ok_or_else(|| corrupt("the manifest of a tree is missing".into()))?,
        };
        if Digest::sha256_of(&bytes) != digest {
            return Err(corrupt("its bytes do not match its name".into()));
        }
        manifest::decode(&bytes).map_err(corrupt)
    }
}

/// These blobs, sorted and without duplicates.
pub(crate) fn each_once(blobs: impl Iterator<Item = Digest>) -> Vec<Digest> {
    let mut blobs: Vec<Digest> = blobs.collect();
    blobs.sort_unstable();
    blobs.dedup();
    blobs
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fs::Durability;
    use crate::model_ref::ModelRef;
    use crate::{FsCatalog, StageOptions};

    // Red when `for_each_record` does not read a record again whose manifest is missing.
    #[test]
    fn a_tree_that_is_removed_while_the_index_is_read_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = FsCatalog::new(dir.path().join("root")).unwrap().with_durability(Durability::Relaxed);
        // In one shard, so that both are read before the first is passed on.
        let ids: Vec<String> =
            (0..).map(|n| n.to_string()).filter(|id| layout::shard_number(id) == 0).take(2).collect();
        for id in &ids {
            let tree = dir.path().join(id);
            std::fs::create_dir(&tree).unwrap();
            std::fs::write(tree.join("file"), id).unwrap();
            let options = StageOptions { id: Some(id.clone()), ..StageOptions::default() };
            catalog.stage(&ModelRef::File { path: tree }, &options).unwrap();
        }
        let mut seen = Vec::new();
        catalog
            .store()
            .for_each_record(&mut |record, _| {
                let other = ids.iter().find(|id| **id != record.entry.id).unwrap();
                assert_eq!(catalog.remove(other.as_str())?.unwrap().blobs_removed, 2);
                seen.push(record.entry.id.clone());
                Ok(())
            })
            .unwrap();
        assert_eq!(seen.len(), 1);

        // It is damage if a record still names it.
        let [left] = catalog.records().unwrap().try_into().unwrap();
        std::fs::remove_file(catalog.root().join(layout::blob(&left.entry.digest.unwrap()))).unwrap();
        assert!(catalog.store().for_each_record(&mut |_, _| Ok(())).unwrap_err().is_corrupt());
    }
}
