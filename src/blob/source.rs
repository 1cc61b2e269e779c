//! Somebody else's file that is brought in, open, and what it was before it was read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

use super::Incoming;
use crate::entry::Stamp;
use crate::error::{Error, Result};
use crate::fs::source::{source_error, source_meta};
use crate::fs::{Kind, Meta, meta_of, open_source, writers};

pub(super) struct Source<'a> {
    path: &'a Path,
    pub(super) file: File,
    pub(super) before: Meta,
    read_began: SystemTime,
}

impl<'a> Source<'a> {
    /// Opens a regular file. Anything else is an error.
    pub(super) fn open(path: &'a Path) -> Result<Self> {
        if source_meta(path)?.kind != Kind::File {
            return Err(Error::UnsupportedFileType { path: path.to_path_buf(), kind: "directory" });
        }
        let read_began = SystemTime::now();
        let file = open_source(path).map_err(|e| source_error(path, e))?;
        let before = meta_of(&file).map_err(|e| Error::io("look at", path, e))?;
        if before.kind != Kind::File {
            return Err(Error::UnsupportedFileType { path: path.to_path_buf(), kind: "replaced file" });
        }
        Ok(Source { path, file, before, read_began })
    }

    /// Records in `incoming` what the source was while it was read.
    pub(super) fn note(&self, incoming: &mut Incoming<'_>, stamp: Option<Stamp>) {
        incoming.source_stamp = stamp;
        incoming.source_is_racy = self.before.is_racy(self.read_began);
    }

    /// The source's stamp, which has to be the one from before: else it changed while it was read.
    pub(super) fn stamp_after(&self) -> Result<Stamp> {
        let after = meta_of(&self.file).map_err(|e| self.fail("look at", e))?;
        if after.size_bytes != self.before.size_bytes {
            return Err(
                self.changed(format!("its size went from {} to {} bytes", self.before.size_bytes, after.size_bytes))
            );
        }
        if after.mtime_ns != self.before.mtime_ns {
            return Err(self.changed("it was written to".into()));
        }
        Ok(after.stamp())
    }

    /// All bytes of its size were read: there must be no more. Files of /proc and some network file systems say 0 bytes
    /// and have more.
    pub(super) fn check_ended(&self) -> Result<()> {
        if (&self.file).read(&mut [0]).map_err(|e| self.fail("read", e))? != 0 {
            return Err(self.changed(format!("it has more than the {} bytes of its size", self.before.size_bytes)));
        }
        Ok(())
    }

    pub(super) fn check_nobody_writes(&self) -> Result<()> {
        if self.before.owner != crate::fs::current_user() {
            return Err(self.in_use("it belongs to another user, who could make it writable again"));
        }
        writers::find_writer(&self.before).map_or(Ok(()), |reason| Err(self.in_use(&reason)))
    }

    pub(super) fn in_use(&self, reason: &str) -> Error {
        Error::SourceInUse { path: self.path.to_path_buf(), reason: reason.to_owned() }
    }

    pub(super) fn changed(&self, detail: String) -> Error {
        Error::SourceChanged { path: self.path.to_path_buf(), detail }
    }

    pub(super) fn fail(&self, action: &'static str, error: io::Error) -> Error {
        Error::io(action, self.path, error)
    }
}
