//! Somebody else's file as a stream: read, never mapped, since its owner may shrink it meanwhile.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::files::FileHash;
use super::streams::Stream;
use crate::error::{Error, Result};
use crate::fs::{Kind, meta_of, meta_of_path, open_source};
use crate::observer::{Event, Observer};

/// How much is read at a time. Larger reads cost no less, and the buffers of sixteen files stay in the processor's second
/// cache.
const CHUNK_BYTES: usize = 32 << 10;

/// The buffers of the files that are open. They are as large as was needed, and go from file to file: clearing a new one
/// takes longer than hashing a small file.
#[derive(Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// For a file that has so many bytes, it is thought.
    fn take(&self, size_bytes: u64) -> Vec<u8> {
        // One more, so that the end of a small file shows in the first read.
        let wanted = usize::try_from(size_bytes).unwrap_or(usize::MAX).saturating_add(1).clamp(4 << 10, CHUNK_BYTES);
        match self.lock().pop() {
            Some(buffer) if buffer.len() >= wanted => buffer,
            _ => vec![0; wanted],
        }
    }

    fn give_back(&self, buffer: Vec<u8>) {
        self.lock().push(buffer);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that is opened when its first bytes are asked for.
pub(super) struct FileStream<'a> {
    path: &'a Path,
    size_bytes: u64,
    buffers: &'a Buffers,
    observer: &'a dyn Observer,
    open: Option<(File, Vec<u8>)>,
    filled: usize,
    read_bytes: u64,
}

impl<'a> FileStream<'a> {
    pub(super) fn new(path: &'a Path, size_bytes: u64, buffers: &'a Buffers, observer: &'a dyn Observer) -> Self {
        FileStream { path, size_bytes, buffers, observer, open: None, filled: 0, read_bytes: 0 }
    }

    /// The result, when all of it was read.
    pub(super) fn hash(&self, hex: String) -> FileHash {
        FileHash::new(self.path, hex, self.read_bytes)
    }
}

impl Stream for FileStream<'_> {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn advance(&mut self) -> Result<()> {
        if self.open.is_none() {
            let (file, size_bytes) = open(self.path)?;
            self.open = Some((file, self.buffers.take(size_bytes)));
        }
        if self.filled > 0 {
            self.observer.on(&Event::Advanced { bytes: self.filled as u64 });
        }
        self.filled = 0;
        if let Some((file, buffer)) = &mut self.open {
            self.filled = fill(file, buffer).map_err(|e| failed(self.path, e))?;
        }
        self.read_bytes += self.filled as u64;
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        self.open.as_ref().and_then(|(_, buffer)| buffer.get(..self.filled)).unwrap_or_default()
    }
}

impl Drop for FileStream<'_> {
    fn drop(&mut self) {
        if let Some((_, buffer)) = self.open.take() {
            self.buffers.give_back(buffer);
        }
    }
}

/// Opens a regular file, and answers how large it is. Anything else is an error.
pub(super) fn open(path: &Path) -> Result<(File, u64)> {
    // By its path first: opening a device can do things, and a socket cannot be opened.
    check_regular(path, meta_of_path(path).map_err(|e| failed(path, e))?.kind)?;
    let file = open_source(path).map_err(|e| failed(path, e))?;
    let meta = meta_of(&file).map_err(|e| failed(path, e))?;
    check_regular(path, meta.kind)?;
    Ok((file, meta.size_bytes))
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

pub(super) fn failed(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::SourceMissing { path: path.to_path_buf() },
        _ => Error::io("read", path, error),
    }
}

fn check_regular(path: &Path, kind: Kind) -> Result<()> {
    match kind {
        Kind::File => Ok(()),
        Kind::Dir => Err(Error::io("hash", path, io::Error::from(io::ErrorKind::IsADirectory))),
        Kind::Symlink => Err(Error::UnsupportedFileType { path: path.to_path_buf(), kind: "symlink" }),
        Kind::Other(kind) => Err(Error::UnsupportedFileType { path: path.to_path_buf(), kind }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that is interrupted, and gives less than it is asked for.
    struct Halting(Vec<io::Result<&'static [u8]>>);

    impl Read for Halting {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = if self.0.is_empty() { &[] } else { self.0.remove(0)? };
            buffer[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        }
    }

    // Red when an interrupted read is an error, and when a short read is taken for the end.
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
