//! A command line as typed so far: its words, and the text that a shell has to insert for a candidate.

/// The quotes around a place in a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    None,
    Single,
    Double,
}

/// A command line up to the cursor.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The words before the cursor, as the command would get them. The last one is being typed, and may be empty.
    pub(super) words: Vec<String>,
    /// The last word as it was typed.
    raw: String,
}

impl Line {
    /// Reads a line as a POSIX shell does, except that variables and operators are plain text.
    pub(super) fn read(text: &str) -> Line {
        let mut line = Line { words: Vec::new(), raw: String::new() };
        let mut rest = text.trim_start();
        loop {
            let (word, quotes, length) = unquoted(rest, true);
            let (raw, after) = rest.split_at(length);
            line.words.push(word);
            // A blank within quotes does not end a word. If a quote is still open, all of the text was read.
            if quotes != Quotes::None || after.is_empty() {
                line.raw = raw.to_owned();
                return line;
            }
            rest = after.trim_start();
        }
    }

    /// The text that replaces `part`, so that the word becomes `value`. A shell completes only the part of a word after
    /// the last of some characters, such as `:` and `=`, or after an opening quote. Returns `None` if the word cannot
    /// become this value.
    pub(super) fn insertion(&self, value: &str, part: &str) -> Option<String> {
        let stays = self.raw.strip_suffix(part).unwrap_or_default();
        let (typed, quotes, _) = unquoted(stays, false);
        value.strip_prefix(&*typed).map(|rest| quoted(rest, quotes))
    }
}

/// A word as the command would get it.
pub(super) fn word(raw: &str) -> String {
    unquoted(raw, false).0
}

/// The text without its quotes, the quotes that are open at its end, and how many bytes were read: all, or one word.
fn unquoted(text: &str, one_word: bool) -> (String, Quotes, usize) {
    let (mut word, mut quotes) = (String::new(), Quotes::None);
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match (quotes, c) {
            (Quotes::None, c) if one_word && c.is_whitespace() => return (word, quotes, at),
            (Quotes::None, '\'') => quotes = Quotes::Single,
            (Quotes::None, '"') => quotes = Quotes::Double,
            (Quotes::Single, '\'') | (Quotes::Double, '"') => quotes = Quotes::None,
            (Quotes::None, '\\') => word.extend(characters.next().map(|(_, c)| c)),
            (Quotes::Double, '\\') => match characters.next() {
                Some((_, c)) if is_special_in_quotes(c) => word.push(c),
                Some((_, c)) => word.extend(['\\', c]),
                None => {}
            },
            (_, c) => word.push(c),
        }
    }
    (word, quotes, text.len())
}

fn is_special_in_quotes(c: char) -> bool {
    matches!(c, '"' | '\\' | '$' | '`')
}

/// The text as it has to be written within these quotes.
fn quoted(text: &str, quotes: Quotes) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        match quotes {
            Quotes::None if !c.is_alphanumeric() && !"_-./:@%+=,".contains(c) => quoted.extend(['\\', c]),
            Quotes::Double if is_special_in_quotes(c) => quoted.extend(['\\', c]),
            Quotes::Single if c == '\'' => quoted.push_str(r"'\''"),
            _ => quoted.push(c),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_a_shell_reads_it() {
        for (text, words, raw) in [
            ("catalog path ll", &["catalog", "path", "ll"][..], "ll"),
            ("catalog path ", &["catalog", "path", ""], ""),
            ("  catalog  ", &["catalog", ""], ""),
            ("", &[""], ""),
            (r"catalog path two\ w", &["catalog", "path", "two w"], r"two\ w"),
            (r"catalog path 'two w", &["catalog", "path", "two w"], "'two w"),
            (r#"catalog path "it's \"so\" \n"#, &["catalog", "path", r#"it's "so" \n"#], r#""it's \"so\" \n"#),
            (r"catalog 'a''b'\'c d", &["catalog", "ab'c", "d"], "d"),
            ("catalog path hf:org/m", &["catalog", "path", "hf:org/m"], "hf:org/m"),
            ("catalog path a\\", &["catalog", "path", "a"], "a\\"),
            ("catalog path mod\u{e8}", &["catalog", "path", "modè"], "modè"),
        ] {
            let line = Line::read(text);
            assert_eq!((&*line.words, &*line.raw), (&*words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>(), raw));
        }
    }

    #[test]
    fn what_is_put_in_goes_on_where_the_shell_begins_the_word() {
        for (typed, part, value, inserted) in [
            ("ll", "ll", "llama3", Some("llama3")),
            ("hf:org/m", "org/m", "hf:org/model", Some("org/model")),
            ("hf:", "", "hf:org/model", Some("org/model")),
            ("'hf:o", "hf:o", "hf:org/it's", Some(r"hf:org/it'\''s")),
            ("\"a", "a", "a \"$b\"", Some(r#"a \"\$b\""#)),
            ("tw", "tw", "two *words*", Some(r"two\ \*words\*")),
            (r"two\ w", r"two\ w", "two words", Some(r"two\ words")),
            ("--root=/m", "/m", "--root=/models/", Some("/models/")),
            ("x:ll", "ll", "llama3", None),
            ("", "", "~", Some(r"\~")),
        ] {
            let line = Line { words: Vec::new(), raw: typed.to_owned() };
            assert_eq!(line.insertion(value, part).as_deref(), inserted, "{typed}");
        }
    }
}
