//! Where the parts of a copy are read from.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::fs::atomic;
use crate::fs::source::Foreign;
use crate::fs::sparse::{self, Blocks};
use crate::read_at::ReadAt;

/// A foreign local file, or a remote one.
#[derive(Clone, Copy)]
pub(super) enum Reader<'a> {
    Local(&'a Foreign),
    Remote(&'a dyn ReadAt),
}

impl Reader<'_> {
    /// How the copy gets its blocks.
    pub(super) fn blocks(&self) -> Blocks {
        match self {
            Reader::Local(source) => source.blocks(),
            Reader::Remote(_) => Blocks::Reserved,
        }
    }

    /// Copies a part of at most one chunk to the same offset of `to`. `fail` builds errors that name that file.
    pub(super) fn copy(&self, part: &Range<u64>, to: &File, fail: impl Fn(io::Error) -> Error) -> Result<()> {
        let wanted = part.end - part.start;
        match self {
            // Where possible, the kernel copies without passing the bytes through this process.
            Reader::Local(source) => {
                match sparse::copy_range(source.file(), to, part, source.blocks()).map_err(fail)? {
                    copied if copied == wanted => Ok(()),
                    copied => Err(source.changed(format!("it ended {} bytes early", wanted - copied))),
                }
            }
            Reader::Remote(ranges) => {
                let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(usize::MAX)];
                let name = || PathBuf::from(ranges.name());
                ranges.read_exact_at(part.start, &mut bytes).map_err(|e| Error::of_reader(name(), e))?;
                atomic::write_at(to, part.start, &bytes).map_err(fail)
            }
        }
    }
}
