//! Reads a header in order, in pieces, up to a limit.

use std::io;

use crate::read_at::ReadAt;

const BUFFER_BYTES: usize = 64 << 10;

/// Every method returns `None` if the file or the limit ends first, or a read fails.
pub(super) struct HeaderReader<'f> {
    file: &'f dyn ReadAt,
    max_bytes: u64,
    at: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
    pub(super) is_big_endian: bool,
    is_at_end: bool,
    failed: Option<io::Error>,
}

impl<'f> HeaderReader<'f> {
    pub(super) fn new(file: &'f dyn ReadAt, max_bytes: u64) -> Self {
        let (buffer, buffer_at, is_big_endian, is_at_end, failed) = (Vec::new(), 0, false, false, None);
        HeaderReader { file, max_bytes, at: 0, buffer, buffer_at, is_big_endian, is_at_end, failed }
    }

    /// The error of a read that failed.
    pub(super) fn finish(self) -> io::Result<()> {
        self.failed.map_or(Ok(()), Err)
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Whether the file or the limit ended before what was asked for.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.number(4)?).ok()
    }

    /// A number of 1, 2, 4 or 8 bytes.
    pub(super) fn number(&mut self, size: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        let part = bytes.get_mut(..size)?;
        self.fill(part)?;
        if self.is_big_endian {
            part.reverse();
        }
        Some(u64::from_le_bytes(bytes))
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Some(bytes)
    }

    pub(super) fn skip(&mut self, size: u64) -> Option<()> {
        let to = self.at.checked_add(size).filter(|at| *at <= self.end());
        self.is_at_end |= to.is_none();
        self.at = to?;
        Some(())
    }

    pub(super) fn fill(&mut self, mut to: &mut [u8]) -> Option<()> {
        while !to.is_empty() {
            let from = usize::try_from(self.at.checked_sub(self.buffer_at)?).ok()?;
            let there = self.buffer.get(from..).unwrap_or_default();
            if there.is_empty() {
                self.load()?;
                continue;
            }
            let count = there.len().min(to.len());
            let (now, later) = to.split_at_mut_checked(count)?;
            now.copy_from_slice(there.get(..count)?);
            to = later;
            self.at += count as u64;
        }
        Some(())
    }

    fn end(&self) -> u64 {
        self.file.size_bytes().min(self.max_bytes)
    }

    /// Reads the next piece into the buffer.
    fn load(&mut self) -> Option<()> {
        let left = self.end().checked_sub(self.at).filter(|left| *left > 0);
        self.is_at_end |= left.is_none();
        let size = usize::try_from(left?).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
        self.buffer.resize(size, 0);
        self.buffer_at = self.at;
        match self.file.read_exact_at(self.at, &mut self.buffer) {
            Ok(()) => Some(()),
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }
}
