//! The entries of a shard that may be about to change: its text as it was read, and what has changed since.
//!
//! An entry is a line, so it is found without parsing the others. A change concerns one record of thousands: the others stay
//! where they are in the text, and are copied from there in one piece.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::value::RawValue;

/// The entries of a shard. The default has none.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// The text that has the lines.
    text: String,
    /// Sorted by id.
    lines: Vec<Line>,
    /// The records that are not as in the lines. `None`: removed.
    changed: BTreeMap<String, Option<Box<RawValue>>>,
}

/// Where an entry is in the text: `"id":record`.
#[derive(Debug)]
pub(super) struct Line {
    from: u32,
    id_bytes: u32,
    record_bytes: u32,
}

impl Line {
    /// The place of an entry whose id and record are parts of `whole`. `None`: they are not, or it is too large.
    pub(super) fn of(id: &str, record: &str, whole: &str) -> Option<Self> {
        let from = (id.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?.checked_sub("\"".len())?;
        let line = Line {
            from: from.try_into().ok()?,
            id_bytes: id.len().try_into().ok()?,
            record_bytes: record.len().try_into().ok()?,
        };
        let is_there = whole.get(line.record()).is_some_and(|text| std::ptr::eq(text, record));
        is_there.then_some(line)
    }

    fn id(&self) -> Range<usize> {
        let from = self.from as usize + "\"".len();
        from..from + self.id_bytes as usize
    }

    fn record(&self) -> Range<usize> {
        let from = self.id().end + "\":".len();
        from..from + self.record_bytes as usize
    }
}

impl Entries {
    /// Entries that stand in `text`, each on a line of its own, with a comma and a line break between two.
    pub(super) fn in_lines(text: String, lines: Vec<Line>) -> Self {
        Entries { text, lines, changed: BTreeMap::new() }
    }

    pub(super) fn of(records: BTreeMap<String, Box<RawValue>>) -> Self {
        let changed = records.into_iter().map(|(id, record)| (id, Some(record))).collect();
        Entries { changed, ..Entries::default() }
    }

    pub(crate) fn get(&self, id: &str) -> Option<&RawValue> {
        match self.changed.get(id) {
            Some(changed) => changed.as_deref(),
            None => self.place(id).ok().and_then(|at| self.record(self.lines.get(at)?)),
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

    /// Writes them as an object, sorted by id.
    pub(super) fn render(&self, out: &mut String) {
        out.push('{');
        let mut between = "\n";
        let mut write = |parts: &[&str]| {
            out.push_str(std::mem::replace(&mut between, ",\n"));
            parts.iter().for_each(|part| out.push_str(part));
        };
        let mut written = 0;
        for (id, new) in &self.changed {
            let place = self.place(id);
            let at = place.unwrap_or_else(|at| at);
            self.run(written..at).into_iter().for_each(|run| write(&[run]));
            if let Some(new) = new {
                write(&[&quoted(id), ":", new.get()]);
            }
            written = at + usize::from(place.is_ok());
        }
        self.run(written..self.lines.len()).into_iter().for_each(|run| write(&[run]));
        out.push_str("\n}");
    }

    /// The text of these lines, from the first to the last.
    fn run(&self, lines: Range<usize>) -> Option<&str> {
        let lines = self.lines.get(lines)?;
        self.text.get(lines.first()?.from as usize..lines.last()?.record().end)
    }

    /// The number of the line with this id, or of the one before which it would be.
    fn place(&self, id: &str) -> Result<usize, usize> {
        self.lines.binary_search_by(|line| self.text.get(line.id()).unwrap_or_default().cmp(id))
    }

    fn record(&self, line: &Line) -> Option<&RawValue> {
        serde_json::from_str(self.text.get(line.record())?).ok()
    }

    /// All of them, sorted by id.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn all(&self) -> BTreeMap<&str, &RawValue> {
        let lines = self.lines.iter().filter_map(|line| self.text.get(line.id()));
        let ids = lines.chain(self.changed.keys().map(String::as_str));
        ids.filter_map(|id| Some((id, self.get(id)?))).collect()
    }
}

/// The entries of a shard's text as this crate writes it: each on a line of its own, sorted by id. A JSON string has no
/// line break, so a line is found without parsing what is in it. `None` in place of an entry: it is not written like
/// this.
pub(super) struct Lines<'t> {
    rest: Option<&'t str>,
    last: Option<&'t str>,
}

impl<'t> Lines<'t> {
    pub(super) fn of(entries: &'t str) -> Option<Self> {
        let lines = entries.strip_prefix("{\n")?.strip_suffix("\n}")?;
        Some(Lines { rest: Some(lines), last: None })
    }

    fn entry(&mut self, line: &'t str) -> Option<(&'t str, &'t str)> {
        let (id, text) = line.strip_prefix('"')?.split_once('"')?;
        let is_plain = !id.bytes().any(|byte| byte == b'\\' || byte.is_ascii_control());
        let is_next = self.last.is_none_or(|last| last < id);
        self.last = Some(id);
        (is_plain && is_next).then_some((id, text.strip_prefix(':')?))
    }
}

impl<'t> Iterator for Lines<'t> {
    type Item = Option<(&'t str, &'t str)>;

    fn next(&mut self) -> Option<Self::Item> {
        let lines = self.rest.take()?;
        let line = match lines.split_once('\n') {
            Some((line, rest)) => {
                self.rest = Some(rest);
                line.strip_suffix(',')
            }
            None => Some(lines),
        };
        Some(line.and_then(|line| self.entry(line)))
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
