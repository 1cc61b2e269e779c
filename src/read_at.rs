//! Bytes that can be read at any offset: a local file, or a file on a server that supports ranges.

use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Content of a known size whose parts can be read in any order, by several threads at once.
pub trait ReadAt: Send + Sync {
    /// The name, for messages.
    fn name(&self) -> String;
    /// The size in bytes.
    fn size_bytes(&self) -> u64;
    /// Fills the whole buffer with the bytes starting at `offset`. It is an error if the content ends before that.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Reads a range in order. `take` gets it in pieces of the size of `buffer`, except the last, which may be shorter.
    /// An error of `take` ends the read and is returned. An implementation may request the whole range from a server at
    /// once.
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported): the pieces so far are right, but the server turned out not to
    /// support ranges. From then on [`connections`](ReadAt::connections) is 1, and the next call reads from one stream:
    /// at no extra cost if its range begins where the previous one ended; otherwise it skips forward or starts over.
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

    /// How many ranges to read at the same time for the best speed.
    fn connections(&self) -> usize {
        1
    }

    /// Called when `bytes` of its bytes are here from an earlier attempt and will not be read again.
    fn resumes(&self, _bytes: u64) {}

    /// Called when all of it will be read once more, because the bytes did not have the expected digest.
    fn starts_over(&self) {}

    /// The BLAKE3 chaining values of its groups of 1 MiB, if it has more than one group, as recorded by someone who
    /// read it before. `None` if nobody recorded them. Called once, when the first bytes are needed.
    ///
    /// They are only a hint: a group that does not match is read again, and the whole is checked against its digest in
    /// any case.
    fn group_values(&self) -> Option<Vec<[u8; 32]>> {
        None
    }

    /// Called when bytes that it has just returned do not match [`group_values`](ReadAt::group_values) and will be read
    /// again.
    fn gave_wrong(&self, _range: Range<u64>) {}
}

/// Bytes in memory, with a name for messages.
#[cfg(any(feature = "net", feature = "testing", test))]
pub(crate) struct InMemory<B> {
    pub(crate) name: String,
    pub(crate) bytes: B,
}

#[cfg(any(feature = "net", feature = "testing", test))]
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
