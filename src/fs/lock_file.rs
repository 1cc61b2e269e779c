//! Lock files, and who may open them: anyone who can open one can keep others waiting.

use std::fs::File;
use std::path::Path;

use super::{Meta, Root, current_user, meta_of, sys};
use crate::error::Result;

/// The mode of lock files. `flock` needs only an open file, so a user who may read one can stop all writers of the
/// store; only users who may write to the store may read it. Readers need none of these locks.
pub(crate) fn mode(root: &Root) -> u32 {
    if root.is_shared() { 0o660 } else { 0o600 }
}

/// Opens a lock file, creating it if it does not exist.
pub(crate) fn open(root: &Root, path: &Path) -> Result<File> {
    let file = root.open_lock_file(path, mode(root))?;
    finish(root, &file, mode(root));
    Ok(file)
}

/// Makes the file on which `lock::locks_work` tries whether locks work. Readers try it too; a process that keeps it
/// locked only proves that locks work.
pub(crate) fn make_probe(root: &Root, path: &Path) -> Result<()> {
    let file = root.open_lock_file(path, root.file_mode())?;
    finish(root, &file, root.file_mode());
    Ok(())
}

/// Gives a file of this user the mode and the owner it needs. It lacks them if it is new, if its creator was killed
/// under a restrictive umask, or if an older version created it. Best effort: not every file system keeps them.
fn finish(root: &Root, file: &File, mode: u32) {
    let Ok(meta) = meta_of(file) else { return };
    if meta.owner != current_user() || meta.links != 1 {
        return;
    }
    let mode = if may_be_opened_up(&meta) { mode } else { mode & meta.mode };
    if meta.mode & 0o777 != mode {
        let _ = sys::set_mode(file, mode);
    }
    // A file that the superuser creates must not lock out the root's owner.
    let owner = (meta.owner == 0 && root.owner() != 0).then(|| root.owner());
    let group = (meta.group != root.group() && (owner.is_some() || root.is_shared())).then(|| root.group());
    if owner.is_some() || group.is_some() {
        let _ = sys::set_owner(file, owner, group);
    }
}

/// Whether more users may be given access: a file with a second name or with content may be a user's own file that
/// another user put here. A lock file whose creator was killed has neither.
pub(crate) fn may_be_opened_up(meta: &Meta) -> bool {
    meta.links == 1 && meta.size_bytes == 0
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    use std::path::PathBuf;

    use super::*;
    use crate::skip::skip;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_path_buf();
        (dir, path)
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode_after_use(folder: &Path) -> u32 {
        open(&Root::open(folder).unwrap(), Path::new("l")).unwrap();
        std::fs::metadata(folder.join("l")).unwrap().mode() & 0o7777
    }

    // Red when an existing lock file is accepted as it is: an older version may have made it, or its creator may have
    // been killed between `open` and `chmod`, under any umask.
    #[test]
    fn a_lock_file_is_for_those_who_write() {
        let (_dir, path) = folder();
        for (of_root, of_file) in [(0o755, 0o600), (0o2775, 0o660), (0o3775, 0o660), (0o777, 0o660)] {
            set_mode(&path, of_root);
            assert_eq!(mode_after_use(&path), of_file, "{of_root:o}");
            for wrong in [0o600, 0o644, 0o664, 0o666] {
                set_mode(&path.join("l"), wrong);
                assert_eq!(mode_after_use(&path), of_file, "{of_root:o}, {wrong:o}");
            }
            make_probe(&Root::open(&path).unwrap(), Path::new("probe")).unwrap();
            let probe = std::fs::metadata(path.join("probe")).unwrap();
            assert_eq!(probe.mode() & 0o777, 0o644 | (of_root & 0o020), "readers try it");
        }
    }

    // Red when the mode of any file there is changed: the superuser would open another user's file to the group.
    #[test]
    fn a_file_that_was_put_in_the_place_of_a_lock_file_keeps_its_mode() {
        let (_dir, path) = folder();
        set_mode(&path, 0o2775);
        let (lock, other) = (path.join("l"), path.join("private"));
        std::fs::write(&other, "").unwrap();
        set_mode(&other, 0o600);
        std::fs::hard_link(&other, &lock).unwrap();
        assert_eq!(mode_after_use(&path), 0o600, "it has another name");
        std::fs::remove_file(&other).unwrap();
        std::fs::write(&lock, "of somebody").unwrap();
        assert_eq!(mode_after_use(&path), 0o600, "it has bytes");
        std::fs::write(&lock, "").unwrap();
        if current_user() != 0 {
            return skip("this needs root");
        }
        chown(&lock, Some(65_534), None).unwrap();
        assert_eq!(mode_after_use(&path), 0o600, "it is another user's");
    }

    // Red when a lock file that the superuser creates stays the superuser's: the root's owner could not lock it.
    #[test]
    fn a_lock_file_of_the_superuser_is_given_to_the_roots_owner() {
        if current_user() != 0 {
            return skip("this needs root");
        }
        let (_dir, path) = folder();
        for (of_root, owner, group) in [(0o755, 65_534, 65_533), (0o775, 65_534, 65_533), (0o775, 0, 65_533)] {
            chown(&path, Some(owner), Some(group)).unwrap();
            set_mode(&path, of_root);
            let _ = std::fs::remove_file(path.join("l"));
            mode_after_use(&path);
            let made = std::fs::metadata(path.join("l")).unwrap();
            assert_eq!((made.uid(), made.gid()), (owner, group), "{of_root:o}");
        }
    }
}
