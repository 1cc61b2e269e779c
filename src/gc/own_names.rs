//! Counts which names of a blob's inode belong to the store. All others belong to files outside, which keep its bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::facts::BlobFacts;
use crate::digest::Digest;
use crate::entry::{LinkMode, Record};
use crate::error::Result;
use crate::fs::freed::Freeing;
use crate::fs::{Kind, Meta, Root};
use crate::layout;
use crate::store::{Needed, Store, shown_files};
use crate::threads::ready_for_rayon;

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

/// Gathered record by record.
#[derive(Debug, Default)]
pub(super) struct OwnNames {
    /// How many places of entries show each blob. This does not check which of them are hardlinks: for each that is
    /// not, a name outside the store takes its place in the sum.
    shown: BTreeMap<Digest, u64>,
    /// Blobs shown by a reflink: shared blocks then do not prove that a file outside has them.
    reflinked: BTreeSet<Digest>,
    /// Names in the store that belong to no entry: views that a collection removes or a lease holds, and files that are
    /// or were being ingested.
    unnamed: Names,
    /// All names in the views of entries that show a blob with more names than `shown` says, except those in `unnamed`.
    /// An id that received the same bytes under another name has both.
    in_views: Names,
    many: BTreeSet<Digest>,
}

impl OwnNames {
    pub(super) fn add(&mut self, record: &Record, needed: &Needed) {
        for digest in &needed.names {
            // If only some files of a tree are hardlinks, the names in its view are counted exactly.
            *self.shown.entry(*digest).or_default() += u64::from(record.view != Some(LinkMode::Symlink));
            if record.view == Some(LinkMode::Reflink) {
                self.reflinked.insert(*digest);
            }
        }
    }

    /// What the removal of each blob frees. Call it after all records are added. `views` are those that no entry names.
    pub(super) fn blob_facts(
        &mut self,
        store: &Store,
        views: &[PathBuf],
        blobs: &BTreeMap<Digest, Meta>,
    ) -> Result<BTreeMap<Digest, BlobFacts>> {
        let root = &store.root;
        let brought = [layout::INGEST, layout::PARTIALS].map(Path::new);
        for path in views.iter().map(|view| &**view).chain(brought) {
            self.unnamed.add_below(root, path)?;
        }
        let has_more = |(digest, meta): &(&Digest, &Meta)| meta.links > self.of(digest, meta);
        let many: BTreeSet<Digest> = blobs.iter().filter(has_more).map(|(digest, _)| *digest).collect();
        if !many.is_empty() {
            self.in_views.left_out = views.iter().cloned().collect();
            store.for_each_record(&mut |record, needed| {
                let shows_one = needed.names.iter().any(|digest| many.contains(digest));
                if shows_one { self.in_views.add_views(store, record) } else { Ok(()) }
            })?;
        }
        self.many = many;
        let freeing = Freeing::of(root);
        ready_for_rayon();
        let facts = blobs.par_iter().map(|(digest, meta)| (*digest, self.facts(&freeing, digest, meta)));
        Ok(facts.collect())
    }

    /// How many names in the store a file in `blobs/` or `trash/` has.
    pub(super) fn of(&self, digest: &Digest, meta: &Meta) -> u64 {
        let shown = match self.many.contains(digest) {
            true => self.in_views.of(meta),
            false => self.shown.get(digest).copied().unwrap_or(0),
        };
        1 + shown + self.unnamed.of(meta)
    }

    fn facts(&self, freeing: &Freeing<'_>, digest: &Digest, meta: &Meta) -> BlobFacts {
        let names = self.of(digest, meta);
        let bytes = match self.reflinked.contains(digest) {
            true if meta.links <= names => meta.allocated_bytes,
            _ => freeing.bytes(&layout::blob(digest), meta, names),
        };
        BlobFacts { bytes, shared_bytes: meta.allocated_bytes.saturating_sub(bytes) }
    }
}
