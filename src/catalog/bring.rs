//! Bringing models in.

use std::io::Read;

use super::FsCatalog;
use crate::entry::CatalogEntry;
use crate::error::Result;
use crate::fetch::ResolvedModel;
use crate::model_ref::ModelRef;
use crate::stage::{self, StageOptions, StageReceipt};

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
    /// Uses only the options `digest`, `name`, `require_complete`, `defer_outboard`, `cancel` and `observer`. A cancelled call ends when
    /// the reader returns. Without a name, the view is named after the last part of the id. The record has no
    /// [`source`](crate::Record::source), since a stream cannot be read again; messages name it by its id.
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

    /// [`put`](crate::CatalogStore::put) for several entries, made durable together. Returns the first error, but still
    /// records every entry that can be recorded.
    pub fn put_many(&self, entries: &[CatalogEntry]) -> Result<()> {
        stage::put_many(&self.store, entries)
    }
}
