//! `catalog hash`: digests of files, printed as `sha256sum` and `b3sum` print them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use catalog_core::{HashFunction, HashOptions, hash_files};

use crate::app::App;
use crate::failure::Outcome;
use crate::json::Line;
use crate::progress::Progress;

/// Hash files, many at once, as sha256sum prints them
///
/// Needs no catalog. `sha256sum --check` and `b3sum --check` read the output.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog hash *.gguf > SHA256SUMS
  catalog hash --blake3 llama3-8b.gguf")]
pub(crate) struct Args {
    /// The files to hash
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// BLAKE3 instead of SHA-256
    #[arg(long)]
    blake3: bool,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let function = if self.blake3 { HashFunction::Blake3 } else { HashFunction::Sha256 };
        let progress = Arc::new(Progress::new(app));
        let options = HashOptions::default().with_observer(progress.clone());
        let hashes = hash_files(&self.paths, function, &options);
        progress.clear();
        let names = self.paths.iter().map(|path| path.to_string_lossy());
        app.each(names.zip(hashes), |app, hash| {
            let hash = hash?;
            if app.json() {
                app.out.json(&Line::Hash(&hash));
            } else {
                app.out.line(checksum_line(&hash.value.to_hex(), &hash.path));
            }
            Ok(())
        })
    }
}

/// A backslash in front of the line says that the name in it is escaped, as coreutils have it.
fn checksum_line(hex: &str, path: &Path) -> Vec<u8> {
    let name = path.as_os_str().as_encoded_bytes();
    let mut line = Vec::with_capacity(hex.len() + 3 + name.len());
    if name.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r')) {
        line.push(b'\\');
    }
    line.extend_from_slice(hex.as_bytes());
    line.extend_from_slice(b"  ");
    for byte in name {
        match byte {
            b'\\' => line.extend_from_slice(br"\\"),
            b'\n' => line.extend_from_slice(br"\n"),
            b'\r' => line.extend_from_slice(br"\r"),
            byte => line.push(*byte),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_coreutils_do() {
        for (name, line) in [
            ("a b.gguf", "00  a b.gguf"),
            ("a\\b", "\\00  a\\\\b"),
            ("a\nb", "\\00  a\\nb"),
            ("a\rb", "\\00  a\\rb"),
            ("a\tb", "00  a\tb"),
        ] {
            assert_eq!(String::from_utf8(checksum_line("00", Path::new(name))).unwrap(), line);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_not_utf_8_is_printed_as_it_is() {
        use std::os::unix::ffi::OsStrExt as _;

        let name = std::ffi::OsStr::from_bytes(b"\xff.gguf");
        assert_eq!(checksum_line("00", Path::new(name)), b"00  \xff.gguf");
    }
}
