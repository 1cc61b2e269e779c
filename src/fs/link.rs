//! Ways to get bytes from one place to another, the cheapest first.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::Path;

use super::sparse::{self, Blocks};
use super::{Meta, Root, atomic, fault, meta_of, space, sys};
use crate::entry::{LinkMode, Stamp};
use crate::error::Result;

/// The result of an attempt to share blocks.
#[derive(Debug)]
pub(crate) enum Reflink {
    Made,
    /// These files cannot share blocks, at least not now. The caller can still copy: the target is empty.
    Refused(io::Error),
}

/// Makes the empty file `to` share all blocks of `from`.
pub(crate) fn reflink(from: &File, to: &File) -> io::Result<Reflink> {
    let size_bytes = meta_of(from)?.size_bytes;
    match fault::step("reflink").and_then(|()| sys::reflink(from, to)) {
        Ok(()) => keep_if_whole(from, to, size_bytes),
        Err(e) if is_reflink_refusal(&e) => Ok(Reflink::Refused(e)),
        Err(e) => Err(e),
    }
}

/// Empties a clone that is shorter than its source. FICLONE takes no length, so OpenZFS can stop early and report
/// success.
fn keep_if_whole(from: &File, to: &File, size_before_bytes: u64) -> io::Result<Reflink> {
    // The source may change during the call: the clone shows it as it was at some moment between the two looks.
    let least_bytes = size_before_bytes.min(meta_of(from)?.size_bytes);
    if meta_of(to)?.size_bytes >= least_bytes {
        return Ok(Reflink::Made);
    }
    to.set_len(0)?;
    Ok(Reflink::Refused(io::Error::other("the file system made a clone that is shorter than its source")))
}

fn is_reflink_refusal(error: &io::Error) -> bool {
    // EOPNOTSUPP, ENOSYS, EXDEV, EINVAL (alignment, or no reflink flag), ENOTTY (no such ioctl here), EPERM and ETXTBSY
    // (swap files and the like), EAGAIN and EINTR (OpenZFS, for a file that was just written).
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported
            | io::ErrorKind::CrossesDevices
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ExecutableFileBusy
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::Interrupted
    ) || error.raw_os_error() == Some(25)
}

/// Replaces the file `there` at `at` with the private file in one step, and removes the old one. `false`: something
/// else is at `at` by now, and stays. Durable once the folder of `at` is synced.
pub(crate) fn replace(root: &Root, private: &Path, at: &Path, there: &Meta) -> Result<bool> {
    let is_it = |found: Option<Meta>| found.is_some_and(|now| now.same_inode(there) && now.stamp() == there.stamp());
    match root.exchange(private, at) {
        // The old file is now under our private name, so nobody can swap it between this look and the removal.
        Ok(()) if is_it(root.meta(private)?) => root.remove_file(private).map(|_| true),
        Ok(()) => {
            root.exchange(private, at).map_err(|e| root.fail("put back", at, e))?;
            Ok(false)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && root.meta(private)?.is_some() => Ok(false),
        // This file system cannot exchange names. Another file could still arrive between the look and the rename.
        Err(e) if matches!(e.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput) => {
            let is_there = is_it(root.meta(at)?);
            if is_there {
                root.rename_over(private, at)?;
            }
            Ok(is_there)
        }
        Err(e) => Err(root.fail("rename into place", at, e)),
    }
}

/// Copies everything from a reader to the file's current position, in the kernel where possible.
pub(crate) fn copy_bytes(from: &mut (impl io::Read + ?Sized), mut to: &File) -> io::Result<u64> {
    fault::step("copy")?;
    io::copy(from, &mut to)
}

/// Copies a part of a file to the same offset of another file. Returns how many bytes the source had there.
pub(crate) fn copy_range(mut from: &File, mut to: &File, part: &Range<u64>) -> io::Result<u64> {
    from.seek(SeekFrom::Start(part.start))?;
    to.seek(SeekFrom::Start(part.start))?;
    copy_bytes(&mut from.take(part.end.saturating_sub(part.start)), to)
}

/// Makes an independent read-only file from a blob, by reflink if possible.
pub(crate) fn copy(root: &Root, blob: &Path, to: &Path, durability: atomic::Durability) -> Result<LinkMode> {
    let missing = || root.fail("open", blob, io::ErrorKind::NotFound.into());
    let from = root.open_file(blob)?.ok_or_else(missing)?;
    copy_from(root, &from, to, 0o444, durability).map(|(mode, ..)| mode)
}

/// Makes an independent file of this mode from an open one, by reflink if possible. If it was not, the third value says
/// why.
pub(crate) fn copy_from(
    root: &Root,
    from: &File,
    to: &Path,
    mode: u32,
    durability: atomic::Durability,
) -> Result<(LinkMode, File, Option<io::Error>)> {
    let file = root.create_file(to, 0o600)?;
    let (how, refused) = match reflink(from, &file).map_err(|e| root.fail("reflink", to, e))? {
        Reflink::Made => (LinkMode::Reflink, None),
        Reflink::Refused(refused) => {
            let fail = |e| root.fail("copy", to, e);
            let source = meta_of(from).map_err(fail)?;
            let blocks = Blocks::of(&source);
            space::set_size(&file, source.size_bytes, blocks).map_err(fail)?;
            sparse::copy_range(from, &file, &(0..source.size_bytes), blocks).map_err(fail)?;
            (LinkMode::Copy, Some(refused))
        }
    };
    atomic::set_mode(root, &file, to, mode)?;
    if durability.is_full() {
        atomic::sync(root, &file, to)?;
    }
    Ok((how, file, refused))
}

/// Whether a file of the root can share blocks with `from`, found out by trying under the free name `name`.
pub(crate) fn can_reflink(root: &Root, from: &File, name: &Path) -> bool {
    let works = root.create_file(name, 0o600).is_ok_and(|to| matches!(reflink(from, &to), Ok(Reflink::Made)));
    let _ = root.remove_file(name); // the session removes its whole folder later
    works
}

/// Removes a source that was moved into the store, if it is still the file that was read.
pub(crate) fn remove_source(source: &Path, read: Option<Stamp>) -> io::Result<()> {
    let now = std::fs::symlink_metadata(source)?;
    if now.is_symlink() {
        return Err(io::Error::other("it is a symlink to what was read"));
    }
    if !now.is_file() || read != Some(super::meta_of_path(source)?.stamp()) {
        return Err(io::Error::other("it is no longer what was read"));
    }
    #[allow(clippy::disallowed_methods)] // outside the root, because the caller asked for a move
    std::fs::remove_file(source)
}

/// Whether [`remove_source`] is likely to succeed: the source is no symlink, and its folder is writable.
pub(crate) fn can_remove_source(source: &Path) -> bool {
    let is_file = std::fs::symlink_metadata(source).is_ok_and(|meta| meta.is_file());
    is_file && source.parent().is_some_and(sys::may_write)
}

/// Removes the folders of a moved tree that are now empty.
pub(crate) fn remove_empty_folders(tree: &Path) {
    for entry in walkdir::WalkDir::new(tree).contents_first(true).into_iter().flatten() {
        if entry.file_type().is_dir() {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    // Red when `replace` does not check which file it took out: the other file would be lost.
    #[test]
    fn only_the_file_that_was_looked_at_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let (private, view) = (Path::new("private"), Path::new("view"));
        std::fs::write(dir.path().join("view"), "old").unwrap();
        let there = root.meta(view).unwrap().unwrap();
        std::fs::write(dir.path().join("private"), "new").unwrap();
        assert!(replace(&root, private, view, &there).unwrap());
        assert_eq!(std::fs::read(dir.path().join("view")).unwrap(), b"new");
        assert_eq!(root.names(Path::new("")).unwrap(), ["view"]);

        std::fs::write(dir.path().join("private"), "newer").unwrap();
        assert!(!replace(&root, private, view, &there).unwrap());
        assert_eq!(std::fs::read(dir.path().join("view")).unwrap(), b"new");
        assert_eq!(std::fs::read(dir.path().join("private")).unwrap(), b"newer");
        std::fs::remove_file(dir.path().join("view")).unwrap();
        assert!(!replace(&root, private, view, &there).unwrap());
    }

    // Red when every failure of a reflink counts as "not supported here": the code would go on copying on a failing
    // disk.
    #[test]
    fn a_refused_reflink_is_told_from_a_failed_one() {
        let is_refusal = |errno| is_reflink_refusal(&io::Error::from_raw_os_error(errno));
        for errno in
            [libc::EOPNOTSUPP, libc::ENOSYS, libc::EXDEV, libc::EINVAL, libc::ENOTTY, libc::EPERM, libc::ETXTBSY]
                .into_iter()
                .chain([libc::EAGAIN, libc::EINTR])
        {
            assert!(is_refusal(errno), "{errno}");
        }
        for errno in [libc::EIO, libc::ENOSPC, libc::EBADF, libc::EROFS] {
            assert!(!is_refusal(errno), "{errno}");
        }
    }

    #[test]
    fn a_reflink_of_what_is_open_for_reading_alone_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "bytes").unwrap();
        let file = File::open(&path).unwrap();
        reflink(&file, &file).unwrap_err(); // EBADF: a bug of ours, and a copy would not fix it
    }

    // Red when the size of a clone is not checked: its end would be missing, or zeros once the room is reserved.
    #[test]
    fn a_clone_that_is_short_is_emptied_and_one_of_a_source_that_changes_is_not() {
        let file = |size_bytes| {
            let file = tempfile::tempfile().unwrap();
            file.set_len(size_bytes).unwrap();
            file
        };
        for (before_bytes, source_bytes, clone_bytes, is_made) in
            [(9, 9, 9, true), (9, 9, 4, false), (9, 9, 0, false), (9, 20, 9, true), (20, 9, 9, true), (20, 9, 4, false)]
        {
            let clone = file(clone_bytes);
            let made = keep_if_whole(&file(source_bytes), &clone, before_bytes).unwrap();
            assert_eq!(matches!(made, Reflink::Made), is_made, "{before_bytes} {source_bytes} {clone_bytes}");
            assert_eq!(clone.metadata().unwrap().len(), if is_made { clone_bytes } else { 0 });
        }
    }

    // Passes on any file system, with reflinks or without.
    #[test]
    fn whether_blocks_can_be_shared_is_tried() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let one = root.create_file(Path::new("one"), 0o600).unwrap();
        let other = root.create_file(Path::new("other"), 0o600).unwrap();
        let can = matches!(reflink(&one, &other).unwrap(), Reflink::Made);
        assert_eq!(can_reflink(&root, &one, Path::new("b")), can);
        assert_eq!(root.names(Path::new("")).unwrap(), ["one", "other"]);
        assert!(!can_reflink(&root, &one, Path::new("no folder/b")));
    }

    // Red when anything but the file that was read is removed, or nothing is.
    #[test]
    fn a_source_is_removed_only_while_it_is_what_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("source");
        std::fs::write(&path, "read").unwrap();
        let read = crate::fs::meta_of_path(&path).unwrap().stamp();
        remove_source(&path, None).unwrap_err();
        std::fs::write(&path, "longer since").unwrap();
        remove_source(&path, Some(read)).unwrap_err();
        let now = crate::fs::meta_of_path(&path).unwrap().stamp();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        remove_source(&link, Some(now)).unwrap_err(); // it leads to what was read, but the link is the user's
        assert!(path.exists() && link.is_symlink());
        remove_source(&path, Some(now)).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn only_empty_folders_of_a_moved_tree_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("empty/empty too")).unwrap();
        std::fs::create_dir(tree.join("kept")).unwrap();
        std::fs::write(tree.join("kept/new"), "came since").unwrap();
        remove_empty_folders(&tree);
        assert!(!tree.join("empty").exists() && tree.join("kept/new").exists());
    }
}
