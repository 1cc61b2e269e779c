//! Keeping models, and letting them go.

use std::time::Duration;

use super::{FsCatalog, Key};
use crate::entry::Record;
use crate::error::Result;
use crate::gc::{self, GcPlan, GcPolicy, GcReport, RemoveOptions, RemoveReceipt};
use crate::naming;

/// Keeping models, and letting them go.
impl FsCatalog {
    /// Gives an entry another id, durably. Source, trust, state, pins and times stay. The view moves to a path of the
    /// new id, unless `local_path` is a path of the user's own, which stays. Returns the record with the new id.
    ///
    /// Fails like [`resolve`](FsCatalog::resolve) if the content is not here or is damaged; an entry that is only
    /// registered can still be renamed. If the new id exists already, the error is
    /// [`Error::IdTaken`](crate::Error::IdTaken).
    ///
    /// Records the new entry first, then removes the old one. A process that is killed between the two leaves both, and
    /// repeating the call completes it. If several processes rename one entry, one succeeds, and the others find no
    /// such entry. A lease on the old id keeps protecting the content and the old view.
    ///
    /// ```
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// catalog.pin("llama3", "pool-7", None)?;
    /// let before = catalog.resolve("llama3")?;
    /// let renamed = catalog.rename("llama3", "llama3-8b")?;
    /// assert_eq!((renamed.created_ms, &renamed.pins), (before.created_ms, &before.pins));
    /// assert_ne!(renamed.entry.local_path, before.entry.local_path);
    /// assert!(!catalog.exists("llama3")? && catalog.resolve("llama3-8b").is_ok());
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn rename<'a>(&self, key: impl Into<Key<'a>>, new_id: &str) -> Result<Record> {
        naming::rename(&self.store, &key.into().id(&self.store)?, new_id)
    }

    /// Gives the content of an entry a second id, durably, and returns the record with that id. The two entries are
    /// independent: the new one has a view of its own, no pins, and a new creation time. It takes over source, trust
    /// and the time of the last check. If views are hardlinks, no byte is copied.
    ///
    /// Fails like [`rename`](FsCatalog::rename). If the new id already has the same content, does nothing.
    ///
    /// ```
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// let tagged = catalog.tag("llama3", "prod")?;
    /// assert_eq!(tagged.entry.digest, catalog.resolve("llama3")?.entry.digest);
    /// catalog.remove("llama3")?;
    /// assert!(catalog.resolve("prod").is_ok());
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn tag<'a>(&self, key: impl Into<Key<'a>>, new_id: &str) -> Result<Record> {
        naming::tag(&self.store, &key.into().id(&self.store)?, new_id)
    }

    /// Pins an entry under a name, for `lifetime` or for ever, so that no policy evicts it. Replaces a pin with the
    /// same name. Returns the new record.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// let record = catalog.pin("llama3", "pool-7", Some(Duration::from_secs(7200)))?;
    /// assert!(record.pins["pool-7"].expiry_ms.is_some());
    /// assert!(catalog.unpin("llama3", Some("pool-7"))?.pins.is_empty());
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn pin<'a>(&self, key: impl Into<Key<'a>>, name: &str, lifetime: Option<Duration>) -> Result<Record> {
        self.store.pin(&key.into().id(&self.store)?, name, lifetime)
    }

    /// Removes the pin with this name, or all pins, from an entry. Returns the new record. A pin that does not exist is
    /// not an error.
    pub fn unpin<'a>(&self, key: impl Into<Key<'a>>, name: Option<&str>) -> Result<Record> {
        self.store.unpin(&key.into().id(&self.store)?, name)
    }

    /// Removes an entry, its views, and the blobs that no other entry references and no process leases. Returns `None`
    /// if there was no such entry. A pinned entry is [`Error::Pinned`](crate::Error::Pinned);
    /// [`remove_with`](Self::remove_with) can remove it anyway.
    ///
    /// The entry is removed durably, the rest best effort: the receipt names what could not be removed, and a sweep
    /// finds it again. Nothing outside the root is touched, nor any path that was only registered.
    pub fn remove<'a>(&self, key: impl Into<Key<'a>>) -> Result<Option<RemoveReceipt>> {
        self.remove_with(key, &RemoveOptions::default())
    }

    /// [`remove`](Self::remove) with options: removes pinned entries, too, or only reports what would be removed.
    ///
    /// ```
    /// use catalog_core::RemoveOptions;
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// catalog.pin("llama3", "pool-7", None)?;
    /// assert!(catalog.remove("llama3").is_err());
    /// let forced = RemoveOptions::default().with_force(true);
    /// let plan = catalog.remove_with("llama3", &forced.with_dry_run(true))?.expect("it is here");
    /// let done = catalog.remove_with("llama3", &forced)?.expect("it is still here");
    /// assert_eq!(plan.bytes_reclaimed, done.bytes_reclaimed);
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn remove_with<'a>(&self, key: impl Into<Key<'a>>, options: &RemoveOptions) -> Result<Option<RemoveReceipt>> {
        let Some(id) = key.into().find(&self.store)? else { return Ok(None) };
        let mut removed = gc::remove(&self.store, &id, options)?;
        if let Some(receipt) = &mut removed {
            receipt.exports = self.exports.of_id(&self.store, &id);
        }
        Ok(removed)
    }

    /// Plans what a collection with this policy would do now, and why. Writes nothing, so it works on a read-only root.
    /// Fails if any part of the index or the manifest of any tree cannot be read, because what they reference is then
    /// unknown.
    ///
    /// ```
    /// use catalog_core::GcPolicy;
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// let plan = catalog.plan_gc(&GcPolicy::default().with_max_bytes(0))?;
    /// for step in &plan.steps {
    ///     println!("{} {:?}, {} bytes: {}", step.word(), step.action.id(), step.bytes, step.reason);
    /// }
    /// assert_eq!(plan.kept.len(), 1, "it was staged within the grace");
    /// assert_eq!(catalog.execute_gc(&plan)?.entries, 0);
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn plan_gc(&self, policy: &GcPolicy) -> Result<GcPlan> {
        gc::plan_gc(&self.store, policy)
    }

    /// [`plan_gc`](FsCatalog::plan_gc), then [`execute_gc`](FsCatalog::execute_gc).
    pub fn gc(&self, policy: &GcPolicy) -> Result<GcReport> {
        self.execute_gc(&self.plan_gc(policy)?)
    }

    /// Does what a plan says, except for anything that was leased, pinned, used or staged since the plan was made.
    /// Executing a plan twice does nothing the second time. A failed step is listed in [`GcReport::failed`], and the
    /// rest is still done.
    pub fn execute_gc(&self, plan: &GcPlan) -> Result<GcReport> {
        gc::execute(&self.store, plan)
    }
}
