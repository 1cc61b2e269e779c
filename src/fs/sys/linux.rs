//! Linux: names below the root in `handle`, open files in `file`, everything else in `system`.

mod file;
mod handle;
mod system;

pub(crate) use file::*;
pub(crate) use handle::Handle;
pub(crate) use system::*;

pub(crate) use crate::fs::extents::{shared_bytes, write_out};
pub(crate) use crate::fs::open_files::{is_open_elsewhere, is_open_for_writing};
