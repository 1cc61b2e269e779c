//! Room reserved for removals: on a full disk, even making room needs some.
//!
//! Taking an entry out of the index rewrites its shard, which needs an inode, names and blocks before it frees any. So
//! a file of the store holds some of each; it is removed when a removal finds no room.

use std::path::Path;

use super::{Kind, Root, Temp};
use crate::error::Result;
use crate::layout;

/// More than a new file and its names cost on any file system: xfs allocates inodes 64 at a time, btrfs rewrites the
/// path to each of its trees, and both allocate by the extent. The text of a shard may be larger; its `.prev` is
/// replaced first, which frees the blocks of the previous generation.
const SIZE_BYTES: u64 = 1 << 20;

/// Whether the reserve exists with its full size.
pub(crate) fn is_kept(root: &Root) -> Result<bool> {
    let meta = root.meta(Path::new(layout::RESERVE))?;
    Ok(meta.is_some_and(|meta| meta.kind == Kind::File && meta.size_bytes == SIZE_BYTES))
}

/// Makes the reserve unless it exists. Returns whether it did.
pub(crate) fn make(root: &Root) -> Result<bool> {
    if is_kept(root)? {
        return Ok(false);
    }
    Temp::reserved(root, Path::new(""), SIZE_BYTES)?.publish_over(Path::new(layout::RESERVE))?;
    Ok(true)
}

/// Like [`make`], but if there is no room, the reserve is left for another time.
pub(crate) fn make_if_it_fits(root: &Root) {
    if let Err(error) = make(root) {
        tracing::debug!(root = %root.path().display(), %error, "could not create the reserve for removals");
    }
}

/// How many bytes `make` would need now.
pub(crate) fn missing_bytes(root: &Root) -> Result<u64> {
    Ok(if is_kept(root)? { 0 } else { SIZE_BYTES })
}

/// Does a step of a removal. If there is no room for it, gives up the reserve and tries once more.
pub(crate) fn with_reserve<T>(root: &Root, mut step: impl FnMut() -> Result<T>) -> Result<T> {
    match step() {
        // Retry even if there was no reserve: another removal may have just given it up.
        Err(error) if error.is_no_space() => match give_up(root) {
            Ok(was_there) => {
                if was_there {
                    tracing::info!(root = %root.path().display(), "disk full: giving up the reserve for a removal");
                }
                step()
            }
            Err(_) => Err(error),
        },
        other => other,
    }
}

/// Removes the reserve. Returns whether it existed.
fn give_up(root: &Root) -> Result<bool> {
    let name = Path::new(layout::RESERVE);
    match root.remove_file(name) {
        // In a sticky root only its owner may remove it. Others of the group can truncate it, which frees its blocks.
        Err(error) if error.is_permission_denied() => match root.open_private_file(name)? {
            Some(reserve) => reserve.set_len(0).map(|()| true).map_err(|e| root.fail("cut", name, e)),
            None => Ok(false),
        },
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn full() -> Error {
        Error::io("write", "a file", std::io::ErrorKind::StorageFull)
    }

    #[test]
    fn a_step_without_room_is_done_once_more_without_the_reserve() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let reserve = dir.path().join(layout::RESERVE);
        assert!(make(&root).unwrap() && !make(&root).unwrap());
        assert_eq!(std::fs::metadata(&reserve).unwrap().len(), SIZE_BYTES);
        with_reserve(&root, || if reserve.exists() { Err(full()) } else { Ok(()) }).unwrap();
        assert_eq!(missing_bytes(&root).unwrap(), SIZE_BYTES);

        let mut times = 0;
        with_reserve(&root, || -> Result<()> {
            times += 1;
            Err(full())
        })
        .unwrap_err();
        assert_eq!(times, 2, "it ends, too, when there is nothing to give up");

        make(&root).unwrap();
        with_reserve(&root, || -> Result<()> { Err(Error::io("write", "a file", std::io::ErrorKind::Other)) })
            .unwrap_err();
        assert!(is_kept(&root).unwrap(), "any other failure leaves it");
    }

    #[test]
    fn one_that_was_cut_is_made_anew_and_what_is_no_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        std::fs::write(dir.path().join(layout::RESERVE), "").unwrap();
        assert!(make(&root).unwrap() && is_kept(&root).unwrap());
        std::fs::remove_file(dir.path().join(layout::RESERVE)).unwrap();
        std::fs::create_dir(dir.path().join(layout::RESERVE)).unwrap();
        make(&root).unwrap_err();
        assert_eq!(root.names(Path::new("")).unwrap(), [layout::RESERVE], "nothing else is left");
    }
}
