//! `catalog hash`: digests of files, printed as `sha256sum` and `b3sum` print them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use catalog_core::{HashFunction, HashOptions, TreeHash, hash_files, hash_tree};

use crate::app::App;
use crate::failure::{Failure, Outcome};
use crate::json::Line;
use crate::progress::Progress;

/// Hash files and directories, many at once, as sha256sum prints them
///
/// Needs no catalog. `sha256sum --check` and `b3sum --check` read the lines of files. The digest of a directory is
/// the one that it has once it is staged: that of the list of its files. Its line ends in a slash.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog hash *.gguf > SHA256SUMS
  catalog hash --blake3 llama3-8b.gguf")]
pub(crate) struct Args {
    /// The files and directories to hash
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// BLAKE3 instead of SHA-256; for files only
    #[arg(long)]
    blake3: bool,
    /// In a directory, follow symlinks that lead out of it
    #[arg(long)]
    follow_links: bool,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let function = if self.blake3 { HashFunction::Blake3 } else { HashFunction::Sha256 };
        let progress = Arc::new(Progress::new(app));
        let options = HashOptions::default().with_observer(progress.clone()).with_follow_links(self.follow_links);
        // A path may change while this runs, so it is looked at once.
        let paths: Vec<(&PathBuf, bool)> = self.paths.iter().map(|path| (path, path.is_dir())).collect();
        let files: Vec<&PathBuf> = paths.iter().filter(|(_, is_tree)| !is_tree).map(|(path, _)| *path).collect();
        let mut hashes = hash_files(&files, function, &options).into_iter();
        let named = paths.iter().map(|(path, is_tree)| (path.to_string_lossy(), (*path, *is_tree)));
        app.each(named, |app, (path, is_tree)| {
            if is_tree {
                let tree = self.hash_tree(path, &options);
                progress.clear();
                let tree = tree?;
                return print(app, &tree.digest.to_hex(), &path.join(""), &Line::TreeHash(&tree));
            }
            let file = hashes.next().expect("there is a hash for each file")?;
            print(app, &file.value.to_hex(), &file.path, &Line::Hash(&file))
        })
    }

    fn hash_tree(&self, path: &Path, options: &HashOptions) -> Result<TreeHash, Failure> {
        if self.blake3 {
            return Err(Failure::usage(format!("could not hash {}: it is a directory", path.display()))
                .with_hint("without --blake3, its digest is the one that it has once it is staged"));
        }
        Ok(hash_tree(path, options)?)
    }
}

fn print(app: &mut App, hex: &str, path: &Path, line: &Line<'_>) -> Outcome {
    match app.json() {
        true => app.out.json(line),
        false => app.out.line(checksum_line(hex, path)),
    }
    Ok(())
}

/// A backslash at the start of a line says that the name in it is escaped, as in coreutils.
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
