//! Documents of an entry: its signature, its bill of materials, or what else belongs to its content.
//!
//! A document is a blob that the record needs, with a name and a kind. So it is kept, checked, repaired and freed like
//! any blob that a record needs, and goes when the entry gets other content. Its blob and the record that names it are
//! committed together, as those of a stage are.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Document, DocumentKind, Record};
use crate::error::{Error, Result};
use crate::fs::source::Foreign;
use crate::fs::{Session, now_ms};
use crate::gc::{Room, Wanted, remove_dead_sessions};
use crate::hint::Hint;
use crate::index::{Change, StoredRecord};
use crate::ingest::{self, ContentFile, Origin, ingest_one};
use crate::layout;
use crate::read_at::ReadAt as _;
use crate::referrer::MAX_BYTES;
use crate::store::{self, Store, Sweep, Unit};
use crate::view::View;

/// No file system allows longer names.
const LONGEST_NAME_BYTES: usize = 255;

/// A document that is to be attached.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewDocument {
    /// What it is.
    pub kind: DocumentKind,
    /// Its name: that of a file, unique among the documents of an entry.
    pub name: String,
    /// Its bytes, at most 64 MiB.
    pub bytes: Vec<u8>,
    /// Replace a document that has the same name or the same bytes.
    pub replace: bool,
}

impl NewDocument {
    /// A document with these bytes.
    #[must_use]
    pub fn new(kind: DocumentKind, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        NewDocument { kind, name: name.into(), bytes: bytes.into(), replace: false }
    }

    /// Reads a file, whose name is the document's.
    pub fn read(kind: DocumentKind, path: &Path) -> Result<Self> {
        let file = Foreign::open(path)?;
        let size = usize::try_from(file.size_bytes()).ok().filter(|_| file.size_bytes() <= MAX_BYTES);
        let mut bytes = vec![0; size.ok_or_else(|| too_large(path))?];
        file.read_exact_at(0, &mut bytes).map_err(|e| Error::of_reader(file.name(), e))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(NewDocument::new(kind, name, bytes))
    }

    /// Sets [`name`](NewDocument::name).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets [`replace`](NewDocument::replace).
    #[must_use]
    pub fn with_replace(mut self, replace: bool) -> Self {
        self.replace = replace;
        self
    }

    fn check(&self) -> Result<()> {
        let is_plain = layout::is_plain_path(&self.name) && !self.name.contains('/');
        if !is_plain || self.name.len() > LONGEST_NAME_BYTES || self.name.chars().any(char::is_control) {
            let reason = "it cannot be the name of a document";
            return Err(Error::InvalidPath { path: (&self.name).into(), reason, hint: Hint::GiveName });
        }
        match self.bytes.len() as u64 <= MAX_BYTES {
            true => Ok(()),
            false => Err(too_large(self.name.as_ref())),
        }
    }
}

fn too_large(path: &Path) -> Error {
    Error::InvalidPath { path: path.into(), reason: "it is no document: it has more than 64 MiB", hint: Hint::GiveFile }
}

/// A document of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct AttachedDocument {
    /// Its name.
    pub name: String,
    /// What it is: `sbom`, `signature` or `doc`.
    pub kind: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size; null if its blob is lost.
    pub size_bytes: Option<u64>,
    /// When it was attached, in milliseconds since the Unix epoch.
    pub attached_ms: u64,
}

/// The documents of an entry, sorted by name.
pub(crate) fn documents(store: &Store, record: &Record) -> Result<Vec<AttachedDocument>> {
    let stored = |(digest, document): (&Digest, &Document)| {
        Ok(AttachedDocument {
            name: document.name.clone(),
            kind: document.kind.clone(),
            digest: *digest,
            size_bytes: store.root.meta(&layout::blob(digest))?.map(|meta| meta.size_bytes),
            attached_ms: document.attached_ms,
        })
    };
    let mut documents = record.documents.iter().map(stored).collect::<Result<Vec<_>>>()?;
    documents.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(documents)
}

/// The bytes of a document, checked against its digest. `None`: there is none with this name.
pub(crate) fn document(store: &Store, record: &Record, name: &str) -> Result<Option<Vec<u8>>> {
    named(&record.documents, name).map(|digest| bytes_of(store, digest)).transpose()
}

/// A document with its bytes, which were checked.
pub(crate) struct ReadDocument<'r> {
    pub(crate) name: &'r str,
    pub(crate) kind: &'r str,
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
}

/// Reads the documents of an entry, one at a time.
pub(crate) fn read<'r>(store: &Store, record: &'r Record) -> impl Iterator<Item = Result<ReadDocument<'r>>> {
    record.documents.iter().map(|(digest, Document { name, kind, .. })| {
        Ok(ReadDocument { name, kind, digest: *digest, bytes: bytes_of(store, *digest)? })
    })
}

fn bytes_of(store: &Store, expected: Digest) -> Result<Vec<u8>> {
    let at = layout::blob(&expected);
    let missing = || store.root.fail("open", &at, std::io::ErrorKind::NotFound.into());
    let bytes = store.root.read(&at, MAX_BYTES)?.ok_or_else(missing)?;
    let actual = Digest::sha256_of(&bytes);
    match actual == expected {
        true => Ok(bytes),
        false => Err(Error::DigestMismatch { path: store.root.absolute(&at), expected, actual }),
    }
}

fn named(documents: &BTreeMap<Digest, Document>, name: &str) -> Option<Digest> {
    documents.iter().find(|(_, document)| document.name == name).map(|(digest, _)| *digest)
}

/// Attaches a document to an entry, durably. Returns the record with it.
pub(crate) fn attach(store: &Store, id: &str, new: &NewDocument) -> Result<Record> {
    attach_record(store, store.require(id)?, new)
}

/// The same, if the entry has this content.
pub(crate) fn attach_to(store: &Store, id: &str, content: Digest, new: &NewDocument) -> Result<()> {
    match store.require(id)? {
        record if record.entry.digest == Some(content) => attach_record(store, record, new).map(drop),
        _ => Err(store.not_found(id)),
    }
}

fn attach_record(store: &Store, record: Record, new: &NewDocument) -> Result<Record> {
    new.check()?;
    let id = record.entry.id.as_str();
    if record.kind == ArtifactKind::Registered || record.entry.digest.is_none() {
        return Err(Error::NotStaged { id: id.into(), path: record.entry.local_path });
    }
    let (digest, size_bytes) = (Digest::sha256_of(&new.bytes), new.bytes.len() as u64);
    in_the_way(id, &record.documents, digest, new)?; // before anything is written
    let session = Session::begin(&store.root)?;
    remove_dead_sessions(store);
    make_room(store, size_bytes)?;
    let origin = Origin::Memory(new.bytes.clone());
    let file = ContentFile { path: new.name.clone(), size_bytes, expected: Some(digest), origin, present: None };
    let options = ingest::Options {
        durability: store.durability(),
        with_groups: true,
        partial_from_bytes: ingest::PARTIAL_FROM_BYTES,
        cancel: &Cancel::new(),
        advanced: &|_| {},
    };
    let mut blobs = [ingest_one(&session, &file, options)?];
    let (replaced, attached) = (Cell::new(None), Cell::new(None));
    let edit = |_: Option<&View>, now: Option<StoredRecord>| {
        let mut now = now.ok_or_else(|| store.not_found(id))?;
        if now.digest != record.entry.digest {
            // A document belongs to the content that the caller saw.
            let path = record.entry.local_path.clone();
            return Err(Error::Busy { what: "an entry", path, waited: std::time::Duration::ZERO, holder: None });
        }
        let other = in_the_way(id, &now.documents, digest, new)?;
        if let Some(other) = other.filter(|other| *other != digest) {
            now.documents.remove(&other);
            now.unneed(&other);
            replaced.set(Some(other));
        }
        let kind = new.kind.as_str().to_owned();
        let is_there = now.documents.get(&digest).is_some_and(|there| there.name == new.name && there.kind == kind);
        if !is_there {
            let document = Document { attached_ms: now_ms(), kind, name: new.name.clone() };
            now.documents.insert(digest, document);
            now.pushed.clear(); // the other places do not have it
            now.needs.insert(digest);
            now.updated_ms = now_ms();
        }
        attached.set(Some(now.clone().into_record(id.to_owned(), &store.root)));
        Ok(Change::Put(Box::new(now)))
    };
    let unit = Unit { id, blobs: &mut blobs, exhibit: None, is_due: &|| Ok(true), record: Some(&edit) };
    let done = store::commit(store, &session, &mut [unit], false).pop().expect("there is one for each unit");
    if let Err(error) = done.result {
        store::undo(store, &done.stored, &[]);
        return Err(error);
    }
    free(store, replaced.get());
    tracing::debug!(id, name = new.name, %digest, "attached a document");
    attached.take().ok_or_else(|| store.not_found(id))
}

/// The document that has the name or the bytes of the new one, which may replace it.
fn in_the_way(
    id: &str,
    documents: &BTreeMap<Digest, Document>,
    digest: Digest,
    new: &NewDocument,
) -> Result<Option<Digest>> {
    let is_named_otherwise = documents.get(&digest).is_some_and(|there| there.name != new.name);
    let other = named(documents, &new.name).filter(|other| *other != digest);
    if (is_named_otherwise || other.is_some()) && !new.replace {
        let there = documents.get(&digest).filter(|_| is_named_otherwise).map(|there| there.name.clone());
        return Err(Error::DocumentExists { id: id.into(), name: new.name.clone(), same_bytes: there });
    }
    Ok(other)
}

fn make_room(store: &Store, size_bytes: u64) -> Result<()> {
    let mut wanted = Wanted::default();
    wanted.add(size_bytes, size_bytes);
    let room = Room::measure(store)?;
    if room.fits(&wanted)? { Ok(()) } else { room.make(&wanted) }
}

/// Detaches a document from an entry, durably. `false`: there is none with this name.
pub(crate) fn detach(store: &Store, id: &str, name: &str) -> Result<bool> {
    let mut detached = None;
    store.edit(&[id], &mut |_, old| {
        let mut record = old.ok_or_else(|| store.not_found(id))?;
        let Some(digest) = named(&record.documents, name) else { return Ok(Change::Keep) };
        record.documents.remove(&digest);
        record.unneed(&digest);
        record.updated_ms = now_ms();
        detached = Some(digest);
        Ok(Change::Put(Box::new(record)))
    })?;
    free(store, detached);
    Ok(detached.is_some())
}

/// Removes the blob of a document, if nothing else needs it. Best effort: the next collection finds it.
fn free(store: &Store, digest: Option<Digest>) {
    let Some(digest) = digest else { return };
    let sweep = || {
        let mut sweep = Sweep::begin(store)?;
        sweep.remove_blob(&digest, true)?;
        sweep.finish().map(drop)
    };
    if let Err(error) = sweep() {
        tracing::warn!(%digest, %error, "could not remove the blob of a document; the next collection will");
    }
}
