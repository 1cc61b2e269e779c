//! Patterns for paths and ids, as Python's `fnmatch.fnmatchcase` reads them.

/// One pattern.
#[derive(Debug)]
pub(crate) struct Pattern(Vec<Part>);

#[derive(Debug)]
enum Part {
    /// `*`: any text, including `/`.
    Text,
    /// `?`
    Any,
    One(char),
    /// `[…]`
    Set {
        is_negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Pattern {
    /// Parses any text: a `[` that is not closed stands for itself.
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = text.chars();
        while let Some(first) = rest.next() {
            parts.push(match first {
                '*' => Part::Text,
                '?' => Part::Any,
                '[' => match set(rest.as_str()) {
                    Some((part, after)) => {
                        rest = after.chars();
                        part
                    }
                    None => Part::One('['),
                },
                other => Part::One(other),
            });
        }
        Pattern(parts)
    }

    /// Whether it matches all of a text. After a mismatch, it is enough that the last `*` takes one more character.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let (mut parts, mut rest) = (self.0.as_slice(), text.chars());
        let mut last: Option<(&[Part], std::str::Chars<'_>)> = None;
        loop {
            match (parts.split_first(), rest.clone().next()) {
                (Some((Part::Text, after)), _) => {
                    last = Some((after, rest.clone()));
                    parts = after;
                }
                (Some((part, after)), Some(c)) if part.has(c) => {
                    rest.next();
                    parts = after;
                }
                (None, None) => return true,
                _ => {
                    let Some((after, from)) = &mut last else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    (parts, rest) = (after, from.clone());
                }
            }
        }
    }
}

impl Part {
    fn has(&self, c: char) -> bool {
        match self {
            Part::Text => false,
            Part::Any => true,
            Part::One(one) => *one == c,
            Part::Set { is_negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *is_negated
            }
        }
    }
}

/// Parses the set after a `[`, and returns it with the rest after its `]`. A `]` that comes first does not close the
/// set.
fn set(text: &str) -> Option<(Part, &str)> {
    let (is_negated, body) = match text.strip_prefix('!') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let from = body.chars().next()?.len_utf8();
    let end = from + body.get(from..)?.find(']')?;
    let (inner, after) = (body.get(..end)?, body.get(end + 1..)?);
    let mut ranges = Vec::new();
    let mut rest = inner.chars();
    while let Some(low) = rest.next() {
        let mut ahead = rest.clone();
        match (ahead.next(), ahead.next()) {
            // A range from high to low is empty.
            (Some('-'), Some(high)) => {
                ranges.push((low, high));
                rest = ahead;
            }
            _ => ranges.push((low, low)),
        }
    }
    Some((Part::Set { is_negated, ranges }, after))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("*.gguf", "a/b.gguf", true)]
    #[case("*", "", true)]
    #[case("a*b*c", "a/b/b/c", true)]
    #[case("a*b*c", "a/b/b/d", false)]
    #[case("?", "/", true)]
    #[case("?", "ü", true)]
    #[case("[a-c]", "b", true)]
    #[case("[!a-c]", "b", false)]
    #[case("[c-a]", "b", false)]
    #[case("[]]", "]", true)]
    #[case("[!]]", "]", false)]
    #[case("[^a]", "^", true)]
    #[case("[a-]", "-", true)]
    #[case("[a", "[a", true)]
    #[case("[]", "[]", true)]
    #[case("{a,b}", "{a,b}", true)]
    #[case("A", "a", false)]
    #[case("a", "ab", false)]
    #[case("\\*", "\\x", true)]
    fn matched(#[case] pattern: &str, #[case] text: &str, #[case] is: bool) {
        assert_eq!(Pattern::parse(pattern).matches(text), is);
    }

    // Red when a star is tried in only one place, or when a `]` that comes first closes its set.
    #[test]
    fn python_says_the_same() {
        let ask = "import fnmatch, json, sys\n\
                   json.dump([fnmatch.fnmatchcase(t, p) for p, t in json.load(sys.stdin)], sys.stdout)";
        let python = Command::new("python3").args(["-c", ask]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut python) = python else {
            assert!(std::env::var_os("CATALOG_TEST_NO_SKIP").is_none(), "there is no python3");
            eprintln!("skipped: there is no python3");
            return;
        };
        // Python reads a `!` after an empty range at the start of a set as a negation, which cannot be intended.
        let pattern = "([abc/*?\\-\\]^]|\\[!?[abc\\-\\]^]{0,5}|\\[!?[abc\\-^]{1,4}\\]){0,6}";
        let cases = (pattern, "[abc/\\-\\]\\[^]{0,8}");
        let mut runner = TestRunner::deterministic();
        let cases: Vec<(String, String)> =
            (0..20_000).map(|_| cases.new_tree(&mut runner).unwrap().current()).collect();
        let json = serde_json::to_vec(&cases).unwrap();
        python.stdin.take().unwrap().write_all(&json).unwrap();
        let answer = python.wait_with_output().unwrap();
        let expected: Vec<bool> = serde_json::from_slice(&answer.stdout).unwrap();
        assert!(expected.iter().filter(|is| **is).count() > 500, "too few match");
        for ((pattern, text), is) in cases.iter().zip(expected) {
            assert_eq!(Pattern::parse(pattern).matches(text), is, "{pattern:?} {text:?}");
        }
    }
}
