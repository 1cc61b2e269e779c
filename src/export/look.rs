//! What is at the names of a plan before anything is made there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::artifact::Artifact;
use super::index::{self, Standing};
use super::plan::{Content, Item, Plan, Role};
use super::receipt::ExportWay;
use super::record::Made;
use super::target;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::{Kind, Meta, Root, meta_of};
use crate::model_ref::is_commit;

/// What an export does with a name.
#[derive(Clone, Debug)]
pub(super) enum Look {
    /// Nothing is there.
    Make,
    /// An earlier export made it, and its content has changed since; or nothing needs it.
    Replace(Meta),
    /// The tool has it, and it stays. The note says what differs.
    Keep(u64, Option<String>),
    /// An earlier export made it, and it is right.
    Own(Made),
}

#[derive(Clone, Copy)]
pub(super) struct Looker<'l> {
    /// `None`: the tool's folder does not exist.
    pub(super) root: Option<&'l Root>,
    pub(super) artifacts: &'l [Artifact<'l>],
    pub(super) plan: &'l Plan,
    /// What all exports to this folder have made, by its name.
    pub(super) made: &'l BTreeMap<&'l str, Vec<&'l Made>>,
    /// Whether the records of this very export say that it was made with the same content.
    pub(super) is_current: bool,
}

impl Looker<'_> {
    pub(super) fn look(&self, item: &Item) -> Result<Look> {
        let Some(root) = self.root else { return Ok(Look::Make) };
        let at = Path::new(&item.at);
        if let Content::Entry(entry) = &item.content {
            return self.look_at_entry(root, entry);
        }
        let Some(there) = root.meta(at)? else { return Ok(Look::Make) };
        let own = self.own(root, item, &there)?;
        let is_same = own.is_some() && self.is_current || self.is_same(root, item, &there)?;
        match (own, is_same) {
            (Some(made), true) => Ok(Look::Own(made)),
            (None, true) => Ok(Look::Keep(there.size_bytes, None)),
            (Some(_), false) => Ok(Look::Replace(there)),
            (None, false) => self.other(root, item, there),
        }
    }

    /// What an earlier export made at this name, if that is what is there.
    fn own(&self, root: &Root, item: &Item, there: &Meta) -> Result<Option<Made>> {
        for &made in self.made.get(item.at.as_str()).into_iter().flatten() {
            if made.is_still(root, there)? {
                return Ok(Some(Made {
                    is_head: item.role.is_head(),
                    is_optional: item.role.is_optional(),
                    ..made.clone()
                }));
            }
        }
        Ok(None)
    }

    fn other(&self, root: &Root, item: &Item, there: Meta) -> Result<Look> {
        let keep = |note: Option<String>| Ok(Look::Keep(there.size_bytes, note));
        match item.role {
            Role::HeadIfFree | Role::IfFree => keep(None),
            Role::Branch if there.kind == Kind::File => {
                let at = Path::new(&item.at);
                let text = root.read(at, 4096)?.unwrap_or_default();
                let commit = String::from_utf8_lossy(&text).trim().to_owned();
                let snapshots = at.parent().and_then(Path::parent).map(|folder| folder.join("snapshots"));
                let snapshot = snapshots.filter(|_| is_commit(&commit)).map(|all| all.join(&commit));
                let is_in_use = snapshot.is_some_and(|snapshot| root.meta(&snapshot).is_ok_and(|meta| meta.is_some()));
                let revision = self.plan.revision.as_deref().unwrap_or_default();
                let note =
                    format!("{} stays at {commit}, which the tool has; this is the revision {revision}", item.at);
                if is_in_use { keep(Some(note)) } else { Ok(Look::Replace(there)) }
            }
            _ => Err(in_the_way(root, at(item), "another file is there; remove it, or export to another folder")),
        }
    }

    fn look_at_entry(&self, root: &Root, entry: &index::Entry) -> Result<Look> {
        let at = Path::new(index::NAME);
        let index = root.read(at, index::MAX_BYTES)?;
        let standing = entry.standing(index.as_deref()).map_err(|reason| in_the_way(root, at, &reason))?;
        match standing {
            Standing::Missing | Standing::Older => Ok(Look::Make),
            Standing::There => Ok(Look::Own(Made {
                path: index::NAME.into(),
                way: ExportWay::Entry,
                size_bytes: 0,
                stamp: None,
                target: Some(entry.target()),
                is_head: true,
                is_optional: false,
            })),
            Standing::Taken => {
                let reason = format!("the tag {:?} belongs to another manifest there; name another tag", entry.tag);
                Err(in_the_way(root, at, &reason))
            }
        }
    }

    fn is_same(&self, root: &Root, item: &Item, there: &Meta) -> Result<bool> {
        let at = at(item);
        match &item.content {
            Content::Blob { digest, size_bytes } => self.has_bytes(root, at, there, digest, *size_bytes),
            Content::Twin { of } => match self.plan.item(of).map(|of| &of.content) {
                Some(Content::Blob { digest, size_bytes }) => self.has_bytes(root, at, there, digest, *size_bytes),
                _ => Ok(false),
            },
            Content::Bytes(bytes) => {
                let is_file = there.kind == Kind::File && there.size_bytes == bytes.len() as u64;
                Ok(is_file && root.read(at, there.size_bytes)?.as_ref() == Some(bytes))
            }
            Content::Pointer(to) => {
                Ok(there.kind == Kind::Symlink && root.read_link(at)?.as_ref() == Some(&PathBuf::from(to)))
            }
            Content::Entry(_) => Ok(false),
            #[cfg(feature = "tar")]
            Content::Archive(_) => Ok(false),
        }
    }

    /// Whether the file there has the bytes of the blob. The tool's name for it is no proof.
    fn has_bytes(&self, root: &Root, at: &Path, there: &Meta, digest: &Digest, size_bytes: u64) -> Result<bool> {
        let file = match there.kind {
            Kind::File if there.size_bytes == size_bytes => root.open_file(at)?,
            Kind::Symlink => target::behind(root, at, size_bytes),
            _ => None,
        };
        let (Some(file), Some(artifact)) = (file, self.artifacts.first()) else { return Ok(false) };
        let blob = artifact.blob(digest)?;
        let fail = |e: io::Error| root.fail("read", at, e);
        let (one, other) = (meta_of(&file).map_err(fail)?, meta_of(&blob).map_err(fail)?);
        Ok(one.same_inode(&other) || target::are_equal(file, blob).map_err(fail)?)
    }
}

fn at(item: &Item) -> &Path {
    Path::new(&item.at)
}

pub(super) fn in_the_way(root: &Root, at: &Path, reason: &str) -> Error {
    Error::ExportInTheWay { path: root.absolute(at), reason: reason.to_owned() }
}
