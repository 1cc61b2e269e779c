//! The entries of a shard that may be about to change: its text as it was read, and what has changed since.
//!
//! An entry is a line, so it is found without parsing the others. A change concerns one record of thousands: the others stay
//! where they are in the text, and are copied from there in one piece.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::value::RawValue;

use super::lines::{Lines, is_plain, without_end};

/// The entries of a shard. The default has none.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// The text that has the lines.
    text: String,
    /// Where they are in it.
    lines: Range<usize>,
    /// The records that are not as in the lines. `None`: removed.
    changed: BTreeMap<String, Option<Box<RawValue>>>,
}

impl Entries {
    /// The entries in this part of `text`, which all are lines.
    pub(super) fn in_lines(text: String, lines: Range<usize>) -> Self {
        Entries { text, lines, changed: BTreeMap::new() }
    }

    pub(super) fn of(records: BTreeMap<String, Box<RawValue>>) -> Self {
        let changed = records.into_iter().map(|(id, record)| (id, Some(record))).collect();
        Entries { changed, ..Entries::default() }
    }

    pub(crate) fn get(&self, id: &str) -> Option<&RawValue> {
        match self.changed.get(id) {
            Some(changed) => changed.as_deref(),
            None => serde_json::from_str(self.lines().find(id)?).ok(),
        }
    }

    pub(crate) fn insert(&mut self, id: &str, record: Box<RawValue>) {
        self.changed.insert(id.to_owned(), Some(record));
    }

    pub(crate) fn remove(&mut self, id: &str) {
        self.changed.insert(id.to_owned(), None);
    }

    /// About as many bytes as they take when they are written.
    pub(super) fn size_bytes(&self) -> usize {
        let changed = self.changed.iter().map(|(id, new)| id.len() + new.as_ref().map_or(0, |new| new.get().len()) + 8);
        self.text.len() + changed.sum::<usize>()
    }

    /// Whether each of them is a line when they are written.
    pub(super) fn are_lines(&self) -> bool {
        let mut written = self.changed.iter().filter_map(|(id, new)| Some((id, new.as_ref()?)));
        written.all(|(id, new)| is_plain(id) && !new.get().contains('\n'))
    }

    /// Writes them as an object, sorted by id.
    pub(super) fn render(&self, out: &mut String) {
        out.push('{');
        let mut between = "\n";
        let mut write = |parts: &[&str]| {
            out.push_str(std::mem::replace(&mut between, ",\n"));
            parts.iter().for_each(|part| out.push_str(part));
        };
        let lines = self.lines();
        let unchanged = |range| lines.text().get(range).map(without_end).filter(|lines| !lines.is_empty());
        let mut written = 0;
        for (id, new) in &self.changed {
            let place = lines.place(id).unwrap_or_else(|at| at..at);
            unchanged(written..place.start).into_iter().for_each(|lines| write(&[lines]));
            if let Some(new) = new {
                write(&[&quoted(id), ":", new.get()]);
            }
            written = place.end;
        }
        unchanged(written..lines.text().len()).into_iter().for_each(|lines| write(&[lines]));
        out.push_str("\n}");
    }

    fn lines(&self) -> Lines<'_> {
        Lines::new(self.text.get(self.lines.clone()).unwrap_or_default())
    }

    /// All of them, sorted by id.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn all(&self) -> BTreeMap<&str, &RawValue> {
        let lines = self.lines().each().filter_map(|entry| Some(entry?.0));
        let ids = lines.chain(self.changed.keys().map(String::as_str));
        ids.filter_map(|id| Some((id, self.get(id)?))).collect()
    }
}

pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::format::ShardText;
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn texts(entries: &Entries) -> Vec<(String, String)> {
        entries.all().into_iter().map(|(id, record)| (id.to_owned(), record.get().to_owned())).collect()
    }

    // Red when a change loses a neighbour, writes a removed record, leaves the old one beside the new, or puts it in the
    // wrong place. Compared with a map.
    #[test]
    fn any_changes_give_what_they_give_in_a_map() {
        let ids = ["a", "a \"q\"", "b", "c", "d"];
        for present in 0..1_u32 << ids.len() {
            let mut shard = ShardText::default();
            for (number, id) in ids.iter().enumerate().filter(|(number, _)| present >> number & 1 == 1) {
                shard.entries.insert(id, raw(&format!("{{\"old\":{number}}}")));
            }
            let text = shard.render();
            for changed in 0..3_u32.pow(u32::try_from(ids.len()).unwrap()) {
                let mut read = ShardText::parse(text.clone()).unwrap();
                let mut expected: BTreeMap<String, String> = texts(&read.entries).into_iter().collect();
                for (number, id) in (0_u32..).zip(ids) {
                    match changed / 3_u32.pow(number) % 3 {
                        1 => {
                            read.entries.insert(id, raw("[1]"));
                            expected.insert(id.to_owned(), "[1]".to_owned());
                        }
                        2 => {
                            read.entries.remove(id);
                            expected.remove(id);
                        }
                        _ => {}
                    }
                }
                let expected: Vec<_> = expected.into_iter().collect();
                assert_eq!(texts(&read.entries), expected);
                let written = read.render();
                let again = ShardText::parse(written.clone()).unwrap();
                assert_eq!(texts(&again.entries), expected);
                assert_eq!(again.render(), written);
            }
        }
    }
}
