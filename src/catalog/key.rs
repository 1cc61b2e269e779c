//! What an entry is looked up by.

use crate::model_ref::ModelRef;

/// An id, or a reference whose own string is the id.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Key<'a> {
    /// The id itself.
    Id(&'a str),
    /// A reference.
    Ref(&'a ModelRef),
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
