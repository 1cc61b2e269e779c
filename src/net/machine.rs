//! A policy of the machine: a file of the administrator's that takes away what rules allow, and gives nothing.
//!
//! The file is the part of TOML that this needs: `allow` and `deny`, each an array of strings on one line or on several,
//! comments, and nothing else. A parser for all of TOML would be a dozen crates for two arrays, and would read what means
//! nothing here without a word.

use std::path::{Path, PathBuf};

use super::file;
use super::rule::{self, Rule};
use crate::error::{Error, Result};

/// Where an administrator puts it.
pub(super) const MACHINE_FILE: &str = "/etc/catalog/net.toml";

/// More than this is no policy.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) path: PathBuf,
    /// If it is there, only what one of these names.
    pub(super) allow: Option<Vec<Rule>>,
    /// Nothing that one of these names.
    pub(super) deny: Vec<Rule>,
}

impl Machine {
    /// Reads one. A file that cannot be read, or not be understood, is an error: it would have forbidden something.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let fail = |reason: String| Error::InvalidNetSetting { what: path.display().to_string(), reason };
        let text = file::read_text(path, MAX_BYTES).map_err(|e| fail(e.to_string()))?;
        Machine::parse(path, &text).map_err(fail)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, String> {
        let (mut allow, mut deny) = (None, None);
        let mut rest = skip(text);
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let list = match name {
                "allow" => &mut allow,
                "deny" => &mut deny,
                _ => return Err(format!("{:?} is neither `allow = [\"…\"]` nor `deny = [\"…\"]`", first_line(rest))),
            };
            if list.is_some() {
                return Err(format!("{name} is there twice"));
            }
            let after = skip(after).strip_prefix('=').map(skip).and_then(|after| after.strip_prefix('['));
            let (rules, after) = array(after.ok_or_else(|| format!("{name} is no array of strings"))?)
                .ok_or_else(|| format!("{name} is no array of strings"))?;
            let parsed: Result<Vec<_>, _> = rules.iter().map(|text| rule::parse(text)).collect();
            *list = Some(parsed?.concat());
            rest = skip(after);
        }
        Ok(Machine { path: path.to_path_buf(), allow, deny: deny.unwrap_or_default() })
    }
}

/// What follows blanks, line breaks and comments.
fn skip(text: &str) -> &str {
    let mut text = text.trim_start();
    while let Some(comment) = text.strip_prefix('#') {
        text = comment.split_once('\n').map_or("", |(_, rest)| rest.trim_start());
    }
    text
}

/// The strings up to the closing bracket, and what follows it.
fn array(mut text: &str) -> Option<(Vec<&str>, &str)> {
    let mut strings = Vec::new();
    loop {
        text = skip(text);
        if let Some(rest) = text.strip_prefix(']') {
            return Some((strings, rest));
        }
        let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        // No rule has a backslash in it, so an escape is no rule either.
        let (string, rest) = text.get(1..)?.split_once(quote)?;
        strings.push(string);
        text = skip(rest);
        match text.strip_prefix(',') {
            Some(rest) => text = rest,
            None if text.starts_with(']') => {}
            None => return None,
        }
    }
}

fn first_line(text: &str) -> String {
    crate::excerpt::excerpt(text.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parse(text: &str) -> Result<Machine, String> {
        Machine::parse(Path::new("/p"), text)
    }

    #[test]
    fn two_arrays_with_comments() {
        let text = "# ours\nallow = [\n  \"hf\", # the Hub\n  'a.example:8443',\n]\ndeny=[\"b.example\"]\n";
        let machine = parse(text).unwrap();
        assert_eq!(machine.allow.unwrap().len(), 5);
        assert_eq!(machine.deny.len(), 1);
        assert!(parse("").unwrap().allow.is_none());
        assert_eq!(parse("allow = []").unwrap().allow, Some(Vec::new()));
    }

    // Red (the stack overflows) when each comment is skipped by a call of its own.
    #[test]
    fn many_comments() {
        let text = "#\n".repeat(500_000) + "deny = [\"b.example\"]";
        assert_eq!(parse(&text).unwrap().deny.len(), 1);
    }

    // Red when a line that is not understood is skipped: it may be the one that forbids.
    #[rstest]
    #[case("denny = []", "is neither")]
    #[case("[net]\nallow = []", "is neither")]
    #[case("allow", "is no array")]
    #[case("allow = \"hf\"", "is no array")]
    #[case("allow = [\"hf\"", "is no array")]
    #[case("allow = [\"hf\" \"a\"]", "is no array")]
    #[case("allow = [hf]", "is no array")]
    #[case("allow = [\"hf\"]\nallow = []", "is there twice")]
    #[case("deny = [\"a/b\"]", "more in it than a host")]
    fn what_is_not_understood_is_an_error(#[case] text: &str, #[case] problem: &str) {
        let error = parse(text).unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
}
