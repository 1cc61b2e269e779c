//! `FsCatalog`: the façade. Each method is one line over the store and its engines; its doc comment says what it
//! promises.

mod find;
mod fs_store;
mod handle;
mod key;
#[cfg(feature = "net")]
mod share;
mod store_trait;

use find::Globs;
pub use key::Key;
pub use store_trait::CatalogStore;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use crate::entry::{CatalogEntry, Record, check_id};
use crate::error::Result;
use crate::fetch::{ResolvedModel, Resolver};
use crate::gc::{self, DiskUsage, GcPlan, GcPolicy, GcReport, RemoveOptions, RemoveReceipt};
use crate::index::Records;
use crate::ingest::{self, PartialInfo};
use crate::lease::{self, Lease, LeaseHolder};
use crate::model_ref::ModelRef;
use crate::naming;
use crate::repair::{self, RepairOptions, RepairReport};
#[cfg(feature = "net")]
use crate::source::Sources;
use crate::stage::{self, StageOptions, StageReceipt};
use crate::store::{NotedUses, Store, is_there};
use crate::verify::{self, VerifyOptions, VerifyReport};

/// A catalog in a directory: maps ids to models in a content-addressable store of blobs.
///
/// Clones are cheap and share one cache. Any number of processes can use one root at the same time.
#[derive(Clone, Debug)]
pub struct FsCatalog {
    store: Store,
    /// The sources that are asked for what the store does not have.
    sources: Option<Arc<dyn Resolver>>,
    /// The same sources, for pushing models.
    #[cfg(feature = "net")]
    pushes: Option<Sources>,
}

/// Bringing models in.
impl FsCatalog {
    /// Stages the file or directory that `reference` names, under `options.id` or the reference's own string.
    ///
    /// On success, the entry is durable (see [`Durability`](crate::Durability)), its view reads the bytes that hash to
    /// its digest, and later changes of the source do not affect it. A file that was staged under this id before and
    /// has not changed since is not read again. On failure, nothing is recorded and nothing is left behind, and an
    /// existing entry with this id is unchanged.
    ///
    /// A different file at the view's path is moved to `quarantine/`.
    ///
    /// ```
    /// use catalog_core::{Digest, ModelRef, StageOptions, TrustState};
    /// # let (_dir, catalog, file) = catalog_core::testing::example();
    /// let expected = Digest::sha256_of(b"GGUF and weights");
    /// let options = StageOptions::default().with_id("mine".to_owned()).with_digest(expected);
    /// let staged = catalog.stage(&ModelRef::from(file), &options)?;
    /// assert_eq!(staged.digest, expected);
    /// assert!(staged.deduplicated, "the bytes are here under another id");
    /// assert_eq!(catalog.record("mine")?.unwrap().trust, TrustState::Verified);
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn stage(&self, reference: &ModelRef, options: &StageOptions) -> Result<StageReceipt> {
        stage::stage(&self.store, self.from(), reference, options)
    }

    /// Stages what a reader returns until its end, such as standard input, as one file under this id.
    ///
    /// Hashes the bytes once, while writing them, in little memory. The length need not be known: room is made as the
    /// bytes arrive. On success, the entry is as durable as one of [`stage`](FsCatalog::stage). On failure, including
    /// an error of the reader, nothing is recorded and nothing is left behind. An interrupted call cannot be resumed.
    ///
    /// Uses only the options `digest`, `name`, `defer_outboard`, `cancel` and `observer`. A cancelled call ends when
    /// the reader returns. Without a name, the view is named after the last part of the id. The record has no
    /// [`source`](Record::source), since a stream cannot be read again; messages name it by its id.
    ///
    /// ```
    /// use catalog_core::{Digest, StageOptions};
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// let options = StageOptions::default().with_digest(Digest::sha256_of(b"GGUF from a pipe"));
    /// let staged = catalog.stage_from(&b"GGUF from a pipe"[..], "piped.gguf", &options)?;
    /// assert_eq!(std::fs::read(&staged.local_path).unwrap(), b"GGUF from a pipe");
    /// assert!(catalog.stage_from(&b"something else"[..], "piped.gguf", &options).unwrap_err().is_corrupt());
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn stage_from(&self, mut reader: impl Read, id: &str, options: &StageOptions) -> Result<StageReceipt> {
        stage::stage_from(&self.store, &mut reader, id, options)
    }

    /// Stages several artifacts, made durable together. Returns one result each, in the same order. A failed artifact
    /// does not affect the others.
    pub fn stage_many(&self, items: &[(ModelRef, StageOptions)]) -> Vec<Result<StageReceipt>> {
        stage::stage_many(&self.store, self.from(), items)
    }

    /// Makes sure that the artifact of a reference is in the store, and returns where. Does the same as
    /// [`stage`](FsCatalog::stage) for a local file or directory. Fetches a remote artifact if it is missing; contacts
    /// no server if it is there. Records its use.
    ///
    /// ```
    /// use catalog_core::{ModelRef, StageOptions};
    /// # let (_dir, catalog, file) = catalog_core::testing::example();
    /// let model = ModelRef::from(file);
    /// let here = catalog.ensure(&model, &StageOptions::default())?; // staged, if it was not
    /// assert_eq!(catalog.ensure(&model, &StageOptions::default())?, here); // looked up
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn ensure(&self, reference: &ModelRef, options: &StageOptions) -> Result<ResolvedModel> {
        stage::ensure(&self.store, self.from(), reference, options)
    }

    /// [`put`](CatalogStore::put) for several entries, made durable together. Returns the first error, but still
    /// records every entry that can be recorded.
    pub fn put_many(&self, entries: &[CatalogEntry]) -> Result<()> {
        stage::put_many(&self.store, entries)
    }
}

/// Looking things up. These methods only read, so they work on a read-only root.
impl FsCatalog {
    /// Everything that the catalog knows about an entry. Reads only the index: [`resolve`](FsCatalog::resolve) checks
    /// whether the file is there and is what was staged.
    pub fn record<'a>(&self, key: impl Into<Key<'a>>) -> Result<Option<Record>> {
        key.into().find(&self.store)?.map_or(Ok(None), |id| self.store.record_with_uses(&id))
    }

    /// All records, sorted by id. Fails if any part of the index cannot be read.
    pub fn records(&self) -> Result<Vec<Record>> {
        let shards = self.store.index.all()?;
        Ok(with_uses(&self.store, sorted(&shards).into_iter().cloned()))
    }

    /// All records that a text stands for, sorted by id; none if it stands for nothing here. The text is read as the
    /// first of these that finds any:
    ///
    /// 1. the id of an entry, even if it looks like something else,
    /// 2. a reference, by its own string,
    /// 3. a pattern for ids, as Python's `fnmatch` has them: `*` matches any text, `/` included,
    /// 4. a digest, its first 8 or more digits, or a path below the root, as [`Key::typed`] reads them.
    ///
    /// ```
    /// use catalog_core::{ModelRef, StageOptions};
    /// # let (_dir, catalog, file) = catalog_core::testing::example();
    /// for id in ["hf:org/b", "hf:org/a"] {
    ///     catalog.stage(&ModelRef::from(file.clone()), &StageOptions::default().with_id(id.to_owned()))?;
    /// }
    /// let ids = |text: &str| -> Vec<String> {
    ///     catalog.find(text).unwrap().into_iter().map(|record| record.entry.id).collect()
    /// };
    /// assert_eq!(ids("hf:org/*"), ["hf:org/a", "hf:org/b"]);
    /// let digest = catalog.resolve("llama3")?.entry.digest.unwrap().to_string();
    /// assert_eq!(ids(&digest[.."sha256:".len() + 8]), ["hf:org/a", "hf:org/b", "llama3"]);
    /// assert!(ids("llama4").is_empty());
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn find(&self, text: &str) -> Result<Vec<Record>> {
        check_id(text)?;
        if let Some(record) = self.store.record_with_uses(text)? {
            return Ok(vec![record]);
        }
        let found = find::by_text(&self.store, text, Globs::Yes)?;
        Ok(if found.is_empty() { found } else { with_uses(&self.store, found.into_iter()) })
    }

    /// Whether there is an entry with this id or this reference's own string. It may only be registered for staging
    /// later: [`locate`](FsCatalog::locate) tells whether the artifact is there.
    pub fn exists<'a>(&self, key: impl Into<Key<'a>>) -> Result<bool> {
        Ok(self.record(key)?.is_some())
    }

    /// Returns where the artifact of this reference is. `None` if the catalog has no entry for it, if the entry's
    /// `local_path` does not exist, or if it is known to be damaged: it then has to be staged. Does not check whether
    /// the content has changed; [`resolve`](FsCatalog::resolve) does.
    pub fn locate(&self, reference: &ModelRef) -> Result<Option<ResolvedModel>> {
        let Some(record) = self.record(reference)? else { return Ok(None) };
        // The folder of a damaged tree still exists, with its other files.
        let here = record.damaged_ms.is_none() && is_there(&record)?;
        Ok(here.then_some(ResolvedModel { id: record.entry.id, local_path: record.entry.local_path }))
    }

    /// Unfinished copies and fetches, interrupted or still running, sorted by key. The next process that stages the
    /// same source resumes them; a collection removes those not written to within its grace period.
    pub fn partials(&self) -> Result<Vec<PartialInfo>> {
        ingest::partials(&self.store.root)
    }

    /// Removes a partial by its key, and returns how many bytes that freed on disk. Returns `None` if there is no such
    /// partial, or if a process is working on it.
    pub fn remove_partial(&self, key: &str) -> Result<Option<u64>> {
        let is_there = ingest::partials(&self.store.root)?.iter().any(|partial| partial.key == key);
        if is_there { ingest::remove_partial(&self.store.root, key) } else { Ok(None) }
    }

    /// Measures the store. Inspects every entry and every blob.
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        gc::disk_usage(&self.store)
    }
}

/// Using models.
impl FsCatalog {
    /// Returns the record of an entry whose `local_path` an engine can open: the file is there and is what was staged.
    /// Records its use at most once an hour, if that is possible, so this also works on a read-only root.
    ///
    /// Files that have changed since their last full check are first checked in full (see
    /// [`with_check`](FsCatalog::with_check)). Damaged content is [`Error::Damaged`](crate::Error::Damaged). A
    /// different file at a path outside `views/` is not moved, and is [`Error::Occupied`](crate::Error::Occupied).
    ///
    /// ```
    /// use catalog_core::Key;
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// let model = catalog.resolve("llama3")?;
    /// assert!(model.entry.local_path.ends_with("llama3.gguf"));
    /// // What a person typed may also be the reference; that it names nothing here is an error of its own kind.
    /// assert!(catalog.resolve(Key::typed("./llama4.gguf")).unwrap_err().is_not_found());
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn resolve<'a>(&self, key: impl Into<Key<'a>>) -> Result<Record> {
        let record = self.store.require(&key.into().id(&self.store)?)?;
        self.store.ensure_usable(&record)?;
        self.store.touch(&record);
        Ok(record)
    }

    /// Leases the artifact of an entry: until the guard is dropped, nothing of it is removed, evicted or collected.
    ///
    /// Works on a read-only root. Fails like [`resolve`](FsCatalog::resolve) if the artifact is not there.
    ///
    /// ```
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// let lease = catalog.lease("llama3")?;
    /// assert_eq!(&lease.map()?[..4], b"GGUF");
    /// // Or as one value that an engine keeps.
    /// let weights = lease.into_map()?;
    /// assert_eq!(weights.len(), 16);
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn lease<'a>(&self, key: impl Into<Key<'a>>) -> Result<Lease> {
        lease::lease(&self.store, &key.into().id(&self.store)?)
    }

    /// Which process leases what, sorted by id: the processes that keep artifacts from being removed, evicted or
    /// collected.
    ///
    /// Linux reports the holders among the processes that are visible here: those in this container. If another user's
    /// process inherited its lease, only root sees it. A lease whose holder cannot be named is listed without one. To
    /// find such leases, this briefly tries the lock of each blob that a process has open but no visible process
    /// leases; a [`lease`](FsCatalog::lease) of that blob waits in the meantime.
    ///
    /// ```
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// let lease = catalog.lease("llama3")?;
    /// let holders = catalog.leases()?;
    /// assert_eq!(holders[0].id.as_deref(), Some("llama3"));
    /// # if cfg!(target_os = "linux") {
    /// assert_eq!(holders[0].pid, Some(std::process::id()));
    /// # }
    /// drop(lease);
    /// assert!(catalog.leases()?.is_empty());
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn leases(&self) -> Result<Vec<LeaseHolder>> {
        lease::holders(&self.store)
    }
}

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
        key.into().find(&self.store)?.map_or(Ok(None), |id| gc::remove(&self.store, &id, options))
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

/// Checking and repairing content.
impl FsCatalog {
    /// Checks the content of an entry. Damaged content is taken out of service: see
    /// [`Error::Damaged`](crate::Error::Damaged).
    ///
    /// Reads the store's own files. On a read-only root it works, but records and moves nothing. File pages that were
    /// not cached before are dropped from the page cache afterwards.
    ///
    /// ```
    /// use catalog_core::VerifyOptions;
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// let report = catalog.verify("llama3", &VerifyOptions::default())?;
    /// for bad in &report.bad {
    ///     println!("{} is damaged in {:?}", bad.path, bad.ranges);
    /// }
    /// assert!(report.outcome.is_pass());
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn verify<'a>(&self, key: impl Into<Key<'a>>, options: &VerifyOptions) -> Result<VerifyReport> {
        verify::verify(&self.store, &key.into().id(&self.store)?, options)
    }

    /// Checks the content of several entries on all cores, largest files first. Bytes that several entries need are
    /// read once. Calls `each` for every entry as soon as its result is recorded.
    pub fn verify_many<S: AsRef<str>>(
        &self,
        ids: &[S],
        options: &VerifyOptions,
        each: &mut dyn FnMut(Result<VerifyReport>),
    ) {
        verify::verify_many(&self.store, ids, options, each);
    }

    /// Checks the content of an entry in full, repairs what is damaged or missing from a good source, and rebuilds its
    /// path. Does the same for all other entries that needed the same bytes.
    ///
    /// Reads only damaged groups of 1 MiB from a source and reuses the rest. The whole blob is checked against its name
    /// before it is published. A source that is damaged in the same place is not used there: if there is no other
    /// source, the error is [`Error::NoGoodSource`](crate::Error::NoGoodSource), and nothing is changed. Damaged files
    /// stay in `quarantine/`.
    ///
    /// A different file at a path below `views/` is moved to `quarantine/`. At any other path it is left alone, and the
    /// entry gets a view below `views/`: see [`RepairReport::occupied`].
    ///
    /// ```
    /// use catalog_core::{Digest, LocalSource, ReadAt, RepairOptions, RepairSource};
    /// struct Mirror;
    /// impl RepairSource for Mirror {
    ///     fn open(&self, digest: &Digest, path: &str) -> catalog_core::Result<Option<Box<dyn ReadAt>>> {
    ///         LocalSource::new(format!("/mnt/mirror/{digest:x}")).open(digest, path)
    ///     }
    /// }
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// catalog.repair("llama3", &RepairOptions::default().with_from(vec![std::sync::Arc::new(Mirror)]))?;
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn repair<'a>(&self, key: impl Into<Key<'a>>, options: &RepairOptions) -> Result<RepairReport> {
        repair::repair(&self.store, self.sources.as_ref(), &key.into().id(&self.store)?, options)
    }
}

/// The records, each with the latest use that any process has noted.
fn with_uses(store: &Store, records: impl Iterator<Item = Record>) -> Vec<Record> {
    let uses = NotedUses::read(&store.root);
    records
        .map(|record| Record { last_used_ms: record.last_used_ms.max(uses.of(&record.entry.id)), ..record })
        .collect()
}

/// Sorts before anything is copied, because a record is large.
fn sorted(shards: &[Arc<Records>]) -> Vec<&Record> {
    let mut records: Vec<&Record> = shards.iter().flat_map(|shard| shard.all()).collect();
    records.sort_unstable_by(|a, b| a.entry.id.cmp(&b.entry.id));
    records
}
