//! What to read, and for which entries.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use super::BadFile;
use super::recorder::Recorder;
use crate::blob::manifest::TreeFile;
use crate::blob::{Subject, Verdict};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Record};
use crate::error::{Error, Result};
use crate::store::{Store, Taken, shown_files};
use crate::view::View;
use crate::{layout, view};

/// A file to check for an entry.
pub(super) struct Part {
    /// The index of the subject.
    number: usize,
    /// Path in the tree.
    path: String,
    /// Whether it is a needed document and not part of the content.
    is_needed: bool,
}

/// An entry that is being checked.
pub(super) struct Pending {
    pub(super) record: Record,
    pub(super) files: Vec<TreeFile>,
    pub(super) parts: Vec<Part>,
    pub(super) left: usize,
    pub(super) bad: Vec<BadFile>,
    /// What is wrong with its paths, for humans. Its content in the store may still be intact.
    pub(super) elsewhere: Vec<String>,
    /// Why its list of files is unknown.
    pub(super) unknown_files: Option<String>,
    pub(super) error: Option<Error>,
    pub(super) bytes_read: u64,
    /// The state of its view before deciding which files of the view to read.
    pub(super) view: Option<View>,
    /// The earliest check time among the files skipped because they were checked recently.
    pub(super) left_out_ms: Option<u64>,
}

/// What to read, and for which entries.
pub(super) struct Work {
    pub(super) subjects: Vec<Subject>,
    pub(super) numbers: BTreeMap<PathBuf, usize>,
    /// For each subject, the indices of the entries that need it.
    pub(super) users: Vec<Vec<usize>>,
    pub(super) pending: Vec<Pending>,
}

impl Work {
    pub(super) fn number_of(&mut self, subject: Subject) -> usize {
        let next = self.subjects.len();
        let number = *self.numbers.entry(subject.path.clone()).or_insert(next);
        if number == next {
            self.subjects.push(subject);
            self.users.push(Vec::new());
        } else if let Some(known) = self.subjects.get_mut(number) {
            // If a check serves several entries, it trusts only owners that all of them name.
            known.owners.retain(|owner| subject.owners.contains(owner));
        }
        number
    }

    /// Reports the result for a file to every entry that needs it.
    pub(super) fn settle(
        &mut self,
        store: &Store,
        number: usize,
        subject: &Subject,
        found: Result<Found>,
        recorder: &mut Recorder<'_>,
    ) {
        let mut taken = None;
        for entry in self.users.get(number).cloned().unwrap_or_default() {
            let Some(pending) = self.pending.get_mut(entry) else { continue };
            pending.left = pending.left.saturating_sub(1);
            match &found {
                Ok(Found::Lately { checked_ms }) => {
                    pending.left_out_ms = Some(pending.left_out_ms.map_or(*checked_ms, |other| other.min(*checked_ms)));
                }
                Ok(Found::Now { verdict, bytes_read }) => {
                    pending.bytes_read = pending.bytes_read.saturating_add(*bytes_read);
                    if let Some(ranges) = bad_ranges(subject, verdict) {
                        let taken = *taken.get_or_insert_with(|| take_bad(store, &pending.record, subject, verdict));
                        if subject.path.starts_with(layout::QUARANTINE) {
                            mark(store, &pending.record);
                        }
                        let is_view = !subject.is_blob() && !subject.path.starts_with(layout::QUARANTINE);
                        let path = store.root.absolute(&subject.path);
                        if taken == Taken::Occupied {
                            pending.elsewhere.push(format!("{} is another file", path.display()));
                        } else if is_view && matches!(verdict, Verdict::Missing) {
                            pending.elsewhere.push(format!("{} is missing", path.display()));
                        } else {
                            let quarantined = taken == Taken::Quarantined;
                            // A tree may have the same bytes under several names.
                            for part in pending.parts.iter().filter(|part| part.number == number) {
                                let (path, ranges, is_needed) = (part.path.clone(), ranges.clone(), part.is_needed);
                                let digest = subject.digest;
                                pending.bad.push(BadFile { path, is_needed, digest, ranges, quarantined });
                            }
                        }
                    }
                }
                Err(error) => drop(pending.error.get_or_insert_with(|| error.clone())),
            }
            if pending.left == 0 {
                recorder.take(pending);
            }
        }
    }

    /// Lists the files to read for an entry.
    pub(super) fn enqueue(&mut self, store: &Store, record: Record) -> Result<()> {
        let Some(digest) = record.entry.digest else { return Ok(()) };
        let mut parts = Vec::new();
        let part = |number, path: &str| Part { number, path: path.to_owned(), is_needed: false };
        let manifest = (record.kind == ArtifactKind::Tree).then(|| present(store, &digest, None, &record.owners));
        // A tree with a damaged or invalid manifest has no other known files.
        let mut unknown_files = None;
        let files = match store.files_of(record.kind, digest, record.size_bytes) {
            Ok(files) => files,
            Err(error) if error.is_corrupt() && manifest.is_some() => {
                unknown_files = Some(error.to_string());
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        if let Some(subject) = manifest {
            parts.push(part(self.number_of(subject?), ""));
        }
        // Take the view's state before checking which paths are hardlinks: a path that is replaced afterwards is not
        // read.
        let view = store.view_now(&record, &files);
        let at = store.relative(&record.entry.local_path);
        let shown = shown_files(&record, &files, at);
        let links = view::each_shows_blob(&store.root, &shown)?;
        for ((file, path), is_link) in shown.into_iter().zip(links) {
            let blob = present(store, &file.digest, Some(file.size_bytes), &record.owners)?;
            parts.push(part(self.number_of(blob), &file.path));
            // The view of a known damaged blob was removed.
            let is_gone = record.damaged_ms.is_some() && store.root.meta(&path)?.is_none();
            if !is_link && !is_gone {
                let shown =
                    Subject { path, ..Subject::blob(&file.digest, Some(file.size_bytes)).owned_by(&record.owners) };
                parts.push(part(self.number_of(shown), &file.path));
            }
        }
        for needed in &record.needs {
            let number = self.number_of(present(store, needed, None, &record.owners)?);
            parts.push(Part { number, path: String::new(), is_needed: true });
        }
        let entry = self.pending.len();
        let numbers: BTreeSet<usize> = parts.iter().map(|part| part.number).collect();
        for number in &numbers {
            if let Some(users) = self.users.get_mut(*number) {
                users.push(entry);
            }
        }
        let (left, bad) = (numbers.len(), Vec::new());
        let extra = store.extra_file(&record, &files).ok().flatten().map(|path| store.root.absolute(&path));
        let elsewhere = extra.map(|path| format!("{} is an extra file", path.display())).into_iter().collect();
        let (error, bytes_read, left_out_ms) = (None, 0, None);
        self.pending.push(Pending {
            record,
            files,
            parts,
            left,
            bad,
            elsewhere,
            unknown_files,
            error,
            bytes_read,
            view,
            left_out_ms,
        });
        Ok(())
    }

    /// Reports entries that have nothing to read.
    pub(super) fn report_empty(&mut self, recorder: &mut Recorder<'_>) {
        for pending in self.pending.iter_mut().filter(|pending| pending.parts.is_empty()) {
            recorder.take(pending);
        }
    }
}

/// The result for a file.
pub(super) enum Found {
    /// It was checked now.
    Now { verdict: Verdict, bytes_read: u64 },
    /// It was checked recently, and has not changed since.
    Lately { checked_ms: u64 },
}

/// The damaged ranges of a file; `None` if there are none.
fn bad_ranges(subject: &Subject, verdict: &Verdict) -> Option<Vec<Range<u64>>> {
    match verdict {
        // It is good, but not where it should be.
        Verdict::Good if subject.path.starts_with(layout::QUARANTINE) => Some(Vec::new()),
        Verdict::Good => None,
        Verdict::Missing => Some(vec![0..subject.size_bytes.unwrap_or(0).max(1)]),
        Verdict::Bad { ranges, .. } => Some(ranges.clone()),
    }
}

/// Returns the blob, or what is left of it in quarantine, which shows again where it is damaged.
fn present(store: &Store, digest: &Digest, size_bytes: Option<u64>, owners: &BTreeSet<u32>) -> Result<Subject> {
    let blob = Subject::blob(digest, size_bytes).owned_by(owners);
    if store.root.meta(&blob.path)?.is_some() {
        return Ok(blob);
    }
    let quarantined = store.quarantined(digest)?.into_iter().next();
    Ok(match quarantined {
        Some(path) => Subject { path, ..blob },
        None => blob,
    })
}

/// Takes a blob that was found bad out of service at once.
fn take_bad(store: &Store, record: &Record, subject: &Subject, verdict: &Verdict) -> Taken {
    if subject.path.starts_with(layout::QUARANTINE) {
        return Taken::Quarantined;
    }
    let Verdict::Bad { file, .. } = verdict else { return Taken::Left };
    store.take_bad_out_of_service(&record.entry.id, subject, file)
}

/// Marks an entry whose blob is in quarantine: the process that moved the blob may have died before it could set the
/// mark, or had no room for it.
fn mark(store: &Store, record: &Record) {
    if record.damaged_ms.is_none()
        && let Err(error) = store.mark_unmarked(&record.entry.id)
    {
        tracing::warn!(id = %record.entry.id, %error, "could not record that the entry is damaged");
    }
}
