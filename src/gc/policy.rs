//! What garbage collection may take, and how much room it has to make.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What [`plan_gc`](crate::FsCatalog::plan_gc) goes by. The default takes no entry at all: only leftovers and blobs
/// that nothing references. Later versions may add fields: build it with `..GcPolicy::default()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcPolicy {
    /// The most that the store's blobs may occupy, in bytes on disk; entries are evicted, least recently used first,
    /// until they do.
    pub max_bytes: Option<u64>,
    /// What has to stay free on the file system; entries are evicted in the same order until it is.
    pub min_free: Option<MinFree>,
    /// Entries that were not used for this long are evicted, whether there is room or not.
    pub max_idle: Option<Duration>,
    /// Entries that were retired this long ago are evicted, whether there is room or not.
    pub retired_after: Option<Duration>,
    /// Entries that were staged or used within this time are not evicted for room; what is put into `trash/` stays
    /// there for this long unless the room is needed. One hour unless told otherwise.
    ///
    /// Use is recorded at most once an hour, so an entry counts as used until an hour after its recorded use. Zero
    /// protects nothing but what is leased or pinned.
    pub grace: Duration,
}

impl Default for GcPolicy {
    fn default() -> Self {
        GcPolicy {
            max_bytes: None,
            min_free: None,
            max_idle: None,
            retired_after: None,
            grace: Duration::from_secs(3600),
        }
    }
}

/// How much of a file system has to stay free. Written as bytes, or as a percentage of its size: `50000000000`, `10%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinFree {
    /// This many bytes.
    Bytes(u64),
    /// This many hundredths of its size, 0 to 100.
    Percent(u8),
}

impl MinFree {
    /// In bytes, on a file system of this size.
    #[must_use]
    pub fn bytes_of(self, total_bytes: u64) -> u64 {
        match self {
            MinFree::Bytes(bytes) => bytes,
            // In 128 bits: a size times a hundred may not fit 64.
            MinFree::Percent(percent) => {
                u64::try_from(u128::from(total_bytes) * u128::from(percent) / 100).unwrap_or(u64::MAX)
            }
        }
    }
}

impl fmt::Display for MinFree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MinFree::Bytes(bytes) => write!(f, "{bytes}"),
            MinFree::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for MinFree {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_suffix('%') {
            Some(percent) => match percent.parse() {
                Ok(percent @ 0..=100) => Ok(MinFree::Percent(percent)),
                _ => Err("a percentage is a whole number from 0% to 100%"),
            },
            None => text.parse().map(MinFree::Bytes).map_err(|_| "write bytes, or a percentage such as 10%"),
        }
    }
}

impl Serialize for MinFree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MinFree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn min_free_is_bytes_or_a_percentage() {
        assert_eq!("10%".parse(), Ok(MinFree::Percent(10)));
        assert_eq!("10".parse(), Ok(MinFree::Bytes(10)));
        for bad in ["", "%", "101%", "-1%", "1.5%", "10 %", "ten"] {
            assert!(bad.parse::<MinFree>().is_err(), "{bad}");
        }
        assert_eq!(MinFree::Percent(10).bytes_of(u64::MAX), u64::MAX / 10);
        for text in ["10%", "10"] {
            assert_eq!(text.parse::<MinFree>().unwrap().to_string(), text);
        }
    }
}
