//! Takes damaged files out of service: the file goes to `quarantine/`, the entries that need it are marked, and their
//! views of it are removed, so that no engine opens it any more.

use std::path::{Path, PathBuf};

use super::{Exclusive, Store, each};
use crate::blob::Subject;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Record};
use crate::error::Result;
use crate::fs::{Kind, Meta, now_ms};
use crate::index::Change;
use crate::layout::{self, Place, Thing};
use crate::view;

/// What happened to a bad file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is in `quarantine/`.
    Quarantined,
    /// It stays: it was replaced since it was checked, or the root is read-only.
    Left,
    /// It stays: it is another file at a path of the user's own, and the store's bytes are not damaged.
    Occupied,
}

impl Store {
    /// Takes a bad blob out of service. `false`: it was replaced since, and is another file now.
    ///
    /// Processes that have it open or mapped keep it. Nothing is lost: `repair` uses its good parts.
    pub(crate) fn take_out_of_service(&self, digest: &Digest, bad: &Meta) -> Result<bool> {
        let name = layout::blob(digest);
        // Exclusive, so that no process can publish a good blob here that would then be removed, and so that every
        // entry that uses it is already recorded.
        let alone = Exclusive::lock(self)?;
        if !alone.quarantine(digest, &name, bad)? {
            return Ok(false);
        }
        // Entries in a shard that cannot be read find the damage when they are used, because no stamp matches any more.
        let (mut damaged, mut views) = (Vec::new(), Vec::new());
        self.index.each_readable(&mut |record| {
            let shown = self.shown(&record, digest);
            let is_manifest = record.kind == ArtifactKind::Tree && record.entry.digest == Some(*digest);
            if shown.is_some() || is_manifest {
                damaged.push(record.entry.id);
                views.extend(shown.unwrap_or_default());
            }
        });
        let damaged: Vec<&str> = damaged.iter().map(String::as_str).collect();
        let marked = mark_damaged(&alone, &damaged);
        // Remove the views even if the disk has no room for the mark: a missing file is not handed out.
        self.remove_shown(&views, digest, bad).and(marked).map(|()| true)
    }

    /// Removes those of these views that are the bad inode, or symlinks to where it was.
    fn remove_shown(&self, views: &[PathBuf], digest: &Digest, bad: &Meta) -> Result<()> {
        let remove = |path: &PathBuf| {
            // A view that is a copy has its own bytes, which may well be good.
            let is_it = self.root.meta(path)?.is_some_and(|view| view.same_inode(bad));
            match is_it || view::is_symlink_to(&self.root, digest, path)? {
                true => self.root.remove_file(path).map(drop),
                false => Ok(()),
            }
        };
        views.iter().map(remove).fold(Ok(()), Result::and)
    }

    /// Takes a bad file of an entry out of service: its blob, or its view.
    pub(crate) fn take_bad_out_of_service(&self, id: &str, subject: &Subject, bad: &Meta) -> Taken {
        let is_blob = subject.is_blob();
        if !is_blob && layout::place(&subject.path) == Place::Free {
            return Taken::Occupied;
        }
        let taken = match is_blob {
            true => self.take_out_of_service(&subject.digest, bad),
            false => self.take_view_out_of_service(id, subject, bad),
        };
        match taken {
            Ok(true) => Taken::Quarantined,
            Ok(false) => Taken::Left,
            Err(error) => {
                tracing::warn!(id, %error, "could not move the damaged content to quarantine");
                Taken::Left
            }
        }
    }

    /// Takes a bad view out of service that is a separate file.
    fn take_view_out_of_service(&self, id: &str, view: &Subject, bad: &Meta) -> Result<bool> {
        let alone = Exclusive::lock(self)?;
        if !alone.quarantine(&view.digest, &view.path, bad)? {
            return Ok(false);
        }
        mark_damaged(&alone, &[id])?;
        Ok(true)
    }

    /// Marks an entry whose blob another process has taken out of service.
    pub(crate) fn mark_unmarked(&self, id: &str) -> Result<()> {
        let alone = Exclusive::lock(self)?;
        // It may have been repaired or removed since.
        match self.record(id)? {
            // Only the content counts: an engine does not open a document that the entry needs besides it.
            Some(record) if self.content_of(&record).is_ok_and(|blobs| self.are_here(&blobs)) => Ok(()),
            Some(_) => mark_damaged(&alone, &[id]),
            None => Ok(()),
        }
    }

    fn are_here(&self, blobs: &[Digest]) -> bool {
        blobs.iter().all(|digest| matches!(self.root.meta(&layout::blob(digest)), Ok(Some(_))))
    }

    /// The paths at which a record shows this blob; `None` if it does not, or if that is unknown.
    fn shown(&self, record: &Record, digest: &Digest) -> Option<Vec<PathBuf>> {
        // If the manifest of a tree cannot be read, its files are unknown.
        let files = self.files_of(record.kind, record.entry.digest?, record.size_bytes).ok()?;
        let at = self.relative(&record.entry.local_path);
        let paths: Vec<PathBuf> =
            files.iter().filter(|file| file.digest == *digest).map(|file| file.below(at)).collect();
        (!paths.is_empty()).then_some(paths)
    }

    /// The files in quarantine under this digest, newest first.
    pub(crate) fn quarantined(&self, digest: &Digest) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let folder = Path::new(layout::QUARANTINE);
        for (name, meta) in self.root.entries(folder)? {
            if layout::classify_in(folder, &name) == Thing::Quarantined(Some(*digest)) && meta.kind == Kind::File {
                files.push((std::cmp::Reverse(meta.mtime_ns), folder.join(name)));
            }
        }
        files.sort();
        Ok(files.into_iter().map(|(_, path)| path).collect())
    }
}

/// Marks all entries that can be marked.
fn mark_damaged(alone: &Exclusive<'_>, ids: &[&str]) -> Result<()> {
    let marked = each(ids, &|_| false, &mut |ids| {
        alone.record(ids, &mut |_, old| {
            let Some(mut record) = old else { return Ok(Change::Keep) };
            record.damaged_ms = record.damaged_ms.or(Some(now_ms()));
            Ok(Change::Put(Box::new(record)))
        })
    });
    marked.into_iter().map(|(_, result)| result).fold(Ok(()), Result::and)
}
