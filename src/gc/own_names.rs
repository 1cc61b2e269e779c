//! Counts which names of a blob's inode belong to the store. All others belong to files outside, which keep its bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::blob_table::BlobTable;
use super::facts::BlobFacts;
use crate::blob;
use crate::counts::{Counting, Counts};
use crate::digest::Digest;
use crate::entry::{LinkMode, Record};
use crate::error::Result;
use crate::fs::freed::Freeing;
use crate::fs::{Kind, Meta, Root};
use crate::layout;
use crate::store::{Needed, Store, shown_files};
use crate::threads::ready_for_rayon;

/// How many folders of blobs are listed at a time.
const FOLDERS_AT_ONCE: usize = 16;

/// How many names each inode has in some folders.
#[derive(Debug, Default)]
pub(super) struct Names {
    of_inodes: BTreeMap<(u64, u64), u64>,
    /// Folders that are counted elsewhere.
    left_out: BTreeSet<PathBuf>,
}

impl Names {
    pub(super) fn of(&self, meta: &Meta) -> u64 {
        self.of_inodes.get(&(meta.device, meta.inode)).copied().unwrap_or(0)
    }

    /// Counts all files at or below a path.
    pub(super) fn add_below(&mut self, root: &Root, path: &Path) -> Result<()> {
        match root.meta(path)? {
            Some(meta) if meta.kind == Kind::Dir && self.left_out.contains(path) => Ok(()),
            Some(meta) if meta.kind == Kind::Dir => match root.names(path) {
                Err(error) if error.is_permission_denied() => Ok(()), // another user's: no file of the store is in it
                names => names?.iter().try_for_each(|name| self.add_below(root, &path.join(name))),
            },
            Some(meta) => {
                *self.of_inodes.entry((meta.device, meta.inode)).or_default() += 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Counts all files in the views of an id, and the files that its record shows elsewhere.
    pub(super) fn add_views(&mut self, store: &Store, record: &Record) -> Result<()> {
        let home = layout::view_home(&record.entry.id);
        self.add_below(&store.root, &home)?;
        let at = store.relative(&record.entry.local_path);
        let Some(digest) = record.entry.digest.filter(|_| !at.starts_with(&home)) else { return Ok(()) };
        let files = store.files_of(record.kind, digest, record.size_bytes)?;
        shown_files(record, &files, at).iter().try_for_each(|(_, path)| self.add_below(&store.root, path))
    }
}

/// Gathers them record by record.
#[derive(Default)]
pub(super) struct GatheredNames {
    shown: Counting<Digest>,
    reflinked: Counting<Digest>,
}

#[derive(Default)]
pub(super) struct OwnNames {
    /// How many places of entries show each blob. This does not check which of them are hardlinks: for each that is
    /// not, a name outside the store takes its place in the sum. Every blob that an entry needs is here, shown or not.
    shown: Counts<Digest>,
    /// The same of blobs that are asked for once `shown` is forgotten.
    kept: BTreeMap<Digest, u32>,
    /// Blobs shown by a reflink: shared blocks then do not prove that a file outside has them.
    reflinked: Counts<Digest>,
    /// Names in the store that belong to no entry: views that a collection removes or a lease holds, and files that are
    /// or were being ingested.
    unnamed: Names,
    /// All names in the views of entries that show a blob with more names than `shown` says, except those in `unnamed`.
    /// An id that received the same bytes under another name has both.
    in_views: Names,
    many: BTreeSet<Digest>,
}

/// Some blobs: the facts of those of which all names are known, and those that have more.
#[derive(Default)]
struct Settled {
    facts: Vec<(Digest, BlobFacts)>,
    open: Vec<(Digest, Meta)>,
    unneeded: Vec<Digest>,
}

impl Settled {
    fn add(&mut self, other: Settled) {
        self.facts.extend(other.facts);
        self.open.extend(other.open);
        self.unneeded.extend(other.unneeded);
    }
}

impl GatheredNames {
    pub(super) fn add(&mut self, record: &Record, needed: &Needed) {
        for digest in &needed.blobs {
            self.shown.add(*digest, 0);
        }
        for digest in &needed.names {
            // If only some files of a tree are hardlinks, the names in its view are counted exactly.
            self.shown.add(*digest, u32::from(record.view != Some(LinkMode::Symlink)));
            if record.view == Some(LinkMode::Reflink) {
                self.reflinked.add(*digest, 1);
            }
        }
    }

    pub(super) fn counted(self) -> OwnNames {
        OwnNames { shown: self.shown.counted(), reflinked: self.reflinked.counted(), ..OwnNames::default() }
    }
}

impl OwnNames {
    /// What the removal of each blob of the store frees, and the blobs that no entry needs. `views` are those that no entry
    /// names. `asked` are the blobs of which [`of`](OwnNames::of) is asked afterwards.
    ///
    /// What is known of each file is in memory for a few folders at a time, and how often a blob is shown is dropped once
    /// its facts are there. The last folder comes first, because only the end of what is in one piece can be dropped.
    pub(super) fn facts_of_all<'d>(
        &mut self,
        store: &Store,
        views: &[PathBuf],
        asked: impl Iterator<Item = &'d Digest>,
    ) -> Result<(BlobTable, Vec<Digest>)> {
        self.add_unnamed(store, views)?;
        self.kept = asked.map(|digest| (*digest, self.shown.of(digest))).collect();
        let folders: Vec<(u8, PathBuf)> = (0..=u8::MAX).zip(layout::fan_out_folders(layout::BLOBS)).collect();
        let freeing = Freeing::of(&store.root);
        ready_for_rayon();
        // Room for all at once: memory that grows leaves gaps behind.
        let mut settled = Settled { facts: Vec::with_capacity(self.shown.len()), ..Settled::default() };
        for some in folders.rchunks(FOLDERS_AT_ONCE) {
            let in_one = |(_, folder): &(u8, PathBuf)| {
                let blobs = blob::in_folder(&store.root, folder)?;
                Ok(self.settle(&freeing, blobs.into_iter().rev()))
            };
            let parts = some.par_iter().map(in_one).collect::<Result<Vec<_>>>()?;
            parts.into_iter().rev().for_each(|part| settled.add(part));
            if let Some((first, _)) = some.first() {
                let mut bytes = [0; 32];
                bytes[0] = *first;
                self.shown.forget_from(&Digest::from_sha256(bytes));
            }
        }
        let unneeded = std::mem::take(&mut settled.unneeded);
        Ok((self.all_facts(store, views, &freeing, settled)?, unneeded))
    }

    /// The same of these blobs.
    pub(super) fn facts_of(
        &mut self,
        store: &Store,
        views: &[PathBuf],
        blobs: &BTreeMap<Digest, Meta>,
    ) -> Result<BlobTable> {
        self.add_unnamed(store, views)?;
        let freeing = Freeing::of(&store.root);
        ready_for_rayon();
        let parts = blobs.par_iter().map(|(digest, meta)| (*digest, *meta)).fold(Vec::new, |mut some, one| {
            some.push(one);
            some
        });
        let parts: Vec<Settled> = parts.map(|some| self.settle(&freeing, some.into_iter())).collect();
        let mut settled = Settled::default();
        parts.into_iter().for_each(|part| settled.add(part));
        self.all_facts(store, views, &freeing, settled)
    }

    fn add_unnamed(&mut self, store: &Store, views: &[PathBuf]) -> Result<()> {
        let brought = [layout::INGEST, layout::PARTIALS].map(Path::new);
        let mut paths = views.iter().map(|view| &**view).chain(brought);
        paths.try_for_each(|path| self.unnamed.add_below(&store.root, path))
    }

    fn settle(&self, freeing: &Freeing<'_>, blobs: impl Iterator<Item = (Digest, Meta)>) -> Settled {
        let mut settled = Settled::default();
        for (digest, meta) in blobs {
            if !self.shown.knows(&digest) {
                settled.unneeded.push(digest);
            }
            match meta.links > self.of(&digest, &meta) {
                true => settled.open.push((digest, meta)),
                false => settled.facts.push((digest, self.facts(freeing, &digest, &meta))),
            }
        }
        settled
    }

    /// Adds the facts of those that are open: the names in the views of entries that show them are counted.
    fn all_facts(
        &mut self,
        store: &Store,
        views: &[PathBuf],
        freeing: &Freeing<'_>,
        settled: Settled,
    ) -> Result<BlobTable> {
        let Settled { mut facts, open, .. } = settled;
        self.many = open.iter().map(|(digest, _)| *digest).collect();
        if !self.many.is_empty() {
            self.in_views.left_out = views.iter().cloned().collect();
            let (many, in_views) = (&self.many, &mut self.in_views);
            store.for_each_record(&mut |record, needed| {
                let shows_one = needed.names.iter().any(|digest| many.contains(digest));
                if shows_one { in_views.add_views(store, record) } else { Ok(()) }
            })?;
        }
        facts.par_extend(open.into_par_iter().map(|(digest, meta)| (digest, self.facts(freeing, &digest, &meta))));
        Ok(BlobTable::of(facts))
    }

    /// How many names in the store a file in `blobs/` or `trash/` has.
    pub(super) fn of(&self, digest: &Digest, meta: &Meta) -> u64 {
        let shown = match self.many.contains(digest) {
            true => self.in_views.of(meta),
            false => self.kept.get(digest).copied().unwrap_or_else(|| self.shown.of(digest)).into(),
        };
        1 + shown + self.unnamed.of(meta)
    }

    fn facts(&self, freeing: &Freeing<'_>, digest: &Digest, meta: &Meta) -> BlobFacts {
        let names = self.of(digest, meta);
        let bytes = match self.reflinked.knows(digest) {
            true if meta.links <= names => meta.allocated_bytes,
            _ => freeing.bytes(&layout::blob(digest), meta, names),
        };
        BlobFacts { bytes, shared_bytes: meta.allocated_bytes.saturating_sub(bytes) }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fs::Durability;
    use crate::model_ref::ModelRef;
    use crate::{FsCatalog, StageOptions};

    // Red when nothing is dropped, or when it is dropped before it was asked for: the names of each blob are then counted
    // one by one.
    #[test]
    fn how_often_a_blob_is_shown_is_dropped_once_its_facts_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = FsCatalog::new(dir.path().join("root")).unwrap().with_durability(Durability::Relaxed);
        let path = dir.path().join("file");
        for number in 0..100 {
            std::fs::write(&path, number.to_string()).unwrap();
            let options = StageOptions { id: Some(number.to_string()), ..StageOptions::default() };
            catalog.stage(&ModelRef::File { path: path.clone() }, &options).unwrap();
        }
        let mut names = GatheredNames::default();
        let gathered = catalog.store().for_each_record(&mut |record, needed| {
            names.add(record, &needed);
            Ok(())
        });
        gathered.unwrap();
        let mut names = names.counted();
        let (facts, unneeded) = names.facts_of_all(catalog.store(), &[], [].iter()).unwrap();
        assert_eq!((facts.len(), unneeded, names.shown.len(), names.many.len()), (100, Vec::new(), 0, 0));
        assert!(facts.iter().is_sorted_by_key(|(digest, _)| *digest));
    }
}
