//! Reading a file of the store through the page cache without disturbing it: what was in memory stays, what was brought in
//! is let go again. A check of a whole store would otherwise push running models out of memory.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};

use super::map::{Map, page_bytes};
use super::{current_user, meta_of, sys};

/// A part of a file, in memory. When it is dropped, the pages that were read for it leave the page cache.
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
    /// Reads a part of a file of the store. It is mapped (see [`Map::of_part`]) if nobody but this user can cut it, and read
    /// into a buffer if not.
    pub(crate) fn to(file: &'f File, part: Range<u64>) -> io::Result<Self> {
        let map = Map::of_part(file, part.clone())?;
        let brought_in = map.resident_pages().map_or_else(Vec::new, |pages| absent(&pages, &part));
        if !brought_in.is_empty() {
            // Exactly this part, in large reads: what the kernel reads ahead of its own accord would look as if it had
            // been there before, and would stay.
            map.without_readahead();
            sys::will_need(file, &part);
        }
        let (length, is_mapped) = (map.len(), map.is_mapped());
        // From here on its drop lets the pages go, also when reading fails.
        let mut visit = Visit { bytes: Bytes::Mapped(map), file, brought_in };
        if is_mapped && can_be_cut(file)? {
            // The map has told what is in memory, and none of its pages was touched.
            visit.bytes = Bytes::Read(vec![0; length]);
        }
        match &mut visit.bytes {
            Bytes::Mapped(map) => map.populate()?,
            Bytes::Read(buffer) => sys::read_exact_at(file, part.start, buffer)?,
        }
        Ok(visit)
    }
}

/// Whether another user can write to it. When it is cut, to touch a page of a map that is gone ends the process.
fn can_be_cut(file: &File) -> io::Result<bool> {
    let meta = meta_of(file)?;
    Ok(meta.owner != current_user() || meta.mode & 0o022 != 0)
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
        // The kernel keeps what is mapped.
        self.bytes = Bytes::Read(Vec::new());
        for part in &self.brought_in {
            sys::wont_need(self.file, part);
        }
    }
}

/// The parts of a file, of which `part` was looked at, that were not in memory.
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
    use super::*;
    use crate::skip::skip;

    const MIB: u64 = 1 << 20;

    #[test]
    fn absent_parts_are_runs_of_pages() {
        let page = page_bytes() as u64;
        let absent = |resident: &[bool]| absent(resident, &(4 * page..8 * page));
        assert_eq!(absent(&[true; 4]), []);
        assert_eq!(absent(&[false; 4]), [4 * page..8 * page]);
        assert_eq!(absent(&[false, true, false, false]), [4 * page..5 * page, 6 * page..8 * page]);
    }

    /// Which of a file's pages are in memory.
    fn resident(file: &File, part: Range<u64>) -> Vec<bool> {
        Map::of_owned(file, part).unwrap().resident_pages().unwrap()
    }

    // Red when `drop` or `sys::wont_need` lets nothing go; when it lets everything go; and when the kernel may read ahead.
    #[test]
    fn a_visit_leaves_the_page_cache_as_it_was() {
        // Beside the test program: the usual place may be in memory altogether.
        let dir = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![7; 16 * MIB as usize]).unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        // Not by `sys`, which is what is tested.
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        if resident(&file, 0..16 * MIB).contains(&true) {
            return skip("this file system keeps everything in memory");
        }
        // The third part is in memory, as an engine would have it.
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
