//! What is kept in `store.json` for everybody who uses the root: how much it may hold.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Exclusive, MinFree, Store};
use crate::error::{Error, Result};
use crate::fs::space::space;
use crate::layout;

/// The store's own limits. Staging keeps within them, by evicting what is least recently used where it may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Config {
    /// The most that the store's blobs may occupy, in bytes on disk.
    pub max_bytes: Option<u64>,
    /// What has to stay free on the file system. No limit where the file system does not tell its room.
    pub min_free: Option<MinFree>,
    /// The root will be read only: baked into an image, or mounted so. While its file system cannot be written to, content is
    /// given out when it has its size at its place, though it was copied since its last full check and no stamp can be
    /// written. A `verify` reads it all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
    /// Rules of the network policy for all who fetch into the root: see `Policy::allow`. The library does not go by them by
    /// itself; the command does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_net: Vec<String>,
    /// By host, the URLs of servers that have what it has: see `Sources::with_mirrors`. The library does not go by them by itself;
    /// the command does.
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

/// The member of `store.json` that holds it.
const QUOTA: &str = "quota";

impl Store {
    /// The limits that hold now. Reads `store.json` each time: another process may have changed them.
    pub(crate) fn config(&self) -> Result<Config> {
        match self.read_store_json()?.remove(QUOTA) {
            None | Some(Value::Null) => Ok(Config::default()),
            Some(quota) => serde_json::from_value(quota).map_err(|e| self.store_json_error(&e)),
        }
    }

    /// Changes some of the limits, durably, and returns all. Two processes that change different ones at the same time do
    /// not undo each other.
    pub(crate) fn change_config(&self, change: impl FnOnce(&mut Config)) -> Result<Config> {
        let store_lock = Exclusive::lock(self)?;
        let before = self.config()?;
        let mut config = before.clone();
        change(&mut config);
        self.check_limits(&before, &config)?;
        let mut members = self.read_store_json()?;
        let mut quota = match members.remove(QUOTA) {
            Some(Value::Object(quota)) => quota, // with what a later version keeps there
            _ => Map::new(),
        };
        let new = serde_json::to_value(&config).map_err(|e| self.store_json_error(&e))?;
        for absent in ["sealed", "allow_net", "mirrors"] {
            quota.remove(absent); // what is not set is not written
        }
        quota.extend(new.as_object().cloned().unwrap_or_default());
        members.insert(QUOTA.to_owned(), Value::Object(quota));
        let mut text = serde_json::to_vec(&members).map_err(|e| self.store_json_error(&e))?;
        text.push(b'\n');
        store_lock.replace_store_file(&text)?;
        Ok(config)
    }

    /// Refuses new limits under which nothing could stay: elsewhere, 0 is no limit. One that an older version has taken, or
    /// that a smaller disk has made too large, does not keep anybody from changing another.
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

    /// Whether the root says that it is sealed, and cannot be written to.
    pub(crate) fn is_sealed(&self) -> Result<bool> {
        Ok(self.root.is_read_only() && self.config()?.sealed)
    }

    fn read_store_json(&self) -> Result<Map<String, Value>> {
        let text = self.root.read(Path::new(layout::STORE_JSON), layout::MAX_STORE_JSON_BYTES)?.unwrap_or_default();
        serde_json::from_slice(&text).map_err(|e| self.store_json_error(&e))
    }

    fn store_json_error(&self, error: &serde_json::Error) -> Error {
        let path = self.root.absolute(Path::new(layout::STORE_JSON));
        Error::CorruptIndex { path, reason: format!("it is not a store description: {error}") }
    }
}
