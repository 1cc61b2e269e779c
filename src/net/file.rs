//! Reads small configuration files.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// Reads a file of at most `limit_bytes`. Fails for anything but a regular file: reading a device or a pipe may block,
/// or never end.
pub(crate) fn read(path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit_bytes + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit_bytes {
        true => Err(io::Error::other(format!("it is larger than {limit_bytes} bytes"))),
        false => Ok(bytes),
    }
}

/// Reads the file as text.
pub(crate) fn read_text(path: &Path, limit_bytes: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit_bytes)?).map_err(|_| io::Error::other("it is not UTF-8"))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    // Red (the device never ends) when only the reported size is compared with the limit.
    #[test]
    fn what_is_no_small_file() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("a");
        fs::write(&file, [b'a'; 10]).unwrap();
        assert_eq!(read_text(&file, 10).unwrap(), "a".repeat(10));
        for (path, limit_bytes) in [(file.as_path(), 9), (dir.path(), 9), (Path::new("/dev/zero"), 9)] {
            read(path, limit_bytes).unwrap_err();
        }
        fs::write(&file, b"\xff").unwrap();
        read_text(&file, 9).unwrap_err();
    }
}
