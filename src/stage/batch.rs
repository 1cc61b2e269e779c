//! Batches: items that are ingested and committed together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::OnceLock;

use super::StageReceipt;
use super::artifact::{self, Artifact};
use super::item::Item;
use super::needed::make_room_for;
use super::single_flight::{self, SingleFlight};
use crate::blob::manifest::{self, TreeFile};
use crate::blob::{Sealed, UsedMode};
use crate::cancel::Cancel;
use crate::entry::{ArtifactKind, SourceStamp};
use crate::error::{Error, Result};
use crate::fs::Session;
use crate::fs::writeback::sync_meanwhile;
use crate::fs::{Durability, spare_descriptors, wait_for_a_tick};
use crate::ingest::{self, ContentFile, Job, Options};
use crate::layout;
use crate::observer::{Event, Observer};
use crate::store::Store;
use crate::sum::SumBytes;

/// A batch ends at this many bytes or files. Finished batches are acknowledged, so that a call with any number of items
/// needs bounded memory and can lose only a bounded amount of work.
const BATCH_BYTES: u64 = 4 << 30;
const BATCH_FILES: usize = 16 << 10;

/// From this many files on, one flush of the file system is cheaper than one per file.
const FLUSH_ONCE_FROM: usize = 8;

/// While a batch is ingested, it is written to disk in steps of this size.
const SYNC_EVERY_BYTES: u64 = 256 << 20;

/// Files in a batch get a lock file of their own from this size on.
const FLIGHT_FROM_BYTES: u64 = 16 << 20;

/// Ingests items and commits them, a batch at a time.
pub(super) fn ingest_and_commit(
    store: &Store,
    items: Vec<(usize, Item)>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Vec<(usize, Result<StageReceipt>)> {
    if items.is_empty() {
        return Vec::new();
    }
    let what = match items.as_slice() {
        [(_, one)] => one.source.display().to_string(),
        many => format!("{} models", many.len()),
    };
    let bytes_total = items.iter().map(|(_, item)| item.size_bytes()).sum_bytes();
    observer.on(&Event::Started { what: &what, bytes_total });
    let results = batches(items).into_iter().flat_map(|batch| run(store, batch, observer, cancel)).collect();
    observer.on(&Event::Finished);
    results
}

fn run(
    store: &Store,
    batch: Vec<(usize, Item)>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Vec<(usize, Result<StageReceipt>)> {
    let mut results = Vec::new();
    let (flights, mut batch) = claim_references(store, batch, &mut results, observer, cancel);
    if batch.is_empty() {
        return results;
    }
    let told = |reference: &str, bytes| {
        observer.on(&Event::Advanced { bytes });
        if let Some(flight) = flights.get(reference) {
            flight.advance(bytes);
        }
    };
    // Wait, so that the stamps of files written a moment ago can be trusted later.
    let stamps = batch.iter().flat_map(|(_, item)| &item.contents).filter_map(|content| content.stamp);
    wait_for_a_tick(stamps.flat_map(|SourceStamp { stamp, changed_ns }| [stamp.mtime_ns, changed_ns]));
    let begun = Session::begin(&store.root).and_then(|session| {
        make_room_for(store, &session, &mut batch, cancel, &told)?;
        Ok(session)
    });
    let session = match begun {
        Ok(session) => session,
        Err(error) => {
            results.extend(batch.iter().map(|(number, _)| (*number, Err(error.clone()))));
            return results;
        }
    };
    // A file that is already in the store is not ingested, so nothing would reuse the partial that a killed process
    // left of it.
    let present = batch.iter().flat_map(|(_, item)| &item.contents).filter(|content| content.file.present.is_some());
    let left: Vec<PathBuf> = present.flat_map(|content| ingest::partials_of(&content.file)).collect();
    let files: usize = batch.iter().map(|(_, item)| item.contents.len()).sum();
    let bytes: u64 = batch.iter().map(|(_, item)| item.size_bytes()).sum_bytes();
    // A batch is synced as a whole (and in the background while it is ingested). A few small files, or a single large one,
    // are synced one by one here.
    let is_batch = files >= FLUSH_ONCE_FROM || (files > 1 && bytes >= SYNC_EVERY_BYTES);
    let each = if is_batch { Durability::Relaxed } else { store.durability() };
    let every_bytes = (each != store.durability()).then_some(SYNC_EVERY_BYTES);
    let sync = || store.root.sync_file_system().map(drop);
    let (brought, synced) = sync_meanwhile(every_bytes, sync, |ahead| {
        let advanced = |reference: &str, bytes| {
            told(reference, bytes);
            ahead.wrote(bytes);
        };
        ingest_all(&session, batch, each, cancel, &advanced)
    });
    if let Err(error) = synced {
        for (number, artifact) in brought {
            // A later attempt must not continue from bytes that never reached the disk.
            artifact.into_iter().flat_map(|artifact| artifact.incoming).for_each(|mut sealed| sealed.distrust());
            results.push((number, Err(error.clone())));
        }
        return results;
    }
    observer.on(&Event::Syncing);
    let mut artifacts = Vec::new();
    for (number, artifact) in brought {
        match artifact {
            Ok(artifact) => artifacts.push((number, artifact)),
            Err(error) => results.push((number, Err(error))),
        }
    }
    results.extend(artifact::commit(store, &session, artifacts, each != store.durability()));
    left.iter().for_each(|folder| ingest::remove_left(&store.root, folder));
    results
}

/// Claims the right to work on each reference, and finds the references that another process has staged in the
/// meantime.
///
/// Claims in the order of the lock files, so that two processes cannot deadlock. Skips small files of a batch: reading
/// one twice costs less than a lock file.
fn claim_references(
    store: &Store,
    mut batch: Vec<(usize, Item)>,
    results: &mut Vec<(usize, Result<StageReceipt>)>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> (BTreeMap<String, SingleFlight>, Vec<(usize, Item)>) {
    let is_alone = batch.len() == 1;
    batch.sort_by_cached_key(|(_, item)| layout::lock_fetch(&item.reference));
    let mut flights: BTreeMap<String, SingleFlight> = BTreeMap::new();
    let mut work = Vec::with_capacity(batch.len());
    for (number, mut item) in batch {
        // A fetched item claimed its flight before its source was asked.
        if let Some(flight) = item.fetched.as_mut().and_then(|fetched| fetched.flight.take()) {
            flights.insert(item.reference.clone(), flight);
            work.push((number, item));
            continue;
        }
        let needs_flight = is_alone || item.size_bytes() >= FLIGHT_FROM_BYTES;
        if !needs_flight || flights.contains_key(&item.reference) {
            work.push((number, item));
            continue;
        }
        let begun = single_flight::begin(store, &item.reference, item.size_bytes(), item.wait, observer, cancel);
        // Look again: the previous holder may have done the work.
        match begun.and_then(|flight| Ok((flight, super::item::unchanged(store, &item)?))) {
            Ok((_, Some(receipt))) => results.push((number, Ok(receipt))),
            Ok((flight, None)) => {
                flights.insert(item.reference.clone(), flight);
                work.push((number, item));
            }
            Err(error) => results.push((number, Err(error))),
        }
    }
    (flights, work)
}

/// Ingests all files of all items. Calls `advanced` with the reference whose bytes were hashed, and their number.
fn ingest_all<'r>(
    session: &Session<'r>,
    batch: Vec<(usize, Item)>,
    durability: Durability,
    cancel: &Cancel,
    advanced: &(dyn Fn(&str, u64) + Sync),
) -> Vec<(usize, Result<Artifact<'r>>)> {
    let failed: Vec<OnceLock<Error>> = batch.iter().map(|_| OnceLock::new()).collect();
    let told: Vec<_> = batch.iter().map(|(_, item)| move |bytes: u64| advanced(&item.reference, bytes)).collect();
    let mut jobs = Vec::new();
    for (((_, item), failed), advanced) in batch.iter().zip(&failed).zip(&told) {
        let options = Options {
            durability,
            with_groups: !item.defer_outboard,
            partial_from_bytes: ingest::PARTIAL_FROM_BYTES,
            cancel,
            advanced,
        };
        jobs.extend(item.contents.iter().map(|content| {
            let file = ContentFile { expected: item.expected_of(content), ..content.file.clone() };
            Job { file, options, failed }
        }));
    }
    let mut sealed = ingest::ingest_all(session, jobs).into_iter();
    drop(told);
    let artifacts = batch.into_iter().zip(&failed).map(|((number, item), failed)| {
        // Take all of them, also behind a failed one: the rest belong to the next item.
        let files: Vec<Result<_>> = sealed.by_ref().take(item.contents.len()).collect();
        // Report the first error, not the aborts that it caused for the other files.
        let files = match failed.get() {
            Some(error) => Err(error.clone()),
            None => files.into_iter().collect::<Result<Vec<_>>>(),
        };
        (number, files.and_then(|files| artifact(session, item, files, durability)))
    });
    artifacts.collect()
}

/// Builds the artifact from its ingested files. A tree also gets its manifest.
fn artifact<'r>(
    session: &Session<'r>,
    item: Item,
    mut incoming: Vec<Sealed<'r>>,
    durability: Durability,
) -> Result<Artifact<'r>> {
    let tree: Vec<TreeFile> = item
        .contents
        .iter()
        .zip(&incoming)
        .map(|(content, brought)| TreeFile {
            path: content.file.path.clone(),
            digest: brought.digest(),
            size_bytes: brought.size_bytes(),
        })
        .collect();
    let mode = incoming.iter().map(Sealed::mode).max().unwrap_or(UsedMode::Unchanged);
    if item.kind == ArtifactKind::Tree {
        let bytes = manifest::encode(&tree).map_err(|e| Error::io("describe the tree", &item.source, e))?;
        incoming.push(ingest::ingest_bytes(session, bytes, durability)?);
    }
    let digest = incoming.last().map(Sealed::digest).expect("an item has a file");
    match item.expected {
        Some(expected) if expected != digest => {
            Err(Error::DigestMismatch { path: item.source, expected, actual: digest })
        }
        _ => Ok(Artifact { item, digest, tree, incoming, mode }),
    }
}

/// Splits items into batches. An id occurs once per batch, so the last of several items with the same id wins, as if
/// they were staged one after the other.
fn batches(items: Vec<(usize, Item)>) -> Vec<Vec<(usize, Item)>> {
    let mut batches: Vec<Vec<(usize, Item)>> = Vec::new();
    let mut current = Vec::new();
    let mut ids = BTreeSet::new();
    // Each claimed reference holds a file descriptor until its batch is recorded. Counting the open ones lists a
    // directory, so a single item does without.
    let max_claimed = if items.len() > 1 { (spare_descriptors() / 4).max(1) } else { 1 };
    let (mut bytes, mut files, mut claimed) = (0_u64, 0, 0);
    for (number, item) in items {
        let is_full = bytes >= BATCH_BYTES || files >= BATCH_FILES || claimed >= max_claimed || ids.contains(&item.id);
        if is_full {
            batches.push(std::mem::take(&mut current));
            ids.clear();
            (bytes, files, claimed) = (0, 0, 0);
        }
        bytes = bytes.saturating_add(item.size_bytes());
        files += item.contents.len();
        claimed += usize::from(item.size_bytes() >= FLIGHT_FROM_BYTES);
        ids.insert(item.id.clone());
        current.push((number, item));
    }
    batches.push(current);
    batches
}
