//! `put`: the trait method that stages or records an entry.

use std::collections::BTreeSet;

use super::batch;
use super::item::Item;
use super::target::{self, Target};
use crate::blob::IngestMode;
use crate::cancel::Cancel;
use crate::entry::{ArtifactKind, CatalogEntry, Record, TrustState, check_id};
use crate::error::{Error, Result};
use crate::fs::now_ms;
use crate::hint::Hint;
use crate::index::{Change, StoredRecord, encode_path};
use crate::store::Store;

/// [`put`](crate::CatalogStore::put) for several entries, made durable together. Returns the first error, but still
/// records every entry that can be recorded.
pub(crate) fn put_many(store: &Store, entries: &[CatalogEntry]) -> Result<()> {
    let results = rounds(entries).into_iter().map(|round| put_round(store, round)).collect::<Vec<_>>();
    results.into_iter().collect()
}

/// Puts entries with distinct ids.
fn put_round(store: &Store, entries: &[CatalogEntry]) -> Result<()> {
    let mut failed = None;
    let mut items = Vec::new();
    let mut records = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        match plan_put(store, entry) {
            Ok(Put::Stage(item)) => items.push((number, *item)),
            Ok(Put::Record(path)) => records.push((entry, path)),
            Ok(Put::Refresh) => {
                if let Err(error) = refresh(store, entry) {
                    failed.get_or_insert(error);
                }
            }
            Err(error) => drop(failed.get_or_insert(error)),
        }
    }
    if let Err(error) = register(store, &records) {
        failed.get_or_insert(error);
    }
    for (_, result) in batch::ingest_and_commit(store, items, &(), &Cancel::new()) {
        if let Err(error) = result {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(()), Err)
}

fn plan_put(store: &Store, entry: &CatalogEntry) -> Result<Put> {
    check_id(&entry.id)?;
    // Read the record even if it is not needed: an unreadable shard then fails this entry here, and not all of them at
    // the end.
    let known = store.record(&entry.id)?;
    let (source, in_place) = match target::locate(&store.root, &entry.local_path)? {
        Target::Outside(source) => (source, None),
        Target::InPlace(path) => {
            if shows_already(store, known, entry, &path)? {
                return Ok(Put::Refresh);
            }
            (store.root.absolute(&path), Some(path))
        }
        Target::Registered(path) => {
            let path = encode_path(&path).ok_or_else(|| Error::InvalidPath {
                path: entry.local_path.clone(),
                reason: "it is not UTF-8, which the index needs",
                hint: Hint::Rename,
            })?;
            return Ok(Put::Record(path));
        }
    };
    let reference = format!("file:{}", source.display());
    Ok(Put::Stage(Box::new(Item {
        expected: entry.digest,
        in_place,
        lifecycle: entry.lifecycle,
        last_verified_ms: entry.last_verified_ms,
        ..Item::local(store.path(), entry.id.clone(), reference, source, IngestMode::Auto, false)?
    })))
}

/// Whether `get` could have returned this entry, apart from its lifecycle: then no byte has to be read.
fn shows_already(store: &Store, known: Option<Record>, entry: &CatalogEntry, path: &std::path::Path) -> Result<bool> {
    let Some(record) = known else { return Ok(false) };
    let same_path = record.entry.local_path == store.root.absolute(path);
    let same_content = entry.digest.is_none() || entry.digest == record.entry.digest;
    Ok(same_path && same_content && store.is_intact(&record)?)
}

fn refresh(store: &Store, entry: &CatalogEntry) -> Result<()> {
    store.edit(&[&entry.id], &mut |id, old| {
        let mut record = old.ok_or_else(|| store.not_found(id))?;
        // The caller knew the digest that the store computed. Compare under the lock: the id may have received other
        // content since it was inspected.
        if entry.digest.is_some() && entry.digest == record.digest {
            record.trust = TrustState::Verified;
        }
        if entry.digest.is_none() || entry.digest == record.digest {
            record.last_verified_ms = entry.last_verified_ms.or(record.last_verified_ms);
        }
        record.set_lifecycle(entry.lifecycle, now_ms());
        Ok(Change::Put(Box::new(record)))
    })
}

/// Records paths that do not exist yet.
fn register(store: &Store, records: &[(&CatalogEntry, String)]) -> Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    let by_id: std::collections::BTreeMap<&str, &(&CatalogEntry, String)> =
        records.iter().map(|record| (record.0.id.as_str(), record)).collect();
    let ids: Vec<&str> = by_id.keys().copied().collect();
    store.edit(&ids, &mut |id, old| {
        let Some((entry, path)) = by_id.get(id) else { return Ok(Change::Keep) };
        let now = now_ms();
        let record = StoredRecord {
            digest: entry.digest,
            last_verified_ms: entry.last_verified_ms,
            ..StoredRecord::new(now, path, ArtifactKind::Registered)
        };
        let mut record = record.replacing(old);
        record.set_lifecycle(entry.lifecycle, now);
        Ok(Change::Put(Box::new(record)))
    })
}

/// Splits entries into rounds. An id occurs once per round, so the last of several entries with the same id wins, as if
/// they were put one after the other.
fn rounds(mut entries: &[CatalogEntry]) -> Vec<&[CatalogEntry]> {
    let mut rounds = Vec::new();
    while !entries.is_empty() {
        let mut ids = BTreeSet::new();
        let length = entries.iter().take_while(|entry| ids.insert(&entry.id)).count();
        let (round, rest) = entries.split_at(length);
        rounds.push(round);
        entries = rest;
    }
    rounds
}

enum Put {
    /// Ingest the artifact.
    Stage(Box<Item>),
    /// Record this path, which does not exist yet.
    Record(String),
    /// Update the record of what the store already has.
    Refresh,
}
