//! All other platforms: paths and the standard library. CI compiles it on Linux; it is not tested on macOS or Windows.
//!
//! Weaker than `linux.rs`: it does not notice a folder that is swapped for a symlink between the check and the use, a
//! rename replaces a target that appears in between, and there is no reflink and no call that flushes a whole file
//! system.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{Open, Replace};
use crate::fs::{Kind, Meta};

/// A directory below which names are looked up.
#[derive(Debug)]
pub(crate) struct Handle(PathBuf);

#[allow(clippy::disallowed_methods)] // this is what the rest of the crate calls instead
impl Handle {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if !fs::metadata(path)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Handle(path.to_path_buf()))
    }

    /// The full path, after a check that none of its folders is a symlink now.
    fn path(&self, relative: &Path) -> io::Result<PathBuf> {
        let mut at = self.0.clone();
        for folder in relative.parent().into_iter().flat_map(Path::components) {
            at.push(folder);
            if fs::symlink_metadata(&at)?.is_symlink() {
                return Err(symlink_refused());
            }
        }
        Ok(self.0.join(relative))
    }

    pub(crate) fn meta(&self, relative: &Path) -> io::Result<Meta> {
        Ok(meta(&fs::symlink_metadata(self.path(relative)?)?))
    }

    pub(crate) fn peek(&self, relative: &Path) -> io::Result<Meta> {
        Ok(meta(&fs::symlink_metadata(self.0.join(relative))?))
    }

    pub(crate) fn open_file(&self, relative: &Path, how: Open) -> io::Result<File> {
        let path = self.path(relative)?;
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => return Err(symlink_refused()),
            Ok(meta) if !meta.is_file() => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
            }
            _ => {}
        }
        match how {
            Open::Read => File::open(path),
            Open::Write => OpenOptions::new().read(true).write(true).open(path),
            Open::CreateNew(mode) => {
                let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
                set_mode(&file, mode)?;
                Ok(file)
            }
            Open::Lock(mode) => match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => set_mode(&file, mode).map(|()| file),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => File::open(path),
                Err(e) => Err(e),
            },
        }
    }

    pub(crate) fn open_dir(&self, relative: &Path) -> io::Result<File> {
        File::open(self.path(relative)?)
    }

    pub(crate) fn make_dir(&self, relative: &Path, mode: u32) -> io::Result<()> {
        let path = self.path(relative)?;
        fs::create_dir(&path)?;
        set_path_mode(&path, mode)
    }

    pub(crate) fn symlink(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into()) // only made on overlays
    }

    pub(crate) fn read_link(&self, relative: &Path) -> io::Result<PathBuf> {
        fs::read_link(self.path(relative)?)
    }

    pub(crate) fn is_overlay(&self) -> bool {
        false
    }

    pub(crate) fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(self.path(from)?, self.path(to)?)
    }

    /// An open file cannot be linked here: callers fall back to a rename or a copy.
    pub(crate) fn link_file(&self, _: &File, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path, replace: Replace) -> io::Result<()> {
        let (from, to) = (self.path(from)?, self.path(to)?);
        if replace == Replace::Exchange {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if replace == Replace::No && fs::symlink_metadata(&to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(from, to)
    }

    pub(crate) fn remove_file(&self, relative: &Path) -> io::Result<()> {
        fs::remove_file(self.path(relative)?)
    }

    pub(crate) fn remove_dir(&self, relative: &Path) -> io::Result<()> {
        fs::remove_dir(self.path(relative)?)
    }

    pub(crate) fn names(&self, relative: &Path) -> io::Result<Vec<OsString>> {
        let path = self.path(relative)?;
        if fs::symlink_metadata(&path)?.is_symlink() {
            return Err(symlink_refused());
        }
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    pub(crate) fn each_entry(&self, relative: &Path) -> io::Result<impl Iterator<Item = io::Result<(OsString, Meta)>>> {
        let entry = move |name: OsString| match self.meta(&relative.join(&name)) {
            Ok(meta) => Some(Ok((name, meta))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => Some(Err(e)),
        };
        Ok(self.names(relative)?.into_iter().filter_map(entry))
    }

    pub(crate) fn sync_dir(&self, relative: &Path) -> io::Result<()> {
        if cfg!(windows) {
            return Ok(()); // folders cannot be synced there
        }
        File::open(self.path(relative)?)?.sync_all()
    }

    pub(crate) fn keeps_modes(&self) -> Option<bool> {
        if cfg!(unix) { None } else { Some(false) }
    }

    /// There is no such call.
    pub(crate) fn sync_file_system(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The system's number for a symlink that is not followed: ELOOP, and on Windows ERROR_CANT_RESOLVE_FILENAME.
fn symlink_loop() -> i32 {
    #[cfg(unix)]
    return rustix::io::Errno::LOOP.raw_os_error();
    #[cfg(not(unix))]
    return 1921;
}

fn symlink_refused() -> io::Error {
    io::Error::from_raw_os_error(symlink_loop())
}

pub(crate) fn is_symlink_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(symlink_loop())
}

fn meta(data: &fs::Metadata) -> Meta {
    let kind = match data.file_type() {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Dir,
        kind if kind.is_symlink() => Kind::Symlink,
        _ => Kind::Other("special file"),
    };
    let mtime_ns = data.modified().map_or(0, crate::fs::unix_ns);
    let mut meta = Meta {
        kind,
        device: 0,
        inode: 0,
        size_bytes: data.len(),
        mtime_ns,
        changed_ns: mtime_ns,
        mode: 0o444,
        links: 1,
        owner: 0,
        group: 0,
        allocated_bytes: data.len(),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (meta.device, meta.inode, meta.links) = (data.dev(), data.ino(), data.nlink());
        meta.changed_ns = i128::from(data.ctime()) * 1_000_000_000 + i128::from(data.ctime_nsec());
        (meta.mode, meta.owner, meta.group) = (data.mode() & 0o7777, data.uid(), data.gid());
        meta.allocated_bytes = data.blocks() * 512;
    }
    meta
}

pub(crate) fn meta_of(file: &File) -> io::Result<Meta> {
    Ok(meta(&file.metadata()?))
}

pub(crate) fn meta_of_path(path: &Path) -> io::Result<Meta> {
    Ok(meta(&fs::metadata(path)?))
}

pub(crate) fn boot_id() -> Option<[u8; 16]> {
    None
}

pub(crate) fn birth_ns(_: &File) -> Option<i128> {
    None
}

pub(crate) fn mount_id(_: &File) -> Option<u64> {
    None
}

/// Unknown, so any number.
pub(crate) fn descriptor_limit() -> Option<u64> {
    None
}

pub(crate) fn open_descriptors() -> Option<usize> {
    None
}

pub(crate) fn raise_descriptor_limit() {}

/// Unknown: no file belongs to this user, so `--mode link` is refused.
pub(crate) fn current_user() -> u32 {
    u32::MAX
}

/// Unknown until it is tried.
pub(crate) fn may_write(_: &Path) -> bool {
    true
}

pub(crate) fn set_owner(_: &File, _: Option<u32>, _: Option<u32>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn device_numbers(_: u64) -> String {
    String::new()
}

#[cfg(unix)]
pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(unix)]
fn set_path_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    let mut permissions = file.metadata()?.permissions();
    permissions.set_readonly(mode & 0o222 == 0);
    file.set_permissions(permissions)
}

#[cfg(not(unix))]
fn set_path_mode(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

pub(crate) fn allocate(_: &File, _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Unknown here.
pub(crate) fn is_read_only(_: &Path) -> bool {
    false
}

/// Unknown here.
pub(crate) fn may_share_blocks(_: &Path) -> bool {
    false
}

pub(crate) fn is_open_elsewhere(_: &File) -> Option<bool> {
    None
}

/// Only implemented on Linux.
pub(crate) fn is_open_for_writing(_: &File) -> Option<bool> {
    None
}

pub(crate) fn shared_bytes(_: &File) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn reflink(_: &File, _: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(unix)]
pub(crate) fn write_all_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// A descriptor has one position for all threads, so one of them uses it at a time.
#[cfg(not(unix))]
static POSITION: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[cfg(not(unix))]
pub(crate) fn read_exact_at(mut file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    use std::io::{Read as _, Seek as _};
    let _alone = POSITION.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    file.seek(io::SeekFrom::Start(offset))?;
    file.read_exact(buffer)
}

#[cfg(not(unix))]
pub(crate) fn write_all_at(mut file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    use std::io::{Seek as _, Write as _};
    let _alone = POSITION.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    file.seek(io::SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

pub(crate) fn open_source(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Only implemented on Linux.
pub(crate) fn will_need(_: &File, _: &Range<u64>) {}

/// Only implemented on Linux.
pub(crate) fn wont_need(_: &File, _: &Range<u64>) {}

pub(crate) fn write_out(_: &File) {}
