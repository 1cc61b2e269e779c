//! Records one more full check of a blob without writing its outboard anew: a check of many small files would spend most
//! of its time on that.

use super::Outboard;
use crate::digest::Digest;
use crate::entry::Stamp;
use crate::fs::{Meta, Root, atomic, current_user, meta_of, now_ms};
use crate::layout;

/// Where an outboard has the time of the check.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeAt {
    /// The file in which it was found.
    file: Stamp,
    offset: u64,
}

impl TimeAt {
    /// `None` if another time would have another length.
    pub(super) fn find(text: &[u8], file: Stamp, checked_ms: u64) -> Option<Self> {
        let name = b"\"checked_ms\":";
        let written = [name.as_slice(), checked_ms.to_string().as_bytes(), b","].concat();
        let at = text.windows(written.len()).position(|found| found == written)?;
        let offset = u64::try_from(at + name.len()).ok()?;
        has_its_length(checked_ms).then_some(TimeAt { file, offset })
    }
}

/// Whether it is a time in milliseconds of 13 digits, as those until the year 2286.
fn has_its_length(time_ms: u64) -> bool {
    time_ms.checked_ilog10() == Some(12)
}

/// Records that the blob was checked in full once more, and is still what its outboard says: only the time is written,
/// over the one before. Returns whether that was possible.
///
/// A reader may find the digits of both times mixed. That is never a later time than the new one, except one that is not
/// over yet, which nobody trusts.
pub(crate) fn note_again(root: &Root, digest: &Digest, known: &Outboard) -> bool {
    let Some(time_at) = known.time_at.filter(|_| known.owner == current_user()) else { return false };
    let now = now_ms();
    let Ok(Some(file)) = root.open_private_file(&layout::outboard(digest)) else { return false };
    // With a second name, it is also the outboard of a copy of the root.
    let is_it = |meta: Meta| meta.stamp() == time_at.file && meta.links == 1 && meta.owner == known.owner;
    has_its_length(now)
        && meta_of(&file).is_ok_and(is_it)
        && atomic::write_at(&file, time_at.offset, now.to_string().as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::blob::outboard::{distrust, read, write};
    use crate::fs::Durability;

    // Red when the file is written anew, when anything but the time changes, and when another file is written to that has
    // taken its place, or one that has another name.
    #[test]
    fn one_more_check_changes_nothing_but_the_time() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let digest = Digest::sha256_of(b"any");
        let path = layout::outboard(&digest);
        let stamp = Stamp { inode: 1, size_bytes: 2, mtime_ns: 3 };
        write(&root, &digest, &stamp, None, Durability::Full).unwrap();
        let text = || String::from_utf8(root.read(&path, 1000).unwrap().unwrap()).unwrap();
        let (before, known) = (text(), read(&root, &digest).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(note_again(&root, &digest, &known));
        let now = read(&root, &digest).unwrap();
        assert_eq!(now.time_at.unwrap().file.inode, known.time_at.unwrap().file.inode);
        assert!(now.checked_ms > known.checked_ms && now.checked_ms <= now_ms());
        let time = |outboard: &Outboard| outboard.checked_ms.to_string();
        assert_eq!(text(), before.replace(&time(&known), &time(&now)));

        root.link(&path, Path::new("copy")).unwrap();
        assert!(!note_again(&root, &digest, &known), "the outboard of a copy of the root");
        root.remove_file(Path::new("copy")).unwrap();
        distrust(&root, &digest).unwrap();
        let distrusted = text();
        assert!(!note_again(&root, &digest, &known), "another file");
        assert_eq!(text(), distrusted);
        assert!(note_again(&root, &digest, &read(&root, &digest).unwrap()));
    }

    #[test]
    fn a_time_of_another_length_is_not_written_over() {
        let file = Stamp { inode: 1, size_bytes: 2, mtime_ns: 3 };
        let offset = |time_ms: u64| {
            let text = format!("{{\"checked_ms\":{time_ms},\"is_durable\":true}}");
            TimeAt::find(text.as_bytes(), file, time_ms).map(|at| at.offset)
        };
        assert_eq!(offset(1_795_376_094_129), Some(14));
        for time_ms in [0, 1, 999_999_999_999, 10_000_000_000_000, u64::MAX] {
            assert_eq!(offset(time_ms), None);
        }
    }
}
