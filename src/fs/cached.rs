//! Reads files of the store without disturbing the page cache: pages that were in memory stay, pages that the read
//! brought in are dropped again. A check of a whole store would otherwise push running models out of memory.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};

use super::map::{LARGE_PIECE_BYTES, Map, page_bytes};
use super::{Meta, current_user, meta_of, sys};

/// A part of a file, in memory. Dropping it evicts the pages that were read for it from the page cache.
#[derive(Debug)]
pub(crate) struct Visit<'f> {
    bytes: Bytes,
    file: &'f File,
    brought_in: Vec<Range<u64>>,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Map),
    Read(Vec<u8>),
}

impl<'f> Visit<'f> {
    /// Reads a part of a file of the store. It maps the file (see [`Map::of_part`]) if only this user can truncate it,
    /// and otherwise reads into a buffer.
    pub(crate) fn to(file: &'f File, part: Range<u64>) -> io::Result<Self> {
        // From here on the drop of `visit` evicts the pages, even if reading fails.
        let mut visit = Visit { bytes: Bytes::Read(Vec::new()), file, brought_in: Vec::new() };
        let map = Map::of_part(file, part.clone())?;
        visit.brought_in = map.resident_pages().map_or_else(Vec::new, |pages| absent(&pages, &part));
        let meta = meta_of(file)?;
        let is_cold = !visit.brought_in.is_empty();
        if is_cold {
            // Read exactly this part: pages that the kernel reads ahead on its own would look as if they had been there
            // before, and would stay.
            map.without_readahead();
        }
        // If not, the map was only asked which pages are in memory; none of its pages is touched.
        let is_safe = !(map.is_mapped() && can_be_cut(&meta));
        let is_all_cold = matches!(&*visit.brought_in, [all] if all.start == part.start && all.end >= part.end);
        let in_large_pieces = is_safe && is_all_cold && in_large_pieces(&part, &meta) && map.reads_large_pieces();
        if is_cold && !in_large_pieces {
            sys::will_need(file, &part);
        }
        visit.bytes = if is_safe {
            map.populate()?;
            Bytes::Mapped(map)
        } else {
            let mut buffer = vec![0; map.len()];
            sys::read_exact_at(file, part.start, &mut buffer)?;
            Bytes::Read(buffer)
        };
        Ok(visit)
    }
}

/// Whether the part consists of pieces that the kernel reads at once. If it did not, the rest of a piece would come into
/// memory and stay.
fn in_large_pieces(part: &Range<u64>, file: &Meta) -> bool {
    part.start.is_multiple_of(LARGE_PIECE_BYTES)
        && (part.end.is_multiple_of(LARGE_PIECE_BYTES) || part.end >= file.size_bytes)
}

/// Whether another user can write to the file, and so truncate it: touching a mapped page beyond the new end kills the
/// process.
fn can_be_cut(meta: &Meta) -> bool {
    meta.owner != current_user() || meta.mode & 0o022 != 0
}

impl Deref for Visit<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map) => map,
            Bytes::Read(buffer) => buffer,
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        // The kernel does not evict mapped pages, so unmap first.
        self.bytes = Bytes::Read(Vec::new());
        for part in &self.brought_in {
            sys::wont_need(self.file, part);
        }
    }
}

/// The ranges of the file that were not in memory; `resident` describes the pages of `part`.
fn absent(resident: &[bool], part: &Range<u64>) -> Vec<Range<u64>> {
    let page = page_bytes() as u64;
    let mut absent: Vec<Range<u64>> = Vec::new();
    for (start, _) in (part.start..).step_by(page_bytes()).zip(resident).filter(|(_, is_resident)| !**is_resident) {
        match absent.last_mut() {
            Some(last) if last.end == start => last.end += page,
            _ => absent.push(start..start + page),
        }
    }
    absent
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::skip::skip;

    const MIB: u64 = 1 << 20;

    /// Which of a file's pages are in memory.
    fn resident(file: &File, part: Range<u64>) -> Vec<bool> {
        Map::of_owned(file, part).unwrap().resident_pages().unwrap()
    }

    /// A file of this size of which nothing is in memory; `None` if the file system keeps everything there.
    fn cold_file(size_bytes: u64) -> Option<(TempDir, File)> {
        // Next to the test program: the usual temporary folder may be entirely in memory (tmpfs).
        let dir = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![7; usize::try_from(size_bytes).unwrap()]).unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        // Not through `sys`, which is under test.
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        if resident(&file, 0..size_bytes).contains(&true) {
            skip("this file system keeps everything in memory");
            return None;
        }
        Some((dir, file))
    }

    #[test]
    fn absent_parts_are_runs_of_pages() {
        let page = page_bytes() as u64;
        let absent = |resident: &[bool]| absent(resident, &(4 * page..8 * page));
        assert_eq!(absent(&[true; 4]), []);
        assert_eq!(absent(&[false; 4]), [4 * page..8 * page]);
        assert_eq!(absent(&[false, true, false, false]), [4 * page..5 * page, 6 * page..8 * page]);
    }

    // Red when only as much is asked for as the kernel reads in one call: the rest would be read page by page.
    #[test]
    fn all_that_is_asked_for_is_read() {
        let Some((_dir, file)) = cold_file(40 * MIB) else { return };
        sys::will_need(&file, &(0..40 * MIB));
        let is_here = || !resident(&file, 0..40 * MIB).contains(&false);
        let came = (0..1000).any(|_| is_here() || (std::thread::sleep(std::time::Duration::from_millis(10)), false).1);
        assert!(came);
    }

    // Red when a part is read in larger pieces than it consists of: pages beside it would come into memory and stay.
    #[test]
    fn nothing_beside_a_part_is_read() {
        let Some((_dir, file)) = cold_file(8 * MIB) else { return };
        for part in [MIB..2 * MIB, 4 * MIB..5 * MIB, 2 * MIB..5 * MIB, 2 * MIB..6 * MIB, 7 * MIB..8 * MIB] {
            let visit = Visit::to(&file, part.clone()).unwrap();
            assert!(!resident(&file, part.clone()).contains(&false), "{part:?} was read");
            assert!(!resident(&file, 0..part.start).contains(&true), "{part:?}");
            assert!(!resident(&file, part.end..8 * MIB).contains(&true), "{part:?}");
            drop(visit);
        }
    }

    // Red when `drop` or `sys::wont_need` evicts nothing, when it evicts everything, and when the kernel may read
    // ahead.
    #[test]
    fn a_visit_leaves_the_page_cache_as_it_was() {
        let Some((_dir, file)) = cold_file(16 * MIB) else { return };
        // The third part is in memory, as if an engine used it.
        sys::will_need(&file, &(8 * MIB..12 * MIB));
        Map::of_owned(&file, 8 * MIB..12 * MIB).unwrap().populate().unwrap();
        let before = resident(&file, 0..16 * MIB);
        for start in (0..16 * MIB).step_by(4 << 20) {
            let visit = Visit::to(&file, start..start + 4 * MIB).unwrap();
            assert!(visit.len() == 4 << 20 && visit.iter().all(|byte| *byte == 7));
            assert!(!resident(&file, start..start + 4 * MIB).contains(&false), "it was read");
        }
        let after = resident(&file, 0..16 * MIB);
        assert!(before.contains(&false) && before == after);
    }
}
