//! Ranges of a file: the request header, the range of a response, and the validator that identifies a version.

use std::ops::Range;

/// A value that an origin changes with every change of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Validator {
    /// A strong entity tag, with its quotation marks.
    Etag(String),
    /// The time of the last change as the server writes it. Some servers provide only this and the size.
    LastModified(String),
}

impl Validator {
    /// The best validator of a response. A weak tag is none.
    #[must_use]
    pub fn of(etag: Option<&str>, last_modified: Option<&str>) -> Option<Self> {
        let strong = etag.filter(|tag| tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"'));
        match (strong, last_modified) {
            (Some(tag), _) => Some(Validator::Etag(tag.to_owned())),
            (None, Some(date)) => Some(Validator::LastModified(date.to_owned())),
            (None, None) => None,
        }
    }

    /// The text for `If-Range`, and for comparing two validators.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Validator::Etag(text) | Validator::LastModified(text) => text,
        }
    }
}

/// `Range: bytes=…` for a range that is not empty.
pub(super) fn range_header(range: &Range<u64>) -> String {
    format!("bytes={}-{}", range.start, range.end.saturating_sub(1))
}

/// A parsed `Content-Range`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContentRange {
    /// `None`: the requested range lies outside the file.
    pub range: Option<Range<u64>>,
    /// The size of the whole file, if known.
    pub size_bytes: Option<u64>,
}

impl ContentRange {
    /// Parses `bytes 0-99/1000`, `bytes 0-99/*` or `bytes */1000`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (range, size) = text.trim().strip_prefix("bytes ")?.trim_start().split_once('/')?;
        let size_bytes = if size == "*" { None } else { Some(number(size)?) };
        if range == "*" {
            return size_bytes.map(|size| ContentRange { range: None, size_bytes: Some(size) });
        }
        let (first, last) = range.split_once('-')?;
        let range = number(first)?..number(last)?.checked_add(1)?;
        let is_inside = range.start < range.end && size_bytes.is_none_or(|size| range.end <= size);
        is_inside.then_some(ContentRange { range: Some(range), size_bytes })
    }
}

/// Accepts only digits; `parse` alone would also accept a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("bytes 0-99/1000", Some(0..100), Some(1000))]
    #[case("bytes 999-999/1000", Some(999..1000), Some(1000))]
    #[case(" bytes  0-0/1 ", Some(0..1), Some(1))]
    #[case("bytes 0-99/*", Some(0..100), None)]
    #[case("bytes */1000", None, Some(1000))]
    #[case("bytes */0", None, Some(0))]
    fn a_content_range(#[case] text: &str, #[case] range: Option<Range<u64>>, #[case] size_bytes: Option<u64>) {
        assert_eq!(ContentRange::parse(text), Some(ContentRange { range, size_bytes }));
    }

    #[rstest]
    #[case::empty("")]
    #[case::no_unit("0-99/1000")]
    #[case::other_unit("items 0-99/1000")]
    #[case::no_size("bytes 0-99")]
    #[case::nothing_known("bytes */*")]
    #[case::backwards("bytes 99-0/1000")]
    #[case::past_the_end("bytes 0-1000/1000")]
    #[case::signed("bytes +0-99/1000")]
    #[case::no_first("bytes -99/1000")]
    #[case::no_last("bytes 0-/1000")]
    #[case::too_large("bytes 0-18446744073709551615/*")]
    #[case::larger("bytes 0-99999999999999999999/*")]
    #[case::two("bytes 0-1,3-4/1000")]
    #[case::after("bytes 0-99/1000 x")]
    fn no_content_range(#[case] text: &str) {
        assert_eq!(ContentRange::parse(text), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_no_text_panics(a: u64, b: u64, c: u64, text in "bytes [-0-9*/ ]{0,24}|.{0,40}") {
            let _ = ContentRange::parse(&text);
            let mut at = [a, b, c].map(|n| n.min(u64::MAX - 1));
            at.sort_unstable();
            let [start, last, size] = at;
            let read = ContentRange::parse(&format!("bytes {start}-{last}/{size}"));
            let expected = ContentRange { range: Some(start..last + 1), size_bytes: Some(size) };
            prop_assert_eq!(read, (last < size).then_some(expected));
        }
    }

    #[rstest]
    #[case(Some("\"a\""), Some("d"), Some(Validator::Etag("\"a\"".into())))]
    #[case(Some("W/\"a\""), Some("d"), Some(Validator::LastModified("d".into())))]
    #[case(Some("a"), None, None)]
    #[case(Some("\""), None, None)]
    #[case(None, None, None)]
    fn a_weak_tag_validates_nothing(
        #[case] etag: Option<&str>,
        #[case] date: Option<&str>,
        #[case] validator: Option<Validator>,
    ) {
        assert_eq!(Validator::of(etag, date), validator);
    }
}
