//! Modes: what they should be, and how to set them only on the store's own files.
//!
//! Anyone who can write to the root can put another user's file there, by a hardlink or a rename. So bits are only
//! added to files of the user who runs the repair, and a file that should have a blob's bytes is read first.

use std::io;
use std::path::Path;

use super::Doctor;
use super::files::Tally;
use super::finding::{Finding, Fix};
use super::kind::FindingKind as K;
use super::look::Look;
use crate::blob::{Checker, Subject, Verdict};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::{Kind, Meta, Root, atomic, current_user, lock_file, meta_of};
use crate::layout::{self, LockFile, Thing};

/// What a mode must look like.
struct Right {
    mode: u32,
    /// Bits that must be set.
    needed: u32,
    /// Bits that may be set.
    allowed: u32,
}

impl Right {
    fn of(root: &Root, path: &Path, thing: &Thing, meta: &Meta) -> Self {
        match (thing, meta.kind) {
            (Thing::Blob(_), _) => Right { mode: 0o444, needed: 0o444, allowed: 0o444 },
            (Thing::Lock(lock), _) if *lock != LockFile::Probe => {
                let mode = lock_file::mode(root);
                Right { mode, needed: mode, allowed: mode }
            }
            // An owner who has removed write access for others wants no notes from them. Without the sticky bit, users
            // could remove each other's notes.
            (Thing::Folder, _) if path == Path::new(layout::USES) => {
                let mode = root.dir_mode() | 0o1777;
                let needed = if meta.mode & 0o002 == 0 { 0o700 } else { 0o1700 };
                Right { mode, needed, allowed: mode }
            }
            // An owner who has removed read access for others has a reason. Only the owner may write, and the group if
            // the root belongs to one. If a folder of such a root is closed to the group, the process that created it
            // was killed.
            (_, Kind::Dir) => {
                // The sticky bit keeps members from replacing each other's files, such as a shard.
                let (needed, sticky) = if root.is_shared() { (0o770, 0) } else { (0o700, 0o1000) };
                Right { mode: root.dir_mode(), needed, allowed: 0o555 | sticky | root.dir_mode() }
            }
            _ => Right { mode: root.file_mode(), needed: 0o600, allowed: 0o555 | root.file_mode() },
        }
    }
}

impl Look<'_> {
    pub(super) fn check_mode(&self, path: &Path, thing: &Thing, meta: &Meta, tally: &mut Tally) {
        let right = Right::of(self.root, path, thing, meta);
        if meta.mode & right.needed == right.needed && meta.mode & !right.allowed & 0o1777 == 0 {
            return;
        }
        let (mode, digest) = match thing {
            Thing::Blob(digest) => (right.mode, Some(*digest)),
            Thing::Lock(_) => (right.mode, None),
            _ if meta.kind == Kind::Dir => (right.mode, None),
            // A small file: only its owner gets missing rights.
            _ => ((meta.mode | right.needed) & right.allowed, None),
        };
        tally.wrong_modes.push(self.wrong_mode(path, meta, mode, digest));
    }

    /// `digest` is that of the bytes that the file should have.
    pub(super) fn wrong_mode(&self, path: &Path, meta: &Meta, mode: u32, digest: Option<Digest>) -> Finding {
        let what = format!("its mode is {:04o} instead of {mode:04o}", meta.mode);
        let finding = self.finding(K::WrongMode, path, what);
        match adds_bits(meta, mode) && meta.owner != current_user() {
            true => finding.left_to_the_operator(format!(
                "only its owner may give it more rights: run `catalog doctor --repair` as the user {}",
                meta.owner
            )),
            false => finding.fixed_by(Fix::SetMode { path: path.to_path_buf(), mode, digest }),
        }
    }
}

fn adds_bits(meta: &Meta, mode: u32) -> bool {
    mode & !meta.mode & 0o777 != 0
}

impl Doctor {
    pub(super) fn set_mode(&self, path: &Path, mode: u32, digest: Option<Digest>) -> Result<Option<String>> {
        let root = &self.store.root;
        let Some(meta) = root.meta(path)? else { return Ok(None) };
        let file = if meta.kind == Kind::Dir { root.open_dir(path)? } else { root.open_file(path)? };
        let Some(file) = file else { return Ok(None) };
        let look = || meta_of(&file).map_err(|e| root.fail("look at", path, e));
        let before = look()?;
        let refused = |why| root.fail("set the mode of", path, io::Error::new(io::ErrorKind::PermissionDenied, why));
        if adds_bits(&before, mode) && before.owner != current_user() {
            return Err(refused("it belongs to another user, and only that user may give it more rights"));
        }
        match digest {
            Some(digest) => self.ensure_bytes(path, digest, &before)?,
            None if before.kind == Kind::Dir => {
                if adds_bits(&before, mode) && self.has_strange_names(path)? {
                    return Err(refused(
                        "it contains files that are not the store's, so it may be a user's own folder",
                    ));
                }
            }
            None => {
                let is_lock = matches!(layout::classify(path), Thing::Lock(_));
                let is_safe = match is_lock && adds_bits(&before, mode) {
                    true => lock_file::may_be_opened_up(&before),
                    false => before.owner == current_user() || before.links == 1,
                };
                if !is_safe {
                    return Err(refused("it has a second name or content, so it may be a user's own file"));
                }
            }
        }
        atomic::set_mode(root, &file, path, mode)?;
        match look()?.mode & 0o777 == mode & 0o777 {
            true => Ok(Some(format!("it is {mode:04o} now"))),
            false => Err(root.fail("set the mode of", path, io::Error::other("the file system did not change it"))),
        }
    }

    /// Fails unless this very file has the expected bytes, by their SHA-256.
    fn ensure_bytes(&self, path: &Path, digest: Digest, file: &Meta) -> Result<()> {
        let root = &self.store.root;
        let subject = Subject { path: path.to_path_buf(), ..Subject::blob(&digest, Some(file.size_bytes)) };
        let checker = Checker { by_name: true, ..Checker::quiet(root, self.store.durability()) };
        let reason = match checker.one(subject)? {
            Verdict::Good if root.meta(path)?.is_some_and(|now| now.same_inode(file)) => return Ok(()),
            Verdict::Good | Verdict::Missing => "it has been replaced in the meantime",
            Verdict::Bad { .. } => "its bytes do not match its name, so its mode was not changed",
        };
        Err(Error::CorruptBlob { path: root.absolute(path), reason: reason.into() })
    }

    /// In the folder of a view, names belong to the artifact.
    fn has_strange_names(&self, folder: &Path) -> Result<bool> {
        let names = self.store.root.names(folder)?;
        Ok(names.iter().any(|name| layout::classify_in(folder, name) == Thing::Strange))
    }
}
