//! The entries of a shard's text as this crate writes them: each on a line of its own.

use std::cmp::Ordering;
use std::ops::Range;

/// Entries that are lines: `"id":record`, sorted by id, with a comma and a line break between two. A JSON string has no line
/// break, so a line is found without parsing what is in it.
#[derive(Clone, Copy)]
pub(super) struct Lines<'t>(&'t str);

impl<'t> Lines<'t> {
    /// Lines without what is around them.
    pub(super) fn new(lines: &'t str) -> Self {
        Lines(lines)
    }

    /// The lines of an object. `None`: it is not written like this. What is in the lines may still be anything.
    pub(super) fn of(entries: &'t str) -> Option<Self> {
        entries.strip_prefix("{\n")?.strip_suffix("\n}").map(Lines)
    }

    pub(super) fn text(self) -> &'t str {
        self.0
    }

    /// The id and the text of each entry. `None` in place of one: the line is no entry, or is not the next one.
    pub(super) fn each(self) -> impl Iterator<Item = Option<(&'t str, &'t str)>> {
        let mut lines = self.0.split('\n').peekable();
        let mut last = None;
        std::iter::from_fn(move || {
            let line = lines.next()?;
            let line = if lines.peek().is_some() { line.strip_suffix(',') } else { Some(line) };
            let entry = line.and_then(entry).filter(|(id, _)| last.is_none_or(|last| last < *id));
            last = entry.map(|(id, _)| id);
            Some(entry)
        })
    }

    /// The text of the entry with this id. The lines must all be entries.
    pub(super) fn find(self, id: &str) -> Option<&'t str> {
        Some(entry(without_end(self.0.get(self.place(id).ok()?)?))?.1)
    }

    /// Where the line with this id is, up to the next line, or else where it would be. The lines must all be entries.
    pub(super) fn place(self, id: &str) -> Result<Range<usize>, usize> {
        let (mut from, mut to) = (0, self.0.len());
        let is_break = |byte: &u8| *byte == b'\n';
        let part = |range: Range<usize>| self.0.as_bytes().get(range).unwrap_or_default();
        while from < to {
            let middle = from.midpoint(to);
            let start = part(from..middle).iter().rposition(is_break).map_or(from, |at| from + at + 1);
            let end = part(middle..to).iter().position(is_break).map_or(to, |at| middle + at + 1);
            match self.0.get(start..end).and_then(entry).map_or(Ordering::Less, |(other, _)| other.cmp(id)) {
                Ordering::Less => from = end,
                Ordering::Equal => return Ok(start..end),
                Ordering::Greater => to = start,
            }
        }
        Err(from)
    }
}

/// Lines without what separates the last one from the next.
pub(super) fn without_end(lines: &str) -> &str {
    lines.strip_suffix(",\n").unwrap_or(lines)
}

/// Whether an id stands in a JSON string as it is.
pub(super) fn is_plain(id: &str) -> bool {
    !id.bytes().any(|byte| byte == b'"' || byte == b'\\' || byte.is_ascii_control())
}

fn entry(line: &str) -> Option<(&str, &str)> {
    let (id, text) = line.strip_prefix('"')?.split_once('"')?;
    is_plain(id).then_some((id, text.strip_prefix(':')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when a line is missed at either end, beside a longer one, or beside letters of several bytes.
    #[test]
    fn each_line_is_found_and_so_is_the_place_of_one_that_is_not_there() {
        let ids = ["a", "aa", "ab", "ä", "ö", "😀"];
        let records = ["1", r#"{"long":"\"ab\":{\"a\":2},","ö":[1, 2, 3]}"#, "{}"];
        for present in 0..1_u32 << ids.len() {
            for first in 0..records.len() {
                let is_there = |at: usize| present >> at & 1 == 1;
                let entry = |at: usize| (ids[at], records[(at + first) % records.len()]);
                let entries: Vec<_> = (0..ids.len()).filter(|at| is_there(*at)).map(entry).collect();
                let text = |(id, record): &(&str, &str)| format!("\"{id}\":{record}");
                let texts: Vec<String> = entries.iter().map(text).collect();
                let whole = texts.join(",\n");
                let lines = Lines::new(&whole);
                for (at, id) in ids.iter().enumerate() {
                    let before: usize =
                        (0..at).filter(|at| is_there(*at)).map(|at| text(&entry(at)).len() + ",\n".len()).sum();
                    assert_eq!(lines.find(id), is_there(at).then(|| entry(at).1), "{id} in {whole}");
                    match lines.place(id) {
                        Ok(place) => assert_eq!(without_end(&whole[place]), text(&entry(at))),
                        Err(place) => assert_eq!(place, before.min(whole.len()), "{id} in {whole}"),
                    }
                }
                if !entries.is_empty() {
                    assert_eq!(lines.each().collect::<Option<Vec<_>>>().unwrap(), entries);
                }
            }
        }
    }

    #[test]
    fn lines_that_are_no_entries_lead_to_no_panic() {
        for whole in ["", "\n", "\n\n", ",\n", "x", "\"a\"", "\"a\":1\n\"\\b\":2\n", "ä\nä\nä", "\"b\":1,\n\"a\":2"]
        {
            for id in ["", "a", "b", "ä"] {
                let _ = (Lines::new(whole).find(id), Lines::new(whole).place(id));
            }
        }
    }
}
