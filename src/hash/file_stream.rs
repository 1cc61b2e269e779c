//! Somebody else's file as a stream: read, never mapped, since its owner may shrink it meanwhile.

use std::fs::File;
use std::io;
use std::path::Path;

use super::buffers::{Buffer, Buffers};
use super::files::{FileHash, HashValue};
use super::streams::Stream;
use crate::error::{Error, Result};
use crate::fs::{Kind, meta_of, meta_of_path, open_source};
use crate::observer::{Event, Observer};

/// A file that is opened when its first bytes are asked for.
pub(super) struct FileStream<'a> {
    path: &'a Path,
    size_bytes: u64,
    buffers: &'a Buffers,
    observer: &'a dyn Observer,
    open: Option<(File, Buffer<'a>)>,
    read_bytes: u64,
}

impl<'a> FileStream<'a> {
    pub(super) fn new(path: &'a Path, size_bytes: u64, buffers: &'a Buffers, observer: &'a dyn Observer) -> Self {
        FileStream { path, size_bytes, buffers, observer, open: None, read_bytes: 0 }
    }

    /// The result, when all of it was read.
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
            let (file, size_bytes) = open(self.path)?;
            self.open = Some((file, self.buffers.take(size_bytes)));
        }
        if !self.bytes().is_empty() {
            self.observer.on(&Event::Advanced { bytes: self.bytes().len() as u64 });
        }
        if let Some((file, buffer)) = &mut self.open {
            buffer.refill(file).map_err(|e| failed(self.path, e))?;
        }
        self.read_bytes += self.bytes().len() as u64;
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        self.open.as_ref().map_or(&[], |(_, buffer)| buffer.bytes())
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
