//! Reads files of the store without disturbing the page cache: pages that were in memory stay, pages that the read
//! brought in are dropped again. A check of a whole store would otherwise push running models out of memory.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};

use super::map::{Map, page_bytes};
use super::{current_user, meta_of, sys};

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
        Self::begin(file, part, Vec::new())?.finish()
    }

    /// Asks for a part, and does not wait for it. `asked` is what [`ask_for`] has brought in of it.
    pub(crate) fn begin(file: &'f File, part: Range<u64>, asked: Vec<Range<u64>>) -> io::Result<Begun<'f>> {
        // From here on the drop of `visit` evicts the pages, even if reading fails.
        let mut visit = Visit { bytes: Bytes::Read(Vec::new()), file, brought_in: asked };
        let map = Map::of_part(file, part.clone())?;
        let absent = ask(file, &map, &part);
        visit.brought_in.extend(absent);
        visit.bytes = Bytes::Mapped(map);
        Ok(Begun { visit, start: part.start })
    }
}

/// A part that was asked for.
pub(crate) struct Begun<'f> {
    visit: Visit<'f>,
    start: u64,
}

impl<'f> Begun<'f> {
    /// Whether some of it was not in memory before it was asked for.
    pub(crate) fn is_cold(&self) -> bool {
        !self.visit.brought_in.is_empty()
    }

    /// Waits for all of it.
    pub(crate) fn finish(self) -> io::Result<Visit<'f>> {
        let Begun { mut visit, start } = self;
        if let Bytes::Mapped(map) = &visit.bytes
            && map.is_mapped()
            && can_be_cut(visit.file)?
        {
            // The map was only asked which pages are in memory; none of its pages was touched.
            visit.bytes = Bytes::Read(vec![0; map.len()]);
        }
        match &mut visit.bytes {
            Bytes::Mapped(map) => map.populate()?,
            Bytes::Read(buffer) => sys::read_exact_at(visit.file, start, buffer)?,
        }
        Ok(visit)
    }
}

/// Asks for the pages of a part that are not in memory, and does not wait. Returns them, for a later [`Visit::begin`] or
/// [`evict`].
pub(crate) fn ask_for(file: &File, part: &Range<u64>) -> io::Result<Vec<Range<u64>>> {
    Ok(ask(file, &Map::of_part(file, part.clone())?, part))
}

/// Evicts a part that was asked for, except pages that are in use.
pub(crate) fn evict(file: &File, part: &Range<u64>) {
    sys::wont_need(file, part);
}

fn ask(file: &File, map: &Map, part: &Range<u64>) -> Vec<Range<u64>> {
    let absent = map.resident_pages().map_or_else(Vec::new, |pages| absent(&pages, part));
    if !absent.is_empty() {
        // Read exactly this part, in large requests: pages that the kernel reads ahead on its own would look as if
        // they had been there before, and would stay.
        map.without_readahead();
        sys::will_need(file, part);
    }
    absent
}

/// Whether another user can write to the file, and so truncate it: touching a mapped page beyond the new end kills the
/// process.
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
pub(crate) mod testing {
    use super::*;

    /// Which of a file's pages are in memory.
    pub(crate) fn resident(file: &File, part: Range<u64>) -> Vec<bool> {
        Map::of_owned(file, part).unwrap().resident_pages().unwrap()
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::testing::resident;
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

    // Red when `drop` or `sys::wont_need` evicts nothing, when it evicts everything, and when the kernel may read
    // ahead.
    #[test]
    fn a_visit_leaves_the_page_cache_as_it_was() {
        // Next to the test program: the usual temporary folder may be entirely in memory (tmpfs).
        let dir = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![7; 16 * MIB as usize]).unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        // Not through `sys`, which is under test.
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        if resident(&file, 0..16 * MIB).contains(&true) {
            return skip("this file system keeps everything in memory");
        }
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
