//! The private files of an export: each by the cheapest way that is allowed, in a folder that only this export uses.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::artifact::Artifact;
use super::plan::{Content, Item, Linking};
use super::receipt::ExportWay;
use super::target;
use crate::entry::LinkMode;
use crate::error::{Error, Result};
use crate::fs::{Meta, Root, atomic, link, meta_of};

/// Makes private files below one folder of the target.
pub(super) struct Maker<'m> {
    pub(super) root: &'m Root,
    pub(super) artifacts: &'m [Artifact<'m>],
    pub(super) linking: Linking,
    pub(super) private: &'m Path,
    /// The names that have a file by now: where that file is.
    pub(super) made: BTreeMap<String, PathBuf>,
    /// Why a file is not a hardlink, or not a reflink.
    pub(super) reason: Option<String>,
}

/// A private file.
pub(super) struct Private {
    pub(super) path: PathBuf,
    pub(super) way: ExportWay,
    pub(super) meta: Meta,
}

impl Maker<'_> {
    fn artifact(&self) -> Result<&Artifact<'_>> {
        let none = || Error::io("export to", self.root.path(), io::Error::from(io::ErrorKind::InvalidInput));
        self.artifacts.first().ok_or_else(none)
    }

    /// Makes the file of an item. `None` for a pointer and an entry, which are no files.
    pub(super) fn make(&mut self, number: usize, item: &Item) -> Result<Option<Private>> {
        let path = self.private.join(number.to_string());
        let made = match &item.content {
            Content::Blob { digest, .. } => {
                let blob = self.artifact()?.blob(digest)?;
                let (way, file) = self.share(&blob, &path, item.mode)?;
                Some((way, file))
            }
            Content::Twin { of } => {
                let twin = self.made.get(of).cloned().unwrap_or_else(|| of.into());
                let missing = || self.root.fail("open", &twin, io::ErrorKind::NotFound.into());
                let twin = self.root.open_file(&twin)?.ok_or_else(missing)?;
                match self.root.link_file(&twin, &path) {
                    Ok(()) => Some((ExportWay::Hardlink, twin)),
                    Err(e) if atomic::is_link_refusal(&e) => Some(self.copy(&twin, &path, item.mode)?),
                    Err(e) => return Err(self.root.fail("link", &path, e)),
                }
            }
            Content::Bytes(bytes) => {
                let file = self.root.create_file(&path, item.mode)?;
                atomic::write(&file, bytes).map_err(|e| self.root.fail("write", &path, e))?;
                self.finish(&file, &path)?;
                Some((ExportWay::Written, file))
            }
            #[cfg(feature = "tar")]
            Content::Archive(archive) => {
                let file = self.root.create_file(&path, item.mode)?;
                archive.write(self.artifacts, &file).map_err(|e| self.root.fail("write", &path, e))?;
                self.finish(&file, &path)?;
                self.reason = Some("an archive has bytes of its own".to_owned());
                Some((ExportWay::Copy, file))
            }
            Content::Pointer(to) => {
                self.root.symlink(Path::new(to), &path).map_err(|e| self.root.fail("create the symlink", &path, e))?;
                let missing = || self.root.fail("look at", &path, io::ErrorKind::NotFound.into());
                let meta = self.root.meta(&path)?.ok_or_else(missing)?;
                return Ok(Some(Private { path, way: ExportWay::Pointer, meta }));
            }
            Content::Entry(_) => None,
        };
        let Some((way, file)) = made else { return Ok(None) };
        let meta = meta_of(&file).map_err(|e| self.root.fail("look at", &path, e))?;
        self.made.insert(item.at.clone(), path.clone());
        Ok(Some(Private { path, way, meta }))
    }

    /// Hardlink, reflink or copy.
    fn share(&mut self, blob: &File, path: &Path, mode: u32) -> Result<(ExportWay, File)> {
        match self.refusal(blob)? {
            Some(reason) => self.reason = Some(reason),
            None => match self.root.link_file(blob, path) {
                Ok(()) => {
                    let file = blob.try_clone().map_err(|e| self.root.fail("open", path, e))?;
                    return Ok((ExportWay::Hardlink, file));
                }
                Err(e) if atomic::is_link_refusal(&e) => self.reason = Some(words(&e)),
                Err(e) => return Err(self.root.fail("link", path, e)),
            },
        }
        self.copy(blob, path, mode)
    }

    /// Why no hardlink may be made, if that is known beforehand.
    fn refusal(&self, blob: &File) -> Result<Option<String>> {
        let artifact = self.artifact()?;
        if artifact.store.root.copies_up() {
            return Ok(Some("the catalog is on an overlay, where a hardlink could first copy the whole file".into()));
        }
        Ok(match self.linking {
            Linking::Yes => None,
            Linking::No(reason) => Some(reason.to_owned()),
            Linking::SameOwner => {
                let owner = meta_of(blob).map_err(|e| self.root.fail("look at", self.private, e))?.owner;
                let other = "the folder belongs to another user than the blob, and the tool could not set its times";
                (owner != self.root.owner()).then(|| other.to_owned())
            }
        })
    }

    fn copy(&mut self, from: &File, path: &Path, mode: u32) -> Result<(ExportWay, File)> {
        let durability = self.artifact()?.store.durability();
        let (how, file, refused) = link::copy_from(self.root, from, path, mode, durability)?;
        target::give(self.root, &file);
        if how == LinkMode::Reflink {
            return Ok((ExportWay::Reflink, file));
        }
        if refused.is_some() {
            let reason = self.reason.take().map(|reason| reason + "; ").unwrap_or_default();
            self.reason = Some(reason + "no blocks can be shared with that file system");
        }
        Ok((ExportWay::Copy, file))
    }

    fn finish(&self, file: &File, path: &Path) -> Result<()> {
        target::give(self.root, file);
        if self.artifact()?.store.durability().is_full() {
            atomic::sync(self.root, file, path)?;
        }
        Ok(())
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::CrossesDevices => "it is on another file system".to_owned(),
        io::ErrorKind::PermissionDenied => "the system refuses a second name of a file of another user".to_owned(),
        io::ErrorKind::TooManyLinks => "the blob has as many names as the file system allows".to_owned(),
        _ => format!("the file system makes no hardlink ({error})"),
    }
}
