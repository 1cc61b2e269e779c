//! References that lead to a server: decides whether to ask it, and what to fetch.
//!
//! The order is that of `docs/design.md`: claim the reference, ask what it stands for, then find what the store already
//! has of it. If a reference pins its version by itself and the store has that version, no server is asked.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::StageOptions;
use super::item::{Content, Decision, Item, check_name, has_facts, receipt_of, remove_left, view_name};
#[cfg(feature = "attest")]
use super::signed::{self, Asked};
use super::single_flight::{self, SingleFlight};
use crate::blob::manifest::TreeFile;
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

/// Where references can be fetched from, and whether held content is good enough.
#[derive(Clone, Copy, Default)]
pub(crate) struct From<'a> {
    /// `None`: this handle cannot fetch.
    pub(crate) sources: Option<&'a dyn Resolver>,
    /// Accept what the store holds, whatever the reference stands for by now.
    pub(crate) held_will_do: bool,
}

/// A reference whose source must be asked.
pub(super) struct Question {
    reference: ModelRef,
    /// The reference's own string.
    name: String,
    id: String,
    options: StageOptions,
    held_will_do: bool,
}

/// What is known about a fetched item.
pub(super) struct Fetched {
    pinned: Option<String>,
    validator: Option<String>,
    selection: Option<String>,
    /// Whether the reference itself names the digest.
    pub(super) is_in_reference: bool,
    bytes: Arc<AtomicU64>,
    /// Keeps other processes from working on the reference until it is recorded.
    pub(super) flight: Option<SingleFlight>,
}

/// Decides on a reference that is not a local file. `known` is what the catalog has under the id.
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
    let held_will_do = from.held_will_do;
    let question = Question { reference: reference.clone(), name, id, options: options.clone(), held_will_do };
    let held = question.held(store, known)?;
    let Some(sources) = from.sources.filter(|sources| sources.takes(reference)) else {
        // A reference without a fetcher is fine if the catalog already holds it.
        let (scheme, reference) = (reference.scheme().to_owned(), reference.shown());
        return held
            .map_or_else(|| Err(Error::NoFetcher { scheme, reference }), |record| question.given(store, record, None));
    };
    match held {
        Some(record) if question.needs_no_answer(sources, &record) => question.given(store, record, None),
        Some(record) if options.offline => {
            question.tell_not_asked("offline");
            question.given(store, record, None)
        }
        None if options.offline => Err(Error::Offline { reference: reference.shown() }),
        _ => Ok(Decision::Ask(Box::new(question))),
    }
}

impl Question {
    /// The order in which references are claimed, so that two processes cannot deadlock.
    pub(super) fn lock_file(&self) -> PathBuf {
        layout::lock_fetch(&self.name)
    }

    /// Returns the record that the catalog holds for the reference and this selection of files, if it is what was
    /// staged.
    fn held(&self, store: &Store, known: Option<Record>) -> Result<Option<Record>> {
        let is_it = |record: &Record| {
            let is_selected = match &record.source {
                Some(source) if source.reference == self.name => source.fingerprint == self.selection().fingerprint(),
                // Someone has staged it under the reference's own name.
                _ => self.id == self.name && self.selection() == Selection::default(),
            };
            is_selected && self.options.digest.is_none_or(|expected| record.entry.digest == Some(expected))
        };
        let Some(record) = known.filter(is_it).filter(|record| receipt_of(record.clone()).is_some()) else {
            return Ok(None);
        };
        match store.ensure_here(&record) {
            Ok(()) => Ok(Some(record)),
            Err(error) if error.is_corrupt() || error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the held content is good whatever a server would say: any version will do, or it is the only one that
    /// the reference or the given digest can stand for.
    fn needs_no_answer(&self, sources: &dyn Resolver, held: &Record) -> bool {
        let fixed = sources.fixed(&self.reference);
        let is_fixed =
            fixed.is_some() && held.source.as_ref().is_some_and(|source| self.is_same(source, &fixed, &None));
        self.held_will_do || is_fixed || self.options.digest.is_some()
    }

    /// Returns the held content as the answer. Records it again if its record differs from what staging would write.
    fn given(self, store: &Store, record: Record, flight: Option<SingleFlight>) -> Result<Decision> {
        let digest = record.entry.digest.ok_or_else(|| store.not_found(&self.id))?;
        let files = store.files_of(record.kind, digest, record.size_bytes)?;
        let content = |TreeFile { path, digest, size_bytes }| {
            // The store has the content, so its bytes are not fetched. If it disappears in the meantime, the empty
            // bytes fail the digest check.
            let origin = Origin::Memory(Vec::new());
            Content {
                file: ContentFile { path, size_bytes, expected: Some(digest), origin, present: None },
                stamp: None,
                git_sha1: None,
            }
        };
        let Some(source) = record.source.as_ref().filter(|source| source.reference == self.name) else {
            // Not staged by reference: it is not recorded anew.
            store.ensure_signed(&record)?;
            #[cfg(feature = "attest")]
            signed::check_held(&Asked::of(&self.options), &record)?;
            return Ok(unchanged(record));
        };
        let fetched = Fetched {
            pinned: source.pinned.clone(),
            validator: source.validator.clone(),
            selection: source.fingerprint.clone(),
            is_in_reference: self.names_digest(),
            bytes: Arc::default(),
            flight,
        };
        let name = record.entry.local_path.file_name().map(|name| name.to_string_lossy().into_owned());
        let contents = files.into_iter().map(content).collect();
        let named_by = source.named_by.clone();
        let item = self.item(record.kind, &name.unwrap_or_default(), contents, fetched, named_by)?;
        if !has_facts(store, &record, &item) {
            return Ok(Decision::Ingest(Box::new(item)));
        }
        remove_left(store, &item.contents);
        Ok(unchanged(record))
    }

    /// Whether `source` was fetched by this reference, which still stands for the same version.
    fn is_same(&self, source: &Provenance, pinned: &Option<String>, validator: &Option<String>) -> bool {
        let is_same_version = match (pinned, validator) {
            (Some(_), _) => source.pinned == *pinned,
            (None, Some(_)) => source.validator == *validator,
            (None, None) => false,
        };
        is_same_version && source.reference == self.name
    }

    fn selection(&self) -> Selection {
        Selection { include: self.options.include.clone(), exclude: self.options.exclude.clone() }
    }

    /// Whether the reference itself names the digest of what it stands for.
    fn names_digest(&self) -> bool {
        matches!(&self.reference, ModelRef::Url { url } if url.starts_with("oci://") && url.contains("@sha256:"))
    }

    fn tell_not_asked(&self, why: &str) {
        if let Some(observer) = &self.options.observer {
            observer.on(&Event::NotAsked { what: &self.reference.shown(), why });
        }
    }

    /// Asks the source once no other process works on the reference. `claimed` are the references that this call
    /// already holds.
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
        // The previous holder may have fetched it.
        let held = self.held(store, store.record(&self.id)?)?;
        if let Some(record) = held.clone().filter(|record| self.needs_no_answer(sources, record)) {
            return self.given(store, record, flight);
        }
        let (digest, has_digest) = (self.options.digest, self.options.digest.is_some());
        let asking = Asking { observer: observer.clone(), cancel: cancel.clone(), has_digest, digest, mirrors: true };
        match (self.ask(sources, held.as_ref(), &asking), held) {
            (Ok(Some(remote)), _) => self.fetch(remote, flight, observer),
            (Ok(None), Some(record)) => self.given(store, record, flight),
            (Ok(None), None) => Err(store.not_found(&self.id)),
            (Err(error), Some(record)) if error.is_unreachable() || error.is_refused() => {
                self.tell_not_asked(&error.to_string());
                self.given(store, record, flight)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Asks what the reference stands for now. Returns `None` if that is the held content.
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

    /// Builds the item to fetch.
    fn fetch(self, remote: Remote, flight: Option<SingleFlight>, observer: &Arc<dyn Observer>) -> Result<Decision> {
        let bytes = Arc::new(AtomicU64::new(0));
        let fetched = Fetched {
            validator: validator_of(&remote),
            pinned: remote.pinned,
            selection: self.selection().fingerprint(),
            is_in_reference: self.names_digest(),
            bytes: bytes.clone(),
            flight,
        };
        let content = |RemoteContent { path, expected, git_sha1, validator, reader }: RemoteContent| {
            let reader = Arc::new(Told { reader, bytes: bytes.clone(), observer: observer.clone() });
            let size_bytes = reader.size_bytes();
            let origin = Origin::Remote(Ranges { reader, validator });
            Content { file: ContentFile { path, size_bytes, expected, origin, present: None }, stamp: None, git_sha1 }
        };
        let contents = remote.files.into_iter().map(content).collect();
        let item = self.item(remote.kind, &remote.name, contents, fetched, remote.named_by)?;
        // Compare before any byte is fetched.
        let mut named = item.contents.iter().filter_map(|content| content.file.expected);
        match (item.kind, item.expected, named.next()) {
            (ArtifactKind::File, Some(expected), Some(actual)) if expected != actual => {
                Err(Error::DigestMismatch { path: item.source, expected, actual })
            }
            _ => Ok(Decision::Ingest(Box::new(item))),
        }
    }

    fn item(
        self,
        kind: ArtifactKind,
        name: &str,
        mut contents: Vec<Content>,
        fetched: Fetched,
        named_by: Option<String>,
    ) -> Result<Item> {
        contents.sort_by(|a, b| a.file.path.cmp(&b.file.path));
        let options = self.options;
        #[cfg(feature = "attest")]
        let asked = Asked::of(&options);
        let mut item = Item {
            name: options.name.unwrap_or_else(|| view_name(Path::new(name))),
            expected: options.digest,
            wait: options.wait,
            defer_outboard: options.defer_outboard,
            require_complete: options.require_complete,
            #[cfg(feature = "attest")]
            asked,
            named_by,
            ..Item::new(self.id, self.name.clone(), kind, PathBuf::from(self.name), contents)
        };
        let flight = fetched.flight.map(|flight| flight.with_total(item.size_bytes()));
        item.fetched = Some(Fetched { flight, ..fetched });
        Ok(item)
    }
}

fn unchanged(record: Record) -> Decision {
    Decision::Unchanged(Box::new(receipt_of(record).expect("what is held has a receipt")))
}

/// The validator of a single file. A tree is identified by what it is pinned to.
fn validator_of(remote: &Remote) -> Option<String> {
    match (remote.kind, remote.files.as_slice()) {
        (ArtifactKind::File, [file]) => file.validator.clone(),
        _ => None,
    }
}

impl Fetched {
    /// What is known about a model that was found and not fetched.
    pub(super) fn gathered(pinned: String, selection: Option<String>) -> Self {
        let (is_in_reference, bytes) = (false, Arc::default());
        Fetched { pinned: Some(pinned), validator: None, selection, is_in_reference, bytes, flight: None }
    }

    /// Number of bytes that servers sent.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn provenance(&self, source: Provenance) -> Provenance {
        Provenance {
            pinned: self.pinned.clone(),
            validator: self.validator.clone(),
            fingerprint: self.selection.clone(),
            ..source
        }
    }
}

/// Wraps a remote file: counts its bytes, and tells an observer when it resumes or starts over.
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

    fn group_values(&self) -> Option<Vec<[u8; 32]>> {
        self.reader.group_values()
    }

    fn gave_wrong(&self, range: Range<u64>) {
        self.reader.gave_wrong(range);
    }
}
