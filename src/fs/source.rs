//! Somebody else's files: what they are, before anything is read.

use std::io;
use std::path::Path;

use super::{Kind, Meta, meta_of_path};
use crate::error::{Error, Result};

/// What a source is, without opening it: opening a device can do things, and a FIFO would wait for a writer.
pub(crate) fn source_meta(source: &Path) -> Result<Meta> {
    let meta = meta_of_path(source).map_err(|e| source_error(source, e))?;
    match meta.kind {
        Kind::File | Kind::Dir => Ok(meta),
        Kind::Symlink => Err(Error::UnsupportedFileType { path: source.to_path_buf(), kind: "symlink" }),
        Kind::Other(kind) => Err(Error::UnsupportedFileType { path: source.to_path_buf(), kind }),
    }
}

/// The error of a source that cannot be read.
pub(crate) fn source_error(source: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::SourceMissing { path: source.to_path_buf() },
        _ => Error::io("read", source, error),
    }
}
