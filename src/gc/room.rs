//! Room for what is about to come in.

use super::execute::execute;
use super::gather::{gather, plan_of};
use super::usage::used_bytes_at_most;
use super::{GcPlan, GcPolicy};
use crate::error::{Error, Result};
use crate::fs::reserve;
use crate::fs::space::space;
use crate::store::{Config, MinFree, Store};

/// Makes sure that this many bytes fit, before any of them is written: within the quota that `store.json` keeps, and,
/// for what is copied, on the file system. Evicts by that quota where it is needed and allowed, but not the entry that it
/// is for.
///
/// What needs no eviction does not need to know what all entries need: it works with a damaged shard or manifest too.
///
/// Two processes that stage at the same time may both find room where only one fits: the quota is then exceeded until
/// the next collection, and a disk that fills up fails the slower one.
pub(crate) fn make_room(store: &Store, needed_bytes: u64, copied_bytes: u64, id: Option<&str>) -> Result<()> {
    let config = store.config()?;
    let space = space(&store.root)?;
    let min_free = config.min_free.map_or(0, |min| min.bytes_of(space.total_bytes));
    let wanted_free = copied_bytes.saturating_add(min_free);
    let disk_has_room = space.available_bytes >= wanted_free;
    let reserve_bytes = reserve::missing_bytes(&store.root)?;
    if reserve_bytes > 0 && space.available_bytes >= wanted_free.saturating_add(reserve_bytes) {
        // An older version has made the root, or it was full.
        reserve::make_if_it_fits(&store.root);
    }
    let within_quota = |used: u64| config.max_bytes.is_none_or(|max| used.saturating_add(needed_bytes) <= max);
    let has_room = match config.max_bytes {
        _ if !disk_has_room => false,
        None => true,
        Some(_) => within_quota(used_bytes_at_most(store)?),
    };
    if has_room {
        return Ok(());
    }
    let policy = GcPolicy {
        max_bytes: config.max_bytes.map(|max| max.saturating_sub(needed_bytes)),
        min_free: Some(MinFree::bytes(wanted_free)),
        ..GcPolicy::default()
    };
    let mut facts = gather(store)?;
    for entry in facts.entries.iter_mut().filter(|entry| id == Some(&entry.id)) {
        entry.last_used_ms = Some(facts.now_ms);
    }
    let plan = plan_of(store, &facts, &policy)?;
    if disk_has_room && within_quota(plan.used_bytes) {
        return Ok(()); // files outside the store have the rest as well
    }
    let fits_after = plan.shortfall_bytes == 0 && within_quota(plan.used_bytes.saturating_sub(plan.freed_bytes));
    // Without a quota nobody has allowed to evict for room.
    let may_evict = store.locks_work && (config.max_bytes.is_some() || config.min_free.is_some());
    if !(may_evict && fits_after) {
        return Err(no_room(store, &config, &plan, needed_bytes, space.available_bytes.saturating_sub(min_free)));
    }
    tracing::info!(bytes = plan.freed_bytes, "evicting to make room");
    execute(store, &plan).map(drop)
}

fn no_room(store: &Store, config: &Config, plan: &GcPlan, needed_bytes: u64, disk_bytes: u64) -> Error {
    let quota_bytes = config.max_bytes.map_or(u64::MAX, |max| max.saturating_sub(plan.used_bytes));
    Error::NoRoom {
        root: store.path().to_path_buf(),
        needed_bytes,
        available_bytes: disk_bytes.min(quota_bytes),
        evictable_bytes: plan.freed_bytes,
    }
}
