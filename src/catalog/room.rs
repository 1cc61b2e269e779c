//! Room for what is about to be staged.

use super::FsCatalog;
use crate::error::{Error, Result};
use crate::fs::reserve;
use crate::fs::space::space;
use crate::gc::{GcPolicy, MinFree};

impl FsCatalog {
    /// Makes sure that this many bytes fit, before any of them is written: within the quota that `store.json` keeps, and,
    /// for what is copied, on the file system. Evicts by that quota where it is needed and allowed.
    ///
    /// Two processes that stage at the same time may both find room where only one fits: the quota is then exceeded until
    /// the next collection, and a disk that fills up fails the slower one.
    pub(super) fn make_room(&self, needed_bytes: u64, copied_bytes: u64) -> Result<()> {
        let config = self.config()?;
        let space = space(&self.root)?;
        let min_free = config.min_free.map_or(0, |min| min.bytes_of(space.total_bytes));
        let disk_has_room = space.available_bytes >= copied_bytes.saturating_add(min_free);
        let reserve_bytes = reserve::missing_bytes(&self.root)?;
        if reserve_bytes > 0
            && space.available_bytes >= copied_bytes.saturating_add(min_free).saturating_add(reserve_bytes)
        {
            // Of a root that an older version has made, or that was full.
            reserve::make_if_it_fits(&self.root);
        }
        if disk_has_room && config.max_bytes.is_none() {
            return Ok(());
        }
        let policy = GcPolicy {
            max_bytes: config.max_bytes.map(|max| max.saturating_sub(needed_bytes)),
            min_free: Some(MinFree::Bytes(copied_bytes.saturating_add(min_free))),
            ..GcPolicy::default()
        };
        let plan = self.plan_gc(&policy)?;
        let within_quota = |used: u64| config.max_bytes.is_none_or(|max| used.saturating_add(needed_bytes) <= max);
        if disk_has_room && within_quota(plan.used_bytes) {
            return Ok(());
        }
        // Without a quota nobody has allowed to evict for room.
        let may_evict = self.locks_work && (config.max_bytes.is_some() || config.min_free.is_some());
        let evictable_bytes = plan.freed_bytes;
        let fits_after = plan.shortfall_bytes == 0 && within_quota(plan.used_bytes.saturating_sub(evictable_bytes));
        if may_evict && fits_after {
            tracing::info!(bytes = evictable_bytes, "evicting to make room");
            self.execute_gc(&plan)?;
            return Ok(());
        }
        let disk = space.available_bytes.saturating_sub(min_free);
        let quota = config.max_bytes.map_or(u64::MAX, |max| max.saturating_sub(plan.used_bytes));
        Err(Error::NoRoom {
            root: self.root().to_path_buf(),
            needed_bytes,
            available_bytes: disk.min(quota),
            evictable_bytes,
        })
    }
}
