//! References that lead to a server: whether anybody has to be asked, and what is to be fetched.
//!
//! The order is that of `docs/design.md`: the right to work on the reference, then the question what it means, then what of that
//! is here already. One that says itself which version it means, and is here, asks nobody.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::StageOptions;
use super::item::{Content, Decision, Item, check_name, receipt_of, view_name};
use super::single_flight::{self, SingleFlight};
use crate::cancel::Cancel;
use crate::entry::{ArtifactKind, Provenance, Record};
use crate::error::{Error, Result};
use crate::fetch::{Asking, Remote, RemoteContent, Resolver, Selection};
use crate::ingest::{ContentFile, Origin, Ranges};
use crate::layout;
use crate::model_ref::ModelRef;
use crate::observer::{Event, Observer};
use crate::read_at::ReadAt;
use crate::store::Store;

/// Where references may be fetched from, and whether what is here will do.
#[derive(Clone, Copy, Default)]
pub(crate) struct From<'a> {
    /// `None`: this handle fetches nothing.
    pub(crate) sources: Option<&'a dyn Resolver>,
    /// What is here is wanted, whatever its reference means by now.
    pub(crate) held_will_do: bool,
}

/// A reference that somebody has to be asked about.
pub(super) struct Question {
    reference: ModelRef,
    /// The reference's own string.
    name: String,
    id: String,
    options: StageOptions,
}

/// Something that is fetched.
pub(super) struct Fetched {
    pinned: Option<String>,
    validator: Option<String>,
    selection: Option<String>,
    named_by: Option<String>,
    bytes: Arc<AtomicU64>,
    /// Until it is recorded, nobody else works on the reference.
    pub(super) flight: Option<SingleFlight>,
}

/// Decides on a reference that is not a local file's. What the catalog holds of it may do.
pub(super) fn decide(
    store: &Store,
    from: &From<'_>,
    reference: &ModelRef,
    known: Option<Record>,
    id: String,
    options: &StageOptions,
) -> Result<Decision> {
    let name = reference.id()?;
    if let Some(name) = &options.name {
        check_name(name)?;
    }
    let question = Question { reference: reference.clone(), name, id, options: options.clone() };
    let held = question.held(store, known)?;
    let Some(sources) = from.sources.filter(|sources| sources.takes(reference)) else {
        // One that no fetcher of this build can bring is fine when the catalog holds it already.
        let no_fetcher =
            || Error::NoFetcher { scheme: reference.scheme().to_owned(), reference: question.name.clone() };
        return held.and_then(unchanged).ok_or_else(no_fetcher);
    };
    match held {
        Some(record) if from.held_will_do || question.is_fixed(sources, &record) => {
            unchanged(record).map_or_else(|| Ok(Decision::Ask(Box::new(question))), Ok)
        }
        Some(record) if options.offline => {
            question.tell_not_asked("offline");
            unchanged(record).ok_or(Error::Offline { reference: question.name })
        }
        None if options.offline => Err(Error::Offline { reference: question.name }),
        _ => Ok(Decision::Ask(Box::new(question))),
    }
}

fn unchanged(record: Record) -> Option<Decision> {
    receipt_of(record).map(|receipt| Decision::Unchanged(Box::new(receipt)))
}

impl Question {
    /// The order in which the right to work on references is taken, so that no two processes wait for each other.
    pub(super) fn lock_file(&self) -> PathBuf {
        layout::lock_fetch(&self.name)
    }

    /// What the catalog holds of the reference, as `path` would give it out.
    fn held(&self, store: &Store, known: Option<Record>) -> Result<Option<Record>> {
        let is_it = |record: &Record| {
            let is_reference =
                self.id == self.name || record.source.as_ref().is_some_and(|source| source.reference == self.name);
            is_reference && self.options.digest.is_none_or(|expected| record.entry.digest == Some(expected))
        };
        match known.filter(is_it) {
            Some(record) if record.damaged_ms.is_none() && store.is_intact(&record)? => Ok(Some(record)),
            _ => Ok(None),
        }
    }

    /// Whether it can mean nothing else than what is held.
    fn is_fixed(&self, sources: &dyn Resolver, held: &Record) -> bool {
        let fixed = sources.fixed(&self.reference);
        fixed.is_some() && held.source.as_ref().is_some_and(|source| self.is_same(source, &fixed, &None))
    }

    /// Whether something was fetched by this reference and these options, and means the same still.
    fn is_same(&self, source: &Provenance, pinned: &Option<String>, validator: &Option<String>) -> bool {
        let is_same_version = match (pinned, validator) {
            (Some(_), _) => source.pinned == *pinned,
            (None, Some(_)) => source.validator == *validator,
            (None, None) => false,
        };
        is_same_version && source.reference == self.name && source.fingerprint == self.selection().fingerprint()
    }

    fn selection(&self) -> Selection {
        Selection { include: self.options.include.clone(), exclude: self.options.exclude.clone() }
    }

    fn tell_not_asked(&self, why: &str) {
        if let Some(observer) = &self.options.observer {
            observer.on(&Event::NotAsked { what: &self.name, why });
        }
    }

    /// Asks, once no other process works on the reference. `claimed` are those that this call works on already.
    pub(super) fn settle(
        self,
        store: &Store,
        sources: &dyn Resolver,
        claimed: &mut BTreeSet<String>,
        observer: &Arc<dyn Observer>,
        cancel: &Cancel,
    ) -> Result<Decision> {
        let flight = match claimed.insert(self.name.clone()) {
            true => Some(single_flight::begin(store, &self.name, 0, self.options.wait, &**observer, cancel)?),
            false => None,
        };
        // Whoever had the right before may have brought it.
        let held = self.held(store, store.record(&self.id)?)?;
        if let Some(record) = held.clone().filter(|record| self.is_fixed(sources, record))
            && let Some(decision) = unchanged(record)
        {
            return Ok(decision);
        }
        let asking = Asking { observer: observer.clone(), cancel: cancel.clone() };
        let asked = self.ask(sources, held.as_ref(), &asking);
        match (asked, held.and_then(unchanged)) {
            (Ok(Some(remote)), _) => Ok(Decision::Ingest(Box::new(self.item(remote, flight, observer)?))),
            (Ok(None), held) => held.ok_or_else(|| store.not_found(&self.id)),
            (Err(error), Some(held)) if error.is_unreachable() || error.is_refused() => {
                self.tell_not_asked(&error.to_string());
                Ok(held)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Asks what the reference means now. `None`: what is held.
    fn ask(&self, sources: &dyn Resolver, held: Option<&Record>, asking: &Asking) -> Result<Option<Remote>> {
        let source = held.and_then(|record| record.source.as_ref());
        let mut reference = self.reference.clone();
        if let Some(source) = source.filter(|source| source.pinned.is_some()) {
            let pinned = sources.pin(&reference, asking)?;
            if pinned.is_some() && self.is_same(source, &pinned, &None) {
                return Ok(None);
            }
            if let Some(pinned) = pinned {
                reference = sources.at(&reference, &pinned);
            }
        }
        let remote = sources.resolve(&reference, &self.selection(), asking)?;
        let is_same = |source: &Provenance| self.is_same(source, &remote.pinned, &validator_of(&remote));
        Ok(if source.is_some_and(is_same) { None } else { Some(remote) })
    }

    fn item(self, remote: Remote, flight: Option<SingleFlight>, observer: &Arc<dyn Observer>) -> Result<Item> {
        let bytes = Arc::new(AtomicU64::new(0));
        let fetched = Fetched {
            validator: validator_of(&remote),
            pinned: remote.pinned,
            selection: self.selection().fingerprint(),
            named_by: remote.named_by,
            bytes: bytes.clone(),
            flight: None,
        };
        let content = |RemoteContent { path, expected, validator, reader }: RemoteContent| {
            let reader = Arc::new(Told { reader, bytes: bytes.clone(), observer: observer.clone() });
            let size_bytes = reader.size_bytes();
            let origin = Origin::Remote(Ranges { reader, validator });
            Content { file: ContentFile { path, size_bytes, expected, origin, present: None }, stamp: None }
        };
        let mut contents: Vec<Content> = remote.files.into_iter().map(content).collect();
        contents.sort_by(|a, b| a.file.path.cmp(&b.file.path));
        let options = self.options;
        let mut item = Item {
            name: options.name.unwrap_or_else(|| view_name(Path::new(&remote.name))),
            expected: options.digest,
            wait: options.wait,
            defer_outboard: options.defer_outboard,
            ..Item::new(self.id, self.name.clone(), remote.kind, PathBuf::from(self.name), contents)
        };
        let flight = flight.map(|flight| flight.with_total(item.size_bytes()));
        item.fetched = Some(Fetched { flight, ..fetched });
        Ok(item)
    }
}

/// That of the one file; a tree is told apart by what it is pinned to.
fn validator_of(remote: &Remote) -> Option<String> {
    match (remote.kind, remote.files.as_slice()) {
        (ArtifactKind::File, [file]) => file.validator.clone(),
        _ => None,
    }
}

impl Fetched {
    /// How many bytes servers have sent.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn provenance(&self, source: Provenance) -> Provenance {
        Provenance {
            pinned: self.pinned.clone(),
            validator: self.validator.clone(),
            fingerprint: self.selection.clone(),
            named_by: self.named_by.clone(),
            ..source
        }
    }
}

/// A remote file whose bytes are counted, and of whose troubles an observer is told.
struct Told {
    reader: Arc<dyn ReadAt>,
    bytes: Arc<AtomicU64>,
    observer: Arc<dyn Observer>,
}

impl ReadAt for Told {
    fn name(&self) -> String {
        self.reader.name()
    }

    fn size_bytes(&self) -> u64 {
        self.reader.size_bytes()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact_at(offset, buffer)?;
        self.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn read_range(
        &self,
        range: Range<u64>,
        buffer: &mut [u8],
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.reader.read_range(range, buffer, &mut |bytes| {
            self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            take(bytes)
        })
    }

    fn connections(&self) -> usize {
        self.reader.connections()
    }

    fn resumes(&self, bytes: u64) {
        self.reader.resumes(bytes);
        self.observer.on(&Event::Resumed { what: &self.name(), bytes });
    }

    fn starts_over(&self) {
        self.reader.starts_over();
        self.observer.on(&Event::Refetching { what: &self.name() });
    }
}
