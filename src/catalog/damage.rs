//! Taking damage out of service: the file goes to `quarantine/`, the entries that need it are marked, and their views of it
//! are removed, so that no engine opens it any more.

use std::path::{Path, PathBuf};

use super::FsCatalog;
use crate::blob::manifest::TreeFile;
use crate::blob::{self, Subject};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Record};
use crate::error::Result;
use crate::fs::{Meta, now_ms};
use crate::index::Change;
use crate::layout::{self, Place};

impl FsCatalog {
    /// Takes a blob that was found bad out of service. `false`: it was replaced meanwhile, and is another one now.
    ///
    /// Processes that have it open or mapped keep it. Nothing is lost: repairing uses what is good of it.
    pub(super) fn take_out_of_service(&self, digest: &Digest, bad: &Meta) -> Result<bool> {
        let name = layout::blob(digest);
        // So that nobody publishes a good one in its place just now, which would be taken instead; and so that every entry
        // that was staged with it is recorded.
        let _store = self.lock_for_sweep()?;
        if !blob::quarantine(&self.root, digest, &name, bad, self.durability)? {
            return Ok(false);
        }
        let mut done = Ok(());
        for record in self.index.all()?.iter().flat_map(|shard| shard.all()) {
            let shown = self.shown(record, digest);
            if shown.is_none() && record.entry.digest != Some(*digest) {
                continue;
            }
            let marked = self.mark_damaged(&record.entry.id);
            // Also when the disk has no room for the mark: what is not there is not given out.
            let removed = self.remove_shown(&shown.unwrap_or_default(), bad);
            done = done.and(marked).and(removed);
        }
        done.map(|()| true)
    }

    /// Removes those of these views that are the inode that was found bad.
    fn remove_shown(&self, views: &[PathBuf], bad: &Meta) -> Result<()> {
        for path in views {
            // A view that is a copy has bytes of its own, which may well be good.
            if self.root.meta(path)?.is_some_and(|view| view.same_inode(bad)) {
                self.root.remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Takes a file of an entry out of service: its blob, or its view. `false`: it stays, as on a read-only root.
    pub(super) fn take_bad_out_of_service(&self, id: &str, subject: &Subject, bad: &Meta) -> bool {
        let taken = if subject.path == layout::blob(&subject.digest) {
            self.take_out_of_service(&subject.digest, bad)
        } else {
            self.take_view_out_of_service(id, subject, bad)
        };
        taken.unwrap_or_else(|error| {
            tracing::warn!(id, %error, "what is damaged could not be moved to quarantine");
            false
        })
    }

    /// Takes a view that is a copy, and was found bad, out of service.
    fn take_view_out_of_service(&self, id: &str, view: &Subject, bad: &Meta) -> Result<bool> {
        let _store = self.lock_for_sweep()?;
        if !blob::quarantine(&self.root, &view.digest, &view.path, bad, self.durability)? {
            return Ok(false);
        }
        self.mark_damaged(id)?;
        Ok(true)
    }

    fn mark_damaged(&self, id: &str) -> Result<()> {
        self.update_for_sweep(&[id], &mut |_, old| {
            let Some(mut record) = old else { return Ok(Change::Keep) };
            record.damaged_ms = record.damaged_ms.or(Some(now_ms()));
            Ok(Change::Put(Box::new(record)))
        })
    }

    /// Marks an entry whose blob somebody else has taken out of service.
    pub(super) fn mark_unmarked(&self, id: &str) -> Result<()> {
        let _store = self.lock_for_sweep()?;
        // It may have been repaired or removed meanwhile.
        match self.record(id)? {
            Some(record) if self.blobs_of(&record).is_ok_and(|blobs| self.are_here(&blobs)) => Ok(()),
            Some(_) => self.mark_damaged(id),
            None => Ok(()),
        }
    }

    fn are_here(&self, blobs: &[Digest]) -> bool {
        blobs.iter().all(|digest| matches!(self.root.meta(&layout::blob(digest)), Ok(Some(_))))
    }

    /// Where a record shows this blob; `None` when it does not need it, or when that is not known.
    fn shown(&self, record: &Record, digest: &Digest) -> Option<Vec<PathBuf>> {
        // A tree whose manifest cannot be read names nothing that could be found.
        let files = self.files_of(record.kind, record.entry.digest?, record.size_bytes).ok()?;
        let at = self.relative(&record.entry.local_path);
        let paths: Vec<PathBuf> =
            files.iter().filter(|file| file.digest == *digest).map(|file| file.below(at)).collect();
        (!paths.is_empty()).then_some(paths)
    }

    /// The files that are in quarantine under this digest, the newest first.
    pub(super) fn quarantined(&self, digest: &Digest) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for (name, meta) in self.root.entries(Path::new(layout::QUARANTINE))? {
            if layout::parse_quarantine(&name) == Some(*digest) {
                files.push((std::cmp::Reverse(meta.mtime_ns), Path::new(layout::QUARANTINE).join(name)));
            }
        }
        files.sort();
        Ok(files.into_iter().map(|(_, path)| path).collect())
    }
}

/// What an engine opens of an artifact, file by file; the manifest of a tree is shown nowhere.
pub(super) fn views<'f>(record: &Record, files: &'f [TreeFile], relative: &Path) -> Vec<(&'f TreeFile, PathBuf)> {
    let is_shown = record.kind != ArtifactKind::Registered && layout::place(relative) != Place::Own;
    let shown = files.iter().filter(|_| is_shown);
    shown.map(|file| (file, file.below(relative))).collect()
}
