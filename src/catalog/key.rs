//! What an entry is looked up by.

use std::borrow::Cow;

use crate::entry::check_id;
use crate::error::Result;
use crate::model_ref::ModelRef;
use crate::store::Store;

/// What an entry is looked up by: an id, a reference, or what a person typed.
///
/// A `&str` is always an id. Use [`typed`](Key::typed) for text that may be either:
///
/// ```
/// use catalog_core::{Key, ModelRef, StageOptions};
/// # let (_dir, catalog, file) = catalog_core::testing::example();
/// let model = ModelRef::from(file);
/// catalog.stage(&model, &StageOptions::default())?; // the reference's own string becomes the id
/// assert!(catalog.exists(&model)? && catalog.exists(&model.id()?)?);
/// assert!(catalog.exists("llama3")? && catalog.exists(Key::typed(&model.to_string()))?);
/// # Ok::<(), catalog_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Key<'a> {
    /// The id itself.
    Id(&'a str),
    /// A reference, whose own string is the id.
    Ref(&'a ModelRef),
    /// Text that a person typed: an existing id wins, otherwise it is parsed as a reference.
    Typed(&'a str),
}

impl<'a> Key<'a> {
    /// Text that a person typed: an existing id wins, otherwise it is parsed as a reference, and its own string is
    /// looked up.
    #[must_use]
    pub fn typed(text: &'a str) -> Self {
        Key::Typed(text)
    }

    /// The id that it stands for. Returns `None` for typed text if there is no such entry.
    pub(super) fn find(self, store: &Store) -> Result<Option<Cow<'a, str>>> {
        match self {
            Key::Id(id) => Ok(Some(id.into())),
            Key::Ref(reference) => Ok(Some(reference.id()?.into())),
            Key::Typed(text) => {
                check_id(text)?;
                if store.record(text)?.is_some() {
                    return Ok(Some(text.into()));
                }
                let id = ModelRef::parse(text)?.id()?;
                Ok(store.record(&id)?.map(|_| id.into()))
            }
        }
    }

    /// The id that it stands for. Errors name the text as it was typed, not the reference that it was parsed as.
    pub(super) fn id(self, store: &Store) -> Result<Cow<'a, str>> {
        self.find(store)?.ok_or_else(|| match self {
            Key::Id(text) | Key::Typed(text) => store.not_found(text),
            Key::Ref(reference) => store.not_found(&reference.to_string()),
        })
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(id: &'a str) -> Self {
        Key::Id(id)
    }
}

impl<'a> From<&'a String> for Key<'a> {
    fn from(id: &'a String) -> Self {
        Key::Id(id)
    }
}

impl<'a> From<&'a ModelRef> for Key<'a> {
    fn from(reference: &'a ModelRef) -> Self {
        Key::Ref(reference)
    }
}
