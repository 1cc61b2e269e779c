//! Checks that content that is handed out is what was checked before: by stamps, which needs no reading, and in full if
//! they do not match.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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
use crate::sum::SumBytes;
use crate::threads::map_all;
use crate::view::{self, View};

/// Whether content is checked before it is handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// One `stat` per file shows whether it has changed since its last full check; a changed file is checked in full
    /// first.
    #[default]
    IfChanged,
    /// Nothing is checked: content that is handed out may be damaged. Content that is known to be damaged is still not
    /// handed out.
    Never,
}

impl Store {
    /// Makes sure that an engine can and may open what the record promises: it exists, is what was staged, and is signed
    /// as the rules ask for its id.
    pub(crate) fn ensure_usable(&self, record: &Record) -> Result<()> {
        self.ensure_signed(record)?;
        self.ensure_here(record)
    }

    /// Makes sure that who must have signed an entry has done so, as far as it is recorded.
    pub(crate) fn ensure_signed(&self, record: &Record) -> Result<()> {
        // Nobody has looked at what is only registered.
        let digest = record.entry.digest.filter(|_| record.kind != ArtifactKind::Registered);
        self.signature_policy()?.check(&record.entry.id, digest, &record.attested)
    }

    /// Makes sure that what the record promises exists, and is what was staged.
    pub(crate) fn ensure_here(&self, record: &Record) -> Result<()> {
        // Check this first, because the path of a damaged artifact is gone.
        self.ensure_intact(record)?;
        if is_there(record)? {
            return Ok(());
        }
        Err(Error::NotStaged { id: record.entry.id.clone(), path: record.entry.local_path.clone() })
    }

    /// Makes sure that the content is what was staged, as far as the handle's [`Check`] asks for it.
    fn ensure_intact(&self, record: &Record) -> Result<()> {
        let (Some(digest), false) = (record.entry.digest, record.kind == ArtifactKind::Registered) else {
            return Ok(());
        };
        if record.damaged_ms.is_some() {
            return Err(damaged(record));
        }
        if self.settings.check == Check::Never {
            return Ok(());
        }
        let files = self.files_of(record.kind, digest, record.size_bytes).map_err(|error| match error {
            // Repairing an entry also repairs the manifest of a tree.
            Error::CorruptBlob { .. } => damaged(record),
            other => other,
        })?;
        if !self.files_to_check(record, &files)?.is_empty() {
            self.check_changed(record, &files)?;
        }
        match self.extra_file(record, &files)? {
            Some(path) => Err(Error::Occupied { id: record.entry.id.clone(), path: self.root.absolute(&path) }),
            None => Ok(()),
        }
    }

    /// The files of the view that must be read before it is handed out.
    fn files_to_check(&self, record: &Record, files: &[TreeFile]) -> Result<Vec<Subject>> {
        let mut doubtful = self.doubtful_views(record, files)?;
        if !doubtful.is_empty() && self.is_sealed()? {
            // They would be read in full each time, because no stamp can be written.
            doubtful.retain(|subject| !self.has_its_size(subject));
        }
        Ok(doubtful)
    }

    fn has_its_size(&self, subject: &Subject) -> bool {
        let meta = self.root.meta(&subject.path).ok().flatten();
        meta.is_some_and(|meta| meta.kind == Kind::File && Some(meta.size_bytes) == subject.size_bytes)
    }

    /// Reads the files that may have changed since their last check. It looks at the whole view first, and only then
    /// decides which files to read: a file that changes after that no longer matches the view, and one that changed
    /// before is read.
    fn check_changed(&self, record: &Record, files: &[TreeFile]) -> Result<()> {
        let before = self.view_now(record, files);
        let doubtful = self.files_to_check(record, files)?;
        tracing::info!(id = %record.entry.id, files = doubtful.len(), "checking the entry: it may have changed");
        let observer = &*self.observer.0;
        let bytes_total = doubtful.iter().filter_map(|subject| subject.size_bytes).sum_bytes();
        observer.on(&Event::Started { what: &record.entry.id, bytes_total });
        let advanced = |bytes| observer.on(&Event::Advanced { bytes });
        let checker = Checker { advanced: &advanced, ..Checker::quiet(&self.root, Durability::Relaxed) };
        let checked = checker.all(&doubtful);
        observer.on(&Event::Finished);
        for (subject, verdict) in checked? {
            self.judge(record, subject, &verdict)?;
        }
        self.note_checked_views(record, files, before);
        Ok(())
    }

    /// Whether everything that a record promises is here and unchanged since its check. It reads no content.
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
            // It has just been evicted.
            Err(_) if self.root.meta(&layout::blob(&digest))?.is_none() => return Ok(false),
            Err(error) => return Err(error),
        };
        // Check the blobs too if the view consists of copies: another entry may show them.
        let blobs = files.iter().map(|file| &file.digest);
        if !view.is_the_blob() {
            return Ok(self.is_listed(record, &files, at)? && self.are_good_by_stamp(blobs, &record.owners)?);
        }
        for file in &files {
            if !view::shows_blob(&self.root, &file.digest, &file.below(at))? {
                return Ok(false);
            }
        }
        self.are_good_by_stamp(blobs, &record.owners)
    }

    /// Whether these blobs are here and unchanged since their check. `owners` are the users that the record names.
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

    /// A file in the folders of a tree's view that does not belong to the tree: an engine that reads the whole folder
    /// would read it too.
    pub(crate) fn extra_file(&self, record: &Record, files: &[TreeFile]) -> Result<Option<PathBuf>> {
        let at = self.relative(&record.entry.local_path);
        // A folder of the user's own may contain anything.
        if record.kind != ArtifactKind::Tree || layout::place(at) != Place::Views {
            return Ok(None);
        }
        Ok(view::extras(&self.root, files, at)?.into_iter().map(|(path, _)| path).next())
    }

    /// The files of the record's view that may have changed since their last check.
    pub(crate) fn doubtful_views(&self, record: &Record, files: &[TreeFile]) -> Result<Vec<Subject>> {
        let at = self.relative(&record.entry.local_path);
        if self.is_listed(record, files, at)? {
            return Ok(Vec::new());
        }
        let doubtful = map_all(shown_files(record, files, at), |(file, path)| -> Result<Option<Subject>> {
            let is_known = match view::opened(&self.root, &file.digest, &path)? {
                Some(shown) => self.is_as_checked(record, file, &shown),
                None => false,
            };
            // A view that is the blob itself is checked as the blob, so that its stamp is recorded.
            let size_bytes = Some(file.size_bytes);
            Ok(match is_known {
                true => None,
                false if view::shows_blob(&self.root, &file.digest, &path)? => {
                    Some(Subject::blob(&file.digest, size_bytes).owned_by(&record.owners))
                }
                false => Some(Subject { path, ..Subject::blob(&file.digest, size_bytes).owned_by(&record.owners) }),
            })
        });
        Ok(doubtful.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn is_as_checked(&self, record: &Record, file: &TreeFile, shown: &Meta) -> bool {
        outboard::read(&self.root, &file.digest)
            .is_some_and(|outboard| outboard.fits(&self.root, shown, &record.owners))
    }

    /// Whether a view of copies is unchanged since it was last made or checked.
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

    /// A record's view as it is now; `None` if it cannot be examined.
    pub(crate) fn view_now(&self, record: &Record, files: &[TreeFile]) -> Option<View> {
        let told = self.try_view_now(record, files);
        told.inspect_err(|error| tracing::debug!(id = %record.entry.id, %error, "could not look at the view")).ok()
    }

    fn try_view_now(&self, record: &Record, files: &[TreeFile]) -> Result<View> {
        let at = self.relative(&record.entry.local_path);
        let mut mode = record.view.filter(|view| view.is_the_blob()).unwrap_or(LinkMode::Hardlink);
        if view::each_shows_blob(&self.root, &shown_files(record, files, at))?.contains(&false) {
            // If the root was copied file by file, its hardlinks have become copies.
            mode = record.view.filter(|view| !view.is_the_blob()).unwrap_or(LinkMode::Copy);
        }
        let fingerprint = view::fingerprint_of(&self.root, files, at, mode)?;
        Ok(View { mode, fingerprint })
    }

    /// Records the state of a view that was just checked in full, so that it need not be checked again: its state
    /// `before` the check, if that is still the same. Best effort.
    pub(crate) fn note_checked_views(&self, record: &Record, files: &[TreeFile], before: Option<View>) {
        let Some(View { mode, fingerprint }) = before else { return };
        let is_known = record.view_fingerprint == fingerprint;
        if is_known
            || self.view_now(record, files).is_none_or(|now| (now.mode, &now.fingerprint) != (mode, &fingerprint))
        {
            return;
        }
        let noted = self.edit(&[&record.entry.id], &mut |_, old| {
            let Some(mut now) = old.filter(|now| now.digest == record.entry.digest) else { return Ok(Change::Keep) };
            now.view = Some(mode);
            now.view_fingerprint.clone_from(&fingerprint);
            Ok(Change::Put(Box::new(now)))
        });
        if let Err(error) = noted {
            tracing::debug!(id = %record.entry.id, %error, "could not record that the view was checked");
        }
    }
}

pub(crate) fn damaged(record: &Record) -> Error {
    Error::Damaged { id: record.entry.id.clone(), path: record.entry.local_path.clone() }
}

/// The files of an artifact that an engine opens, with their paths. The manifest of a tree is not one of them.
pub(crate) fn shown_files<'f>(record: &Record, files: &'f [TreeFile], at: &Path) -> Vec<(&'f TreeFile, PathBuf)> {
    let is_shown = record.kind != ArtifactKind::Registered && layout::place(at) != Place::Own;
    files.iter().filter(|_| is_shown).map(|file| (file, file.below(at))).collect()
}

/// Whether what the record promises exists at its path: a file of its size, or a folder.
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
#[allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::model_ref::ModelRef;
    use crate::{FsCatalog, StageOptions};

    fn staged(dir: &Path, source: &Path) -> (FsCatalog, PathBuf) {
        let catalog = FsCatalog::new(dir.join("root")).unwrap().with_durability(Durability::Relaxed);
        let options = StageOptions::default().with_id(Some("m".into()));
        let path = catalog.stage(&ModelRef::File { path: source.to_path_buf() }, &options).unwrap().local_path;
        (catalog, path)
    }

    /// Replaces a hardlink with a copy, as copying a root file by file does.
    fn make_a_copy(of: &Path, at: &Path) {
        std::fs::remove_file(at).unwrap();
        std::fs::copy(of, at).unwrap();
    }

    // Red when the state after the check is recorded: bytes written during the check would count as checked.
    #[test]
    fn what_was_written_while_a_view_was_checked_does_not_count_as_checked() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("m.gguf");
        std::fs::write(&file, "model").unwrap();
        let (catalog, path) = staged(dir.path(), &file);
        let store = catalog.store();
        for is_changed in [true, false] {
            make_a_copy(&file, &path);
            let record = catalog.record("m").unwrap().unwrap();
            let files = store.files_of(record.kind, record.entry.digest.unwrap(), record.size_bytes).unwrap();
            let before = store.view_now(&record, &files);
            if is_changed {
                std::fs::remove_file(&path).unwrap();
                std::fs::write(&path, "MODEL").unwrap();
            }
            store.note_checked_views(&record, &files, before);
            let noted = catalog.record("m").unwrap().unwrap();
            assert_eq!(noted.view_fingerprint.is_some(), !is_changed, "{noted:?}");
        }
    }

    /// One file of a tree is a copy, so it is read. Another file is changed between the look that found the copy and
    /// the check itself.
    // Red when only the files found by that look are read: the other file is part of the view that is then recorded as
    // checked.
    #[test]
    fn what_was_written_before_a_view_was_checked_is_read_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        for name in ["a", "b"] {
            std::fs::write(tree.join(name), name).unwrap();
        }
        let (catalog, path) = staged(dir.path(), &tree);
        let store = catalog.store();
        make_a_copy(&tree.join("a"), &path.join("a"));
        let record = catalog.record("m").unwrap().unwrap();
        let files = store.files_of(record.kind, record.entry.digest.unwrap(), record.size_bytes).unwrap();
        assert_eq!(store.files_to_check(&record, &files).unwrap().len(), 1);
        std::fs::remove_file(path.join("b")).unwrap();
        std::fs::write(path.join("b"), "B").unwrap();
        assert!(store.check_changed(&record, &files).unwrap_err().is_corrupt());
        assert_eq!(catalog.record("m").unwrap().unwrap().view_fingerprint, None);
    }
}
