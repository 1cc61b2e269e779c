//! Read-only memory maps of files that only this store changes. One of the four places with `unsafe`.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};

use memmap2::{Advice, Mmap, MmapOptions};

use super::sys;

/// The size of a large page of most processors, if a page has 4 KiB.
pub(super) const LARGE_PIECE_BYTES: u64 = 2 << 20;

/// Whether a read failed because the bytes are lost: EIO, the `madvise` errors for a page that would raise SIGBUS and
/// for one in broken memory, or an unexpected end because the file was just truncated.
pub(crate) fn is_bad_medium(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    const EFAULT: i32 = 14;
    const EHWPOISON: i32 = 133;
    matches!(error.raw_os_error(), Some(EIO | EFAULT | EHWPOISON)) || error.kind() == io::ErrorKind::UnexpectedEof
}

/// Whether files cannot be mapped here: ENODEV, or the error of a sandbox.
fn is_map_refusal(error: &io::Error) -> bool {
    const ENODEV: i32 = 19;
    error.raw_os_error() == Some(ENODEV)
        || matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied)
}

/// A mapped part of a file of the store: of a private file being ingested, a blob or a view.
///
/// The bytes may be touched only if the file belongs to this user, or if it is a leased blob and the caller vouches for
/// it: when another user truncates the file, touching the lost pages kills the process. Large files are mapped a part
/// at a time, because the page tables of a whole one would grow with it.
#[derive(Debug)]
pub(crate) struct Map {
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    /// An empty range, which cannot be mapped.
    None,
    Mapped(Mmap),
    /// A copy, where files cannot be mapped.
    Read(Vec<u8>),
}

impl Map {
    /// Maps a part of a file that the store owns. The part begins at a multiple of the page size and ends within the
    /// file.
    #[allow(unsafe_code)]
    pub(crate) fn of_owned(file: &File, part: Range<u64>) -> io::Result<Self> {
        let length = usize::try_from(part.end.saturating_sub(part.start)).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if length == 0 {
            return Ok(Map { bytes: Bytes::None });
        }
        // SAFETY: the map is sound while nobody shrinks or changes the file. The caller guarantees that it is a file of
        // the store: a private file has mode 0600 in a folder of mode 0700 and only grows before it is mapped to its
        // full size; a blob or a view has mode 0444 and no code of this crate opens one for writing. Changes that its
        // owner or root makes by hand are not covered, as in every program that maps its data.
        let map = unsafe { MmapOptions::new().offset(part.start).len(length).map(file) }?;
        Ok(Map { bytes: Bytes::Mapped(map) })
    }

    /// Maps a part of a file that the store owns, or reads it if it cannot be mapped: some file systems in user space
    /// (FUSE with direct I/O) and some sandboxes refuse to map files. For small parts.
    pub(crate) fn of_part(file: &File, part: Range<u64>) -> io::Result<Self> {
        match Self::of_owned(file, part.clone()) {
            Err(e) if is_map_refusal(&e) => {
                let length = usize::try_from(part.end.saturating_sub(part.start)).unwrap_or(usize::MAX);
                let mut bytes = vec![0; length];
                sys::read_exact_at(file, part.start, &mut bytes)?;
                Ok(Map { bytes: Bytes::Read(bytes) })
            }
            other => other,
        }
    }

    /// Maps a part of a file that the store owns and reads it in. See [`of_part`](Map::of_part).
    pub(crate) fn read_in(file: &File, part: Range<u64>) -> io::Result<Self> {
        let map = Self::of_part(file, part)?;
        map.populate()?;
        Ok(map)
    }

    /// Reads all pages in, so that a disk error is an `Err` here and not a fatal signal later.
    pub(crate) fn populate(&self) -> io::Result<()> {
        let Bytes::Mapped(map) = &self.bytes else { return Ok(()) };
        #[cfg(target_os = "linux")]
        match map.advise(Advice::PopulateRead) {
            // Kernels before 5.14 do not know this advice: there, a read error is a signal.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {}
            other => other?,
        }
        #[cfg(not(target_os = "linux"))]
        let _ = map;
        Ok(())
    }

    /// Whether this is a map, not a copy: nobody can truncate a copy.
    pub(crate) fn is_mapped(&self) -> bool {
        matches!(self.bytes, Bytes::Mapped(_))
    }

    /// Keeps the kernel from reading ahead beyond the requested pages.
    pub(crate) fn without_readahead(&self) {
        #[cfg(unix)]
        if let Bytes::Mapped(map) = &self.bytes {
            let _ = map.advise(Advice::Random); // it is only advice
        }
    }

    /// Makes the kernel read pieces of [`LARGE_PIECE_BYTES`], and keep them as such: a disk needs large requests for its
    /// full speed, and a map of large pages takes a tenth of the time. Returns whether the kernel does that. It has then
    /// read the first page. Kernels before 5.18 do not: they would read page by page.
    #[cfg(target_os = "linux")]
    pub(crate) fn reads_large_pieces(&self) -> bool {
        let Bytes::Mapped(map) = &self.bytes else { return false };
        let page = page_bytes();
        page as u64 == LARGE_PIECE_BYTES / 512
            && map.len() > page
            && map.advise(Advice::HugePage).is_ok()
            && map.advise_range(Advice::PopulateRead, 0, page).is_ok()
            && self.resident_pages().is_some_and(|pages| pages.get(1) == Some(&true))
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn reads_large_pieces(&self) -> bool {
        false
    }

    /// Which pages are in memory now, in order, by `mincore(2)`. For a file that belongs to another user and that this
    /// process may not write, the kernel reports all pages as resident. `None` if the system cannot tell.
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    pub(crate) fn resident_pages(&self) -> Option<Vec<bool>> {
        let Bytes::Mapped(map) = &self.bytes else { return Some(Vec::new()) };
        let mut pages = vec![0_u8; map.len().div_ceil(page_bytes())];
        // SAFETY: the range is that of a live map, which begins at a page; the kernel writes one byte per page, and
        // `pages` has that many bytes.
        let answer = unsafe { libc::mincore(map.as_ptr().cast_mut().cast(), map.len(), pages.as_mut_ptr()) };
        (answer == 0).then(|| pages.iter().map(|page| page & 1 == 1).collect())
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn resident_pages(&self) -> Option<Vec<bool>> {
        None
    }
}

/// The unit in which the kernel caches files.
pub(crate) fn page_bytes() -> usize {
    #[cfg(unix)]
    return rustix::param::page_size();
    #[cfg(not(unix))]
    return 4096;
}

impl Deref for Map {
    type Target = [u8];

    /// The bytes. Touching one reads its page, unless the map was [populated](Map::populate).
    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::None => &[],
            Bytes::Mapped(map) => map,
            Bytes::Read(bytes) => bytes,
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    /// A file that is all holes, with no page in memory.
    fn holes(pages: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(pages * page_bytes() as u64).unwrap();
        file
    }

    // Red when any page counts as resident (a check then evicts nothing), and when none does (it evicts what an engine
    // uses).
    #[test]
    fn each_page_is_told_to_be_in_memory_or_not() {
        let page = page_bytes() as u64;
        let file = holes(4);
        let all = Map::of_owned(&file, 0..4 * page).unwrap();
        assert_eq!(all.resident_pages(), Some(vec![false; 4]));
        all.without_readahead();
        Map::of_owned(&file, 2 * page..3 * page).unwrap().populate().unwrap();
        let resident = all.resident_pages().unwrap();
        assert!(resident.len() == 4 && resident[2], "{resident:?}");
        all.populate().unwrap();
        assert_eq!(all.resident_pages(), Some(vec![true; 4]));
        let part = Map::of_owned(&file, 0..page + 1).unwrap();
        assert_eq!(part.resident_pages().unwrap().len(), 2, "the last page in part");
        assert_eq!(Map::of_owned(&file, 0..0).unwrap().resident_pages(), Some(Vec::new()));
    }

    // Red when `populate` reports success: the next touch is a SIGBUS.
    #[test]
    fn a_page_that_cannot_be_read_is_an_error_and_no_signal() {
        let page = page_bytes() as u64;
        let file = holes(2);
        let map = Map::of_owned(&file, 0..2 * page).unwrap();
        file.set_len(0).unwrap(); // as only root could do to a blob
        let error = map.populate().unwrap_err();
        assert!(is_bad_medium(&error), "{error}");
    }

    #[test]
    fn bad_media_are_told_from_mistakes() {
        let is_bad = |errno| is_bad_medium(&io::Error::from_raw_os_error(errno));
        for errno in [libc::EIO, libc::EFAULT, libc::EHWPOISON] {
            assert!(is_bad(errno), "{errno}");
        }
        for errno in [libc::EINVAL, libc::ENOMEM, libc::EACCES, libc::ENOENT] {
            assert!(!is_bad(errno), "{errno}");
        }
        assert!(!is_bad_medium(&io::Error::other("no number")));
    }

    // Red when the search for writers covers only open files, when a reader counts as a writer, and when the map of
    // another file does.
    #[cfg(target_os = "linux")]
    #[test]
    #[allow(unsafe_code)]
    fn a_file_that_is_mapped_for_writing_has_a_writer_and_no_other_has() {
        use crate::fs::meta_of;
        use crate::fs::writers::find_writer;
        let (mapped, other) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
        mapped.as_file().set_len(1).unwrap();
        // SAFETY: nobody else knows the file, and nothing is written through the map.
        let map = unsafe { memmap2::MmapMut::map_mut(mapped.as_file()).unwrap() };
        let (mapped, other) = (mapped.into_temp_path(), other.into_temp_path());
        // Opened for reading, which must not count as writing.
        let (mapped, other) = (File::open(&mapped).unwrap(), File::open(&other).unwrap());
        let own = format!("process {} (", std::process::id());
        assert!(find_writer(&meta_of(&mapped).unwrap()).is_some_and(|reason| reason.starts_with(&own)));
        assert_eq!(find_writer(&meta_of(&other).unwrap()), None);
        drop(map);
        assert_eq!(find_writer(&meta_of(&mapped).unwrap()), None);
    }
}
