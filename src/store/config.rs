//! Settings in `store.json` for everyone who uses the root, such as how much it may hold.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Exclusive, MinFree, Store};
use crate::error::{Error, Result};
use crate::fs::space::space;
use crate::layout;

/// The store's own settings. Staging keeps within the limits by evicting the least recently used entries, if it may
/// evict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Config {
    /// The maximum that the store's blobs may occupy, in bytes on disk.
    pub max_bytes: Option<u64>,
    /// How much must stay free on the file system. There is no limit if the file system does not report its free space.
    pub min_free: Option<MinFree>,
    /// The root is meant to be read-only: baked into an image, or mounted read-only. While its file system is
    /// read-only, content is handed out if its size is right, even if it was copied since its last full check, because
    /// no stamp can be written. `verify` reads it all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
    /// Rules of the network policy for everyone who fetches into the root: see `Policy::allow`. The command applies
    /// them; the library does not apply them by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_net: Vec<String>,
    /// For each host, the URLs of servers that have the same content: see `Sources::with_mirrors`. The command applies
    /// them; the library does not apply them by itself.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mirrors: BTreeMap<String, Vec<String>>,
}

impl Config {
    /// Sets [`max_bytes`](Config::max_bytes).
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: impl Into<Option<u64>>) -> Self {
        self.max_bytes = max_bytes.into();
        self
    }

    /// Sets [`min_free`](Config::min_free).
    #[must_use]
    pub fn with_min_free(mut self, min_free: impl Into<Option<MinFree>>) -> Self {
        self.min_free = min_free.into();
        self
    }

    /// Sets [`sealed`](Config::sealed).
    #[must_use]
    pub fn with_sealed(mut self, sealed: bool) -> Self {
        self.sealed = sealed;
        self
    }
}

/// The member of `store.json` that contains the settings.
const QUOTA: &str = "quota";

impl Store {
    /// The current settings. It reads `store.json` each time, because another process may have changed them.
    pub(crate) fn config(&self) -> Result<Config> {
        match self.read_store_json()?.remove(QUOTA) {
            None | Some(Value::Null) => Ok(Config::default()),
            Some(quota) => serde_json::from_value(quota).map_err(|e| self.store_json_error(&e)),
        }
    }

    /// Changes settings durably and returns all of them. Two processes that change different settings at the same time
    /// do not undo each other.
    pub(crate) fn change_config(&self, change: impl FnOnce(&mut Config)) -> Result<Config> {
        let store_lock = Exclusive::lock(self)?;
        let before = self.config()?;
        let mut config = before.clone();
        change(&mut config);
        self.check_limits(&before, &config)?;
        let mut members = self.read_store_json()?;
        let mut quota = match members.remove(QUOTA) {
            Some(Value::Object(quota)) => quota, // with members of a later version
            _ => Map::new(),
        };
        let new = serde_json::to_value(&config).map_err(|e| self.store_json_error(&e))?;
        for absent in ["sealed", "allow_net", "mirrors"] {
            quota.remove(absent); // unset members are not written
        }
        quota.extend(new.as_object().cloned().unwrap_or_default());
        members.insert(QUOTA.to_owned(), Value::Object(quota));
        self.replace_store_json(&store_lock, &members)?;
        Ok(config)
    }

    pub(super) fn replace_store_json(&self, store_lock: &Exclusive<'_>, members: &Map<String, Value>) -> Result<()> {
        let mut text = serde_json::to_vec(members).map_err(|e| self.store_json_error(&e))?;
        text.push(b'\n');
        if text.len() as u64 > layout::MAX_STORE_JSON_BYTES {
            // No reader would accept it.
            let name = Path::new(layout::STORE_JSON);
            return Err(self.root.fail("write", name, std::io::ErrorKind::FileTooLarge.into()));
        }
        store_lock.replace_store_file(&text)
    }

    /// Refuses new limits under which nothing could stay; elsewhere, 0 often means no limit. A limit that an older
    /// version accepted, or that is too large since the disk became smaller, does not prevent changes of other
    /// settings.
    fn check_limits(&self, before: &Config, config: &Config) -> Result<()> {
        let total_bytes = space(&self.root).map_or(u64::MAX, |space| space.total_bytes);
        let takes_all = |min_free: &MinFree| min_free.bytes_of(total_bytes) >= total_bytes;
        let max_bytes = config.max_bytes.filter(|_| config.max_bytes != before.max_bytes);
        let min_free = config.min_free.filter(|_| config.min_free != before.min_free);
        let refused = match (max_bytes, min_free.filter(takes_all)) {
            (Some(0), _) => Some(("max_bytes", "0".to_owned())),
            (_, Some(min_free)) => Some(("min_free", min_free.to_string())),
            _ => None,
        };
        match refused {
            Some((name, value)) => Err(Error::InvalidLimit { root: self.path().to_path_buf(), name, value }),
            None => Ok(()),
        }
    }

    /// Whether the root is marked as sealed and its file system is read-only.
    pub(crate) fn is_sealed(&self) -> Result<bool> {
        Ok(self.root.is_read_only() && self.config()?.sealed)
    }

    pub(super) fn read_store_json(&self) -> Result<Map<String, Value>> {
        let text = self.root.read(Path::new(layout::STORE_JSON), layout::MAX_STORE_JSON_BYTES)?.unwrap_or_default();
        serde_json::from_slice(&text).map_err(|e| self.store_json_error(&e))
    }

    pub(super) fn store_json_error(&self, error: &serde_json::Error) -> Error {
        let path = self.root.absolute(Path::new(layout::STORE_JSON));
        Error::CorruptIndex { path, reason: format!("it is not a store description: {error}") }
    }
}
