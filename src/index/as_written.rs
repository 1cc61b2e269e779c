//! Reads a record that is written exactly as this version writes one, several times faster than any JSON is read.
//!
//! Nearly all records are: their members are sorted, and only those are there that say something of the content and its
//! times. A record that is written in any other way is not read here, but as JSON.

use std::str::FromStr;

use super::record::StoredRecord;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Provenance, Stamp};

/// The record; `None` if its text is not as this version writes it, or says what only a few records say.
pub(super) fn parse(text: &str) -> Option<StoredRecord> {
    let mut text = Rest(text);
    text.skip(r#"{"created_ms":"#)?;
    let mut record = StoredRecord::new(text.number()?, String::new(), ArtifactKind::File);
    record.damaged_ms = text.member(r#","damaged_ms":"#, Rest::number)?;
    record.digest = text.member(r#","digest":"#, Rest::parsed::<Digest>)?;
    text.skip(r#","files":"#)?;
    record.files = text.number()?;
    text.skip(r#","kind":"#)?;
    record.kind = text.parsed()?;
    record.last_used_ms = text.member(r#","last_used_ms":"#, Rest::number)?;
    record.last_verified_ms = text.member(r#","last_verified_ms":"#, Rest::number)?;
    text.skip(r#","lifecycle":"#)?;
    record.lifecycle = text.parsed()?;
    text.skip(r#","path":"#)?;
    text.string()?.clone_into(&mut record.path);
    record.retired_ms = text.member(r#","retired_ms":"#, Rest::number)?;
    text.skip(r#","size_bytes":"#)?;
    record.size_bytes = text.number()?;
    record.source = text.member(r#","source":"#, source)?;
    text.skip(r#","trust":"#)?;
    record.trust = text.parsed()?;
    text.skip(r#","updated_ms":"#)?;
    record.updated_ms = text.number()?;
    record.view = text.member(r#","view":"#, Rest::parsed)?;
    record.view_fingerprint = text.member(r#","view_fingerprint":"#, Rest::owned)?;
    (text.0 == "}").then_some(record)
}

fn source(text: &mut Rest<'_>) -> Option<Provenance> {
    text.skip(r#"{"changed_ns":"#)?;
    let changed_ns = text.maybe(Rest::number)?.map(i128::from);
    text.skip(r#","fingerprint":"#)?;
    let fingerprint = text.maybe(Rest::owned)?;
    text.skip(r#","pinned":"#)?;
    let pinned = text.maybe(Rest::owned)?;
    text.skip(r#","reference":"#)?;
    let reference = text.owned()?;
    text.skip(r#","stamp":"#)?;
    let stamp = text.maybe(stamp)?;
    text.skip(r#","validator":"#)?;
    let validator = text.maybe(Rest::owned)?;
    text.skip("}")?;
    Some(Provenance { changed_ns, fingerprint, pinned, stamp, validator, ..Provenance::new(reference) })
}

fn stamp(text: &mut Rest<'_>) -> Option<Stamp> {
    text.skip(r#"{"inode":"#)?;
    let inode = text.number()?;
    text.skip(r#","mtime_ns":"#)?;
    let mtime_ns = text.number()?.into();
    text.skip(r#","size_bytes":"#)?;
    let size_bytes = text.number()?;
    text.skip("}")?;
    Some(Stamp { inode, mtime_ns, size_bytes })
}

/// What has not been read yet.
struct Rest<'t>(&'t str);

impl<'t> Rest<'t> {
    fn skip(&mut self, expected: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    /// What `read` reads after this name; nothing if another member is next.
    fn member<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.skip(name) {
            Some(()) => read(self).map(Some),
            None => Some(None),
        }
    }

    /// `null`, or what `read` reads.
    fn maybe<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.skip("null") {
            Some(()) => Some(None),
            None => read(self).map(Some),
        }
    }

    /// A number of at most 19 digits, which fits.
    fn number(&mut self) -> Option<u64> {
        let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.0.split_at_checked(digits)?;
        if !(1..=19).contains(&digits) || (digits > 1 && number.starts_with('0')) {
            return None;
        }
        self.0 = rest;
        Some(number.bytes().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
    }

    /// A string in which nothing is escaped.
    fn string(&mut self) -> Option<&'t str> {
        let text = self.0.strip_prefix('"')?;
        let end = text.bytes().position(|byte| byte == b'"' || byte == b'\\' || byte.is_ascii_control())?;
        let (string, rest) = text.split_at_checked(end)?;
        self.0 = rest.strip_prefix('"')?;
        Some(string)
    }

    fn owned(&mut self) -> Option<String> {
        self.string().map(str::to_owned)
    }

    fn parsed<T: FromStr>(&mut self) -> Option<T> {
        self.string()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{LifecycleState, LinkMode, Pin, TrustState};
    use crate::index::testing;

    fn staged() -> StoredRecord {
        let stamp = Some(Stamp { inode: 7, mtime_ns: 1_795_376_094_129_732_084, size_bytes: 12 });
        let source = Provenance { changed_ns: Some(9), stamp, ..Provenance::new("file:/é m") };
        StoredRecord {
            digest: Some(Digest::sha256_of(b"a")),
            files: 1,
            kind: ArtifactKind::File,
            last_used_ms: Some(3),
            last_verified_ms: Some(0),
            lifecycle: LifecycleState::Retired,
            retired_ms: Some(8),
            size_bytes: 12,
            source: Some(source),
            trust: TrustState::Verified,
            view: Some(LinkMode::Hardlink),
            ..testing::record("views/m/a/m")
        }
    }

    fn text_of(record: &StoredRecord) -> String {
        record.render(None).unwrap().get().to_owned()
    }

    // Red when a member is added and not read here: all records would then be read the slow way.
    #[test]
    fn what_this_version_writes_is_read_here_and_as_json_alike() {
        let fetched = Provenance {
            fingerprint: Some("f".into()),
            pinned: Some("p".into()),
            validator: Some("v".into()),
            ..Provenance::new("hf:o/r")
        };
        for record in [
            testing::record("m"),
            staged(),
            StoredRecord { source: Some(fetched), view_fingerprint: Some("blake3:0".into()), ..staged() },
            StoredRecord { kind: ArtifactKind::Tree, view: Some(LinkMode::Copy), damaged_ms: Some(1), ..staged() },
        ] {
            let text = text_of(&record);
            assert_eq!(parse(&text).as_ref(), Some(&record), "{text}");
            assert_eq!(serde_json::from_str::<StoredRecord>(&text).unwrap(), record);
        }
    }

    #[test]
    fn what_few_records_say_is_read_as_json() {
        let pins = [("p".to_owned(), Pin { created_ms: 1, expiry_ms: None })].into();
        let before_1970 = Stamp { inode: 7, mtime_ns: -1, size_bytes: 12 };
        let from = |source| StoredRecord { source: Some(source), ..staged() };
        for record in [
            StoredRecord { pins, ..staged() },
            StoredRecord { path: "a\"b".into(), ..staged() },
            StoredRecord { created_ms: u64::MAX, ..staged() },
            from(Provenance { named_by: Some("n".into()), ..Provenance::new("r") }),
            from(Provenance { stamp: Some(before_1970), ..Provenance::new("r") }),
        ] {
            let text = text_of(&record);
            assert_eq!(parse(&text), None, "{text}");
            assert_eq!(StoredRecord::parse(&text).unwrap(), record);
        }
    }

    // Red when anything is accepted here that is no JSON, or is read as something else.
    #[test]
    fn nothing_else_is_read_otherwise_than_as_json() {
        let text = text_of(&staged());
        let check = |text: &str| {
            if let Some(record) = parse(text) {
                assert_eq!(serde_json::from_str::<StoredRecord>(text).ok(), Some(record), "{text}");
            }
        };
        for at in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
            check(&text[..at]);
            for new in ["", "0", "-", ".", "e1", "\"", "\\", "}", ",", " ", "\n", "a", "é", "null"] {
                check(&format!("{}{new}{}", &text[..at], &text[at..]));
                let next = text[at..].chars().next().unwrap().len_utf8();
                check(&format!("{}{new}{}", &text[..at], &text[at + next..]));
            }
        }
    }
}
