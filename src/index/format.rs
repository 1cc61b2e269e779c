//! The text of a shard: `{"format":1,"generation":N,"checksum":"blake3:…","log":{…},"entries":{…}}`.
//!
//! The text of every entry is kept unchanged, so that a rewrite changes only what it means to change. One entry per
//! line. The log comes before the entries, where earlier versions write a member that they do not know.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::log::Logged;
use crate::excerpt::excerpt;
use crate::layout::FORMAT;

const KNOWN: [&str; 5] = ["format", "generation", "checksum", "entries", "log"];

/// A shard as it is on disk. The default is a shard that was never written.
#[derive(Debug, Default)]
pub(crate) struct ShardText {
    pub(crate) generation: u64,
    pub(crate) entries: BTreeMap<String, Box<RawValue>>,
    pub(super) logged: Logged,
    /// Members from a later version.
    extra: BTreeMap<String, Box<RawValue>>,
}

/// Why a shard cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// A newer version wrote it in this format.
    Newer(u64),
    /// It is damaged; the text says how.
    Damaged(String),
}

/// The members of a shard's text, after its checksum was verified. Its entries are not parsed yet.
pub(super) struct Members<'t> {
    pub(super) generation: u64,
    entries: &'t RawValue,
    log: Option<&'t RawValue>,
    extra: BTreeMap<String, &'t RawValue>,
}

impl<'t> Members<'t> {
    pub(super) fn parse(text: &'t [u8]) -> Result<Self, Unusable> {
        let mut members: UniqueMap<&RawValue> =
            serde_json::from_slice(text).map_err(|e| damaged(format!("it is not a shard: {e}")))?;
        let [format, generation, checksum, entries, log] = KNOWN.map(|name| members.0.remove(name));
        let missing = |name| move || damaged(format!("it has no {name}"));
        let format: u64 = read(format.ok_or_else(missing("format"))?)?;
        if format != u64::from(FORMAT) {
            return Err(Unusable::Newer(format));
        }
        let generation = read(generation.ok_or_else(missing("generation"))?)?;
        let checksum: String = read(checksum.ok_or_else(missing("checksum"))?)?;
        let entries = entries.ok_or_else(missing("entries"))?;
        if checksum != checksum_of(entries.get()) {
            return Err(damaged("its checksum does not match its entries".into()));
        }
        Ok(Members { generation, entries, log, extra: members.0 })
    }

    /// What happened to its ids.
    pub(super) fn logged(&self) -> Logged {
        self.log.map(Logged::parse).unwrap_or_default()
    }

    /// The entries by id, each parsed as a `V`.
    pub(super) fn entries<V: Deserialize<'t>>(&self) -> Result<BTreeMap<String, V>, Unusable> {
        Ok(read::<UniqueMap<V>>(self.entries)?.0)
    }
}

impl ShardText {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Unusable> {
        let members = Members::parse(text)?;
        let owned = |(name, value): (String, &RawValue)| (name, value.to_owned());
        let entries = members.entries()?;
        let logged = members.logged();
        let extra = members.extra.into_iter().map(owned).collect();
        Ok(ShardText { generation: members.generation, entries, logged, extra })
    }

    pub(crate) fn render(&self) -> Vec<u8> {
        let mut entries = String::from("{");
        for (number, (id, record)) in self.entries.iter().enumerate() {
            entries.push_str(if number == 0 { "\n" } else { ",\n" });
            entries.push_str(&quoted(id));
            entries.push(':');
            entries.push_str(record.get());
        }
        entries.push_str("\n}");
        let checksum = checksum_of(&entries);
        let mut text = format!(r#"{{"format":{FORMAT},"generation":{},"checksum":"{checksum}""#, self.generation);
        for (name, value) in &self.extra {
            text.push_str(&format!(",{}:{}", quoted(name), value.get()));
        }
        if let Some(log) = self.logged.render() {
            text.push_str(&format!(",\"log\":{log}"));
        }
        text.push_str(&format!(",\"entries\":{entries}}}\n"));
        text.into_bytes()
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn checksum_of(entries: &str) -> String {
    format!("blake3:{}", blake3::hash(entries.as_bytes()).to_hex())
}

fn read<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Result<T, Unusable> {
    serde_json::from_str(value.get()).map_err(|e| damaged(format!("a member cannot be read: {e}")))
}

fn damaged(reason: String) -> Unusable {
    Unusable::Damaged(excerpt(&reason))
}

/// A JSON object in which a duplicate key is an error, because it is unknown which of the two is meant.
struct UniqueMap<V>(BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unique<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Unique<V> {
            type Value = UniqueMap<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((key, value)) = access.next_entry::<String, V>()? {
                    match map.entry(key) {
                        Entry::Vacant(place) => place.insert(value),
                        Entry::Occupied(taken) => {
                            return Err(A::Error::custom(format_args!("the key {:?} occurs twice", taken.key())));
                        }
                    };
                }
                Ok(UniqueMap(map))
            }
        }
        deserializer.deserialize_map(Unique(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.into()).unwrap()
    }

    fn sample() -> ShardText {
        let mut shard = ShardText { generation: 7, ..ShardText::default() };
        shard.entries.insert("a \"quoted\" id".into(), raw(r#"{"path":"x","later":{"deep":[1, 2]}}"#));
        shard.entries.insert("b".into(), raw("{}"));
        shard.extra.insert("later".into(), raw("[true]"));
        shard
    }

    #[test]
    fn what_is_written_is_read_again_to_the_letter() {
        for shard in [sample(), ShardText::default()] {
            let text = shard.render();
            assert_eq!(ShardText::parse(&text).unwrap().render(), text);
        }
        insta::assert_snapshot!(String::from_utf8(sample().render()).unwrap());
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_noticed() {
        let text = sample().render();
        for length in 0..text.len() - 1 {
            // without its last byte, the newline, it is still complete
            assert!(ShardText::parse(&text[..length]).is_err(), "cut to {length}");
        }
        for at in 0..text.len() - 1 {
            for bit in 0..8 {
                let mut flipped = text.clone();
                flipped[at] ^= 1 << bit;
                if let Ok(shard) = ShardText::parse(&flipped) {
                    // The checksum does not cover the generation, the log, members of later versions and white space.
                    assert_eq!(
                        shard.render().split(|b| *b == b'\n').skip(1).collect::<Vec<_>>(),
                        text.split(|b| *b == b'\n').skip(1).collect::<Vec<_>>(),
                        "byte {at} bit {bit}"
                    );
                }
            }
        }
    }

    #[test]
    fn damage_is_named_and_a_newer_format_is_told_apart() {
        let damage = |text: &str| match ShardText::parse(text.as_bytes()) {
            Err(Unusable::Damaged(reason)) => reason,
            other => panic!("{text:?} gave {other:?}"),
        };
        assert!(damage("").contains("EOF"));
        assert!(damage("null").contains("an object"));
        assert!(damage(r#"{"format":1,"format":1}"#).contains("twice"));
        assert!(damage(r#"{"format":"1"}"#).contains("cannot be read"));
        assert!(damage(&"[".repeat(1 << 20)).contains("not a shard"));
        assert!(damage(&format!(r#"{{"format":1,"deep":{}"#, "[".repeat(1 << 20))).contains("not a shard"));
        let text = String::from_utf8(sample().render()).unwrap();
        assert!(damage(&text.replace("\"b\":{}", "\"b\":[]")).contains("checksum"));
        assert!(damage(&(text.clone() + "x")).contains("trailing"));
        assert_eq!(ShardText::parse(b"{\"format\":2}").unwrap_err(), Unusable::Newer(2));
        // The same id twice, with a correct checksum.
        let entries = r#"{"a":{},"a":{}}"#;
        let twice =
            format!(r#"{{"format":1,"generation":1,"checksum":"{}","entries":{entries}}}"#, checksum_of(entries));
        assert!(damage(&twice).contains("twice"));
    }
}
