//! New content appears whole or not at all: it is written to a private file, synced, and only then given its name.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::sparse::Blocks;
use super::{Meta, Root, fault, meta_of, space, sys};
use crate::error::{Error, Result};

/// When an operation may return: once its effect survives a power cut, or as soon as other processes see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Acknowledged work survives a power cut.
    #[default]
    Full,
    /// Acknowledged work survives the end of the process but not a power cut: after one, the newest entries may be
    /// missing and the newest blobs may be damaged. For caches that can be filled again, and for tests.
    Relaxed,
}

impl Durability {
    pub(crate) fn is_full(self) -> bool {
        self == Durability::Full
    }
}

/// A file under a private name. It is removed if it is dropped before it gets its real name.
#[derive(Debug)]
pub(crate) struct Temp<'r> {
    root: &'r Root,
    name: PathBuf,
    is_synced: bool,
}

impl<'r> Temp<'r> {
    /// Creates `<folder>/.<random>.tmp`, writes `bytes` to it, and syncs it with `Durability::Full`.
    pub(crate) fn write(root: &'r Root, folder: &Path, bytes: &[u8], durability: Durability) -> Result<Self> {
        let name = folder.join(format!(".{}.tmp", random_name()));
        let file = root.create_file(&name, root.file_mode())?;
        let temp = Temp { root, name, is_synced: durability.is_full() };
        write(&file, bytes).map_err(|e| root.fail("write", &temp.name, e))?;
        if durability.is_full() {
            sync(root, &file, &temp.name)?;
        }
        Ok(temp) // the descriptor is not kept: a batch has one of these per shard
    }

    /// Creates `<folder>/.<random>.tmp` of this size with its blocks reserved; it has no content.
    pub(crate) fn reserved(root: &'r Root, folder: &Path, size_bytes: u64) -> Result<Self> {
        let name = folder.join(format!(".{}.tmp", random_name()));
        let file = root.create_file(&name, root.file_mode())?;
        let temp = Temp { root, name, is_synced: false };
        space::set_size(&file, size_bytes, Blocks::Reserved)
            .map_err(|e| root.fail("reserve room for", &temp.name, e))?;
        Ok(temp)
    }

    /// Sends the content to the disk, so that a sync has only the journal left to commit. Only [`sync`](Temp::sync) makes
    /// it durable, and says whether it could be written.
    pub(crate) fn write_out(&self) {
        if !self.is_synced
            && let Ok(Some(file)) = self.root.open_file(&self.name)
        {
            sys::write_out(&file);
        }
    }

    /// Makes the content durable, if it was written without `Durability::Full`.
    pub(crate) fn sync(&self) -> Result<()> {
        if self.is_synced {
            return Ok(());
        }
        let missing = || self.root.fail("open", &self.name, io::ErrorKind::NotFound.into());
        let file = self.root.open_file(&self.name)?.ok_or_else(missing)?;
        sync(self.root, &file, &self.name)
    }

    /// Gives it another private name, unless that name is taken. Returns whether it did.
    pub(crate) fn rename_new(&mut self, to: &Path) -> Result<bool> {
        match self.root.rename_new(&self.name, to) {
            Ok(()) => {
                self.name = to.to_path_buf();
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(self.root.fail("rename", to, e)),
        }
    }

    /// Renames it over whatever is at `to`; durable once the folder is synced. The caller may retry after an error.
    pub(crate) fn publish_over(&mut self, to: &Path) -> Result<()> {
        self.root.rename_over(&self.name, to)?;
        self.name = PathBuf::new(); // it has its real name now: nothing to remove
        Ok(())
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if !self.name.as_os_str().is_empty() {
            // Best effort: the next sweep removes what is left.
            let _ = self.root.remove_file(&self.name);
        }
    }
}

/// Replaces the whole content of a small file, durably.
pub(crate) fn replace(root: &Root, path: &Path, bytes: &[u8], durability: Durability) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    Temp::write(root, folder, bytes, durability)?.publish_over(path)?;
    if durability.is_full() {
        root.sync_dir(folder)?;
    }
    Ok(())
}

/// Syncs a file's data and metadata. After an error the caller must not sync this descriptor again: the kernel has
/// dropped the pages that it could not write, so a second sync would wrongly succeed.
pub(crate) fn sync(root: &Root, file: &File, name: &Path) -> Result<()> {
    let sync = || fault::step("sync").and_then(|()| file.sync_all());
    root.last_sync().timed(sync).map_err(|e| root.fail_sync(name, e))
}

/// Like [`sync`], for a file that is still being written: its size and times need not be on disk yet.
pub(crate) fn sync_data(root: &Root, file: &File, name: &Path) -> Result<()> {
    fault::step("sync").and_then(|()| file.sync_data()).map_err(|e| root.fail_sync(name, e))
}

/// Writes all bytes at the file's current position.
pub(crate) fn write(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    fault::step("write")?;
    file.write_all(bytes)
}

/// Writes all bytes starting at `offset`.
pub(crate) fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    fault::step("write")?;
    sys::write_all_at(file, offset, bytes)
}

/// Gives the private file `from` its real name `to`, unless that name is taken. Returns whether it did.
///
/// It publishes only the inode `expected`, whatever `from` leads to by now: it links the file by descriptor where the
/// system can, and otherwise checks it just before the rename. Durable once the folder of `to` is synced.
pub(crate) fn publish_new(root: &Root, from: &Path, expected: &Meta, to: &Path) -> Result<bool> {
    let changed = || Error::CorruptBlob {
        path: root.absolute(from),
        reason: "the private file was replaced before it was published".into(),
    };
    let file = root.open_file(from)?.ok_or_else(changed)?;
    let now = meta_of(&file).map_err(|e| root.fail("look at", from, e))?;
    if !now.same_inode(expected) || now.stamp() != expected.stamp() {
        return Err(changed());
    }
    match root.link_file(&file, to) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) if is_link_refusal(&e) || e.kind() == io::ErrorKind::NotFound => match root.rename_new(from, to) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(root.fail("publish", to, e)),
        },
        Err(e) => Err(root.fail("publish", to, e)),
    }
}

/// Whether the file system or a security rule refuses this inode another name; the caller can still make a copy.
pub(crate) fn is_link_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TooManyLinks       // EMLINK: 65,000 on ext4
            | io::ErrorKind::CrossesDevices   // EXDEV: a mount below the root
            | io::ErrorKind::PermissionDenied // EPERM: protected_hardlinks, or FAT
            | io::ErrorKind::Unsupported // EOPNOTSUPP
    )
}

/// Sets the mode of an open file, regardless of the umask.
pub(crate) fn set_mode(root: &Root, file: &File, name: &Path, mode: u32) -> Result<()> {
    fault::step("chmod").and_then(|()| sys::set_mode(file, mode)).map_err(|e| root.fail("set the mode of", name, e))
}

/// 16 hex digits that no other process of this root uses: the standard library seeds its hash keys from the system.
pub(crate) fn random_name() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_temp_leaves_nothing_and_a_replaced_file_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        drop(Temp::write(&root, Path::new(""), b"x", Durability::Full).unwrap());
        assert!(root.names(Path::new("")).unwrap().is_empty());
        replace(&root, Path::new("f"), b"one", Durability::Full).unwrap();
        replace(&root, Path::new("f"), b"two", Durability::Relaxed).unwrap();
        assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"two");
        assert_eq!(root.names(Path::new("")).unwrap(), ["f"]);
    }

    // Red when `publish_new` compares nothing: a file other than the hashed one would get the name.
    #[test]
    fn a_private_file_that_was_swapped_is_not_published() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("private"), "good").unwrap();
        let hashed = root.meta(Path::new("private")).unwrap().unwrap();
        std::fs::write(dir.path().join("other"), "evil").unwrap();
        std::fs::rename(dir.path().join("other"), dir.path().join("private")).unwrap();
        let error = publish_new(&root, Path::new("private"), &hashed, Path::new("blob")).unwrap_err();
        assert!(error.is_corrupt(), "{error}");
        assert!(!dir.path().join("blob").exists());
    }

    #[test]
    fn publishing_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("private"), "new").unwrap();
        std::fs::write(dir.path().join("blob"), "old").unwrap();
        let hashed = root.meta(Path::new("private")).unwrap().unwrap();
        assert!(!publish_new(&root, Path::new("private"), &hashed, Path::new("blob")).unwrap());
        assert_eq!(std::fs::read(dir.path().join("blob")).unwrap(), b"old");
        assert!(publish_new(&root, Path::new("private"), &hashed, Path::new("blob2")).unwrap());
    }

    // Red when `publish_new` compares only the inode: the content would have changed since it was hashed.
    #[test]
    fn a_private_file_that_was_changed_in_place_is_not_published() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("private"), "good").unwrap();
        let hashed = root.meta(Path::new("private")).unwrap().unwrap();
        std::fs::write(dir.path().join("private"), "longer").unwrap();
        let error = publish_new(&root, Path::new("private"), &hashed, Path::new("blob")).unwrap_err();
        assert!(error.is_corrupt(), "{error}");
        assert!(!dir.path().join("blob").exists());
    }

    // Red when any failure counts as "the name is taken": the caller would wait for, or trust, a file that does not
    // exist.
    #[test]
    fn a_name_that_cannot_be_given_is_not_one_that_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("private"), "bytes").unwrap();
        let hashed = root.meta(Path::new("private")).unwrap().unwrap();
        let nowhere = Path::new("no folder/blob");
        publish_new(&root, Path::new("private"), &hashed, nowhere).unwrap_err();
        let mut temp = Temp::write(&root, Path::new(""), b"x", Durability::Relaxed).unwrap();
        temp.rename_new(nowhere).unwrap_err();
    }

    // Red when the result of the sync is ignored, or nothing is synced.
    #[test]
    fn what_cannot_be_synced_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        // A pipe cannot be synced: EINVAL.
        let (reader, _writer) = std::io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(reader));
        sync(&root, &pipe, Path::new("f")).unwrap_err();
        sync_data(&root, &pipe, Path::new("f")).unwrap_err();
        root.sync_dir(Path::new("no folder")).unwrap_err();
    }

    #[test]
    fn a_refused_link_is_told_from_a_failed_one() {
        let is_refusal = |errno| is_link_refusal(&io::Error::from_raw_os_error(errno));
        for errno in [libc::EMLINK, libc::EXDEV, libc::EPERM, libc::EACCES, libc::EOPNOTSUPP, libc::ENOSYS] {
            assert!(is_refusal(errno), "{errno}");
        }
        for errno in [libc::EIO, libc::ENOSPC, libc::ENOENT, libc::EEXIST, libc::EROFS] {
            assert!(!is_refusal(errno), "{errno}");
        }
    }
}
