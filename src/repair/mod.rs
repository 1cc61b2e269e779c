//! `repair`: damaged content made whole from a good source, and shown again.
//!
//! Every blob of the entry is checked in full. What is lost is put together from good parts (`blob/assemble.rs`) and committed
//! as any blob is; then the entry, and every other one that needed the same bytes, is shown again by [`show_again`].

mod show_again;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::blob::manifest::TreeFile;
use crate::blob::{self, Assembled, Assembly, Checker, LocalSource, RepairSource, Subject, Verdict};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Record};
use crate::error::{Error, Result};
use crate::fs::Durability;
use crate::fs::Session;
use crate::gc::make_room;
use crate::json::all_lossy;
use crate::observer::{Event, Observer};
use crate::read_at::ReadAt;
use crate::store::{self, Store, Unit, shown_files};

pub(crate) use show_again::{Again, show_again};

/// How content is repaired.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct RepairOptions {
    /// Sources to read good bytes from, in order of preference. After these, repair tries the store's own copies and the
    /// path that the entry was staged from.
    pub from: Vec<Arc<dyn RepairSource>>,
    /// Told of the progress.
    pub observer: Option<Arc<dyn Observer>>,
}

impl RepairOptions {
    /// Sets [`from`](RepairOptions::from).
    #[must_use]
    pub fn with_from(mut self, from: Vec<Arc<dyn RepairSource>>) -> Self {
        self.from = from;
        self
    }

    /// Sets [`observer`](RepairOptions::observer).
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }
}

impl fmt::Debug for RepairOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepairOptions").field("from", &self.from.len()).finish_non_exhaustive()
    }
}

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
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
    /// Every entry whose path was made anew, or whose mark was taken away; this one among them, if it was.
    pub shown: Vec<String>,
    /// Other files that stood at places below `views/`, and are in `quarantine/` now.
    pub quarantined: u64,
    /// Paths of the user's own that hold other files than the entry's. They were left alone, and the entry has a view of
    /// its own instead.
    #[serde(serialize_with = "all_lossy")]
    pub occupied: Vec<PathBuf>,
}

/// Checks the content of an entry in full, repairs what is damaged or missing, and makes its path anew.
pub(crate) fn repair(store: &Store, id: &str, options: &RepairOptions) -> Result<RepairReport> {
    let record = store.require(id)?;
    let (Some(digest), ArtifactKind::File | ArtifactKind::Tree) = (record.entry.digest, record.kind) else {
        return Err(Error::NotStaged { id: id.to_owned(), path: record.entry.local_path });
    };
    let span = tracing::debug_span!("repair", id, %digest);
    let _entered = span.enter();
    let observer = options.observer.clone().unwrap_or_else(|| Arc::new(()));
    observer.on(&Event::Started { what: id, bytes_total: record.size_bytes });
    let report = RepairReport { id: id.to_owned(), ..RepairReport::default() };
    let done = Repair { store, record: &record, options, observer: &*observer, report }.run(digest);
    observer.on(&Event::Finished);
    done
}

struct Repair<'a> {
    store: &'a Store,
    record: &'a Record,
    options: &'a RepairOptions,
    observer: &'a dyn Observer,
    report: RepairReport,
}

impl Repair<'_> {
    fn run(mut self, digest: Digest) -> Result<RepairReport> {
        let (store, record) = (self.store, self.record);
        if record.kind == ArtifactKind::Tree {
            // It says what else there is.
            let manifest = TreeFile { path: String::new(), digest, size_bytes: 0 };
            self.repair_blobs(&[manifest])?;
        }
        let files = store.files_of(record.kind, digest, record.size_bytes)?;
        self.repair_blobs(&files)?;
        let needed: BTreeSet<Digest> = files.iter().map(|file| file.digest).chain([digest]).collect();
        for other in store.index.readable().iter().flat_map(|shard| shard.all()) {
            // Every blob of the requested entry has just been checked or repaired, even if its outboard could not be
            // written.
            let is_asked_for = other.entry.id == record.entry.id;
            let is_whole_again =
                || Ok(other.damaged_ms.is_some() && needs_one_of(store, other, &needed) && has_all(store, other)?);
            if is_asked_for || is_whole_again()? {
                self.note(other, show_again(store, other, &Again::ByRepair)?);
            }
        }
        Ok(self.report)
    }

    fn note(&mut self, record: &Record, shown: show_again::Outcome) {
        if shown.changed || record.damaged_ms.is_some() {
            self.report.shown.push(record.entry.id.clone());
        }
        self.report.quarantined += shown.quarantined;
        self.report.occupied.extend(shown.occupied);
    }

    /// Checks the blobs of these files, and makes those whole that are not.
    fn repair_blobs(&mut self, files: &[TreeFile]) -> Result<()> {
        let store = self.store;
        let by_digest: BTreeMap<Digest, &TreeFile> = files.iter().map(|file| (file.digest, file)).collect();
        let is_manifest = |file: &TreeFile| self.record.kind == ArtifactKind::Tree && file.path.is_empty();
        let size_of = |file: &TreeFile| (!is_manifest(file)).then_some(file.size_bytes);
        let subjects: Vec<Subject> =
            by_digest.values().map(|file| Subject::blob(&file.digest, size_of(file))).collect();
        let observer = self.observer;
        let advanced = |bytes| observer.on(&Event::Advanced { bytes });
        let checker = Checker { advanced: &advanced, ..Checker::quiet(&store.root, store.durability()) };
        let mut lost = Vec::new();
        for (subject, verdict) in checker.all(&subjects)? {
            match verdict {
                Verdict::Good => continue,
                Verdict::Missing => {}
                Verdict::Bad { file, .. } => drop(store.take_out_of_service(&subject.digest, &file)?),
            }
            lost.push(subject.digest);
        }
        let session = Session::begin(&store.root)?;
        for digest in lost {
            let Some(file) = by_digest.get(&digest) else { continue };
            // As for a stage: what is good is shared where that is possible, and nobody is evicted for it.
            let copied_bytes = if session.can_reflink() { 0 } else { file.size_bytes };
            make_room(store, file.size_bytes, copied_bytes)?;
            let assembly =
                Assembly { digest, remains: self.remains(&digest)?, sources: self.sources(file)?, advanced: &advanced };
            let (incoming, Assembled { repaired_bytes, source_bytes }) = assembly.run(&session, store.durability())?;
            let (mut blobs, id) = ([incoming], self.record.entry.id.as_str());
            let unit = Unit { id, blobs: &mut blobs, exhibit: None, is_due: &|| Ok(true), record: None };
            for done in store::commit(store, &session, &mut [unit], false) {
                done.result?;
            }
            self.report.files += 1;
            self.report.repaired_bytes += repaired_bytes;
            self.report.source_bytes += source_bytes;
        }
        Ok(())
    }

    /// What the store itself has of a blob: what is in quarantine, and views that are copies.
    fn remains(&self, digest: &Digest) -> Result<Vec<PathBuf>> {
        let store = self.store;
        let mut remains = store.quarantined(digest)?;
        for record in store.index.readable().iter().flat_map(|shard| shard.all()) {
            let Some(root_digest) = record.entry.digest else { continue };
            // A tree whose manifest is lost itself names nothing.
            let Ok(files) = store.files_of(record.kind, root_digest, record.size_bytes) else { continue };
            let shown = shown_files(record, &files, store.relative(&record.entry.local_path));
            remains.extend(shown.into_iter().filter(|(file, _)| file.digest == *digest).map(|(_, path)| path));
        }
        Ok(remains)
    }

    fn sources(&self, file: &TreeFile) -> Result<Vec<Box<dyn ReadAt>>> {
        let mut sources = Vec::new();
        for source in &self.options.from {
            sources.extend(source.open(&file.digest, &file.path)?);
        }
        // It may be gone, or something else by now.
        let recorded = self.record.source.as_ref().and_then(|source| source.reference.strip_prefix("file:"));
        if let Some(path) = recorded {
            sources.extend(LocalSource::new(path).open(&file.digest, &file.path).ok().flatten());
        }
        Ok(sources)
    }
}

fn needs_one_of(store: &Store, record: &Record, digests: &BTreeSet<Digest>) -> bool {
    store.blobs_of(record).is_ok_and(|blobs| blobs.iter().any(|digest| digests.contains(digest)))
}

/// Whether every blob of a record is here and good.
fn has_all(store: &Store, record: &Record) -> Result<bool> {
    for digest in store.blobs_of(record)? {
        if !blob::is_good_by_stamp(&store.root, &digest, Durability::Relaxed)? {
            return Ok(false);
        }
    }
    Ok(true)
}
