//! The blocks of a file, as Linux reports them: which it shares with other files, and that it has them all. One of the four
//! places with `unsafe`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// `_IOWR('f', 11, struct fiemap)` of `linux/fs.h`.
const FS_IOC_FIEMAP: libc::Ioctl = 0xC020_660B_u32 as libc::Ioctl;

/// `FIEMAP_EXTENT_LAST` and `FIEMAP_EXTENT_SHARED` of `linux/fiemap.h`.
const LAST: u32 = 0x1;
const SHARED: u32 = 0x2000;

/// `FIEMAP_FLAG_SYNC` of `linux/fiemap.h`: first, what was written gets its blocks and goes to the disk, without a commit of
/// the journal and without a flush of the disk.
const SYNC: u32 = 0x1;

/// How many extents one call asks for.
const AT_ONCE: usize = 128;

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

/// `struct fiemap`, with its extents.
#[repr(C)]
struct Query {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [Extent; AT_ONCE],
}

/// How many bytes of a file are in blocks that another file or a snapshot shares, for example after a reflink.
pub(crate) fn shared_bytes(file: &File) -> io::Result<u64> {
    let (mut shared, mut start) = (0_u64, 0_u64);
    loop {
        let (extents, mapped) = extents_from(file, start, 0)?;
        let mapped = extents.get(..mapped).unwrap_or(&extents);
        let of = |extent: &Extent| if extent.flags & SHARED == 0 { 0 } else { extent.length };
        shared = mapped.iter().fold(shared, |sum, extent| sum.saturating_add(of(extent)));
        match mapped.last().map(|last| (last.flags & LAST, last.logical.saturating_add(last.length))) {
            Some((0, end)) if end > start => start = end,
            _ => return Ok(shared),
        }
    }
}

/// Waits until what was written to a file has its blocks and has been sent to the disk. It is not durable by that.
pub(crate) fn write_out(file: &File) {
    // A sync that follows says if it could not be written.
    let _ = extents_from(file, 0, SYNC);
}

#[allow(unsafe_code)]
fn extents_from(file: &File, start: u64, flags: u32) -> io::Result<([Extent; AT_ONCE], usize)> {
    let mut query = Query {
        start,
        length: u64::MAX - start,
        flags,
        mapped_extents: 0,
        extent_count: AT_ONCE as u32,
        reserved: 0,
        extents: [Extent::default(); AT_ONCE],
    };
    // SAFETY: the kernel reads a `struct fiemap` at this address and writes at most `extent_count` extents after it,
    // for which `query` has room; the layout is that of `linux/fiemap.h`. The kernel keeps no pointer. `file` is open.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP, &raw mut query) };
    match answer {
        0 => Ok((query.extents, query.mapped_extents as usize)),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The sizes are part of the ioctl number, and of the kernel's interface.
    #[test]
    fn the_structures_have_the_sizes_of_the_kernel() {
        assert_eq!(size_of::<Extent>(), 56);
        assert_eq!(size_of::<Query>(), 32 + 56 * AT_ONCE);
    }

    #[test]
    fn a_new_file_shares_nothing() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &[1; 100_000]).unwrap();
        match shared_bytes(&file) {
            Ok(bytes) => assert_eq!(bytes, 0),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}"),
        }
    }

    // Red when nothing is written out: on ext4 and XFS, what was just written has no blocks yet.
    #[test]
    fn what_is_written_out_has_its_blocks() {
        const DELAYED: u32 = 0x4; // `FIEMAP_EXTENT_DELALLOC`
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &[1; 100_000]).unwrap();
        write_out(&file);
        if let Ok((extents, mapped)) = extents_from(&file, 0, 0) {
            assert!(mapped > 0 && extents[..mapped].iter().all(|extent| extent.flags & DELAYED == 0));
        }
    }
}
