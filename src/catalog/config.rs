//! What is kept in `store.json` for everybody who uses the root: how much it may hold.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::FsCatalog;
use crate::error::{Error, Result};
use crate::fs::{Durability, atomic};
use crate::gc::MinFree;
use crate::layout;

/// The store's own limits. Later versions may add fields: build it with `..Config::default()`. Staging keeps within them, by evicting what is least recently used where it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The most that the store's blobs may occupy, in bytes on disk.
    pub max_bytes: Option<u64>,
    /// What has to stay free on the file system.
    pub min_free: Option<MinFree>,
}

/// The member of `store.json` that holds it.
const QUOTA: &str = "quota";

impl FsCatalog {
    /// The limits that hold now. Reads `store.json` each time: another process may have changed them.
    pub fn config(&self) -> Result<Config> {
        match self.read_store_json()?.remove(QUOTA) {
            None | Some(Value::Null) => Ok(Config::default()),
            Some(quota) => serde_json::from_value(quota).map_err(|e| self.store_json_error(&e)),
        }
    }

    /// Sets the limits, durably. Nothing is evicted by this; the next staging or collection does that.
    pub fn set_config(&self, config: &Config) -> Result<()> {
        self.change_config(|limits| *limits = *config).map(drop)
    }

    /// Changes some of the limits, durably, and answers all. Of two processes that change different ones at the same time,
    /// neither undoes the other.
    pub fn change_config(&self, change: impl FnOnce(&mut Config)) -> Result<Config> {
        let _store = self.lock_for_sweep()?;
        let mut config = self.config()?;
        change(&mut config);
        let mut store = self.read_store_json()?;
        let mut quota = match store.remove(QUOTA) {
            Some(Value::Object(quota)) => quota, // with what a later version keeps there
            _ => Map::new(),
        };
        let new = serde_json::to_value(config).map_err(|e| self.store_json_error(&e))?;
        quota.extend(new.as_object().cloned().unwrap_or_default());
        store.insert(QUOTA.to_owned(), Value::Object(quota));
        let mut text = serde_json::to_vec(&store).map_err(|e| self.store_json_error(&e))?;
        text.push(b'\n');
        atomic::replace(&self.root, Path::new(layout::STORE_JSON), &text, Durability::Full)?;
        Ok(config)
    }

    fn read_store_json(&self) -> Result<Map<String, Value>> {
        let text = self.root.read(Path::new(layout::STORE_JSON))?.unwrap_or_default();
        serde_json::from_slice(&text).map_err(|e| self.store_json_error(&e))
    }

    fn store_json_error(&self, error: &serde_json::Error) -> Error {
        let path = self.root.absolute(Path::new(layout::STORE_JSON));
        Error::CorruptIndex { path, reason: format!("it is not a store description: {error}") }
    }
}
