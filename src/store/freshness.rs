//! Whether what is given out is what was checked: by stamps, which takes no reading, and in full where they do not fit.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{Store, Taken};
use crate::blob::manifest::TreeFile;
use crate::blob::{self, Checker, Subject, Verdict, outboard};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, LinkMode, Record};
use crate::error::{Error, Result};
use crate::fs::{Durability, Kind, Meta};
use crate::index::Change;
use crate::layout::{self, Place};
use crate::observer::Event;
use crate::threads::ready_for_rayon;
use crate::view::{self, View};

/// Whether content is looked at before it is given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// One `stat` a file tells whether it is as it was at its last full check; what is not is checked in full first.
    #[default]
    IfChanged,
    /// Not at all: what is given out may be damaged. What is known to be damaged is not given out all the same.
    Never,
}

impl Store {
    /// Makes sure that an engine can open what the record promises: it is there, and it is what was staged.
    pub(crate) fn ensure_usable(&self, record: &Record) -> Result<()> {
        // First, since the path of what is damaged is gone.
        self.ensure_intact(record)?;
        if is_there(record)? {
            return Ok(());
        }
        Err(Error::NotStaged { id: record.entry.id.clone(), path: record.entry.local_path.clone() })
    }

    /// Makes sure that what an engine is about to open is what was staged, as far as the handle's [`Check`] asks for it.
    fn ensure_intact(&self, record: &Record) -> Result<()> {
        if record.kind == ArtifactKind::Registered {
            return Ok(());
        }
        if record.damaged_ms.is_some() {
            return Err(damaged(record));
        }
        if self.settings.check == Check::Never {
            return Ok(());
        }
        let mut doubtful = self.doubtful_views(record).map_err(|error| match error {
            // Repairing an entry also repairs the manifest of a tree.
            Error::CorruptBlob { .. } => damaged(record),
            other => other,
        })?;
        if !doubtful.is_empty() && self.is_sealed()? {
            // It would be read in full each time, since no stamp can be written.
            doubtful.retain(|subject| !self.has_its_size(subject));
        }
        if !doubtful.is_empty() {
            self.check_doubtful(record, &doubtful)?;
        }
        match self.extra_file(record)? {
            Some(path) => Err(Error::Occupied { id: record.entry.id.clone(), path: self.root.absolute(&path) }),
            None => Ok(()),
        }
    }

    fn has_its_size(&self, subject: &Subject) -> bool {
        let meta = self.root.meta(&subject.path).ok().flatten();
        meta.is_some_and(|meta| meta.kind == Kind::File && Some(meta.size_bytes) == subject.size_bytes)
    }

    fn check_doubtful(&self, record: &Record, doubtful: &[Subject]) -> Result<()> {
        tracing::info!(id = %record.entry.id, files = doubtful.len(), "changed since the last full check: checking it now");
        let before = self.view_now(record);
        let observer = &*self.observer.0;
        let bytes_total = doubtful.iter().filter_map(|subject| subject.size_bytes).fold(0, u64::saturating_add);
        observer.on(&Event::Started { what: &record.entry.id, bytes_total });
        let advanced = |bytes| observer.on(&Event::Advanced { bytes });
        let checker = Checker { advanced: &advanced, ..Checker::quiet(&self.root, Durability::Relaxed) };
        let checked = checker.all(doubtful);
        observer.on(&Event::Finished);
        for (subject, verdict) in checked? {
            self.judge(record, subject, &verdict)?;
        }
        self.note_checked_views(record, before);
        Ok(())
    }

    /// Whether everything that a record promises is here and was not changed since it was checked: no bytes are read.
    pub(crate) fn is_intact(&self, record: &Record) -> Result<bool> {
        let (Some(digest), Some(view), None) = (record.entry.digest, record.view, record.damaged_ms) else {
            return Ok(false);
        };
        let Ok(at) = record.entry.local_path.strip_prefix(self.path()) else { return Ok(false) };
        if !blob::is_good_by_stamp(&self.root, &digest, Durability::Relaxed, &record.owners)? {
            return Ok(false);
        }
        let files = match self.files_of(record.kind, digest, record.size_bytes) {
            Ok(files) => files,
            // Evicted just now.
            Err(_) if self.root.meta(&layout::blob(&digest))?.is_none() => return Ok(false),
            Err(error) => return Err(error),
        };
        // Each blob too where views are copies: another entry may show it.
        let blobs = files.iter().map(|file| &file.digest);
        if view != LinkMode::Hardlink {
            return Ok(self.is_listed(record, &files, at)? && self.are_good_by_stamp(blobs, &record.owners)?);
        }
        for file in &files {
            if !view::is_hardlink_of(&self.root, &file.digest, &file.below(at))? {
                return Ok(false);
            }
        }
        self.are_good_by_stamp(blobs, &record.owners)
    }

    /// Whether these blobs are here, and were not changed since they were checked. `owners` are those that the record names.
    pub(crate) fn are_good_by_stamp<'d>(
        &self,
        digests: impl IntoIterator<Item = &'d Digest>,
        owners: &BTreeSet<u32>,
    ) -> Result<bool> {
        for digest in digests {
            if !blob::is_good_by_stamp(&self.root, digest, Durability::Relaxed, owners)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A file in the folders of a tree's view that no file of it has: an engine that reads the folder reads it too.
    pub(crate) fn extra_file(&self, record: &Record) -> Result<Option<PathBuf>> {
        let (ArtifactKind::Tree, Some(digest)) = (record.kind, record.entry.digest) else { return Ok(None) };
        let at = self.relative(&record.entry.local_path);
        // In a folder of the user's own, anything may be.
        if layout::place(at) != Place::Views {
            return Ok(None);
        }
        let files = self.files_of(record.kind, digest, record.size_bytes)?;
        Ok(view::extras(&self.root, &files, at)?.into_iter().map(|(path, _)| path).next())
    }

    /// Those files of the record's view that are not known to be as they were when they were checked last.
    pub(crate) fn doubtful_views(&self, record: &Record) -> Result<Vec<Subject>> {
        let Some(digest) = record.entry.digest else { return Ok(Vec::new()) };
        let files = self.files_of(record.kind, digest, record.size_bytes)?;
        let at = self.relative(&record.entry.local_path);
        if self.is_listed(record, &files, at)? {
            return Ok(Vec::new());
        }
        ready_for_rayon();
        let doubtful = shown_files(record, &files, at).into_par_iter().map(|(file, path)| {
            let is_known = match self.root.meta(&path)? {
                Some(shown) => self.is_as_checked(record, file, &shown),
                None => false,
            };
            // A view that is the blob itself is checked as the blob, so that its stamp is recorded.
            let size_bytes = Some(file.size_bytes);
            Ok(match is_known {
                true => None,
                false if view::is_hardlink_of(&self.root, &file.digest, &path)? => {
                    Some(Subject::blob(&file.digest, size_bytes).owned_by(&record.owners))
                }
                false => Some(Subject { path, ..Subject::blob(&file.digest, size_bytes).owned_by(&record.owners) }),
            })
        });
        Ok(doubtful.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn is_as_checked(&self, record: &Record, file: &TreeFile, shown: &Meta) -> bool {
        outboard::read(&self.root, &file.digest)
            .is_some_and(|outboard| outboard.fits(&self.root, shown, &record.owners))
    }

    /// Whether a view that is made of copies is as it was when it was made or checked last.
    pub(crate) fn is_listed(&self, record: &Record, files: &[TreeFile], at: &Path) -> Result<bool> {
        let (Some(view), Some(listing)) = (record.view, &record.view_fingerprint) else { return Ok(false) };
        let is_trusted = |file: &Meta| self.root.trusts(file.owner, &record.owners);
        Ok(view::fingerprint_if(&self.root, files, at, view, &is_trusted)?.as_ref() == Some(listing))
    }

    fn judge(&self, record: &Record, subject: &Subject, verdict: &Verdict) -> Result<()> {
        let id = || record.entry.id.clone();
        let path = || self.root.absolute(&subject.path);
        match verdict {
            Verdict::Good => Ok(()),
            Verdict::Missing => Err(Error::NotStaged { id: id(), path: path() }),
            Verdict::Bad { file, .. } => match self.take_bad_out_of_service(&record.entry.id, subject, file) {
                Taken::Occupied => Err(Error::Occupied { id: id(), path: path() }),
                Taken::Quarantined | Taken::Left => Err(damaged(record)),
            },
        }
    }

    /// A record's view as it is now; `None` if that cannot be told.
    pub(crate) fn view_now(&self, record: &Record) -> Option<View> {
        let told = self.try_view_now(record);
        told.inspect_err(|error| tracing::debug!(id = %record.entry.id, %error, "the view cannot be looked at")).ok()?
    }

    fn try_view_now(&self, record: &Record) -> Result<Option<View>> {
        let Some(digest) = record.entry.digest else { return Ok(None) };
        let files = self.files_of(record.kind, digest, record.size_bytes)?;
        let at = self.relative(&record.entry.local_path);
        let mut mode = LinkMode::Hardlink;
        for (file, path) in shown_files(record, &files, at) {
            if !view::is_hardlink_of(&self.root, &file.digest, &path)? {
                // A root that was copied file by file has copies where hardlinks were.
                mode = record.view.filter(|view| *view != LinkMode::Hardlink).unwrap_or(LinkMode::Copy);
            }
        }
        let fingerprint = view::fingerprint_of(&self.root, &files, at, mode)?;
        Ok(Some(View { mode, fingerprint }))
    }

    /// Notes how a view is that was just checked in full, so that it need not be checked again: as it was `before` that, if
    /// it still is so. Best effort.
    pub(crate) fn note_checked_views(&self, record: &Record, before: Option<View>) {
        let Some(View { mode, fingerprint }) = before else { return };
        let is_known = record.view_fingerprint == fingerprint;
        if is_known || self.view_now(record).is_none_or(|now| (now.mode, &now.fingerprint) != (mode, &fingerprint)) {
            return;
        }
        let noted = self.edit(&[&record.entry.id], &mut |_, old| {
            let Some(mut now) = old.filter(|now| now.digest == record.entry.digest) else { return Ok(Change::Keep) };
            now.view = Some(mode);
            now.view_fingerprint.clone_from(&fingerprint);
            Ok(Change::Put(Box::new(now)))
        });
        if let Err(error) = noted {
            tracing::debug!(id = %record.entry.id, %error, "that the view was checked is not recorded");
        }
    }
}

pub(crate) fn damaged(record: &Record) -> Error {
    Error::Damaged { id: record.entry.id.clone(), path: record.entry.local_path.clone() }
}

/// What an engine opens of an artifact, file by file; the manifest of a tree is shown nowhere.
pub(crate) fn shown_files<'f>(record: &Record, files: &'f [TreeFile], at: &Path) -> Vec<(&'f TreeFile, PathBuf)> {
    let is_shown = record.kind != ArtifactKind::Registered && layout::place(at) != Place::Own;
    files.iter().filter(|_| is_shown).map(|file| (file, file.below(at))).collect()
}

/// Whether what the record promises is at its path: a file of its size, or a folder.
pub(crate) fn is_there(record: &Record) -> Result<bool> {
    let path = &record.entry.local_path;
    match std::fs::metadata(path) {
        Ok(meta) => Ok(match record.kind {
            ArtifactKind::File => meta.is_file() && meta.len() == record.size_bytes,
            ArtifactKind::Tree => meta.is_dir(),
            ArtifactKind::Registered => true,
        }),
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(Error::io("look at", path, e)),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model_ref::ModelRef;
    use crate::{FsCatalog, StageOptions};

    // Red when what is noted is how the view is after the check: bytes that came meanwhile would count as checked.
    #[test]
    fn what_was_written_while_a_view_was_checked_does_not_count_as_checked() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = FsCatalog::new(dir.path().join("root")).unwrap().with_durability(Durability::Relaxed);
        let file = dir.path().join("m.gguf");
        std::fs::write(&file, "model").unwrap();
        let options = StageOptions::default().with_id(Some("m".into()));
        let path = catalog.stage(&ModelRef::File { path: file.clone() }, &options).unwrap().local_path;
        let store = catalog.store();
        for is_changed in [true, false] {
            // As a root that was copied file by file has it.
            std::fs::remove_file(&path).unwrap();
            std::fs::copy(&file, &path).unwrap();
            let record = catalog.record("m").unwrap().unwrap();
            let before = store.view_now(&record);
            if is_changed {
                std::fs::remove_file(&path).unwrap();
                std::fs::write(&path, "MODEL").unwrap();
            }
            store.note_checked_views(&record, before);
            let noted = catalog.record("m").unwrap().unwrap();
            assert_eq!(noted.view_fingerprint.is_some(), !is_changed, "{noted:?}");
        }
    }
}
