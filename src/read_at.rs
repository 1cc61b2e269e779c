//! Bytes that can be read from anywhere: a file of this machine, a server that gives ranges.

use std::io;

/// Something of a known size whose parts can be read in any order, by several threads at once.
pub trait ReadAt: Send + Sync {
    /// What it is called, for messages.
    fn name(&self) -> String;
    /// How large it is, in bytes.
    fn size_bytes(&self) -> u64;
    /// Fills the whole buffer with the bytes from this offset on. An end before that is an error.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}
