//! Makes room for what is about to be ingested.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::execute::execute;
use super::facts::Facts;
use super::gather::{gather, plan_of};
use super::usage::used_bytes_at_most;
use super::{GcAction, GcPlan, GcPolicy, GcReason};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::space::space;
use crate::fs::{Meta, Session, reserve};
use crate::hint::Collection;
use crate::layout::{self, Thing};
use crate::store::{Config, MinFree, Store};
use crate::sum::SumBytes;

/// What is about to be ingested.
#[derive(Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// Bytes by which the store will grow.
    pub(crate) stored_bytes: u64,
    /// The part of these bytes that needs room on the file system, because it is not shared with anything.
    pub(crate) copied_bytes: u64,
    /// Blobs that the store has and the new content needs: no entry that uses one is evicted.
    pub(crate) held: BTreeSet<Digest>,
    /// The entry being repaired. It is not evicted for its own repair, and the quarantined bytes that it is repaired
    /// from do not count.
    pub(crate) repaired: Option<&'a str>,
}

impl Wanted<'_> {
    pub(crate) fn add(&mut self, stored_bytes: u64, copied_bytes: u64) {
        self.stored_bytes = self.stored_bytes.saturating_add(stored_bytes);
        self.copied_bytes = self.copied_bytes.saturating_add(copied_bytes);
    }
}

/// The available room: measured once, asked as often as needed.
pub(crate) struct Room<'s> {
    store: &'s Store,
    config: Config,
    /// Free bytes on the file system. If it does not report them, practically unlimited: then only the quota is a
    /// limit.
    available_bytes: u64,
    min_free_bytes: u64,
    /// Bytes that `store.reserve` still needs, if an older version or a full disk has left it out.
    reserve_bytes: u64,
    used_at_most: OnceCell<u64>,
}

impl<'s> Room<'s> {
    pub(crate) fn measure(store: &'s Store) -> Result<Self> {
        let config = store.config()?;
        let space = space(&store.root);
        Ok(Room {
            store,
            min_free_bytes: space.zip(config.min_free).map_or(0, |(space, min)| min.bytes_of(space.total_bytes)),
            available_bytes: space.map_or(u64::MAX, |space| space.available_bytes),
            reserve_bytes: reserve::missing_bytes(&store.root)?,
            used_at_most: OnceCell::new(),
            config,
        })
    }

    /// Whether everything fits in the current state: within the quota in `store.json`, and on the file system. Does not
    /// need to know what all entries reference, so it works with a damaged shard or manifest, too.
    pub(crate) fn fits(&self, wanted: &Wanted<'_>) -> Result<bool> {
        if !self.disk_has(wanted) {
            return Ok(false);
        }
        if self.available_bytes >= self.wanted_free_bytes(wanted).saturating_add(self.reserve_bytes) {
            self.store.complete();
        }
        if self.config.max_bytes.is_none() {
            return Ok(true);
        }
        let used_bytes = match self.used_at_most.get() {
            Some(used_bytes) => *used_bytes,
            None => {
                let used_bytes = used_bytes_at_most(self.store)?;
                *self.used_at_most.get_or_init(|| used_bytes)
            }
        };
        Ok(self.quota_has(used_bytes, wanted))
    }

    /// How many bytes must be free before anything is written.
    fn wanted_free_bytes(&self, wanted: &Wanted<'_>) -> u64 {
        wanted.copied_bytes.saturating_add(self.min_free_bytes)
    }

    fn disk_has(&self, wanted: &Wanted<'_>) -> bool {
        self.available_bytes >= self.wanted_free_bytes(wanted)
    }

    fn quota_has(&self, used_bytes: u64, wanted: &Wanted<'_>) -> bool {
        self.config.max_bytes.is_none_or(|max| used_bytes.saturating_add(wanted.stored_bytes) <= max)
    }

    /// Makes room for everything before any of it is written. Removes what dead processes left behind, and evicts
    /// entries by the quota if that is needed and allowed.
    ///
    /// Two processes that stage at the same time may both find room where only one fits: the quota is then exceeded
    /// until the next collection, and a disk that fills up fails the slower one.
    pub(crate) fn make(&self, wanted: &Wanted<'_>) -> Result<()> {
        let store = self.store;
        let mut facts = gather(store)?;
        facts.protect(wanted);
        let policy = GcPolicy {
            max_bytes: self.config.max_bytes.map(|max| max.saturating_sub(wanted.stored_bytes)),
            min_free: Some(MinFree::bytes(self.wanted_free_bytes(wanted))),
            ..GcPolicy::default()
        };
        let mut plan = plan_of(store, &facts, &policy)?;
        if self.disk_has(wanted) && self.quota_has(plan.used_bytes, wanted) {
            return Ok(()); // files outside the store share the rest
        }
        let no_room = self.no_room(&plan, &facts, wanted);
        if self.config.max_bytes.is_none() && self.config.min_free.is_none() {
            // Nobody has allowed evictions. Leftovers that no longer belong to anyone may still go.
            plan.steps.retain(|step| !matches!(step.action, GcAction::EvictEntry { .. }));
            plan.freed_bytes = plan.steps.iter().filter(|step| step.at_once).map(|step| step.bytes).sum_bytes();
            let free_bytes = self.available_bytes.saturating_add(plan.freed_bytes);
            plan.shortfall_bytes = wanted.copied_bytes.saturating_sub(free_bytes);
        }
        let fits_after =
            plan.shortfall_bytes == 0 && self.quota_has(plan.used_bytes.saturating_sub(plan.freed_bytes), wanted);
        if !(store.locks_work && fits_after) {
            return Err(no_room);
        }
        tracing::info!(bytes = plan.freed_bytes, "making room");
        execute(store, &plan).map(drop)
    }

    /// Builds the error. It says what `plan` could free if evictions were allowed, and which collection would give
    /// enough room, if any would.
    fn no_room(&self, plan: &GcPlan, facts: &Facts, wanted: &Wanted<'_>) -> Error {
        let quota_bytes = self.config.max_bytes.map_or(u64::MAX, |max| max.saturating_sub(plan.used_bytes));
        let disk_bytes = self.available_bytes.saturating_sub(self.min_free_bytes);
        let young = plan.kept.iter().filter(|kept| kept.reason == GcReason::Young);
        let young_bytes = young.map(|kept| kept.bytes).sum_bytes();
        let is_possible = self.store.locks_work
            // A manual collection would not know what has to stay for this.
            && wanted.repaired.is_none()
            && wanted.held.is_empty()
            && self.config.max_bytes.is_none_or(|max| wanted.stored_bytes <= max)
            && plan.shortfall_bytes <= young_bytes;
        let collection = Collection {
            max_bytes: plan.policy.max_bytes.filter(|_| !self.quota_has(plan.used_bytes, wanted)),
            min_free_bytes: (!self.disk_has(wanted)).then_some(self.wanted_free_bytes(wanted)),
            without_grace: plan.shortfall_bytes > 0,
        };
        Error::NoRoom {
            root: self.store.path().to_path_buf(),
            needed_bytes: wanted.stored_bytes.max(wanted.copied_bytes),
            available_bytes: disk_bytes.min(quota_bytes),
            evictable_bytes: plan.freed_bytes,
            young_bytes,
            // A repair reads the good parts of it.
            quarantine_bytes: if wanted.repaired.is_some() { 0 } else { facts.quarantine_bytes },
            collection: is_possible.then_some(collection),
        }
    }
}

impl Facts {
    /// Protects what the new content needs: the blobs that it holds, and the entries that use them or are being
    /// repaired. What is in quarantine does not count against a repair.
    fn protect(&mut self, wanted: &Wanted<'_>) {
        self.held.extend(&wanted.held);
        self.entries.use_those(self.now_ms, |entry| {
            wanted.repaired == Some(entry.id) || entry.blobs().any(|digest| wanted.held.contains(digest))
        });
        if wanted.repaired.is_some() {
            self.other_bytes = self.other_bytes.saturating_sub(self.quarantine_bytes);
        }
    }
}

/// Removes what dead processes were ingesting, best effort, because their next attempt would need the room a second
/// time.
pub(crate) fn remove_dead_sessions(store: &Store) {
    if !store.locks_work {
        return; // without locks, nothing tells which are dead
    }
    let ingest = Path::new(layout::INGEST);
    for name in store.root.names(ingest).unwrap_or_default() {
        let folder = ingest.join(&name);
        // A folder created a moment ago may not be locked yet.
        let is_old = |meta: &Meta| meta.age() >= Duration::from_secs(1);
        if layout::classify(&folder) == Thing::Session
            && matches!(store.root.meta(&folder), Ok(Some(meta)) if is_old(&meta))
            && let Ok(Some(dead)) = Session::claim_dead(&store.root, &folder)
        {
            // Keep the lock until the folder is gone: an owner that has created it and not yet locked it then starts
            // over.
            let removed = store.root.remove_all(dead.path());
            tracing::debug!(folder = %folder.display(), ?removed, "cleaned up after a process that died");
        }
    }
}
