//! The order of a push: lease the entry, ask what is there, send the missing blobs, then the manifest, and record the
//! push. The documents of the entry follow the manifest.

use std::collections::BTreeMap;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::memory::Memory;
use super::options::{PushOptions, PushReceipt};
use super::package::{Package, Part};
use super::workers;
use crate::digest::Digest;
use crate::documents::{self, ReadDocument};
use crate::entry::Record;
use crate::error::{Error, Result};
use crate::lease::lease;
use crate::model_ref::ModelRef;
use crate::observer::{Event, Observer};
use crate::read_at::ReadAt;
use crate::referrer;
use crate::source::{Cx, Outgoing, Pusher, Sink, Sources};
use crate::store::Store;
use crate::sum::SumBytes as _;

/// Pushes an entry; see [`FsCatalog::push`](crate::FsCatalog::push).
pub(crate) fn push(
    store: &Store,
    sources: &Sources,
    id: &str,
    target: &ModelRef,
    options: &PushOptions,
) -> Result<PushReceipt> {
    let began = Instant::now();
    let pushed = || {
        let pusher = sources.pusher(target, &options.cancel)?;
        let lease = lease(store, id)?;
        let package = Package::of(store, lease.record())?;
        let sink = pusher.sink(target)?;
        let place = sink.place(target)?;
        sink.check(target, &package.digest, &options.tags)?;
        let push = Push { store, id, target, place: &place, options, sink, pusher: &pusher };
        let (mut sent, mut all) = push.run(&package)?;
        push.documents(&package, lease.record(), &mut sent, &mut all)?;
        if !options.is_dry_run {
            push.note(lease.record());
        }
        Ok(PushReceipt {
            id: id.to_owned(),
            digest: lease.entry().digest.unwrap_or(package.digest),
            reference: sink.reference(target, &package.digest)?,
            manifest: package.digest,
            pushed_bytes: sent.bytes,
            skipped_bytes: all.bytes.saturating_sub(sent.bytes),
            pushed_blobs: sent.blobs,
            skipped_blobs: all.blobs - sent.blobs,
            requests: pusher.client.requests(),
            dry_run: options.is_dry_run,
            elapsed: began.elapsed(),
            place,
        })
    };
    pushed().map_err(|error| match error {
        Error::Net { url, source } => Error::Push { id: id.to_owned(), url, source: Box::new(source) },
        other => other,
    })
}

#[derive(Clone, Copy, Default)]
struct Count {
    blobs: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: usize) {
        self.blobs += 1;
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

struct Push<'p> {
    store: &'p Store,
    id: &'p str,
    target: &'p ModelRef,
    place: &'p str,
    options: &'p PushOptions,
    sink: &'p dyn Sink,
    pusher: &'p Pusher,
}

/// Other places that are known to have a blob.
type Elsewhere = BTreeMap<Digest, Vec<ModelRef>>;

impl Push<'_> {
    fn cx(&self) -> Cx<'_> {
        Cx::new(&self.pusher.client, &*self.options.observer)
    }

    /// Returns what was or would be sent, and the total.
    fn run(&self, package: &Package) -> Result<(Count, Count)> {
        let blobs = &package.blobs;
        let all = Count { blobs: blobs.len() as u64, bytes: blobs.iter().map(|part| part.size_bytes).sum_bytes() };
        // If the manifest is there, so are all its blobs: one request is enough.
        let is_held = self.sink.holds(self.target, &package.digest, &self.cx())?;
        let sent = if is_held { Count::default() } else { self.send(blobs, all.bytes)? };
        if !self.options.is_dry_run {
            if !is_held {
                self.attach(package)?;
            }
            self.sink.publish(self.target, &package.manifest, self.id, &self.options.tags, &self.cx())?;
        }
        Ok((sent, all))
    }

    fn send(&self, blobs: &[Part], all_bytes: u64) -> Result<Count> {
        self.options.observer.on(&Event::Started { what: &self.target.shown(), bytes_total: all_bytes });
        let elsewhere = OnceLock::new();
        let sent = workers::each(blobs, self.pusher.connections, &|part| self.send_one(part, &elsewhere));
        self.options.observer.on(&Event::Finished);
        let sent = sent?;
        Ok(Count { blobs: sent.iter().flatten().count() as u64, bytes: sent.into_iter().flatten().sum_bytes() })
    }

    /// Returns how many bytes of a blob were or would be sent; `None` if it was there already.
    fn send_one(&self, part: &Part, elsewhere: &OnceLock<Elsewhere>) -> Result<Option<u64>> {
        // Claim the blob before asking: if another process is sending it, it is there by then.
        let memory = Memory::claim(self.store, self.place, part, self.options)?;
        let content = Told::new(part.open(self.store)?, &*self.options.observer);
        let is_there = self.sink.has(self.target, &part.digest, part.size_bytes, &self.cx())?;
        let sent = match (is_there, self.options.is_dry_run) {
            (true, _) => None,
            (false, true) => Some(part.size_bytes),
            (false, false) => {
                let elsewhere = elsewhere.get_or_init(|| self.elsewhere());
                let elsewhere = elsewhere.get(&part.digest).map(Vec::as_slice).unwrap_or_default();
                let blob = Outgoing { digest: part.digest, content: &content, elsewhere, memory: &memory };
                self.sink.put(self.target, blob, &self.cx())?
            }
        };
        content.rest();
        Ok(sent)
    }

    /// Sends the values of each MiB of the files, if they are known and the target accepts them. A fetch works without
    /// them.
    fn attach(&self, package: &Package) -> Result<()> {
        let Some(outboards) = package.outboards(self.store) else { return Ok(()) };
        match self.sink.attach(self.target, &package.manifest, &outboards, &self.cx()) {
            Err(error) if error.is_unreachable() || error.is_cancelled() => Err(error),
            Err(error) => {
                tracing::warn!(target = self.target.shown(), %error, "could not push the hashes of the model's parts");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Sends the documents that are not there yet, and counts them. A document can be attached after its model was
    /// pushed.
    fn documents(&self, package: &Package, record: &Record, sent: &mut Count, all: &mut Count) -> Result<()> {
        if record.documents.is_empty() {
            return Ok(());
        }
        let Some(there) = self.sink.referrers(self.target, &package.digest, &self.cx())? else {
            tracing::warn!(id = self.id, place = self.place, "documents of the model stay here: the place keeps none");
            return Ok(());
        };
        for document in documents::read(self.store, record) {
            let ReadDocument { name, kind, bytes, .. } = document?;
            let referrer = referrer::of_document(&package.manifest, name, kind, &bytes);
            all.add(bytes.len());
            if there.contains(&Digest::sha256_of(&referrer)) {
                continue;
            }
            if !self.options.is_dry_run {
                self.sink.refer(self.target, &package.digest, &referrer, &bytes, &self.cx())?;
            }
            sent.add(bytes.len());
        }
        Ok(())
    }

    /// Where entries were pushed to or came from, by blob. Ignores entries that cannot be read.
    fn elsewhere(&self) -> Elsewhere {
        let mut elsewhere = Elsewhere::new();
        self.store.index.each_readable(&mut |record| {
            let (places, Some(digest)) = (self.places_of(&record), record.entry.digest) else { return };
            if !places.is_empty() {
                for file in self.store.files_of(record.kind, digest, record.size_bytes).unwrap_or_default() {
                    elsewhere.entry(file.digest).or_default().extend(places.iter().cloned());
                }
            }
        });
        elsewhere
    }

    /// Other places with the target's scheme.
    fn places_of(&self, record: &Record) -> Vec<ModelRef> {
        let source = record.source.as_ref().map(|source| source.reference.as_str());
        let known = record.pushed.keys().map(String::as_str).chain(source);
        let known = known.filter(|text| text.split_once(':').is_some_and(|(scheme, _)| scheme == self.target.scheme()));
        let known = known.filter_map(|text| ModelRef::parse(text).ok());
        known.filter(|known| self.sink.place(known).is_ok_and(|known| known != self.place)).collect()
    }

    /// A push succeeds even if it cannot be recorded.
    fn note(&self, record: &Record) {
        if let Err(error) = self.store.note_pushed(record, self.place) {
            tracing::debug!(id = record.entry.id, place = self.place, %error, "could not record that the entry was \
                                                                               pushed");
        }
    }
}

/// Reports bytes that are read for the first time. Bytes that are sent again are not counted again.
struct Told<'o> {
    content: Box<dyn ReadAt>,
    observer: &'o dyn Observer,
    told_bytes: AtomicU64,
}

impl<'o> Told<'o> {
    fn new(content: Box<dyn ReadAt>, observer: &'o dyn Observer) -> Self {
        Told { content, observer, told_bytes: AtomicU64::new(0) }
    }

    fn tell(&self, to: u64) {
        let before = self.told_bytes.fetch_max(to, Ordering::Relaxed);
        if to > before {
            self.observer.on(&Event::Advanced { bytes: to - before });
        }
    }

    /// Reports the rest: bytes that were not sent were there already.
    fn rest(&self) {
        self.tell(self.content.size_bytes());
    }
}

impl ReadAt for Told<'_> {
    fn name(&self) -> String {
        self.content.name()
    }

    fn size_bytes(&self) -> u64 {
        self.content.size_bytes()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.content.read_exact_at(offset, buffer)?;
        self.tell(offset + buffer.len() as u64);
        Ok(())
    }
}
