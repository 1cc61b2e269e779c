//! Sizes, digests and times as people read them.

use bytesize::ByteSize;
use catalog_core::Digest;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Less than a second ago, or, if no more is known, less than a minute.
const JUST_NOW: &str = "just now";

/// The size in the decimal units in which models and disks are sold.
pub(crate) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().si().to_string()
}

/// All of them together. What a record says may be near the largest number.
pub(crate) fn sum_bytes(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

/// The size, and the number itself.
pub(crate) fn exact_size(bytes: u64) -> String {
    format!("{} ({bytes} bytes)", size(bytes))
}

/// How many of something there are.
pub(crate) fn count(number: impl TryInto<u64>, what: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The size, and how many files when it is not just one.
pub(crate) fn size_of_files(bytes: u64, files: u64) -> String {
    if files == 1 { size(bytes) } else { format!("{} in {files} files", size(bytes)) }
}

/// The first digits of a digest: enough to tell it from the others on this host.
pub(crate) fn short_digest(digest: &Digest) -> String {
    digest.to_string().chars().take("sha256:".len() + 12).collect()
}

/// The local time, and how long ago that is.
pub(crate) fn moment(epoch_ms: u64) -> String {
    match timestamp(epoch_ms) {
        Some(time) => {
            let local = time.to_zoned(time_zone());
            format!("{} ({})", local.strftime("%Y-%m-%d %H:%M:%S %:z"), distance(time, Timestamp::now()))
        }
        None => "after the year 9999".to_owned(),
    }
}

/// The rules of the host's time zone. The file alone has them; [`TimeZone::system`] also finds out their name, for which it
/// lists the database of all zones.
fn time_zone() -> TimeZone {
    let is_asked_for = std::env::var_os("TZ").is_some();
    let rules = if is_asked_for { None } else { std::fs::read("/etc/localtime").ok() };
    let zone = rules.and_then(|rules| TimeZone::tzif("", &rules).ok());
    zone.unwrap_or_else(TimeZone::system)
}

/// The time in UTC, for a program.
pub(crate) fn utc(epoch_ms: u64) -> String {
    timestamp(epoch_ms).map_or_else(|| "-".to_owned(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// The time in UTC to the minute, for a column of a table that says so.
pub(crate) fn utc_minute(epoch_ms: u64) -> String {
    timestamp(epoch_ms).map_or_else(|| "-".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M").to_string())
}

/// Now, in milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// How long ago something was used. A use within an hour of the one that is recorded is not recorded.
pub(crate) fn last_used(epoch_ms: u64, now: Timestamp) -> String {
    let Some(time) = timestamp(epoch_ms) else { return "?".to_owned() };
    match now.duration_since(time).as_secs() {
        0..60 => JUST_NOW.to_owned(),
        60..3600 => "<1 h ago".to_owned(),
        _ => distance(time, now),
    }
}

/// How long ago something was.
pub(crate) fn ago(epoch_ms: u64) -> String {
    timestamp(epoch_ms).map_or_else(|| "?".to_owned(), |time| distance(time, Timestamp::now()))
}

fn timestamp(epoch_ms: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(epoch_ms).ok()?).ok()
}

fn distance(time: Timestamp, now: Timestamp) -> String {
    const UNITS: [(i64, i64, &str); 4] = [(24 * 3600, 48 * 3600, "d"), (3600, 3600, "h"), (60, 60, "min"), (1, 0, "s")];
    let distance = now.duration_since(time);
    let is_ahead = distance < SignedDuration::ZERO;
    // What ends in two hours, as of a moment ago, ends in two hours and not in one.
    let rounded = |unit: i64| distance.abs().as_secs() + if is_ahead { (unit / 2).min(60) } else { 0 };
    let amount = UNITS.iter().find(|(unit, least, _)| rounded(*unit) >= *least);
    let amount = amount.map_or_else(String::new, |(unit, _, name)| format!("{} {name}", rounded(*unit) / unit));
    if distance.abs().as_secs() == 0 {
        return JUST_NOW.to_owned();
    }
    if is_ahead { format!("in {amount}") } else { format!("{amount} ago") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_in_the_unit_that_a_person_would_take() {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        for (seconds_ago, shown) in [
            (0, "just now"),
            (3, "3 s ago"),
            (3599, "59 min ago"),
            (3600, "1 h ago"),
            (47 * 3600, "47 h ago"),
            (48 * 3600, "2 d ago"),
            (400 * 86400, "400 d ago"),
            (-60, "in 1 min"),
            (-1800, "in 30 min"),
            (-7199, "in 2 h"),
            (-30 * 86400 + 1, "in 30 d"),
            (-72 * 3600, "in 3 d"),
        ] {
            assert_eq!(distance(now - SignedDuration::from_secs(seconds_ago), now), shown);
        }
    }

    #[test]
    fn times_that_no_calendar_has_are_shown_all_the_same() {
        assert_eq!(moment(u64::MAX), "after the year 9999");
        assert_eq!(ago(u64::MAX), "?");
    }

    #[test]
    fn sizes_are_decimal() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(122_688), "122.7 kB");
        assert_eq!(size_of_files(4_920_000_000, 3), "4.9 GB in 3 files");
    }
}
