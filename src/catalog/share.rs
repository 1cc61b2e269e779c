//! What a catalog gives to others.

use super::{FsCatalog, Key};
use crate::error::{Error, Result};
use crate::model_ref::ModelRef;
use crate::source::Sources;
use crate::transfer::{self, PushOptions, PushReceipt};

/// Giving models to others.
impl FsCatalog {
    /// Pushes an entry to a registry or a bucket, with the sources of [`with_sources`](FsCatalog::with_sources): its policy, its
    /// connections, its logins.
    ///
    /// What is pushed is what is stored: the manifest of a tree and its blobs, under the same digests. A file is pushed as a tree
    /// of one. Blobs that are there are not sent, and an upload that was interrupted is taken up, also by another process. The
    /// other end checks each blob against its digest. The manifest comes last: when it is there, all is.
    ///
    /// The entry is leased meanwhile. That it was pushed is recorded ([`Record::pushed`](crate::Record::pushed)), where this user can
    /// write.
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

    /// Pushes several entries below one target: in a registry each gets a repository of its own below a target that ends in `/`, a
    /// bucket has them all. `each` is told of each as it is done. Two that would get the same name are not pushed over each other.
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
