//! A file outside the store as a stream. It is read and never mapped, because its owner may shrink it at any time.

use std::path::Path;

use super::buffers::{Buffer, Buffers};
use super::files::{FileHash, HashOptions, HashValue};
use super::streams::Stream;
use crate::error::Result;
use crate::fs::source::Foreign;

/// A file that is opened when its first bytes are requested.
pub(super) struct FileStream<'a> {
    path: &'a Path,
    size_bytes: u64,
    buffers: &'a Buffers,
    options: &'a HashOptions,
    open: Option<(Foreign, Buffer<'a>)>,
    read_bytes: u64,
}

impl<'a> FileStream<'a> {
    pub(super) fn new(path: &'a Path, size_bytes: u64, buffers: &'a Buffers, options: &'a HashOptions) -> Self {
        FileStream { path, size_bytes, buffers, options, open: None, read_bytes: 0 }
    }

    /// The result, once the whole file was read.
    pub(super) fn hash(&self, value: HashValue) -> FileHash {
        FileHash::new(self.path, value, self.read_bytes)
    }
}

impl Stream for FileStream<'_> {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn advance(&mut self) -> Result<()> {
        if self.open.is_none() {
            let file = Foreign::open(self.path)?;
            let buffer = self.buffers.take(file.before().size_bytes);
            self.open = Some((file, buffer));
        }
        self.options.advanced(self.path, self.bytes().len() as u64)?;
        if let Some((file, buffer)) = &mut self.open {
            buffer.refill(&mut file.file()).map_err(|e| file.fail("read", e))?;
        }
        self.read_bytes += self.bytes().len() as u64;
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        self.open.as_ref().map_or(&[], |(_, buffer)| buffer.bytes())
    }
}
