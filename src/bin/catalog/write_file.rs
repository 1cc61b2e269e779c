//! Writes a file of the user so that no reader ever sees half of it.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Writes a file outside the store at `root`: to a temporary file in the same folder, and renames it to `path`, which replaces a file there. If
/// `path` is a symlink, its target is replaced, and the link stays.
pub(crate) fn write(path: &Path, root: &Path, bytes: &[u8], to_stdout: &str) -> Result<PathBuf, Failure> {
    let failed = |error: io::Error| Failure::failed(format!("could not write {}: {error}", path.display()));
    let place = match fs::metadata(path) {
        Ok(meta) if meta.is_file() => fs::canonicalize(path).map_err(failed)?,
        Ok(_) => {
            return Err(Failure::usage(format!("could not write {}: it is there, and is no file", path.display()))
                .with_hint(format!("`{to_stdout}` writes to standard output")));
        }
        Err(_) => std::path::absolute(path).map_err(failed)?,
    };
    let folder = fs::canonicalize(place.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
    if folder.starts_with(root) {
        return Err(Failure::usage(format!("could not write {}: it is inside the store", path.display()))
            .with_hint("give a path outside of it"));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".catalog-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // The kernel subtracts the umask, as for any new file.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(&folder).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(&place).map_err(|error| failed(error.error))?;
    Ok(place)
}
