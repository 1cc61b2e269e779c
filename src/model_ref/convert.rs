//! Conversion of references from paths and text, and their form in JSON.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ModelRef;
use crate::error::{Error, Result};

/// A file or directory, whatever its name looks like.
impl From<PathBuf> for ModelRef {
    fn from(path: PathBuf) -> Self {
        ModelRef::File { path }
    }
}

/// A file or directory, whatever its name looks like.
impl From<&Path> for ModelRef {
    fn from(path: &Path) -> Self {
        ModelRef::File { path: path.to_path_buf() }
    }
}

/// Like [`ModelRef::parse`].
impl TryFrom<&str> for ModelRef {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        ModelRef::parse(text)
    }
}

/// Like [`ModelRef::parse`].
impl TryFrom<String> for ModelRef {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        ModelRef::parse(&text)
    }
}

/// Writes the text of `Display`. Fails for a path that is not UTF-8.
impl Serialize for ModelRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ModelRef::File { path } if path.to_str().is_none() => {
                Err(serde::ser::Error::custom(format!("the path {} is not UTF-8", path.display())))
            }
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for ModelRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ModelRef::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_file_whatever_it_is_called() {
        for name in ["a.gguf", "hf:org/repo", "https://host/a"] {
            let expected = ModelRef::File { path: name.into() };
            assert_eq!(ModelRef::from(Path::new(name)), expected);
            assert_eq!(ModelRef::from(PathBuf::from(name)), expected);
            assert_eq!(ModelRef::try_from(expected.to_string()).unwrap(), expected);
        }
        assert_eq!(ModelRef::try_from("hf:org/repo").unwrap().scheme(), "hf");
        assert!(ModelRef::try_from("ftp://host/a").unwrap_err().is_invalid_input());
    }

    #[test]
    fn json_is_the_text() {
        for text in ["hf:org/repo@v1/a", "file:/a b", "https://host/a"] {
            let reference = ModelRef::parse(text).unwrap();
            let json = serde_json::to_string(&reference).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<ModelRef>(&json).unwrap(), reference);
        }
        serde_json::from_str::<ModelRef>("\"ftp://host/a\"").unwrap_err();
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_not_utf_8_is_not_written_as_another() {
        use std::os::unix::ffi::OsStrExt as _;
        let path: &Path = std::ffi::OsStr::from_bytes(b"/models/\xff.gguf").as_ref();
        serde_json::to_string(&ModelRef::from(path)).unwrap_err();
    }
}
