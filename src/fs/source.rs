//! Files that do not belong to the store: their metadata, and the one way to open one.
//!
//! A foreign file is read and never mapped, because its owner may shrink it at any time.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::sparse::Blocks;
use super::sys::{self, Handle, Open};
use super::{Kind, Meta, current_user, is_symlink_loop, meta_of, meta_of_path, writers};
use crate::entry::Stamp;
use crate::error::{Error, Result};
use crate::read_at::ReadAt;

/// The metadata of a source, without opening it: opening a device can have side effects, and opening a FIFO would wait
/// for a writer.
pub(crate) fn source_meta(source: &Path) -> Result<Meta> {
    let meta = meta_of_path(source).map_err(|e| source_error(source, e))?;
    match meta.kind {
        Kind::File | Kind::Dir => Ok(meta),
        Kind::Symlink => Err(Error::UnsupportedFileType { path: source.to_path_buf(), kind: "symlink" }),
        Kind::Other(kind) => Err(Error::UnsupportedFileType { path: source.to_path_buf(), kind }),
    }
}

/// The error for a source that cannot be read.
fn source_error(source: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::SourceMissing { path: source.to_path_buf() },
        _ => Error::io("read", source, error),
    }
}

/// An open regular file outside the store, with its metadata from when it was opened.
#[derive(Debug)]
pub(crate) struct Foreign {
    path: PathBuf,
    file: File,
    before: Meta,
    opened: SystemTime,
}

impl Foreign {
    /// Opens a regular file. Any other file type is an error.
    pub(crate) fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let must_be_a_file = |meta: &Meta| match meta.kind {
            Kind::File => Ok(()),
            Kind::Dir => Err(source_error(&path, io::ErrorKind::IsADirectory.into())),
            Kind::Symlink | Kind::Other(_) => {
                Err(Error::UnsupportedFileType { path: path.clone(), kind: "replaced file" })
            }
        };
        must_be_a_file(&source_meta(&path)?)?;
        let opened = SystemTime::now();
        let file = sys::open_source(&path).map_err(|e| source_error(&path, e))?;
        let before = meta_of(&file).map_err(|e| Error::io("look at", &path, e))?;
        // Another file may have replaced it between the look and the open.
        must_be_a_file(&before)?;
        Ok(Foreign { path, file, before, opened })
    }

    /// Opens the regular file at an absolute path without symlinks. A path that leads through one is an error.
    pub(crate) fn open_real(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let opened = SystemTime::now();
        let below = path.strip_prefix("/").unwrap_or(&path);
        let file = Handle::open(Path::new("/")).and_then(|top| top.open_file(below, Open::Read));
        let file = file.map_err(|e| match is_symlink_loop(&e) {
            true => Error::SourceChanged { path: path.clone(), detail: "it has become a symlink".into() },
            false => source_error(&path, e),
        })?;
        let before = meta_of(&file).map_err(|e| Error::io("look at", &path, e))?;
        Ok(Foreign { path, file, before, opened })
    }

    /// Opens the regular file at a path; `None` if there is nothing, or a directory.
    pub(crate) fn find(path: impl Into<PathBuf>) -> Result<Option<Self>> {
        let path = path.into();
        match source_meta(&path) {
            Ok(meta) if meta.kind == Kind::Dir => Ok(None),
            Err(error) if error.is_not_found() => Ok(None),
            _ => Self::open(path).map(Some),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The metadata from when it was opened.
    pub(crate) fn before(&self) -> &Meta {
        &self.before
    }

    /// How a copy of the file gets its blocks.
    pub(crate) fn blocks(&self) -> Blocks {
        Blocks::of(&self.before)
    }

    /// Whether a write since the open could have left the modification time unchanged.
    pub(crate) fn is_racy(&self) -> bool {
        self.before.is_racy(self.opened)
    }

    /// Whether a change since the open may be invisible, even if it set the modification time back.
    pub(crate) fn was_just_changed(&self) -> bool {
        self.is_racy() || self.before.is_change_racy(self.opened)
    }

    /// Returns the stamp. It must be the same as at the open; otherwise the file changed while it was read.
    pub(crate) fn stamp_after(&self) -> Result<Stamp> {
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

    /// To call after reading as many bytes as the size says: checks that there are no more. Files of /proc and of some
    /// network file systems report 0 bytes and have more.
    pub(crate) fn check_ended(&self) -> Result<()> {
        match self.read_exact_at(self.before.size_bytes, &mut [0]) {
            Ok(()) => Err(self.changed(format!("it has more than the {} bytes of its size", self.before.size_bytes))),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(e) => Err(self.fail("read", e)),
        }
    }

    pub(crate) fn check_nobody_writes(&self) -> Result<()> {
        if !writers::can_be_seen() {
            return Err(self.in_use("without /proc, it is unknown who can still write to it"));
        }
        let writing = sys::is_open_for_writing(&self.file);
        if self.before.owner != current_user() {
            return Err(self.in_use("it belongs to another user, who could make it writable again"));
        }
        // Where the kernel does not tell, the search can miss a process; where it does, the search only finds the name.
        let writer = if writing == Some(false) { None } else { writers::find_writer(&self.before) };
        match writer {
            Some(reason) => Err(self.in_use(&reason)),
            None if writing == Some(true) => Err(self.in_use("a process has it open for writing")),
            None => Ok(()),
        }
    }

    pub(crate) fn in_use(&self, reason: &str) -> Error {
        Error::SourceInUse { path: self.path.clone(), reason: reason.to_owned() }
    }

    pub(crate) fn changed(&self, detail: String) -> Error {
        Error::SourceChanged { path: self.path.clone(), detail }
    }

    pub(crate) fn fail(&self, action: &'static str, error: io::Error) -> Error {
        Error::io(action, &self.path, error)
    }
}

impl ReadAt for Foreign {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn size_bytes(&self) -> u64 {
        self.before.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        sys::read_exact_at(&self.file, offset, buffer)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_a_regular_file_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "bytes").unwrap();
        assert_eq!(Foreign::open(&file).unwrap().size_bytes(), 5);
        assert!(matches!(Foreign::open(dir.path()), Err(Error::Io { .. })));
        assert!(matches!(Foreign::open(dir.path().join("absent")), Err(Error::SourceMissing { .. })));
        assert!(Foreign::find(&file).unwrap().is_some());
        assert!(Foreign::find(dir.path()).unwrap().is_none());
        assert!(Foreign::find(dir.path().join("absent")).unwrap().is_none());
        #[cfg(target_os = "linux")]
        for open in [|path| Foreign::open(path).map(drop), |path| Foreign::find(path).map(drop)] {
            let error = open(Path::new("/dev/null")).unwrap_err();
            assert!(matches!(error, Error::UnsupportedFileType { kind: "character device", .. }), "{error}");
        }
    }

    // Red when only the modification time is checked: `cp -p` sets it back.
    #[test]
    fn a_file_with_an_old_modification_time_may_have_been_changed_just_now() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "bytes").unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_nanos(1);
        File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        let mut foreign = Foreign::open(&path).unwrap();
        let changed = SystemTime::UNIX_EPOCH + Duration::from_nanos(foreign.before.changed_ns as u64);
        for (later_ms, is_racy) in [(1, true), (2_100, false)] {
            foreign.opened = changed + Duration::from_millis(later_ms);
            assert_eq!((foreign.is_racy(), foreign.was_just_changed()), (false, is_racy));
        }
    }

    // Red when a read uses the descriptor's position, which all threads share.
    #[test]
    fn many_threads_read_their_parts_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let bytes: Vec<u8> = (0..1 << 20).map(|i: u32| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let foreign = Foreign::open(&path).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (foreign, bytes) = (&foreign, &bytes);
                scope.spawn(move || {
                    let mut buffer = [0; 1000];
                    for start in (thread..bytes.len() - 1000).step_by(997) {
                        foreign.read_exact_at(start as u64, &mut buffer).unwrap();
                        assert_eq!(buffer, bytes[start..start + 1000]);
                    }
                });
            }
        });
        foreign.read_exact_at(bytes.len() as u64 - 1, &mut [0; 2]).unwrap_err();
    }

    // Red when `check_ended` looks at the descriptor's position, which nothing has moved.
    #[test]
    fn a_file_that_has_grown_has_not_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "bytes").unwrap();
        let foreign = Foreign::open(&path).unwrap();
        foreign.check_ended().unwrap();
        std::fs::write(&path, "bytes and more").unwrap();
        assert!(matches!(foreign.check_ended(), Err(Error::SourceChanged { .. })));
        assert!(matches!(foreign.stamp_after(), Err(Error::SourceChanged { .. })));
    }
}
