//! Buffers that are reused from file to file: clearing a new one takes longer than hashing a small file.

use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How much one read gets. Larger reads are no faster, and at this size the buffers of sixteen files stay in the
/// processor's L2 cache.
const CHUNK_BYTES: usize = 32 << 10;

/// The buffers that no open file uses. Their sizes differ.
#[derive(Default)]
pub(crate) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// Returns a buffer for a file of about this size.
    pub(crate) fn take(&self, size_bytes: u64) -> Buffer<'_> {
        // One byte more, so that the first read already shows the end of a small file.
        let wanted = usize::try_from(size_bytes).unwrap_or(usize::MAX).saturating_add(1).clamp(4 << 10, CHUNK_BYTES);
        let bytes = match self.lock().pop() {
            Some(bytes) if bytes.len() >= wanted => bytes,
            _ => vec![0; wanted],
        };
        Buffer { buffers: self, bytes, filled: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of a file that were read last.
pub(crate) struct Buffer<'b> {
    buffers: &'b Buffers,
    bytes: Vec<u8>,
    filled: usize,
}

impl Buffer<'_> {
    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }

    /// Replaces its content with the next bytes of a reader; empties it at the end.
    pub(crate) fn refill(&mut self, reader: &mut impl Read) -> io::Result<()> {
        self.filled = 0;
        self.filled = fill(reader, &mut self.bytes)?;
        Ok(())
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        self.buffers.lock().push(std::mem::take(&mut self.bytes));
    }
}

/// Reads until the buffer is full or the file has ended.
pub(super) fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that is interrupted and returns less than requested.
    struct Halting(Vec<io::Result<&'static [u8]>>);

    impl Read for Halting {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = if self.0.is_empty() { &[] } else { self.0.remove(0)? };
            buffer[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        }
    }

    // Red when an interrupted read is an error, and when a short read counts as the end.
    #[test]
    fn a_buffer_is_filled_by_short_and_interrupted_reads() {
        let interrupted = || Err(io::ErrorKind::Interrupted.into());
        let mut buffer = [0; 4];
        let mut reader = Halting(vec![Ok(b"a"), interrupted(), interrupted(), Ok(b"bcd"), Ok(b"e")]);
        assert_eq!(fill(&mut reader, &mut buffer).unwrap(), 4);
        assert_eq!(&buffer, b"abcd");
        assert_eq!(fill(&mut reader, &mut buffer).unwrap(), 1);
        assert_eq!(fill(&mut reader, &mut buffer).unwrap(), 0);
        let mut reader = Halting(vec![Ok(b"a"), Err(io::Error::from_raw_os_error(5))]);
        assert_eq!(fill(&mut reader, &mut buffer).unwrap_err().raw_os_error(), Some(5));
    }
}
