//! Room for what is about to come in.

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

/// What is about to come in.
#[derive(Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// Bytes that the store will have more.
    pub(crate) stored_bytes: u64,
    /// Those of them that take room on the file system, since they share it with nothing.
    pub(crate) copied_bytes: u64,
    /// Blobs that are here already and are needed: no entry that has one is evicted.
    pub(crate) held: BTreeSet<Digest>,
    /// The entry that is repaired: it is not evicted for its own repair, and what is in quarantine, of which it is repaired,
    /// does not count.
    pub(crate) repaired: Option<&'a str>,
}

impl Wanted<'_> {
    pub(crate) fn add(&mut self, stored_bytes: u64, copied_bytes: u64) {
        self.stored_bytes = self.stored_bytes.saturating_add(stored_bytes);
        self.copied_bytes = self.copied_bytes.saturating_add(copied_bytes);
    }
}

/// What room there is: measured once, and asked as often as needed.
pub(crate) struct Room<'s> {
    store: &'s Store,
    config: Config,
    /// What is free on the file system; as good as all where it does not tell: only the quota is a limit then.
    available_bytes: u64,
    min_free_bytes: u64,
    /// What `store.reserve` needs, which an older version or a full disk has not made.
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

    /// Whether all of it fits as things are: within the quota that `store.json` keeps, and on the file system. It need not
    /// know what all entries need: it works with a damaged shard or manifest too.
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

    /// What has to be free before anything comes.
    fn wanted_free_bytes(&self, wanted: &Wanted<'_>) -> u64 {
        wanted.copied_bytes.saturating_add(self.min_free_bytes)
    }

    fn disk_has(&self, wanted: &Wanted<'_>) -> bool {
        self.available_bytes >= self.wanted_free_bytes(wanted)
    }

    fn quota_has(&self, used_bytes: u64, wanted: &Wanted<'_>) -> bool {
        self.config.max_bytes.is_none_or(|max| used_bytes.saturating_add(wanted.stored_bytes) <= max)
    }

    /// Makes room for all of it, before any of it is written. Takes what dead processes have left, and evicts by the quota
    /// where that is needed and allowed.
    ///
    /// Two processes that stage at the same time may both find room where only one fits: the quota is then exceeded until
    /// the next collection, and a disk that fills up fails the slower one.
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
            return Ok(()); // files outside the store have the rest as well
        }
        let no_room = self.no_room(&plan, &facts, wanted);
        if self.config.max_bytes.is_none() && self.config.min_free.is_none() {
            // Nobody has allowed evictions. What is nobody's any more can go all the same.
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

    /// The error, with what `plan` could free if evictions were allowed, and the collection that gives the room if any does.
    fn no_room(&self, plan: &GcPlan, facts: &Facts, wanted: &Wanted<'_>) -> Error {
        let quota_bytes = self.config.max_bytes.map_or(u64::MAX, |max| max.saturating_sub(plan.used_bytes));
        let disk_bytes = self.available_bytes.saturating_sub(self.min_free_bytes);
        let young = plan.kept.iter().filter(|kept| kept.reason == GcReason::Young);
        let young_bytes = young.map(|kept| kept.bytes).sum_bytes();
        let is_possible = self.store.locks_work
            // A collection by hand does not know what has to stay for this.
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
            // A repair reads what is good of it.
            quarantine_bytes: if wanted.repaired.is_some() { 0 } else { facts.quarantine_bytes },
            collection: is_possible.then_some(collection),
        }
    }
}

impl Facts {
    /// What has to stay for what comes in: the blobs that it holds, and the entries that have them or are repaired. What is
    /// in quarantine does not count against a repair.
    fn protect(&mut self, wanted: &Wanted<'_>) {
        self.held.extend(&wanted.held);
        for entry in &mut self.entries {
            let is_needed =
                wanted.repaired == Some(&*entry.id) || entry.blobs.iter().any(|digest| wanted.held.contains(digest));
            if is_needed {
                entry.last_used_ms = Some(self.now_ms);
            }
        }
        if wanted.repaired.is_some() {
            self.other_bytes = self.other_bytes.saturating_sub(self.quarantine_bytes);
        }
    }
}

/// Removes what processes that have died were bringing in, best effort: whoever comes next would need the room once more.
pub(crate) fn remove_dead_sessions(store: &Store) {
    if !store.locks_work {
        return; // nothing tells which are dead
    }
    let ingest = Path::new(layout::INGEST);
    for name in store.root.names(ingest).unwrap_or_default() {
        let folder = ingest.join(&name);
        // One that was made this moment may not be locked yet.
        let is_old = |meta: &Meta| meta.age() >= Duration::from_secs(1);
        if layout::classify(&folder) == Thing::Session
            && matches!(store.root.meta(&folder), Ok(Some(meta)) if is_old(&meta))
            && let Ok(Some(dead)) = Session::claim_dead(&store.root, &folder)
        {
            // The lock is held until it is gone: an owner that has made it and not locked it yet then begins again.
            let removed = store.root.remove_all(dead.path());
            tracing::debug!(folder = %folder.display(), ?removed, "left by a process that died");
        }
    }
}
