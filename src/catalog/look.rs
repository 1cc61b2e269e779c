//! Looking models up, and using them.

use super::{FsCatalog, Key, find};
use crate::entry::{Record, check_id};
use crate::error::Result;
use crate::facts::{self, StoredFile};
use crate::fetch::ResolvedModel;
use crate::formats::Facts;
use crate::gc::{self, DiskUsage};
use crate::ingest::{self, PartialInfo};
use crate::lease::{self, Lease, LeaseHolder};
use crate::model_ref::ModelRef;
use crate::store::{NotedUses, is_there};

/// Looking things up. These methods only read, so they work on a read-only root.
impl FsCatalog {
    /// Everything that the catalog knows about an entry. Reads only the index: [`resolve`](FsCatalog::resolve) checks
    /// whether the file is there and is what was staged.
    pub fn record<'a>(&self, key: impl Into<Key<'a>>) -> Result<Option<Record>> {
        key.into().find(&self.store)?.map_or(Ok(None), |id| self.store.record_with_uses(&id))
    }

    /// All records, sorted by id. Fails if any part of the index cannot be read.
    pub fn records(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        self.each_record(|record| records.push(record))?;
        records.sort_unstable_by(|a: &Record, b: &Record| a.entry.id.cmp(&b.entry.id));
        Ok(records)
    }

    /// Passes every record to `take`, in no particular order, and holds only a few of them in memory at a time. Fails if
    /// any part of the index cannot be read; `take` may have been called by then.
    ///
    /// ```
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// let mut bytes = 0;
    /// catalog.each_record(|record| bytes += record.size_bytes)?;
    /// assert_eq!(bytes, 16);
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn each_record(&self, mut take: impl FnMut(Record)) -> Result<()> {
        let uses = NotedUses::read(&self.store.root);
        self.store.index.each(&mut |record| {
            take(uses.add_to(record));
            Ok(())
        })
    }

    /// What is known of a model by its own bytes: what the headers of its files and the small files beside them say,
    /// and whether all of it is there. Reads headers, and no weights.
    ///
    /// A header that is damaged or of a kind that is not known is no error: there are fewer facts then.
    ///
    /// ```
    /// use catalog_core::{Completeness, ModelRef, StageOptions};
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// let reference = ModelRef::parse("tests/fixtures/tiny-llama-q8_0.gguf")?;
    /// catalog.stage(&reference, &StageOptions::default().with_id("tiny".to_owned()))?;
    /// let facts = catalog.facts("tiny")?;
    /// assert_eq!(facts.architecture.as_deref(), Some("llama"));
    /// assert_eq!(facts.quantization.as_deref(), Some("Q8_0"));
    /// assert_eq!(facts.completeness, Completeness::Complete);
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn facts<'a>(&self, key: impl Into<Key<'a>>) -> Result<Facts> {
        facts::facts(&self.store, &self.known(key)?)
    }

    /// The files of a model, sorted by path. An entry that is only registered has none. Reads a manifest at most, and
    /// checks no file.
    pub fn files<'a>(&self, key: impl Into<Key<'a>>) -> Result<Vec<StoredFile>> {
        facts::files(&self.store, &self.known(key)?)
    }

    pub(super) fn known<'a>(&self, key: impl Into<Key<'a>>) -> Result<Record> {
        let id = key.into().id(&self.store)?;
        self.store.record(&id)?.ok_or_else(|| self.store.not_found(&id))
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
        let found = find::by_text(&self.store, text, find::Globs::Yes)?;
        let uses = if found.is_empty() { NotedUses::default() } else { NotedUses::read(&self.store.root) };
        Ok(found.into_iter().map(|record| uses.add_to(record)).collect())
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
        let usage = gc::disk_usage(&self.store)?;
        Ok(DiskUsage { export_bytes: self.exports.bytes_of_copies(&self.store), ..usage })
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
