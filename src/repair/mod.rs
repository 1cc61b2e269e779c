//! `repair`: restores damaged content from a good source, and shows it again.
//!
//! Checks every blob of the entry in full. A lost blob is assembled from good parts (`blob/assemble.rs`) and committed
//! like any other blob. Then [`show_again()`] shows the entry, and every other entry that needed the same bytes.

mod origin;
mod show_again;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::blob::manifest::TreeFile;
use crate::blob::{Assembled, Assembly, Checker, LocalSource, RepairSource, Subject, Verdict};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Record};
use crate::error::{Error, Result};
use crate::fetch::Resolver;
use crate::fs::Session;
use crate::gc::{Room, Wanted};
use crate::json::all_lossy;
use crate::observer::{Event, Observer};
use crate::read_at::ReadAt;
use crate::store::{self, Store, Unit, shown_files};

pub(crate) use show_again::{Again, show_again};

use origin::RemoteOrigin;

/// How to repair content.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct RepairOptions {
    /// Sources to read good bytes from, in order of preference. After these, repair tries the store's own copies and
    /// the place that the entry was staged from: a path, or a server if the handle has sources that may contact it
    /// ([`with_sources`](crate::FsCatalog::with_sources)).
    pub from: Vec<Arc<dyn RepairSource>>,
    /// Cancels the work. Content that is already repaired stays repaired.
    pub cancel: Option<Cancel>,
    /// Receives progress events.
    pub observer: Option<Arc<dyn Observer>>,
}

impl RepairOptions {
    /// Sets [`from`](RepairOptions::from).
    #[must_use]
    pub fn with_from(mut self, from: Vec<Arc<dyn RepairSource>>) -> Self {
        self.from = from;
        self
    }

    /// Sets [`cancel`](RepairOptions::cancel).
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = Some(cancel);
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct RepairReport {
    /// The entry's id.
    pub id: String,
    /// How many damaged or missing files, including the documents that the entry needs, are intact again.
    #[serde(rename = "repaired_files")]
    pub files: u64,
    /// Bytes that were replaced: groups of 1 MiB, or whole files if their parts could not be checked separately.
    pub repaired_bytes: u64,
    /// Bytes that were read from the sources.
    pub source_bytes: u64,
    /// The ids of all entries whose path was rebuilt or whose damage mark was cleared, including this one.
    pub shown: Vec<String>,
    /// Number of other files that stood below `views/` in the way, and are now in `quarantine/`.
    #[serde(rename = "quarantined_files")]
    pub quarantined: u64,
    /// Paths outside `views/` that hold other files than the entry's. They were left alone, and the entry has a view
    /// below `views/` instead.
    #[serde(serialize_with = "all_lossy")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub occupied: Vec<PathBuf>,
}

/// A source of at least this size is checked more closely before it is read for a document.
const LARGE_BYTES: u64 = 64 << 20;

/// Checks the content of an entry in full, repairs what is damaged or missing, and rebuilds its path.
pub(crate) fn repair(
    store: &Store,
    from: Option<&Arc<dyn Resolver>>,
    id: &str,
    options: &RepairOptions,
) -> Result<RepairReport> {
    let record = store.require(id)?;
    let (Some(digest), ArtifactKind::File | ArtifactKind::Tree) = (record.entry.digest, record.kind) else {
        return Err(Error::NotStaged { id: id.to_owned(), path: record.entry.local_path });
    };
    let span = tracing::debug_span!("repair", id, %digest);
    let _entered = span.enter();
    let observer = options.observer.clone().unwrap_or_else(|| Arc::new(()));
    observer.on(&Event::Started { what: id, bytes_total: record.size_bytes });
    let report = RepairReport { id: id.to_owned(), ..RepairReport::default() };
    let origin = RemoteOrigin::of(&record, from, options.cancel.clone().unwrap_or_default(), observer.clone());
    let done = Repair { store, record: &record, options, observer: &*observer, origin, report }.run(digest);
    observer.on(&Event::Finished);
    done
}

struct Repair<'a> {
    store: &'a Store,
    record: &'a Record,
    options: &'a RepairOptions,
    observer: &'a dyn Observer,
    origin: Option<RemoteOrigin>,
    report: RepairReport,
}

impl Repair<'_> {
    fn run(mut self, digest: Digest) -> Result<RepairReport> {
        let (store, record) = (self.store, self.record);
        if record.kind == ArtifactKind::Tree {
            // The manifest says which other files there are.
            self.repair_blobs(&[Part::of_unknown_size(digest, false)])?;
        }
        let files = store.files_of(record.kind, digest, record.size_bytes)?;
        let parts: Vec<Part> = files.iter().map(Part::of).collect();
        self.repair_blobs(&parts)?;
        self.note(record, show_again(store, record, &Again::ByRepair)?);
        let repaired: BTreeSet<Digest> = files.iter().map(|file| file.digest).chain([digest]).collect();
        store.index.each_readable(&mut |other| {
            if other.damaged_ms.is_none() || other.entry.id == record.entry.id {
                return;
            }
            // A problem with another entry does not fail this repair.
            if let Err(error) = self.show_other(&other, &repaired) {
                tracing::warn!(id = %other.entry.id, %error, "could not restore the view of another entry that needs \
                                                              the same bytes");
            }
        });
        // Documents come last: the model can be used without them.
        let documents: Vec<Part> = record.needs.iter().map(|needed| Part::of_unknown_size(*needed, true)).collect();
        self.repair_blobs(&documents)?;
        Ok(self.report)
    }

    /// Shows another entry again if the repair has made it complete.
    fn show_other(&mut self, other: &Record, repaired: &BTreeSet<Digest>) -> Result<()> {
        let blobs = self.store.content_of(other)?;
        if blobs.iter().any(|digest| repaired.contains(digest))
            && self.store.are_good_by_stamp(&blobs, &other.owners)?
        {
            self.note(other, show_again(self.store, other, &Again::ByRepair)?);
        }
        Ok(())
    }

    fn note(&mut self, record: &Record, shown: show_again::Outcome) {
        if shown.changed || record.damaged_ms.is_some() {
            self.report.shown.push(record.entry.id.clone());
        }
        self.report.quarantined += shown.quarantined;
        self.report.occupied.extend(shown.occupied);
    }

    fn check_cancelled(&self) -> Result<()> {
        let what = || format!("repairing {:?}", self.record.entry.id);
        self.options.cancel.as_ref().map_or(Ok(()), |cancel| cancel.check(what))
    }

    /// Checks these blobs, and repairs the damaged ones.
    fn repair_blobs(&mut self, parts: &[Part]) -> Result<()> {
        let store = self.store;
        let by_digest: BTreeMap<Digest, &Part> = parts.iter().map(|part| (part.digest, part)).collect();
        let subjects: Vec<Subject> = by_digest
            .values()
            .map(|part| Subject::blob(&part.digest, part.size_bytes).owned_by(&self.record.owners))
            .collect();
        let observer = self.observer;
        let advanced = |bytes| observer.on(&Event::Advanced { bytes });
        let cancel = self.options.cancel.as_ref();
        let checker = Checker { advanced: &advanced, cancel, ..Checker::quiet(&store.root, store.durability()) };
        let mut lost = BTreeSet::new();
        for (subject, verdict) in checker.all(&subjects)? {
            match verdict {
                Verdict::Good => continue,
                Verdict::Missing => {}
                Verdict::Bad { file, .. } => drop(store.take_out_of_service(&subject.digest, &file)?),
            }
            lost.insert(subject.digest);
        }
        self.check_cancelled()?; // a blob that was not checked is not known to be good
        if lost.is_empty() {
            return Ok(());
        }
        let session = Session::begin(&store.root)?;
        let mut remains = self.remains_of(&lost)?;
        let sizes = lost.iter().filter_map(|digest| Some((digest, by_digest.get(digest)?.size_bytes?)));
        self.make_room(sizes, &remains, &session)?;
        for digest in lost {
            self.check_cancelled()?;
            let Some(part) = by_digest.get(&digest) else { continue };
            let remains = remains.remove(&digest).unwrap_or_default();
            let assembly = Assembly { digest, remains, sources: self.sources(part)?, advanced: &advanced };
            let (incoming, Assembled { repaired_bytes, source_bytes }) = assembly.run(&session, store.durability())?;
            let (mut blobs, id) = ([incoming], self.record.entry.id.as_str());
            let unit = Unit { id, blobs: &mut blobs, exhibit: None, is_due: &|| Ok(true), record: None };
            for done in store::commit(store, &session, &mut [unit], false) {
                done.result?;
            }
            self.report.files += 1;
            self.report.repaired_bytes = self.report.repaired_bytes.saturating_add(repaired_bytes);
            self.report.source_bytes = self.report.source_bytes.saturating_add(source_bytes);
        }
        Ok(())
    }

    /// Makes room for everything that is lost before any of it is written: evicting for only a part would be pointless.
    /// Manifests and documents have no known size here, and are small.
    fn make_room<'d>(
        &self,
        lost: impl Iterator<Item = (&'d Digest, u64)>,
        remains: &Remains,
        session: &Session<'_>,
    ) -> Result<()> {
        let mut wanted = Wanted { repaired: Some(&self.record.entry.id), ..Wanted::default() };
        for (digest, size_bytes) in lost {
            // The good parts of the remains are shared if possible, so nothing is evicted for them.
            let is_shared = remains.contains_key(digest) && session.can_reflink();
            wanted.add(size_bytes, if is_shared { 0 } else { size_bytes });
        }
        if wanted.stored_bytes == 0 {
            return Ok(());
        }
        let room = Room::measure(self.store)?;
        if room.fits(&wanted)? { Ok(()) } else { room.make(&wanted) }
    }

    /// Returns what the store still has of these blobs: files in quarantine, and files shown by entries, since a view
    /// that is a copy may be good.
    fn remains_of(&self, lost: &BTreeSet<Digest>) -> Result<Remains> {
        let store = self.store;
        let mut places = Remains::new();
        for digest in lost {
            let quarantined = store.quarantined(digest)?;
            if !quarantined.is_empty() {
                places.insert(*digest, quarantined);
            }
        }
        store.index.each_readable(&mut |record| {
            let Some(digest) = record.entry.digest else { return };
            // If its manifest is lost, a tree names no files.
            let Ok(files) = store.files_of(record.kind, digest, record.size_bytes) else { return };
            for (file, path) in shown_files(&record, &files, store.relative(&record.entry.local_path)) {
                // A file that cannot be inspected is of no use.
                if lost.contains(&file.digest) && matches!(store.root.meta(&path), Ok(Some(_))) {
                    places.entry(file.digest).or_default().push(path);
                }
            }
        });
        Ok(places)
    }

    fn sources(&self, part: &Part) -> Result<Vec<Box<dyn ReadAt>>> {
        let mut sources = Vec::new();
        for source in &self.options.from {
            sources.extend(source.open(&part.digest, &part.path)?);
        }
        if part.is_needed {
            // A source of the model's own size is the model itself: a large one is not copied only to find that it is
            // not the document.
            let is_model = |source: &dyn ReadAt| source.size_bytes() == self.record.size_bytes;
            sources.retain(|source| source.size_bytes() < LARGE_BYTES || !is_model(&**source));
            return Ok(sources);
        }
        // The file may be gone or different by now.
        let recorded = self.record.source.as_ref().and_then(|source| source.reference.strip_prefix("file:"));
        if let Some(path) = recorded {
            sources.extend(LocalSource::new(path).open(&part.digest, &part.path).ok().flatten());
        }
        // The server comes last: it is not asked for bytes that are available locally. It has no manifest: that is the
        // store's own.
        if let (Some(origin), Some(size_bytes)) = (&self.origin, part.size_bytes) {
            sources.push(Box::new(origin.file(&part.path, size_bytes)));
        }
        Ok(sources)
    }
}

/// Files that may have good bytes of a lost blob, better ones first.
type Remains = BTreeMap<Digest, Vec<PathBuf>>;

/// A blob that an entry needs.
struct Part {
    digest: Digest,
    /// Path in the tree.
    path: String,
    /// `None`: its size is not recorded.
    size_bytes: Option<u64>,
    /// Whether it is a needed document and not part of the content.
    is_needed: bool,
}

impl Part {
    fn of(file: &TreeFile) -> Self {
        Part { digest: file.digest, path: file.path.clone(), size_bytes: Some(file.size_bytes), is_needed: false }
    }

    fn of_unknown_size(digest: Digest, is_needed: bool) -> Self {
        Part { digest, path: String::new(), size_bytes: None, is_needed }
    }
}
