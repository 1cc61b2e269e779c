//! The names of an export, in the order in which a tool may see them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::options::ExportLayout;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layout;

/// What an export makes.
pub(super) struct Plan {
    /// The model's name there.
    pub(super) name: String,
    /// What the model is there: a path in the tool's folder.
    pub(super) path: String,
    pub(super) linking: Linking,
    /// The version that the names contain.
    pub(super) revision: Option<String>,
    pub(super) items: Vec<Item>,
    /// The place of each name in `items`.
    places: BTreeMap<String, usize>,
}

/// Whether the tool's folder may have a second name of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linking {
    /// No program writes into a finished file there.
    Yes,
    /// As above, but the tool sets the times of its files, which only their owner may do.
    SameOwner,
    /// For this reason not.
    No(&'static str),
}

/// One name.
pub(super) struct Item {
    /// Relative to the tool's folder.
    pub(super) at: String,
    pub(super) content: Content,
    pub(super) role: Role,
    /// The file that the tool locks while it writes this name.
    pub(super) lock: Option<String>,
    /// The mode of a file that is not the blob itself.
    pub(super) mode: u32,
}

/// What is at a name.
pub(super) enum Content {
    Blob {
        digest: Digest,
        size_bytes: u64,
    },
    /// The same file as at another name of the plan, which comes before.
    Twin {
        of: String,
    },
    Bytes(Vec<u8>),
    /// A symlink to another name of the layout.
    Pointer(String),
    /// An entry in `index.json`.
    Entry(super::index::Entry),
    #[cfg(feature = "tar")]
    Archive(super::archive::Archive),
}

/// What a name is for, which says what happens if something else is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A part of the model: other bytes there are an error.
    Part,
    /// By this name a user sees the model; otherwise like a part.
    Head,
    /// By this name a user sees the model; whatever is there stays.
    HeadIfFree,
    /// Whatever is there stays.
    IfFree,
    /// A branch: what is there stays if it leads to a snapshot.
    Branch,
}

impl Role {
    pub(super) fn is_head(self) -> bool {
        matches!(self, Role::Head | Role::HeadIfFree)
    }

    /// Whether the model is whole without it.
    pub(super) fn is_optional(self) -> bool {
        matches!(self, Role::IfFree | Role::Branch)
    }
}

impl Plan {
    pub(super) fn new(name: impl Into<String>, path: impl Into<String>, linking: Linking) -> Self {
        Plan {
            name: name.into(),
            path: path.into(),
            linking,
            revision: None,
            items: Vec::new(),
            places: BTreeMap::new(),
        }
    }

    pub(super) fn blob(&mut self, at: String, digest: Digest, size_bytes: u64, role: Role) {
        self.push(at, Content::Blob { digest, size_bytes }, role);
    }

    /// Adds a name, unless the plan has it already.
    pub(super) fn push(&mut self, at: String, content: Content, role: Role) -> Option<&mut Item> {
        if self.places.contains_key(&at) {
            return None;
        }
        self.places.insert(at.clone(), self.items.len());
        self.items.push(Item { at, content, role, lock: None, mode: 0o644 });
        self.items.last_mut()
    }

    pub(super) fn item(&self, at: &str) -> Option<&Item> {
        self.items.get(*self.places.get(at)?)
    }

    /// Every folder that a name is in, or a folder above it.
    pub(super) fn folders(&self) -> BTreeSet<&Path> {
        let above = self.items.iter().flat_map(|item| Path::new(&item.at).ancestors().skip(1));
        above.filter(|folder| !folder.as_os_str().is_empty()).collect()
    }

    /// Checks that no name leads out of the tool's folder.
    pub(super) fn check(&self, id: &str, layout: ExportLayout) -> Result<()> {
        let names = self.items.iter().flat_map(|item| [Some(&item.at), item.lock.as_ref()]).flatten();
        match names.into_iter().find(|name| !layout::is_plain_path(name) || name.chars().any(char::is_control)) {
            None => Ok(()),
            Some(name) => {
                let reason = format!("it would have the path {name:?} there, which could lead elsewhere");
                Err(Error::NotExportable { id: id.to_owned(), layout: layout.as_str(), reason })
            }
        }
    }
}
