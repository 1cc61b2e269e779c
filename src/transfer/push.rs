//! The order of a push: lease the entry, ask what is there, send the blobs that are missing, then the manifest, and note it.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::memory::Memory;
use super::options::{PushOptions, PushReceipt};
use super::package::{Package, Part};
use super::workers;
use crate::digest::Digest;
use crate::entry::Record;
use crate::error::{Error, Result};
use crate::lease::lease;
use crate::model_ref::ModelRef;
use crate::observer::{Event, Observer};
use crate::read_at::ReadAt;
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
    let pushed = push_unnamed(store, sources, id, target, options);
    pushed.map_err(|error| match error {
        Error::Net { url, source } => Error::Push { id: id.to_owned(), url, source: Box::new(source) },
        other => other,
    })
}

fn push_unnamed(
    store: &Store,
    sources: &Sources,
    id: &str,
    target: &ModelRef,
    options: &PushOptions,
) -> Result<PushReceipt> {
    let began = Instant::now();
    let pusher = sources.pusher(target, &options.cancel)?;
    let lease = lease(store, id)?;
    let package = Package::of(store, lease.record())?;
    let push = Push { store, id, target, options, sink: pusher.sink(target)?, pusher: &pusher };
    let place = push.sink.place(target)?;
    push.sink.check(target, &package.digest, &options.tags)?;
    let (sent, all) = push.run(&place, &package)?;
    if !options.is_dry_run {
        push.note(lease.record(), &place);
    }
    let record = lease.record();
    Ok(PushReceipt {
        id: id.to_owned(),
        digest: record.entry.digest.unwrap_or(package.digest),
        reference: push.sink.reference(target, &package.digest)?,
        place,
        manifest: package.digest,
        pushed_bytes: sent.bytes,
        skipped_bytes: all.bytes.saturating_sub(sent.bytes),
        pushed_blobs: sent.blobs,
        skipped_blobs: all.blobs - sent.blobs,
        requests: pusher.client.requests(),
        dry_run: options.is_dry_run,
        elapsed: began.elapsed(),
    })
}

#[derive(Clone, Copy, Default)]
struct Count {
    blobs: u64,
    bytes: u64,
}

struct Push<'p> {
    store: &'p Store,
    id: &'p str,
    target: &'p ModelRef,
    options: &'p PushOptions,
    sink: &'p dyn Sink,
    pusher: &'p Pusher,
}

impl Push<'_> {
    fn cx(&self) -> Cx<'_> {
        Cx::new(&self.pusher.client, &*self.options.observer)
    }

    /// What was sent, or would be, and all that there is.
    fn run(&self, place: &str, package: &Package) -> Result<(Count, Count)> {
        let (cx, blobs) = (self.cx(), &package.blobs);
        let all = Count { blobs: blobs.len() as u64, bytes: blobs.iter().map(|part| part.size_bytes).sum_bytes() };
        // A manifest that is there is there with all of its blobs, and one question tells.
        let is_held = self.sink.holds(self.target, &package.digest, &cx)?;
        let missing = if is_held { Vec::new() } else { self.missing(package)? };
        let bytes = missing.iter().map(|part| part.size_bytes).sum_bytes();
        if self.options.is_dry_run {
            return Ok((Count { blobs: missing.len() as u64, bytes }, all));
        }
        let mut sent = Count::default();
        if !missing.is_empty() {
            let what = self.target.shown();
            self.options.observer.on(&Event::Started { what: &what, bytes_total: bytes });
            let outcome = self.send(place, &missing);
            self.options.observer.on(&Event::Finished);
            sent = outcome?;
        }
        if !is_held {
            self.attach(package)?;
        }
        self.sink.publish(self.target, &package.manifest, self.id, &self.options.tags, &cx)?;
        Ok((sent, all))
    }

    fn missing<'b>(&self, package: &'b Package) -> Result<Vec<&'b Part>> {
        let cx = self.cx();
        let has = workers::each(&package.blobs, self.pusher.connections, &|part: &Part| {
            self.sink.has(self.target, &part.digest, part.size_bytes, &cx)
        })?;
        Ok(package.blobs.iter().zip(has).filter(|(_, has)| !has).map(|(part, _)| part).collect())
    }

    fn send(&self, place: &str, missing: &[&Part]) -> Result<Count> {
        let elsewhere = self.elsewhere(place, missing)?;
        let nowhere = Vec::new();
        let sent = workers::each(missing, self.pusher.connections, &|part: &&Part| {
            let memory = Memory::claim(self.store, place, &part.digest, &self.options.cancel)?;
            let content = Told::new(part.open(self.store)?, &*self.options.observer);
            if memory.has_waited && self.sink.has(self.target, &part.digest, part.size_bytes, &self.cx())? {
                content.rest();
                return Ok(0);
            }
            let elsewhere = elsewhere.get(&part.digest).unwrap_or(&nowhere);
            let blob = Outgoing { digest: part.digest, content: &content, elsewhere, memory: &memory };
            let sent = self.sink.put(self.target, blob, &self.cx())?;
            content.rest();
            Ok(sent)
        })?;
        Ok(Count { blobs: sent.iter().filter(|bytes| **bytes > 0).count() as u64, bytes: sent.into_iter().sum_bytes() })
    }

    /// What each MiB of the files is goes with them, as far as it is known and the other end takes it: a fetch does without.
    fn attach(&self, package: &Package) -> Result<()> {
        let Some(outboards) = package.outboards(self.store) else { return Ok(()) };
        match self.sink.attach(self.target, &package.manifest, &outboards, &self.cx()) {
            Err(error) if error.is_unreachable() || error.is_cancelled() => Err(error),
            Err(error) => {
                tracing::warn!(target = self.target.shown(), %error, "what its parts are was not pushed with it");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Other places that are known to have them: where entries that need them were pushed to, or came from. Another entry that cannot
    /// be read is no hindrance.
    fn elsewhere(&self, place: &str, missing: &[&Part]) -> Result<BTreeMap<Digest, Vec<ModelRef>>> {
        let mut elsewhere: BTreeMap<_, Vec<_>> = missing.iter().map(|part| (part.digest, Vec::new())).collect();
        for record in self.store.index.all()?.iter().flat_map(|shard| shard.all()) {
            let places = places_of(record).filter(|known| known.scheme() == self.target.scheme());
            let places = places.filter(|known| self.sink.place(known).is_ok_and(|known| known != place));
            let (places, Some(digest)) = (places.collect::<Vec<_>>(), record.entry.digest) else { continue };
            if places.is_empty() {
                continue;
            }
            for file in self.store.files_of(record.kind, digest, record.size_bytes).unwrap_or_default() {
                elsewhere.entry(file.digest).and_modify(|known| known.extend(places.iter().cloned()));
            }
        }
        Ok(elsewhere)
    }

    /// That it is not noted is no failure of a push.
    fn note(&self, record: &Record, place: &str) {
        if let Err(error) = self.store.note_pushed(record, place) {
            tracing::debug!(id = record.entry.id, place, %error, "that it was pushed is not recorded");
        }
    }
}

fn places_of(record: &Record) -> impl Iterator<Item = ModelRef> {
    let source = record.source.as_ref().map(|source| source.reference.as_str());
    record.pushed.keys().map(String::as_str).chain(source).filter_map(|text| ModelRef::parse(text).ok())
}

/// Tells of what is read for the first time. What is sent again counts once.
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

    /// All of it is there: what was not sent had been there.
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
