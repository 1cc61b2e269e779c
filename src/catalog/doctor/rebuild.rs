//! Rebuilding the view of an entry from its blobs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Doctor;
use crate::blob::manifest::TreeFile;
use crate::blob::{self, Checker, Subject, Touched, Verdict};
use crate::catalog::damage::views;
use crate::digest::Digest;
use crate::entry::{LinkMode, Record};
use crate::error::{Error, Result};
use crate::fs::{Durability, Kind, Meta, Session};
use crate::index::Change;
use crate::layout::{self, Place};
use crate::view;

/// Tried again when copies have to be made first.
const ATTEMPTS: usize = 2;

/// Files of a view that are not the blob's inode, and what they were when they were looked at.
#[derive(Default)]
struct Others {
    /// With the blob's bytes all the same: replaced, or kept where the record says that it is a copy.
    good: BTreeMap<PathBuf, Meta>,
    /// With other bytes, or no regular files: moved to quarantine.
    bad: BTreeMap<PathBuf, (Digest, Meta)>,
}

impl Doctor {
    /// Makes the view of an entry what its record says, of blobs that are good. `None`: it is by now, or the entry is gone.
    pub(super) fn rebuild_view(&self, id: &str) -> Result<Option<String>> {
        let catalog = &self.catalog;
        let Some(record) = catalog.record(id)? else { return Ok(None) };
        let (Some(digest), None) = (record.entry.digest, record.damaged_ms) else { return Ok(None) };
        let files = catalog.files_of(record.kind, digest, record.size_bytes)?;
        self.ensure_good_blobs(&record, &files)?;
        let at = catalog.relative(&record.entry.local_path);
        let others = self.look_at_others(&record, &files, at)?;
        if !others.bad.is_empty() && layout::place(at) == Place::Free {
            // It may be what somebody wants to have there.
            let reason =
                "its file was replaced, and lies outside views/: stage it again, or move it away and repair again";
            return Err(Error::InvalidPath { path: record.entry.local_path, reason });
        }
        let moved = others.bad.len();
        let is_shown = self.show(&record, &files, at, &others)?;
        Ok(is_shown.then(|| match moved {
            0 => "its view was made anew".into(),
            moved => format!("its view was made anew; {moved} files with other bytes are in quarantine"),
        }))
    }

    /// Checks those blobs in full that were changed since they were checked last.
    fn ensure_good_blobs(&self, record: &Record, files: &[TreeFile]) -> Result<()> {
        let catalog = &self.catalog;
        let mut doubtful = Vec::new();
        for file in files {
            if !blob::is_good_by_stamp(&catalog.root, &file.digest, catalog.durability)? {
                doubtful.push(Subject::blob(&file.digest, Some(file.size_bytes)));
            }
        }
        let mut failed = None;
        Checker::quiet(&catalog.root, catalog.durability).run(&doubtful, &mut |number, verdict| {
            let Some(subject) = doubtful.get(number) else { return };
            let is_good = verdict.and_then(|verdict| match verdict {
                Verdict::Good => Ok(true),
                Verdict::Missing => Ok(false),
                Verdict::Bad { file, .. } => catalog.take_out_of_service(&subject.digest, &file).map(|_| false),
            });
            match is_good {
                Ok(true) => {}
                Ok(false) => drop(failed.get_or_insert_with(|| catalog.damaged(record))),
                Err(error) => drop(failed.get_or_insert(error)),
            }
        });
        failed.map_or(Ok(()), Err)
    }

    fn look_at_others(&self, record: &Record, files: &[TreeFile], at: &Path) -> Result<Others> {
        let (catalog, root) = (&self.catalog, &self.catalog.root);
        let mut others = Others::default();
        let mut subjects = Vec::new();
        for (file, path) in views(record, files, at) {
            match root.meta(&path)? {
                None => {}
                Some(shown) if shown.kind != Kind::File => {
                    others.bad.insert(path, (file.digest, shown));
                }
                Some(_) if view::is_hardlink_of(root, &file.digest, &path)? => {}
                Some(shown) => {
                    others.good.insert(path.clone(), shown);
                    subjects.push(Subject { path, digest: file.digest, size_bytes: Some(file.size_bytes) });
                }
            }
        }
        let mut failed = None;
        Checker::quiet(root, catalog.durability).run(&subjects, &mut |number, verdict| {
            let Some(subject) = subjects.get(number) else { return };
            match verdict {
                Ok(Verdict::Good) => {}
                Ok(Verdict::Missing) => drop(others.good.remove(&subject.path)),
                Ok(Verdict::Bad { file, .. }) => {
                    others.good.remove(&subject.path);
                    others.bad.insert(subject.path.clone(), (subject.digest, file));
                }
                Err(error) => drop(failed.get_or_insert(error)),
            }
        });
        failed.map_or(Ok(others), Err)
    }

    /// `false`: the entry has changed meanwhile, and is looked at again the next time.
    fn show(&self, record: &Record, files: &[TreeFile], at: &Path, others: &Others) -> Result<bool> {
        let (catalog, root) = (&self.catalog, &self.catalog.root);
        let session = Session::begin(root)?;
        let mut copies = None;
        for _ in 0..ATTEMPTS {
            let store = catalog.lock_for_sweep()?;
            let is_same = |now: &Record| now.entry == record.entry && now.damaged_ms.is_none();
            if !catalog.record(&record.entry.id)?.is_some_and(|now| is_same(&now)) {
                return Ok(false);
            }
            for file in files {
                // Between the check and the lock, somebody may have taken it.
                if !blob::is_good_by_stamp(root, &file.digest, Durability::Relaxed)? {
                    return Ok(false);
                }
            }
            for (path, meta) in &others.good {
                if root.meta(path)?.is_some_and(|now| now.stamp() != meta.stamp()) {
                    return Ok(false);
                }
            }
            let mut touched = Touched::default();
            for (path, (digest, bad)) in &others.bad {
                // In a second round it is there already.
                blob::quarantine(root, digest, path, bad, catalog.durability)?;
            }
            let Some(mode) = view::show(root, files, at, &session, copies.as_ref(), &mut touched)? else {
                drop(store);
                copies = Some(view::copy(root, files, &session, catalog.durability)?);
                continue;
            };
            if catalog.durability.is_full() {
                touched.sync(root)?;
            }
            return self.note_view(record, files, at, mode).map(|()| true);
        }
        Ok(false)
    }

    /// The store lock is held exclusive. Says nothing of a check: the blob's stamp speaks for it.
    fn note_view(&self, record: &Record, files: &[TreeFile], at: &Path, mode: LinkMode) -> Result<()> {
        let listing = view::listing_of(&self.catalog.root, files, at, mode)?;
        if record.view == Some(mode) && record.view_listing == listing {
            return Ok(());
        }
        self.catalog.update_for_sweep(&[&record.entry.id], &mut |_, old| {
            let Some(mut now) = old else { return Ok(Change::Keep) };
            now.view = Some(mode);
            now.view_listing = listing.clone();
            Ok(Change::Put(Box::new(now)))
        })
    }
}
