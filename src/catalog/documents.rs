//! Documents of models.

use super::{FsCatalog, Key};
use crate::documents::{self, AttachedDocument, NewDocument};
use crate::entry::Record;
use crate::error::Result;

/// Documents of models: signatures, bills of materials, and others.
impl FsCatalog {
    /// Attaches a document to the content of an entry, durably, and returns the record with it. It is kept as long as
    /// the content: it goes with the entry, or when the id gets other content. [`verify`](FsCatalog::verify) checks it,
    /// and [`tag`](FsCatalog::tag) and [`rename`](FsCatalog::rename) keep it. Engines do not see it.
    ///
    /// If the entry has a document of the same name with other bytes, or the same bytes under another name, the error is
    /// [`Error::DocumentExists`](crate::Error::DocumentExists), unless the new one may
    /// [replace](NewDocument::replace) it.
    ///
    /// ```
    /// use catalog_core::{DocumentKind, NewDocument};
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// catalog.attach("llama3", &NewDocument::new(DocumentKind::Doc, "notes.txt", "tested on Monday"))?;
    /// assert_eq!(catalog.documents("llama3")?[0].name, "notes.txt");
    /// assert_eq!(catalog.document("llama3", "notes.txt")?.as_deref(), Some(&b"tested on Monday"[..]));
    /// assert!(catalog.detach("llama3", "notes.txt")?);
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn attach<'a>(&self, key: impl Into<Key<'a>>, document: &NewDocument) -> Result<Record> {
        documents::attach(&self.store, &key.into().id(&self.store)?, document)
    }

    /// Detaches the document with this name, durably, and frees its bytes if nothing else needs them. `false`: there is
    /// none with this name.
    pub fn detach<'a>(&self, key: impl Into<Key<'a>>, name: &str) -> Result<bool> {
        documents::detach(&self.store, &key.into().id(&self.store)?, name)
    }

    /// The documents of an entry, sorted by name.
    pub fn documents<'a>(&self, key: impl Into<Key<'a>>) -> Result<Vec<AttachedDocument>> {
        documents::documents(&self.store, &self.known(key)?)
    }

    /// The bytes of the document with this name, checked against their digest. `None`: there is none with this name.
    pub fn document<'a>(&self, key: impl Into<Key<'a>>, name: &str) -> Result<Option<Vec<u8>>> {
        documents::document(&self.store, &self.known(key)?, name)
    }
}
