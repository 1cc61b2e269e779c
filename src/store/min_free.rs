//! How much of a file system has to stay free.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
