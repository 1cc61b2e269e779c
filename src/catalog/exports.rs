//! Showing models in the folders of other tools.

use super::{FsCatalog, Key};
use crate::error::Result;
use crate::export::{self, Export, ExportOptions, ExportReceipt, ExportRemoval, ExportSync};

/// Exporting models to the folders of other tools.
impl FsCatalog {
    /// Shows an entry in the layout of another tool, which finds the model there as if it had fetched it.
    ///
    /// A file is a hardlink of the blob where no program writes into finished files, and otherwise a reflink or a copy;
    /// the receipt says which, and why. It is never a symlink into the store: some tools remove what such a link leads
    /// to. The bytes are checked as [`resolve`](FsCatalog::resolve) checks them, and the entry is leased meanwhile.
    ///
    /// What the tool has already stays. If it has a file with other bytes at a name that the export needs, the error is
    /// [`Error::ExportInTheWay`](crate::Error::ExportInTheWay), and nothing is made.
    ///
    /// The store keeps a record of everything that was made ([`exports`](FsCatalog::exports)), written before the first
    /// name appears there. So it needs a store that this user can write to. Repeating an export completes an
    /// interrupted one.
    ///
    /// ```
    /// use catalog_core::{ExportLayout, ExportOptions};
    /// # let (dir, catalog, _file) = catalog_core::testing::example();
    /// let to = dir.path().join("models");
    /// let options = ExportOptions::new(ExportLayout::LmStudio).with_to(to.clone()).with_repo("me/llama3".to_owned());
    /// let exported = catalog.export("llama3", &options)?;
    /// assert_eq!(std::fs::read(to.join("me/llama3/llama3.gguf"))?, std::fs::read(catalog.resolve("llama3")?.entry.local_path)?);
    /// println!("{} by {}", exported.path.display(), exported.way);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn export<'a>(&self, key: impl Into<Key<'a>>, options: &ExportOptions) -> Result<ExportReceipt> {
        export::export(&self.store, &self.exports, &key.into().id(&self.store)?, options)
    }

    /// Exports several entries. Calls `each` for every entry as it is done, with its id. An image layout that is an
    /// archive gets all of them at once. The error is one of the folder: then nothing was exported.
    pub fn export_many<S: AsRef<str>>(
        &self,
        ids: &[S],
        options: &ExportOptions,
        each: &mut dyn FnMut(&str, Result<ExportReceipt>),
    ) -> Result<()> {
        export::export_many(&self.store, &self.exports, ids, options, each)
    }

    /// All exports, and whether each is still what was made. Reads names and stamps, and no content. An export whose
    /// record or folder cannot be read is an error of its own.
    pub fn exports(&self) -> Result<Vec<Result<Export>>> {
        export::exports(&self.store, &self.exports)
    }

    /// Removes an export, by the key of its record ([`Export::key`]). Returns `None` if there is none.
    ///
    /// Removes only names that are still what was made, then the folders that were made and are empty. What the tool
    /// had before, or has replaced since, stays.
    pub fn remove_export(&self, key: &str) -> Result<Option<ExportRemoval>> {
        export::remove(&self.store, &self.exports, key)
    }

    /// Brings all exports up to date, and calls `each` for every one, with its id. A record that cannot be read has no
    /// id; its error names the file.
    ///
    /// An export that was interrupted, or of which a part is missing, is made again. One whose id has other content by
    /// now gets that content under the same name. If the tool or a user has removed the model, the rest of the export
    /// and its record are removed. If the id is no longer in the catalog, or the folder is not there, nothing is done.
    pub fn sync_exports(&self, each: &mut dyn FnMut(Option<&str>, Result<ExportSync>)) -> Result<()> {
        export::sync(&self.store, &self.exports, each)
    }
}
