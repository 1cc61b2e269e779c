//! Lists of checksums, as `sha256sum` writes them: the digest that each file should have.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use catalog_core::{Digest, Error};

use crate::failure::Failure;

/// The lines of a file such as `SHA256SUMS`.
#[derive(Debug)]
pub(crate) struct Sums {
    path: PathBuf,
    /// The listed files, as paths from the current directory.
    files: Vec<OsString>,
    by_text: HashMap<OsString, Digest>,
    by_place: HashMap<PathBuf, Digest>,
    /// `None` for a name that several files have with different digests.
    by_name: HashMap<OsString, Option<Digest>>,
}

impl Sums {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Failure::not_found(format!("could not read {}: no such file", path.display()))
            }
            _ => Failure::from(Error::io("read", path, error)),
        })?;
        let mut lines = Vec::new();
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            lines.push(parse(line).ok_or_else(|| {
                Failure::usage(format!(
                    "could not read line {} of {}: it is not 64 hex digits, two blanks and a file's name",
                    number + 1,
                    path.display()
                ))
            })?);
        }
        if lines.is_empty() {
            return Err(Failure::usage(format!("could not use {}: it lists no file", path.display())));
        }
        Ok(Sums::of(path, lines))
    }

    fn of(path: &Path, lines: Vec<(Digest, OsString)>) -> Self {
        let (mut files, mut by_text, mut by_place, mut by_name) =
            (Vec::new(), HashMap::new(), HashMap::new(), HashMap::new());
        let folder = path.parent().unwrap_or(Path::new(""));
        for (digest, name) in lines {
            let file = folder.join(&name);
            if let Some(last) = file.file_name() {
                let known = by_name.entry(last.to_owned()).or_insert(Some(digest));
                *known = known.filter(|known| *known == digest);
            }
            by_place.extend(absolute(&file).map(|place| (place, digest)));
            by_text.insert(name, digest);
            files.push(file.into_os_string());
        }
        Sums { path: path.to_path_buf(), files, by_text, by_place, by_name }
    }

    /// The digest for a reference: for a listed name that is the same text or path, otherwise for one with the same
    /// last part. Names are paths from the folder of the list.
    pub(crate) fn digest_of(&self, reference: &OsStr) -> Result<Digest, Failure> {
        let given = Path::new(reference);
        let by_place = || self.by_place.get(&absolute(given)?).copied();
        let by_name = || self.by_name.get(given.file_name()?).copied().flatten();
        let found = self.by_text.get(reference).copied().or_else(by_place).or_else(by_name);
        found.ok_or_else(|| {
            let (name, list) = (given.display(), self.path.display());
            Failure::not_found(format!("could not stage {name}: {list} does not say what its digest is"))
        })
    }

    /// Every listed file, as a path from the current directory.
    pub(crate) fn files(&self) -> Vec<OsString> {
        self.files.clone()
    }
}

fn absolute(path: &Path) -> Option<PathBuf> {
    std::path::absolute(path).ok()
}

/// `HEX  NAME`, `HEX *NAME`, both with a backslash in front if the name is escaped, or `SHA256 (NAME) = HEX`.
fn parse(line: &[u8]) -> Option<(Digest, OsString)> {
    if let Some(tagged) = line.strip_prefix(b"SHA256 (") {
        let end = tagged.windows(4).rposition(|part| part == b") = ")?;
        let (name, hex) = tagged.split_at(end);
        return Some((digest(hex.get(4..)?)?, os_string(name.to_vec())?));
    }
    let (is_escaped, line) = line.strip_prefix(b"\\").map_or((false, line), |rest| (true, rest));
    let (hex, rest) = line.split_at_checked(64)?;
    let name = rest.strip_prefix(b"  ").or_else(|| rest.strip_prefix(b" *"))?;
    let name = if is_escaped { unescaped(name)? } else { name.to_vec() };
    (!name.is_empty()).then_some((digest(hex)?, os_string(name)?))
}

fn digest(hex: &[u8]) -> Option<Digest> {
    format!("sha256:{}", std::str::from_utf8(hex).ok()?.to_lowercase()).parse().ok()
}

fn unescaped(name: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b'\\' => b'\\',
                _ => return None,
            },
            byte => *byte,
        });
    }
    Some(plain)
}

#[cfg(unix)]
fn os_string(bytes: Vec<u8>) -> Option<OsString> {
    Some(std::os::unix::ffi::OsStringExt::from_vec(bytes))
}

#[cfg(not(unix))]
fn os_string(bytes: Vec<u8>) -> Option<OsString> {
    String::from_utf8(bytes).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "1ef0bef1eb6c8ec311d53e18138501725116d829ab11914a811d72812a5253cd";

    #[test]
    fn lines_are_read_as_coreutils_and_bsd_write_them() {
        for (line, name) in [
            (format!("{HEX}  a.gguf"), "a.gguf"),
            (format!("{HEX} *a b.gguf"), "a b.gguf"),
            (format!("{}  dir/a", HEX.to_uppercase()), "dir/a"),
            (format!("\\{HEX}  a\\\\b\\nc\\rd"), "a\\b\nc\rd"),
            (format!("{HEX}  a\\b"), "a\\b"),
            (format!("SHA256 (a (1).gguf) = {HEX}"), "a (1).gguf"),
        ] {
            let (digest, read) = parse(line.as_bytes()).unwrap();
            assert_eq!((digest.to_string(), read.to_str().unwrap()), (format!("sha256:{HEX}"), name), "{line}");
        }
        for bad in
            ["", "x", HEX, &format!("{HEX} a"), &format!("{HEX}  "), &format!("\\{HEX}  a\\x"), "SHA256 (a) = 12"]
        {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_file_is_found_by_its_path_and_else_by_its_name() {
        let other = HEX.replace('1', "2");
        let sums = |lines: &[(&str, &str)]| {
            let lines = lines.iter().map(|(hex, name)| (digest(hex.as_bytes()).unwrap(), (*name).into()));
            Sums::of(Path::new("/models/SHA256SUMS"), lines.collect())
        };
        let of = |sums: &Sums, name: &str| sums.digest_of(OsStr::new(name)).ok().map(|digest| digest.to_hex());
        let list = sums(&[(HEX, "a/x.gguf"), (&other, "b/x.gguf"), (HEX, "c/y.gguf")]);
        assert_eq!(of(&list, "/models/b/x.gguf").as_ref(), Some(&other));
        assert_eq!(of(&list, "b/x.gguf").as_ref(), Some(&other));
        assert_eq!(of(&list, "https://example.org/y.gguf").as_deref(), Some(HEX));
        assert_eq!(of(&list, "/elsewhere/x.gguf"), None, "two files are called so");
        assert_eq!(of(&list, "z.gguf"), None);
        assert_eq!(list.files()[0], "/models/a/x.gguf");
    }
}
