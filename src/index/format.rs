//! The text of a shard: `{"format":1,"generation":N,"checksum":"blake3:…","lines":"blake3:…","log":{…},"entries":{…}}`.
//!
//! The text of every entry is kept unchanged, so that a rewrite changes only what it means to change. One entry per
//! line. The log comes before the entries, where earlier versions write a member that they do not know.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::str::Utf8Error;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::entries::{Entries, quoted};
use super::lines::Lines;
use super::log::Logged;
use crate::excerpt::excerpt;
use crate::layout::FORMAT;

/// The members besides the entries.
const KNOWN: [&str; 5] = ["format", "generation", "checksum", "lines", "log"];

/// A shard as it is on disk. The default is a shard that was never written.
#[derive(Debug, Default)]
pub(crate) struct ShardText {
    pub(crate) generation: u64,
    pub(crate) entries: Entries,
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
    entries: &'t str,
    /// Whether each entry is known to be a line: the member `lines` says so of entries with this checksum.
    are_lines: bool,
    log: Option<&'t RawValue>,
    extra: BTreeMap<String, &'t RawValue>,
}

impl<'t> Members<'t> {
    pub(super) fn parse(text: &'t str) -> Result<Self, Unusable> {
        if let Some(members) = Head::of(text).and_then(|head| Members::after(head, text)) {
            return Ok(members);
        }
        let mut members: UniqueMap<&RawValue> =
            serde_json::from_str(text).map_err(|e| damaged(format!("it is not a shard: {e}")))?;
        let entries = members.0.remove("entries");
        Members::of(members.0, entries.map(RawValue::get))
    }

    /// The members, if the text ends with the entries, as it does when this crate has written it. The entries are then
    /// what the checksum is over, so nobody has to look for their end. `None`: the text has to be read as a whole.
    fn after(head: Head<'t>, text: &'t str) -> Option<Self> {
        let entries = text.get(head.entries_from..)?.trim_end().strip_suffix('}')?;
        Members::of(head.members, Some(entries)).ok()
    }

    fn of(mut members: BTreeMap<String, &'t RawValue>, entries: Option<&'t str>) -> Result<Self, Unusable> {
        let [format, generation, checksum, lines, log] = KNOWN.map(|name| members.remove(name));
        let missing = |name| move || damaged(format!("it has no {name}"));
        let format: u64 = read(format.ok_or_else(missing("format"))?.get())?;
        if format != u64::from(FORMAT) {
            return Err(Unusable::Newer(format));
        }
        let generation = read(generation.ok_or_else(missing("generation"))?.get())?;
        let read_checksum = |text: &RawValue| read::<String>(text.get());
        let checksum = read_checksum(checksum.ok_or_else(missing("checksum"))?)?;
        let entries = entries.ok_or_else(missing("entries"))?;
        if checksum != checksum_of(entries) {
            return Err(damaged("its checksum does not match its entries".into()));
        }
        // An earlier version keeps the member when it writes other entries.
        let are_lines = lines.is_some_and(|of| read_checksum(of).is_ok_and(|of| of == checksum));
        Ok(Members { generation, entries, are_lines, log, extra: members })
    }

    /// What happened to its ids.
    pub(super) fn logged(&self) -> Logged {
        self.log.map(Logged::parse).unwrap_or_default()
    }

    /// Reads the entries, sorted by id: `read` gets the id and the text of each.
    pub(super) fn entries<T>(&self, read: &mut Read<'_, 't, T>) -> Result<Vec<T>, Unusable> {
        if let Some(all) = self.as_written(read) {
            return Ok(all);
        }
        let all = self.as_json(read)?;
        if self.are_lines && !all.is_empty() {
            // A look for one of them by its line would not find it.
            return Err(damaged("its entries are not the lines that it says they are".into()));
        }
        Ok(all)
    }

    /// Reads one entry.
    pub(super) fn entry<T>(
        &self,
        id: &str,
        read: &dyn Fn(&'t str) -> Result<T, Unusable>,
    ) -> Result<Option<T>, Unusable> {
        if self.are_lines
            && let Some(lines) = Lines::of(self.entries)
        {
            return lines.find(id).map(read).transpose();
        }
        let mut found = None;
        if self.as_written(&mut take_one(id, read, &mut found)).is_none() {
            found = None;
            self.as_json(&mut take_one(id, read, &mut found))?;
        }
        Ok(found)
    }

    /// Reads the entries by their lines. `None`: there is another layout or damage.
    fn as_written<T>(&self, read: &mut Read<'_, 't, T>) -> Option<Vec<T>> {
        Lines::of(self.entries)?
            .each()
            .map(|entry| entry.and_then(|(id, text)| read(Cow::Borrowed(id), text).ok()))
            .collect()
    }

    /// The entries as lines, where each of them is one.
    fn lines(&self) -> Option<Lines<'t>> {
        // The checksum is over all of them, but only what is JSON in each line is certain to be an entry.
        let is_json = |_: Cow<'_, str>, record: &str| read::<&RawValue>(record).map(drop);
        Lines::of(self.entries).filter(|_| self.are_lines || self.as_written(&mut { is_json }).is_some())
    }

    /// Reads the entries as JSON, which shows which of them is damaged, and how.
    fn as_json<T>(&self, read: &mut Read<'_, 't, T>) -> Result<Vec<T>, Unusable> {
        let entries = self::read::<UniqueMap<&RawValue>>(self.entries)?.0.into_iter();
        entries.map(|(id, text)| read(Cow::Owned(id), text.get())).collect()
    }
}

/// Reads an entry, given its id and its text.
type Read<'r, 't, T> = dyn FnMut(Cow<'t, str>, &'t str) -> Result<T, Unusable> + 'r;

fn take_one<'f, 't, T>(
    id: &'f str,
    read: &'f dyn Fn(&'t str) -> Result<T, Unusable>,
    found: &'f mut Option<T>,
) -> impl FnMut(Cow<'t, str>, &'t str) -> Result<(), Unusable> {
    move |other, text| {
        if *other == *id {
            *found = Some(read(text)?);
        }
        Ok(())
    }
}

/// What comes before the entries of a shard's text.
struct Head<'t> {
    members: BTreeMap<String, &'t RawValue>,
    /// Where the entries begin.
    entries_from: usize,
}

impl<'t> Head<'t> {
    /// Reads the text up to its entries; `None` if it has none, or if it is not as this crate writes it.
    fn of(text: &'t str) -> Option<Self> {
        struct Before<'h, 't>(&'h mut BTreeMap<String, &'t RawValue>, &'h mut Option<&'t str>);
        impl<'t> Visitor<'t> for Before<'_, 't> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'t>>(self, mut access: A) -> Result<(), A::Error> {
                while let Some(key) = access.next_key::<&'t str>()? {
                    if key == "entries" {
                        *self.1 = Some(key);
                        break;
                    }
                    if self.0.insert(key.to_owned(), access.next_value()?).is_some() {
                        return Err(A::Error::custom("a key occurs twice"));
                    }
                }
                Ok(())
            }
        }
        let (mut members, mut key) = (BTreeMap::new(), None);
        // It fails at the entries, which it does not read.
        let _ = serde_json::Deserializer::from_str(text).deserialize_map(Before(&mut members, &mut key));
        let key: &str = key?;
        let key_end = place_in(key, text)?.end;
        let entries_from = key_end + "\":".len();
        (text.get(key_end..entries_from)? == "\":").then_some(Head { members, entries_from })
    }
}

impl ShardText {
    pub(crate) fn parse(text: Vec<u8>) -> Result<Self, Unusable> {
        let text = String::from_utf8(text).map_err(|e| not_text(e.utf8_error()))?;
        let members = Members::parse(&text)?;
        let owned = |(name, value): (&String, &&RawValue)| (name.clone(), (*value).to_owned());
        let (generation, logged) = (members.generation, members.logged());
        let extra = members.extra.iter().map(owned).collect();
        let lines = members.lines().and_then(|lines| place_in(lines.text(), &text));
        let entries = match lines {
            Some(lines) => Entries::in_lines(text, lines),
            None => {
                Entries::of(members.as_json(&mut |id, text| Ok((id.into_owned(), raw(text)?)))?.into_iter().collect())
            }
        };
        Ok(ShardText { generation, entries, logged, extra })
    }

    pub(crate) fn render(&self) -> Vec<u8> {
        let log = self.logged.render().map(|log| format!(",\"log\":{log}")).unwrap_or_default();
        let mut text = String::with_capacity(self.entries.size_bytes() + log.len() + 256);
        text.push_str(&format!(r#"{{"format":{FORMAT},"generation":{},"#, self.generation));
        let are_lines = self.entries.are_lines();
        let sums = |entries: &str| {
            let checksum = checksum_of(entries);
            let lines = if are_lines { format!(r#","lines":"{checksum}""#) } else { String::new() };
            format!(r#""checksum":"{checksum}"{lines}"#)
        };
        let (sums_at, placeholder) = (text.len(), sums(""));
        text.push_str(&placeholder);
        for (name, value) in &self.extra {
            text.push_str(&format!(",{}:{}", quoted(name), value.get()));
        }
        text.push_str(&log);
        text.push_str(",\"entries\":");
        let entries_at = text.len();
        self.entries.render(&mut text);
        let sums = sums(text.get(entries_at..).unwrap_or_default());
        text.replace_range(sums_at..sums_at + placeholder.len(), &sums);
        text.push_str("}\n");
        text.into_bytes()
    }
}

fn checksum_of(entries: &str) -> String {
    format!("blake3:{}", blake3::hash(entries.as_bytes()).to_hex())
}

/// Where a part of `whole` is in it.
fn place_in(part: &str, whole: &str) -> Option<Range<usize>> {
    let from = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let place = from..from + part.len();
    whole.get(place.clone()).is_some_and(|found| std::ptr::eq(found, part)).then_some(place)
}

/// The bytes of a shard as text.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str, Unusable> {
    std::str::from_utf8(bytes).map_err(not_text)
}

pub(super) fn not_text(error: Utf8Error) -> Unusable {
    damaged(format!("it is not a shard: {error}"))
}

fn read<'a, T: Deserialize<'a>>(value: &'a str) -> Result<T, Unusable> {
    serde_json::from_str(value).map_err(|e| damaged(format!("a member cannot be read: {e}")))
}

fn raw(value: &str) -> Result<Box<RawValue>, Unusable> {
    RawValue::from_string(value.to_owned()).map_err(|e| damaged(format!("a member cannot be read: {e}")))
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
mod tests;
