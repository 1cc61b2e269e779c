//! Read-only memory maps of files that only this store changes. One of the two places with `unsafe`.

use std::fs::File;
use std::io;
use std::ops::Range;

use memmap2::{Advice, Mmap, MmapOptions};

/// Whether reading failed because the disk cannot give the bytes back: EIO, what `madvise` says of a page that would
/// raise SIGBUS, and of one whose memory is broken.
pub(crate) fn is_bad_medium(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    const EFAULT: i32 = 14;
    const EHWPOISON: i32 = 133;
    matches!(error.raw_os_error(), Some(EIO | EFAULT | EHWPOISON))
}

/// A file of the store, mapped: a private file that is being brought in, or a blob.
///
/// Never somebody else's file: when that shrinks, touching the lost pages kills the process.
#[derive(Debug)]
pub(crate) struct Map {
    map: Option<Mmap>, // None: an empty file cannot be mapped
}

impl Map {
    /// Maps a file that the store owns.
    #[allow(unsafe_code)]
    pub(crate) fn of_owned(file: &File, size_bytes: u64) -> io::Result<Self> {
        if size_bytes == 0 {
            return Ok(Map { map: None });
        }
        let length = usize::try_from(size_bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        // SAFETY: the map is sound while nobody shrinks or changes the file. The caller guarantees that it is a file of
        // the store: a private one is mode 0600 in a folder of mode 0700 and only grows before it is mapped to its
        // full size; a blob is mode 0444 and no code of this crate opens one for writing. What root does to it by hand
        // is not covered, as for every program that maps its data.
        let map = unsafe { MmapOptions::new().len(length).map(file) }?;
        Ok(Map { map: Some(map) })
    }

    /// All of it, read as it is touched.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// A part of the file. Its pages are read in first, so that a read error of the disk is an `Err` here and not a
    /// fatal signal later.
    pub(crate) fn part(&self, range: Range<usize>) -> io::Result<&[u8]> {
        let Some(map) = &self.map else { return Ok(&[]) };
        let part = map.get(range.clone()).ok_or(io::ErrorKind::InvalidInput)?;
        Self::populate(map, range)?;
        Ok(part)
    }

    #[cfg(target_os = "linux")]
    fn populate(map: &Mmap, range: Range<usize>) -> io::Result<()> {
        match map.advise_range(Advice::PopulateRead, range.start, range.len()) {
            // Kernels before 5.14 do not know it: there, a read error is a signal.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn populate(_: &Mmap, _: Range<usize>) -> io::Result<()> {
        Ok(())
    }
}
