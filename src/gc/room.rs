//! Room for what is about to come in.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::execute::execute;
use super::facts::{EntryFacts, Facts};
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

/// What there is.
struct Ground {
    config: Config,
    /// What has to be free before anything comes.
    wanted_free_bytes: u64,
    disk_has_room: bool,
    /// What is free and may be used.
    disk_bytes: u64,
}

impl Ground {
    fn of(store: &Store, wanted: &Wanted<'_>) -> Result<Self> {
        let config = store.config()?;
        // Where the file system does not tell its room, only the quota is a limit.
        let space = space(&store.root);
        let min_free = space.zip(config.min_free).map_or(0, |(space, min)| min.bytes_of(space.total_bytes));
        let available_bytes = space.map_or(u64::MAX, |space| space.available_bytes);
        let wanted_free_bytes = wanted.copied_bytes.saturating_add(min_free);
        let disk_has_room = available_bytes >= wanted_free_bytes;
        let reserve_bytes = reserve::missing_bytes(&store.root)?;
        if reserve_bytes > 0 && available_bytes >= wanted_free_bytes.saturating_add(reserve_bytes) {
            // An older version has made the root, or it was full.
            reserve::make_if_it_fits(&store.root);
        }
        let disk_bytes = available_bytes.saturating_sub(min_free);
        Ok(Ground { config, wanted_free_bytes, disk_has_room, disk_bytes })
    }

    fn is_within_quota(&self, used_bytes: u64, wanted: &Wanted<'_>) -> bool {
        self.config.max_bytes.is_none_or(|max| used_bytes.saturating_add(wanted.stored_bytes) <= max)
    }
}

/// Whether all of it fits as things are: within the quota that `store.json` keeps, and on the file system. Needs not to
/// know what all entries need: it works with a damaged shard or manifest too.
pub(crate) fn has_room(store: &Store, wanted: &Wanted<'_>) -> Result<bool> {
    let ground = Ground::of(store, wanted)?;
    Ok(ground.disk_has_room
        && (ground.config.max_bytes.is_none() || ground.is_within_quota(used_bytes_at_most(store)?, wanted)))
}

/// Makes sure that all of it fits, before any of it is written. Takes what dead processes have left, and evicts by the
/// quota where that is needed and allowed.
///
/// Two processes that stage at the same time may both find room where only one fits: the quota is then exceeded until
/// the next collection, and a disk that fills up fails the slower one.
pub(crate) fn make_room(store: &Store, wanted: &Wanted<'_>) -> Result<()> {
    let ground = Ground::of(store, wanted)?;
    let mut facts = gather(store)?;
    let now_ms = facts.now_ms;
    let is_needed = |entry: &EntryFacts| {
        wanted.repaired == Some(&*entry.id) || entry.blobs.iter().any(|digest| wanted.held.contains(digest))
    };
    facts.entries.iter_mut().filter(|entry| is_needed(entry)).for_each(|entry| entry.last_used_ms = Some(now_ms));
    if wanted.repaired.is_some() {
        facts.other_bytes = facts.other_bytes.saturating_sub(facts.quarantine_bytes);
    }
    let policy = GcPolicy {
        max_bytes: ground.config.max_bytes.map(|max| max.saturating_sub(wanted.stored_bytes)),
        min_free: Some(MinFree::bytes(ground.wanted_free_bytes)),
        ..GcPolicy::default()
    };
    let mut plan = plan_of(store, &facts, &policy)?;
    if ground.disk_has_room && ground.is_within_quota(plan.used_bytes, wanted) {
        return Ok(()); // files outside the store have the rest as well
    }
    let no_room = no_room(store, &ground, &plan, &facts, wanted, &is_needed);
    if ground.config.max_bytes.is_none() && ground.config.min_free.is_none() {
        // Nobody has allowed evictions. What is nobody's any more can go all the same.
        plan.steps.retain(|step| !matches!(step.action, GcAction::EvictEntry { .. }));
        plan.freed_bytes = plan.steps.iter().filter(|step| step.at_once).map(|step| step.bytes).sum_bytes();
        let free_bytes = facts.space.map_or(u64::MAX, |space| space.available_bytes);
        plan.shortfall_bytes = wanted.copied_bytes.saturating_sub(free_bytes.saturating_add(plan.freed_bytes));
    }
    let fits_after =
        plan.shortfall_bytes == 0 && ground.is_within_quota(plan.used_bytes.saturating_sub(plan.freed_bytes), wanted);
    if !(store.locks_work && fits_after) {
        return Err(no_room);
    }
    tracing::info!(bytes = plan.freed_bytes, "making room");
    execute(store, &plan).map(drop)
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

/// The error, with what `plan` could free if evictions were allowed, and the collection that gives the room if any does.
fn no_room(
    store: &Store,
    ground: &Ground,
    plan: &GcPlan,
    facts: &Facts,
    wanted: &Wanted<'_>,
    is_needed: &dyn Fn(&EntryFacts) -> bool,
) -> Error {
    let quota_bytes = ground.config.max_bytes.map_or(u64::MAX, |max| max.saturating_sub(plan.used_bytes));
    let needed: BTreeSet<&str> =
        facts.entries.iter().filter(|entry| is_needed(entry)).map(|entry| &*entry.id).collect();
    let young = plan.kept.iter().filter(|kept| kept.reason == GcReason::Young && !needed.contains(&*kept.id));
    let young_bytes = young.map(|kept| kept.bytes).sum_bytes();
    let is_possible = ground.config.max_bytes.is_none_or(|max| wanted.stored_bytes <= max)
        && plan.shortfall_bytes <= young_bytes
        && store.locks_work;
    let collection = Collection {
        max_bytes: plan.policy.max_bytes.filter(|_| !ground.is_within_quota(plan.used_bytes, wanted)),
        min_free_bytes: (!ground.disk_has_room).then_some(ground.wanted_free_bytes),
        without_grace: plan.shortfall_bytes > 0,
    };
    Error::NoRoom {
        root: store.path().to_path_buf(),
        needed_bytes: wanted.stored_bytes.max(wanted.copied_bytes),
        available_bytes: ground.disk_bytes.min(quota_bytes),
        evictable_bytes: plan.freed_bytes,
        young_bytes,
        quarantine_bytes: facts.quarantine_bytes,
        collection: is_possible.then_some(collection),
    }
}
