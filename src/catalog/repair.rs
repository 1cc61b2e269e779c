//! `repair`: damaged content made whole from a good source, and shown again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::FsCatalog;
use super::damage::views;
use crate::blob::manifest::TreeFile;
use crate::blob::{
    self, Checker, LocalSource, Mend, Mended, Published, RepairSource, Sealed, Subject, Touched, Verdict,
};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, LinkMode, Record};
use crate::error::{Error, Result};
use crate::fs::{Durability, Session, now_ms};
use crate::index::Change;
use crate::observer::{Event, Observer};
use crate::read_at::ReadAt;
use crate::{layout, view};

/// How content is repaired. Later versions may add fields: build it with `..RepairOptions::default()`.
#[derive(Clone, Default)]
pub struct RepairOptions {
    /// Where good bytes may be had, the first first. After them the store's own views that are copies are tried, and the
    /// path that the entry was staged from.
    pub from: Vec<Arc<dyn RepairSource>>,
    /// Told of the progress.
    pub observer: Option<Arc<dyn Observer>>,
}

impl fmt::Debug for RepairOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepairOptions").field("from", &self.from.len()).finish_non_exhaustive()
    }
}

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// The entry.
    pub id: String,
    /// How many of its files were damaged or missing, and are whole again.
    pub files: u64,
    /// Bytes that were replaced: whole groups of 1 MiB, or whole files where nothing tells their parts apart.
    pub repaired_bytes: u64,
    /// Bytes that were read from the sources.
    pub source_bytes: u64,
    /// Every entry whose path was made anew, this one among them.
    pub shown: Vec<String>,
}

/// Publishing is tried again when blobs had to be synced or checked first, or views to be copied.
const ATTEMPTS: usize = 4;

impl FsCatalog {
    /// Checks the content of an entry in full, mends what is damaged or missing from a good source, and makes its path
    /// anew; so it does for all other entries that needed the same bytes.
    ///
    /// Only damaged groups of 1 MiB are read from a source, the rest is reused; the whole is checked against its name
    /// before it is published. A source that is damaged in the same place is not used there: when there is no other, the
    /// error is [`Error::NoGoodSource`], and all is as it was. What was found damaged stays in `quarantine/`.
    pub fn repair(&self, id: &str, options: &RepairOptions) -> Result<RepairReport> {
        let not_found = || Error::NotFound { id: id.to_owned(), root: self.root().to_path_buf() };
        let record = self.record(id)?.ok_or_else(not_found)?;
        let (Some(digest), ArtifactKind::File | ArtifactKind::Tree) = (record.entry.digest, record.kind) else {
            return Err(Error::NotStaged { id: id.to_owned(), path: record.entry.local_path });
        };
        let span = tracing::debug_span!("repair", id, %digest);
        let _entered = span.enter();
        let observer = options.observer.clone().unwrap_or_else(|| Arc::new(()));
        let mut report = RepairReport { id: id.to_owned(), ..RepairReport::default() };
        observer.on(&Event::Started { what: id, bytes_total: record.size_bytes });
        let done = self.mend_and_show(&record, digest, options, &*observer, &mut report);
        observer.on(&Event::Finished);
        done.map(|()| report)
    }

    fn mend_and_show(
        &self,
        record: &Record,
        digest: Digest,
        options: &RepairOptions,
        observer: &dyn Observer,
        report: &mut RepairReport,
    ) -> Result<()> {
        if record.kind == ArtifactKind::Tree {
            // It says what else there is.
            let manifest = TreeFile { path: String::new(), digest, size_bytes: 0 };
            self.mend(record, &[manifest], options, observer, report)?;
        }
        let files = self.files_of(record.kind, digest, record.size_bytes)?;
        self.mend(record, &files, options, observer, report)?;
        let needed: BTreeSet<Digest> = files.iter().map(|file| file.digest).chain([digest]).collect();
        for other in self.index.all()?.iter().flat_map(|shard| shard.all()) {
            // Of the one that was asked for, all was checked or mended just now, also when no outboard could say so.
            let is_asked_for = other.entry.id == record.entry.id;
            let is_whole_again =
                || Ok(other.damaged_ms.is_some() && self.needs_one_of(other, &needed) && self.has_all(other)?);
            if is_asked_for || is_whole_again()? {
                self.show_again(other)?;
                report.shown.push(other.entry.id.clone());
            }
        }
        Ok(())
    }

    /// Checks the blobs of these files, and makes those whole that are not.
    fn mend(
        &self,
        record: &Record,
        files: &[TreeFile],
        options: &RepairOptions,
        observer: &dyn Observer,
        report: &mut RepairReport,
    ) -> Result<()> {
        let by_digest: BTreeMap<Digest, &TreeFile> = files.iter().map(|file| (file.digest, file)).collect();
        let is_manifest = |file: &TreeFile| record.kind == ArtifactKind::Tree && file.path.is_empty();
        let size_of = |file: &TreeFile| (!is_manifest(file)).then_some(file.size_bytes);
        let subjects: Vec<Subject> =
            by_digest.values().map(|file| Subject::blob(&file.digest, size_of(file))).collect();
        let advanced = |bytes| observer.on(&Event::Advanced { bytes });
        let checker = Checker { advanced: &advanced, ..Checker::quiet(&self.root, self.durability) };
        let (mut lost, mut failed) = (Vec::new(), None);
        checker.run(&subjects, &mut |number, verdict| {
            let Some(subject) = subjects.get(number) else { return };
            let is_lost = verdict.and_then(|verdict| match verdict {
                Verdict::Good => Ok(false),
                Verdict::Missing => Ok(true),
                Verdict::Bad { file, .. } => self.take_out_of_service(&subject.digest, &file).map(|_| true),
            });
            match is_lost {
                Ok(true) => lost.push(subject.digest),
                Ok(false) => {}
                Err(error) => drop(failed.get_or_insert(error)),
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let session = Session::begin(&self.root)?;
        for digest in lost {
            let Some(file) = by_digest.get(&digest) else { continue };
            // As for a stage: what is good is shared where that is possible, and nobody is evicted for it.
            let copied_bytes = if session.can_reflink() { 0 } else { file.size_bytes };
            self.make_room(file.size_bytes, copied_bytes)?;
            let mend = Mend {
                digest,
                remains: self.remains(&digest)?,
                sources: self.sources(record, file, options)?,
                advanced: &advanced,
            };
            let (mut incoming, Mended { repaired_bytes, source_bytes }) = mend.run(&session, self.durability)?;
            self.publish_mended(&mut incoming)?;
            report.files += 1;
            report.repaired_bytes += repaired_bytes;
            report.source_bytes += source_bytes;
        }
        Ok(())
    }

    /// What the store itself has of a blob: what is in quarantine, and views that are copies.
    fn remains(&self, digest: &Digest) -> Result<Vec<std::path::PathBuf>> {
        let mut remains = self.quarantined(digest)?;
        for record in self.index.all()?.iter().flat_map(|shard| shard.all()) {
            let Some(root_digest) = record.entry.digest else { continue };
            // A tree whose manifest is lost itself names nothing.
            let Ok(files) = self.files_of(record.kind, root_digest, record.size_bytes) else { continue };
            let shown = views(record, &files, self.relative(&record.entry.local_path));
            remains.extend(shown.into_iter().filter(|(file, _)| file.digest == *digest).map(|(_, path)| path));
        }
        Ok(remains)
    }

    fn sources(&self, record: &Record, file: &TreeFile, options: &RepairOptions) -> Result<Vec<Box<dyn ReadAt>>> {
        let mut sources = Vec::new();
        for source in &options.from {
            sources.extend(source.open(&file.digest, &file.path)?);
        }
        // It may be gone, or something else by now.
        let recorded = record.source.as_ref().and_then(|source| source.reference.strip_prefix("file:"));
        if let Some(path) = recorded {
            sources.extend(LocalSource::new(path).open(&file.digest, &file.path).ok().flatten());
        }
        Ok(sources)
    }

    fn publish_mended(&self, incoming: &mut Sealed<'_>) -> Result<()> {
        let mut settled = None;
        for _ in 0..ATTEMPTS {
            let store = self.lock_for_commit()?;
            let mut touched = Touched::default();
            let trash = blob::trash(&self.root)?;
            match blob::publish(&self.root, incoming, &trash, self.durability, &mut touched)? {
                Published::New | Published::Existing => {
                    return if self.durability.is_full() { touched.sync(&self.root) } else { Ok(()) };
                }
                Published::Unsynced => {
                    drop(store);
                    incoming.sync()?;
                }
                Published::Doubtful if self.is_as_settled(settled.as_ref(), &incoming.digest())? => {
                    return if self.durability.is_full() { touched.sync(&self.root) } else { Ok(()) };
                }
                Published::Doubtful => {
                    drop(store);
                    settled = self.settle(&incoming.digest())?;
                }
            }
        }
        let path = self.root.absolute(&layout::blob(&incoming.digest()));
        Err(Error::CorruptBlob { path, reason: "it was damaged again each time it was replaced".into() })
    }

    fn needs_one_of(&self, record: &Record, digests: &BTreeSet<Digest>) -> bool {
        self.blobs_of(record).is_ok_and(|blobs| blobs.iter().any(|digest| digests.contains(digest)))
    }

    /// Whether every blob of a record is here and good.
    fn has_all(&self, record: &Record) -> Result<bool> {
        for digest in self.blobs_of(record)? {
            if !blob::is_good_by_stamp(&self.root, &digest, Durability::Relaxed)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the view of a record anew, where it is not what it should be, and takes the mark away.
    pub(super) fn show_again(&self, record: &Record) -> Result<()> {
        let Some(digest) = record.entry.digest else { return Ok(()) };
        let files = self.files_of(record.kind, digest, record.size_bytes)?;
        let at = self.relative(&record.entry.local_path);
        let session = Session::begin(&self.root)?;
        let mut copies = None;
        for _ in 0..ATTEMPTS {
            let store = self.lock_for_commit()?;
            let mut touched = Touched::default();
            let Some(view) = view::show(&self.root, &files, at, &session, copies.as_ref(), &mut touched)? else {
                drop(store);
                copies = Some(view::copy(&self.root, &files, &session, self.durability)?);
                continue;
            };
            let listing = view::listing_of(&self.root, &files, at, view)?;
            if self.durability.is_full() {
                touched.sync(&self.root)?;
            }
            return self.note_shown(record, view, listing);
        }
        Err(Error::NotStaged { id: record.entry.id.clone(), path: record.entry.local_path.clone() })
    }

    /// The store lock is held shared.
    fn note_shown(&self, record: &Record, view: LinkMode, listing: Option<String>) -> Result<()> {
        let ids = [record.entry.id.as_str()];
        self.update_for_sweep(&ids, &mut |_, old| {
            // It may have been given other content since it was read.
            let Some(mut now) = old.filter(|now| now.digest == record.entry.digest) else { return Ok(Change::Keep) };
            let before = now.clone();
            now.view = Some(view);
            now.view_listing = listing.clone();
            now.damaged_ms = None;
            if now != before {
                now.updated_ms = now_ms();
            }
            now.last_verified_ms = Some(now_ms());
            Ok(Change::Put(Box::new(now)))
        })
    }
}
