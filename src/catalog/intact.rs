//! Whether what is given out is what was checked: by stamps, which takes no reading, and in full where they do not fit.

use std::path::Path;

use rayon::prelude::*;

use super::FsCatalog;
use super::damage::views;
use crate::blob::manifest::TreeFile;
use crate::blob::{Checker, Subject, Verdict, outboard};
use crate::entry::{ArtifactKind, LinkMode, Record};
use crate::error::{Error, Result};
use crate::fs::{Durability, Meta};
use crate::index::Change;
use crate::threads::ready_for_rayon;
use crate::view;

/// Whether content is looked at before it is given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// One `stat` a file tells whether it is as it was at its last full check; what is not is checked in full first.
    #[default]
    IfChanged,
    /// Not at all: what is given out may be damaged.
    Never,
}

impl FsCatalog {
    /// Makes sure that what an engine is about to open is what was staged, as far as the handle's [`Check`] asks for it.
    pub(super) fn ensure_intact(&self, record: &Record) -> Result<()> {
        if self.check == Check::Never || record.kind == ArtifactKind::Registered {
            return Ok(());
        }
        if record.damaged_ms.is_some() {
            return Err(self.damaged(record));
        }
        let doubtful = self.doubtful_views(record).map_err(|error| match error {
            // Of a tree whose manifest is bad: what mends an entry mends that.
            Error::CorruptBlob { .. } => self.damaged(record),
            other => other,
        })?;
        if doubtful.is_empty() {
            return Ok(());
        }
        tracing::info!(id = %record.entry.id, files = doubtful.len(), "changed since the last full check: checking it now");
        let mut found = Ok(());
        Checker::quiet(&self.root, Durability::Relaxed).run(&doubtful, &mut |number, verdict| {
            let Some(subject) = doubtful.get(number) else { return };
            let answer = verdict.and_then(|verdict| self.judge(record, subject, &verdict));
            if found.is_ok() {
                found = answer;
            }
        });
        found?;
        self.note_checked_views(record);
        Ok(())
    }

    /// Those files of the record's view that are not known to be as they were when they were checked last.
    pub(super) fn doubtful_views(&self, record: &Record) -> Result<Vec<Subject>> {
        let Some(digest) = record.entry.digest else { return Ok(Vec::new()) };
        let files = self.files_of(record.kind, digest, record.size_bytes)?;
        let at = self.relative(&record.entry.local_path);
        if self.is_listed(record, &files, at)? {
            return Ok(Vec::new());
        }
        ready_for_rayon();
        let doubtful = views(record, &files, at).into_par_iter().map(|(file, path)| {
            let is_known = match self.root.meta(&path)? {
                Some(shown) => self.is_as_checked(file, &shown),
                None => false,
            };
            // A view that is the blob itself is checked as the blob, so that its stamp is recorded.
            let size_bytes = Some(file.size_bytes);
            Ok(match is_known {
                true => None,
                false if view::is_hardlink_of(&self.root, &file.digest, &path)? => {
                    Some(Subject::blob(&file.digest, size_bytes))
                }
                false => Some(Subject { path, digest: file.digest, size_bytes }),
            })
        });
        Ok(doubtful.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn is_as_checked(&self, file: &TreeFile, shown: &Meta) -> bool {
        outboard::read(&self.root, &file.digest).is_some_and(|outboard| outboard.fits(shown))
    }

    /// Whether a view that is made of copies is as it was when it was made or checked last.
    pub(super) fn is_listed(&self, record: &Record, files: &[TreeFile], at: &Path) -> Result<bool> {
        let (Some(view), Some(fingerprint)) = (record.view, &record.view_fingerprint) else { return Ok(false) };
        Ok(view::fingerprint_of(&self.root, files, at, view)?.as_ref() == Some(fingerprint))
    }

    fn judge(&self, record: &Record, subject: &Subject, verdict: &Verdict) -> Result<()> {
        let id = || record.entry.id.clone();
        match verdict {
            Verdict::Good => Ok(()),
            Verdict::Missing => Err(Error::NotStaged { id: id(), path: self.root.absolute(&subject.path) }),
            Verdict::Bad { file, .. } => {
                self.take_bad_out_of_service(&record.entry.id, subject, file);
                Err(self.damaged(record))
            }
        }
    }

    pub(super) fn damaged(&self, record: &Record) -> Error {
        Error::Damaged { id: record.entry.id.clone(), path: record.entry.local_path.clone() }
    }

    /// Of a view that is no hardlink, what was just checked: so that it need not be checked again. Best effort.
    pub(super) fn note_checked_views(&self, record: &Record) {
        let noted = self.try_note_checked_views(record);
        if let Err(error) = noted {
            tracing::debug!(id = %record.entry.id, %error, "that the view was checked is not recorded");
        }
    }

    fn try_note_checked_views(&self, record: &Record) -> Result<()> {
        let Some(digest) = record.entry.digest else { return Ok(()) };
        let files = self.files_of(record.kind, digest, record.size_bytes)?;
        let at = self.relative(&record.entry.local_path);
        let mut mode = LinkMode::Hardlink;
        for (file, path) in views(record, &files, at) {
            if !view::is_hardlink_of(&self.root, &file.digest, &path)? {
                mode = record.view.unwrap_or(LinkMode::Copy).max(LinkMode::Reflink);
            }
        }
        // A root that was copied file by file has copies where hardlinks were.
        let mode =
            if record.view == Some(LinkMode::Hardlink) && mode != LinkMode::Hardlink { LinkMode::Copy } else { mode };
        let fingerprint = view::fingerprint_of(&self.root, &files, at, mode)?;
        if record.view_fingerprint == fingerprint {
            return Ok(());
        }
        self.edit(&[&record.entry.id], &mut |_, old| {
            let Some(mut now) = old.filter(|now| now.digest == record.entry.digest) else { return Ok(Change::Keep) };
            now.view = Some(mode);
            now.view_fingerprint = fingerprint.clone();
            Ok(Change::Put(Box::new(now)))
        })
    }
}
