//! Bytes that can be read from anywhere: a file of this machine, a server that gives ranges.

use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Something of a known size whose parts can be read in any order, by several threads at once.
pub trait ReadAt: Send + Sync {
    /// What it is called, for messages.
    fn name(&self) -> String;
    /// How large it is, in bytes.
    fn size_bytes(&self) -> u64;
    /// Fills the whole buffer with the bytes from this offset on. An end before that is an error.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Reads a range in order. `take` gets it in pieces of the size of `buffer`, the last one as long as what is left; an error
    /// of it ends the reading, and is returned. A server can be asked for the range as a whole.
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported): what was taken is right, and the rest could not be had because there are no
    /// ranges, which is known from then on. [`connections`](ReadAt::connections) is 1, and the next call reads from one stream:
    /// for nothing, if its range begins where the one before has ended; else it skips forward, or begins anew.
    fn read_range(
        &self,
        range: Range<u64>,
        buffer: &mut [u8],
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut offset = range.start;
        while offset < range.end {
            let left = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
            let length = left.min(buffer.len());
            let piece =
                buffer.get_mut(..length).filter(|piece| !piece.is_empty()).ok_or(io::ErrorKind::InvalidInput)?;
            self.read_exact_at(offset, piece)?;
            take(piece)?;
            offset += length as u64;
        }
        Ok(())
    }

    /// How many ranges are best read at the same time.
    fn connections(&self) -> usize {
        1
    }

    /// Told that so many of its bytes are here already, from an earlier attempt, and are not asked for again.
    fn resumes(&self, _bytes: u64) {}

    /// Told that all of it is read once more, because its bytes did not have the digest that was named.
    fn starts_over(&self) {}

    /// What each MiB of it is, by the word of somebody who has read it before: the BLAKE3 chaining values of its groups, if it has
    /// more than one. `None`: nobody has said it. Asked for once, when the first of its bytes are wanted.
    ///
    /// It is advice: a group that does not fit is read again, and the whole is checked against its digest whatever was said.
    fn group_values(&self) -> Option<Vec<[u8; 32]>> {
        None
    }

    /// Told that bytes that it has just given are not what [`group_values`](ReadAt::group_values) says, and are read again.
    fn gave_wrong(&self, _range: Range<u64>) {}
}

/// Bytes in memory, with a name for messages.
#[cfg(feature = "net")]
pub(crate) struct InMemory<B> {
    pub(crate) name: String,
    pub(crate) bytes: B,
}

#[cfg(feature = "net")]
impl<B: AsRef<[u8]> + Send + Sync> ReadAt for InMemory<B> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn size_bytes(&self) -> u64 {
        self.bytes.as_ref().len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let piece = self.bytes.as_ref().get(start..start.saturating_add(buffer.len()));
        buffer.copy_from_slice(piece.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn size_bytes(&self) -> u64 {
        (**self).size_bytes()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_exact_at(offset, buffer)
    }

    fn read_range(
        &self,
        range: Range<u64>,
        buffer: &mut [u8],
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        (**self).read_range(range, buffer, take)
    }

    fn connections(&self) -> usize {
        (**self).connections()
    }

    fn resumes(&self, bytes: u64) {
        (**self).resumes(bytes);
    }

    fn starts_over(&self) {
        (**self).starts_over();
    }

    fn group_values(&self) -> Option<Vec<[u8; 32]>> {
        (**self).group_values()
    }

    fn gave_wrong(&self, range: Range<u64>) {
        (**self).gave_wrong(range);
    }
}
