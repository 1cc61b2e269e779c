//! Text from outside, made safe to show.

use std::borrow::Cow;

/// The text on one line. Characters that a reader cannot see, or that a terminal would obey, are escaped.
///
/// With a bidi override or a zero-width space, an id can look like another one.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_deceptive) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_deceptive(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Control characters, line and paragraph separators, and Unicode's default-ignorable characters, among which are the
/// bidi controls (<https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point>).
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// The text as an argument that the command does not take for an option.
pub(crate) fn argument(text: &str) -> String {
    let word = shell_word(text);
    if text.starts_with('-') { format!("-- {word}") } else { word }
}

/// An option and its value.
pub(crate) fn option(name: &str, value: &str) -> String {
    let word = shell_word(value);
    if value.starts_with('-') { format!("{name}={word}") } else { format!("{name} {word}") }
}

/// The text as one word of a POSIX shell.
pub(crate) fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_could_not_see_is_escaped() {
        for (text, shown) in [
            ("llama3-8b", "llama3-8b"),
            ("modèle/模型 \\ '", "modèle/模型 \\ '"),
            ("a\u{202e}fugg", "a\\u{202e}fugg"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("a\nb\r\t\u{1b}[2J\u{9b}", "a\\nb\\r\\t\\u{1b}[2J\\u{9b}"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn a_shell_reads_the_word_back() {
        for (text, word) in [
            ("file:/a/b.gguf", "file:/a/b.gguf"),
            ("", "''"),
            ("two words", "'two words'"),
            ("it's $HOME", r"'it'\''s $HOME'"),
            ("~", "'~'"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }
}
