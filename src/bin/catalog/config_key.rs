//! The keys of `catalog config`.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::{Error, ErrorKind};

/// What stands before the host of a key for mirrors.
const MIRROR: &str = "mirror.";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    MaxBytes,
    MinFree,
    Sealed,
    AllowNet,
    /// The mirrors of this host.
    Mirror(String),
}

/// Those that are there once, and what each means.
pub(crate) const KEYS: [(Key, &str, &str); 4] = [
    (Key::MaxBytes, "max_bytes", "The most that the store may occupy on disk"),
    (Key::MinFree, "min_free", "What has to stay free on the file system"),
    (Key::Sealed, "sealed", "Whether the root will be read-only"),
    (Key::AllowNet, "allow_net", "Which servers may be spoken to"),
];

impl Key {
    pub(crate) fn name(&self) -> String {
        match self {
            Key::Mirror(host) => format!("{MIRROR}{host}"),
            other => KEYS.iter().find(|(key, ..)| key == other).map_or("", |(_, name, _)| name).to_owned(),
        }
    }
}

/// Reads a key.
#[derive(Clone)]
pub(crate) struct KeyParser;

impl TypedValueParser for KeyParser {
    type Value = Key;

    fn parse_ref(&self, command: &clap::Command, arg: Option<&clap::Arg>, value: &OsStr) -> Result<Key, Error> {
        match value.to_str().and_then(|text| text.strip_prefix(MIRROR)).filter(|host| !host.is_empty()) {
            Some(host) => Ok(Key::Mirror(host.to_owned())),
            None => {
                let names = self.possible_values().into_iter().flatten();
                let name = PossibleValuesParser::new(names).parse_ref(command, arg, value)?;
                let known = KEYS.into_iter().find(|(_, known, _)| *known == name).map(|(key, ..)| key);
                known.ok_or_else(|| Error::new(ErrorKind::InvalidValue))
            }
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let keys = KEYS.iter().map(|(_, name, meaning)| PossibleValue::new(*name).help(*meaning));
        Some(Box::new(keys.chain([PossibleValue::new("mirror.HOST").help("Servers that have what HOST has")])))
    }
}
