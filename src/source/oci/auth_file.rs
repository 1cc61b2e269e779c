//! Changes one login in a file of logins, and keeps everything else in it byte for byte and in order.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::options::{MAX_BYTES, place_of};
use crate::error::{Error, Result};
use crate::net::file;

/// The member that holds the logins.
const AUTHS: &str = "auths";

/// Changes the login for a place: sets it under `key`, or removes it. Removes other spellings of the place. Returns
/// whether there was a login for it.
pub(super) fn change(path: &Path, place: &str, key: &str, value: Option<&impl Serialize>) -> Result<bool> {
    let path = real(path)?;
    let malformed = |reason: String| Error::InvalidNetSetting { what: path.display().to_string(), reason };
    // Report the position of an error and not the text there, which may be a password.
    let no_sense = |e: serde_json::Error| malformed(format!("it makes no sense at line {}", e.line()));
    let text = match file::read_text(&path, MAX_BYTES) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => "{}".into(),
        Err(e) => return Err(malformed(e.to_string())),
    };
    let mut members: Members<'_> = serde_json::from_str(&text).map_err(no_sense)?;
    let mut auths = match members.get(AUTHS) {
        Some(auths) => serde_json::from_str::<Members<'_>>(auths.get()).map_err(no_sense)?,
        None => Members::default(),
    };
    let had = auths.remove(|known| place_of(known) == place);
    let value = value.map(to_raw_value).transpose().map_err(no_sense)?;
    match &value {
        Some(value) => auths.0.push((key.to_owned(), value)),
        None if !had => return Ok(false),
        None => {}
    }
    if members.get(AUTHS).is_none() {
        members.0.push((AUTHS.to_owned(), RawValue::NULL));
    }
    let text = pretty(&Changed { members, auths }).map_err(no_sense)?;
    write(&path, &text).map_err(|e| Error::io("write", &path, e))?;
    Ok(had)
}

/// The file that the path leads to, so that a symlink stays a symlink.
fn real(path: &Path) -> Result<PathBuf> {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_symlink() => fs::canonicalize(path).map_err(|e| Error::io("follow", path, e)),
        _ => Ok(path.to_path_buf()),
    }
}

/// Replaces the whole file, readable only by its owner. Concurrent readers see either the old file or the new one.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut make = DirBuilder::new();
    make.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut make, 0o700);
    make.create(folder)?;
    // No other user may read such a file, from its creation on.
    let mut file = tempfile::Builder::new().prefix(".auth-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Indents with tabs, like the tools that the file belongs to.
fn pretty(file: &Changed<'_>) -> serde_json::Result<String> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    file.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter))?;
    String::from_utf8(text).map_err(serde::de::Error::custom)
}

/// The members of a JSON object in order, each as it is written.
#[derive(Default)]
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    fn remove(&mut self, is_it: impl Fn(&str) -> bool) -> bool {
        let before = self.0.len();
        self.0.retain(|(name, _)| !is_it(name));
        self.0.len() < before
    }
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A file with these logins instead of those among its members.
struct Changed<'a> {
    members: Members<'a>,
    auths: Members<'a>,
}

impl Serialize for Changed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.members.0.len()))?;
        for (name, value) in &self.members.0 {
            match name == AUTHS {
                true => map.serialize_entry(name, &self.auths)?,
                false => map.serialize_entry(name, value)?,
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    fn set(path: &Path, place: &str, value: &str) -> Result<bool> {
        change(path, place, place, Some(&json!({"auth": value})))
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    // Red when the file is parsed into a map and written back: numbers, order and white space would change.
    #[test]
    fn all_else_stays_as_it_is() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("auth.json");
        let kept = r#""zzz": 1.50e3, "auths": {"z.example/v1/": {"auth": "old", "identitytoken": "old"},
            "https://z.example/v1/": {}, "b.example": {  "auth":"kept" , "x": [1,  2]}}, "credHelpers": {"c": "d"}"#;
        fs::write(&path, format!("{{{kept}}}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(set(&path, "z.example", "new").unwrap());
        let text = fs::read_to_string(&path).unwrap();
        let order =
            ["\"zzz\": 1.50e3", "{  \"auth\":\"kept\" , \"x\": [1,  2]}", "{\"auth\":\"new\"}", "\"credHelpers\""];
        let at: Vec<_> =
            order.iter().map(|part| text.find(part).unwrap_or_else(|| panic!("{part} in {text}"))).collect();
        assert!(at.is_sorted(), "{text}");
        assert!(!text.contains("old") && !text.contains("v1"), "{text}");
        assert_eq!(mode(&path), 0o600);
        assert!(change(&path, "z.example", "z.example", None::<&()>).unwrap());
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("z.example") && text.contains("b.example"), "{text}");
        // If nothing is removed, nothing is written.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(!change(&path, "z.example", "z.example", None::<&()>).unwrap());
        assert_eq!(mode(&path), 0o644);
    }

    // Red when the symlink is replaced by a file, or when others can read a newly created folder.
    #[test]
    fn links_are_followed_and_folders_are_made() {
        let dir = TempDir::new().unwrap();
        let (dotfiles, link) = (dir.path().join("dotfiles/auth.json"), dir.path().join("run/auth.json"));
        set(&dotfiles, "a.example", "one").unwrap();
        assert_eq!((mode(dotfiles.parent().unwrap()), mode(&dotfiles)), (0o700, 0o600));
        fs::create_dir(link.parent().unwrap()).unwrap();
        symlink(&dotfiles, &link).unwrap();
        set(&link, "b.example", "two").unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert!(fs::read_to_string(&dotfiles).unwrap().contains("two"));
        fs::remove_file(&dotfiles).unwrap();
        set(&link, "b.example", "two").unwrap_err();
        let left: Vec<_> = fs::read_dir(dotfiles.parent().unwrap()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    // Red when an unreadable file counts as empty: all other logins would be lost.
    #[test]
    fn what_makes_no_sense_is_not_replaced() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("auth.json");
        for text in ["secret", r#"{"auths": ["secret"]}"#, r#"{"auths": {"a": {"auth": "secret"}"#, ""] {
            fs::write(&path, text).unwrap();
            let error = set(&path, "a.example", "new").unwrap_err().to_string();
            assert!(error.contains("auth.json") && !error.contains("secret"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
