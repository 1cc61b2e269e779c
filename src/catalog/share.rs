//! Shares models of a catalog with others.

use super::{FsCatalog, Key};
use crate::error::{Error, Result};
use crate::model_ref::ModelRef;
use crate::source::Sources;
use crate::transfer::{self, PushOptions, PushReceipt};

/// Sharing models.
impl FsCatalog {
    /// Pushes an entry to a registry or a bucket, using the policy, connections and logins of the handle's sources
    /// ([`with_sources`](FsCatalog::with_sources)).
    ///
    /// Pushes exactly what is stored: the manifest of a tree and its blobs, under the same digests. A file is pushed as
    /// a tree of one file. Blobs that the target already has are not sent, and an interrupted upload is resumed, even
    /// by another process. The target checks each blob against its digest. The manifest comes last, so once it is
    /// there, everything is.
    ///
    /// The entry is leased during the push. The push is recorded ([`Record::pushed`](crate::Record::pushed)) if this
    /// user can write to the store.
    ///
    /// ```no_run
    /// use catalog_core::{FsCatalog, ModelRef, OciOptions, Policy, PushOptions, Sources};
    /// # fn main() -> catalog_core::Result<()> {
    /// let policy = Policy::default().allow("registry.example.org")?;
    /// let catalog = FsCatalog::open("/var/lib/models")?.with_sources(Sources::new(policy)?.oci(OciOptions::from_env()?));
    /// let target = ModelRef::parse("oci://registry.example.org/models/llama3:8b")?;
    /// let pushed = catalog.push("llama3", &target, &PushOptions::default())?;
    /// println!("{} sent, {} were there", pushed.pushed_bytes, pushed.skipped_bytes);
    /// # Ok(())
    /// # }
    /// ```
    pub fn push<'a>(&self, key: impl Into<Key<'a>>, target: &ModelRef, options: &PushOptions) -> Result<PushReceipt> {
        transfer::push(&self.store, self.pushes(target)?, &key.into().id(&self.store)?, target, options)
    }

    /// Pushes several entries below one target. In a registry, the target ends in `/` and each entry gets its own
    /// repository below it; a bucket holds them all. Calls `each` for every entry as it is done. Of two entries that
    /// would get the same name, neither overwrites the other.
    pub fn push_many<S: AsRef<str>>(
        &self,
        ids: &[S],
        target: &ModelRef,
        options: &PushOptions,
        each: &mut dyn FnMut(Result<PushReceipt>),
    ) -> Result<()> {
        transfer::push_many(&self.store, self.pushes(target)?, ids, target, options, each);
        Ok(())
    }

    fn pushes(&self, target: &ModelRef) -> Result<&Sources> {
        let no_sink = || Error::NoSink { scheme: target.scheme().to_owned(), target: target.shown() };
        self.pushes.as_ref().ok_or_else(no_sink)
    }
}
