//! How much of a file system must stay free.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::excerpt::excerpt;

/// How much of a file system must stay free. Written as bytes or as a percentage of its size: `50000000000`, `10%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MinFree(Amount);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Amount {
    Bytes(u64),
    /// 0 to 100.
    Percent(u8),
}

impl MinFree {
    /// This many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        MinFree(Amount::Bytes(bytes))
    }

    /// This percentage of its size; `None` if it is more than 100.
    #[must_use]
    pub const fn percent(percent: u8) -> Option<Self> {
        if percent <= 100 { Some(MinFree(Amount::Percent(percent))) } else { None }
    }

    /// The bytes; `None` for a percentage.
    #[must_use]
    pub const fn as_bytes(self) -> Option<u64> {
        match self.0 {
            Amount::Bytes(bytes) => Some(bytes),
            Amount::Percent(_) => None,
        }
    }

    /// The amount in bytes on a file system of `total_bytes`.
    #[must_use]
    pub fn bytes_of(self, total_bytes: u64) -> u64 {
        match self.0 {
            Amount::Bytes(bytes) => bytes,
            // In 128 bits, because a size times a hundred may not fit in 64.
            Amount::Percent(percent) => {
                u64::try_from(u128::from(total_bytes) * u128::from(percent) / 100).unwrap_or(u64::MAX)
            }
        }
    }
}

impl fmt::Display for MinFree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Amount::Bytes(bytes) => write!(f, "{bytes}"),
            Amount::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// The error for text that is neither bytes nor a percentage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is neither bytes nor a percentage; write 50000000000, or a whole number from 0% to 100%")]
pub struct InvalidMinFree {
    text: String,
}

impl FromStr for MinFree {
    type Err = InvalidMinFree;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().and_then(MinFree::percent),
            None => text.parse().ok().map(MinFree::bytes),
        };
        parsed.ok_or_else(|| InvalidMinFree { text: excerpt(text) })
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
        assert_eq!("10%".parse().ok(), MinFree::percent(10));
        assert_eq!("10".parse(), Ok(MinFree::bytes(10)));
        assert_eq!(MinFree::percent(101), None);
        for bad in ["", "%", "101%", "-1%", "1.5%", "10 %", "ten"] {
            assert!(bad.parse::<MinFree>().unwrap_err().to_string().contains(bad), "{bad}");
        }
        assert_eq!(MinFree::percent(10).unwrap().bytes_of(u64::MAX), u64::MAX / 10);
        for text in ["10%", "10"] {
            assert_eq!(text.parse::<MinFree>().unwrap().to_string(), text);
        }
    }
}
