//! What an entry is looked up by.

use std::borrow::Cow;

use super::find::{self, Globs};
use crate::entry::check_id;
use crate::error::{Error, Result};
use crate::excerpt::excerpt;
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
///
/// It may also be a digest, the first digits of one, or a path that `ps` shows:
///
/// ```
/// use catalog_core::{Error, Key, ModelRef, StageOptions};
/// # let (_dir, catalog, file) = catalog_core::testing::example();
/// let record = catalog.resolve("llama3")?;
/// let digest = record.entry.digest.unwrap().to_string();
/// for text in [&digest, &digest["sha256:".len()..][..8], record.entry.local_path.to_str().unwrap()] {
///     assert_eq!(catalog.resolve(Key::typed(text))?.entry.id, "llama3");
/// }
/// // If the text stands for several entries, the error names them.
/// catalog.stage(&ModelRef::from(file), &StageOptions::default().with_id("again".to_owned()))?;
/// let error = catalog.resolve(Key::typed(&digest)).unwrap_err();
/// assert!(matches!(&error, Error::Ambiguous { ids, .. } if ids == &["again", "llama3"]));
/// # Ok::<(), catalog_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Key<'a> {
    /// The id itself.
    Id(&'a str),
    /// A reference, whose own string is the id.
    Ref(&'a ModelRef),
    /// Text that a person typed: see [`typed`](Key::typed).
    Typed(&'a str),
}

impl<'a> Key<'a> {
    /// Text that a person typed or copied. It means the first of these that exists:
    ///
    /// 1. the entry with this id,
    /// 2. the entry with this reference's own string as its id,
    /// 3. the entry with this digest, or the one that needs the blob with this digest: `sha256:` and 64 lowercase hex
    ///    digits, or its first 8 or more digits, with or without `sha256:`,
    /// 4. the entry that is shown at this path below the root: its `local_path`, anything in the folder of a tree, or the path of
    ///    a blob. The path may lead there through symlinks.
    ///
    /// Looking up an id costs no more than with [`Id`](Key::Id). A digest or a path reads the whole index, and a digest
    /// also reads the manifests of all trees. Text that stands for several entries is [`Error::Ambiguous`].
    #[must_use]
    pub fn typed(text: &'a str) -> Self {
        Key::Typed(text)
    }

    /// The id that it means. Returns `None` if the text that a person typed stands for nothing here.
    pub(super) fn find(self, store: &Store) -> Result<Option<Cow<'a, str>>> {
        match self {
            Key::Id(id) => Ok(Some(id.into())),
            Key::Ref(reference) => Ok(Some(reference.id()?.into())),
            Key::Typed(text) => {
                check_id(text)?;
                if store.record(text)?.is_some() {
                    return Ok(Some(text.into()));
                }
                let found = find::by_text(store, text, Globs::No)?;
                let mut ids: Vec<String> = found.into_iter().map(|record| record.entry.id).collect();
                match ids.len() {
                    0 | 1 => Ok(ids.pop().map(Cow::from)),
                    _ => Err(Error::Ambiguous { text: excerpt(text), ids }),
                }
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
