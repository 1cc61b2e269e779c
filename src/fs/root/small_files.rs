//! Reads small files of the store, each of which has a maximum size.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::Root;
use crate::error::{Error, Result};
use crate::fs::{Meta, meta_of};

impl Root {
    /// Reads a whole small file; `None` if there is nothing. See [`read_whole`](Root::read_whole).
    pub(crate) fn read(&self, relative: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open_file(relative)? else { return Ok(None) };
        self.read_whole(&file, relative, max_bytes).map(Some)
    }

    /// Like [`read`](Root::read), with the metadata of the very file that was read.
    pub(crate) fn read_with_meta(&self, relative: &Path, max_bytes: u64) -> Result<Option<(Vec<u8>, Meta)>> {
        let Some(file) = self.open_file(relative)? else { return Ok(None) };
        let bytes = self.read_whole(&file, relative, max_bytes)?;
        let meta = meta_of(&file).map_err(|e| self.fail("look at", relative, e))?;
        Ok(Some((bytes, meta)))
    }

    /// Reads a whole small file that is open. A file larger than `max_bytes` is damaged, and nothing of it is read: a
    /// file without a single block can claim any size, and that many bytes would be allocated.
    pub(crate) fn read_whole(&self, file: &File, relative: &Path, max_bytes: u64) -> Result<Vec<u8>> {
        let check = |size_bytes: u64| {
            let reason = || format!("it has {size_bytes} bytes, and such a file can have at most {max_bytes}");
            let too_large = || Error::CorruptIndex { path: self.absolute(relative), reason: reason() };
            if size_bytes > max_bytes { Err(too_large()) } else { Ok(()) }
        };
        let size_bytes = meta_of(file).map_err(|e| self.fail("look at", relative, e))?.size_bytes;
        check(size_bytes)?;
        // Room for one byte more, so that the read that finds the end needs no more room.
        let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0).saturating_add(1));
        // It may grow during the read, and some file systems do not know a size before the end.
        let limited = file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes);
        limited.map_err(|e| self.fail("read", relative, e))?;
        check(bytes.len() as u64)?;
        Ok(bytes)
    }

    /// Reads the start of a file, at most `max_bytes`; `None` if there is nothing.
    pub(crate) fn read_start(&self, relative: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open_file(relative)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(max_bytes).read_to_end(&mut bytes).map_err(|e| self.fail("read", relative, e))?;
        Ok(Some(bytes))
    }
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_larger_than_its_kind_is_damaged_and_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let path = Path::new("f");
        std::fs::write(dir.path().join(path), "12345").unwrap();
        assert_eq!(root.read(path, 5).unwrap().unwrap(), b"12345");
        assert!(root.read(path, 4).unwrap_err().is_corrupt());
        assert_eq!(root.read_start(path, 4).unwrap().unwrap(), b"1234");
        assert_eq!(root.read_start(path, 9).unwrap().unwrap(), b"12345");
        // A file of /proc has no size until it is read.
        let file = File::open("/proc/self/stat").unwrap();
        assert!(root.read_whole(&file, path, 4).unwrap_err().is_corrupt());
    }
}
