//! Sizes and times as they are typed.

use std::time::Duration;

use bytesize::ByteSize;
use catalog_core::{MinFree, Wait};

/// `200GB`, `200GiB`, or plain bytes.
pub(crate) fn size(text: &str) -> Result<u64, &'static str> {
    text.trim().parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| "write 200GB, 200GiB, or plain bytes")
}

/// A size, a second: `200MB/s`.
pub(crate) fn rate(text: &str) -> Result<u64, &'static str> {
    const HOW: &str = "write it with its unit, such as 200MB/s or 200MiB/s";
    let amount = text.trim().trim_end_matches("/s");
    // A bare number is refused: 200 would mean bytes a second, and a check would never end.
    let has_unit = amount.chars().any(char::is_alphabetic);
    match size(amount) {
        Ok(0) | Err(_) => Err(HOW),
        Ok(_) if !has_unit => Err(HOW),
        Ok(rate) => Ok(rate),
    }
}

/// A size, or a percentage of the file system.
pub(crate) fn min_free(text: &str) -> Result<MinFree, &'static str> {
    const HOW: &str = "write 10%, 50GB, 50GiB, or plain bytes";
    if text.trim().ends_with('%') {
        return text.trim().parse().map_err(|_| HOW);
    }
    size(text).map(MinFree::bytes).map_err(|_| HOW)
}

/// One whole number and its unit. A bare number is refused, because the next tool over takes it for minutes or days;
/// only zero needs no unit.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    const HOW: &str = "write a whole number and its unit: 90s, 15m, 2h, 30d or 1w";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or(HOW)?);
    let seconds_each: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        "w" => 7 * 24 * 60 * 60,
        _ => return Err(HOW),
    };
    let number: u64 = number.parse().map_err(|_| HOW)?;
    number.checked_mul(seconds_each).map(Duration::from_secs).ok_or("it is longer than there is time")
}

/// A duration in which something can happen.
pub(crate) fn lifetime(text: &str) -> Result<Duration, &'static str> {
    match duration(text)? {
        Duration::ZERO => Err("what lasts no time keeps nothing; write for example 2h"),
        lifetime => Ok(lifetime),
    }
}

/// How long a server may stay silent: at least a second, which any server may need, and at most a day.
pub(crate) fn patience(text: &str) -> Result<Duration, &'static str> {
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(24 * 60 * 60));
    duration(text).and_then(|time| match (least..=most).contains(&time) {
        true => Ok(time),
        false => Err("write a time from 1s to 1d"),
    })
}

/// How long to wait for another process.
pub(crate) fn wait(text: &str) -> Result<Wait, &'static str> {
    match text {
        "never" => Ok(Wait::Never),
        "forever" => Ok(Wait::Forever),
        limit => duration(limit).map(Wait::UpTo).map_err(|_| "write never, forever, or a time such as 90s, 15m or 2h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_or_binary_and_say_which() {
        for (text, bytes) in [
            ("0", 0),
            ("1500", 1500),
            ("200GB", 200_000_000_000),
            ("200 GB", 200_000_000_000),
            ("200GiB", 200 << 30),
            ("1.5TB", 1_500_000_000_000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "GB", "-1", "1e9", "10%", "lots", "200XB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn min_free_is_a_percentage_or_a_size() {
        assert_eq!(min_free("10%"), MinFree::percent(10).ok_or("no"));
        assert_eq!(min_free("50GB"), Ok(MinFree::bytes(50_000_000_000)));
        for bad in ["101%", "%", "", "-1%", "ten"] {
            assert!(min_free(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_duration_has_a_unit() {
        for (text, seconds) in
            [("90s", 90), ("15m", 900), ("2h", 7200), ("30d", 2_592_000), ("1w", 604_800), ("0s", 0), ("0", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "s", "90", "1.5h", "-1h", "1 h", "1h30m", "1M", "2y", "h2", "99999999999999999999s", "1µs"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(duration("18446744073709551615w").is_err());
        assert!(lifetime("0s").is_err() && lifetime("1s").is_ok());
        for (text, is_ok) in [("0", false), ("0s", false), ("1s", true), ("1d", true), ("86401s", false), ("2w", false)]
        {
            assert_eq!(patience(text).is_ok(), is_ok, "{text}");
        }
    }

    #[test]
    fn a_wait_is_a_word_or_a_duration() {
        assert_eq!(wait("never"), Ok(Wait::Never));
        assert_eq!(wait("forever"), Ok(Wait::Forever));
        assert_eq!(wait("2m"), Ok(Wait::UpTo(Duration::from_secs(120))));
        assert!(wait("60").is_err() && wait("").is_err());
    }
}
