//! The machine's policy: a file by the administrator that can only take away what rules allow.
//!
//! The file is a small subset of TOML: `allow` and `deny`, each an array of strings on one or several lines,
//! `max_file_bytes`, `digest_required`, and comments. A full TOML parser would add a dozen crates, and would silently
//! accept settings that mean nothing here.

use std::path::{Path, PathBuf};

use super::file;
use super::limits::Limits;
use super::rule::{self, Rule};
use crate::error::{Error, Result};

/// Where the administrator puts the file.
pub(super) const MACHINE_FILE: &str = "/etc/catalog/net.toml";

/// A larger file is not a policy.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) path: PathBuf,
    /// If set, only what one of these rules names is allowed.
    pub(super) allow: Option<Vec<Rule>>,
    /// What one of these rules names is denied.
    pub(super) deny: Vec<Rule>,
    pub(super) limits: Limits,
}

impl Machine {
    /// Reads a policy file. One that cannot be read or parsed is an error, because it might have denied something.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let fail = |reason: String| Error::InvalidNetSetting { what: path.display().to_string(), reason };
        let text = file::read_text(path, MAX_BYTES).map_err(|e| fail(e.to_string()))?;
        Machine::parse(path, &text).map_err(fail)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, String> {
        let mut machine =
            Machine { path: path.to_path_buf(), allow: None, deny: Vec::new(), limits: Limits::default() };
        let mut seen = Vec::new();
        let mut rest = skip(text);
        while !rest.is_empty() {
            let (name, after) = word(rest);
            if seen.contains(&name) {
                return Err(format!("{name} is set twice"));
            }
            seen.push(name);
            let value = || {
                let value = skip(after).strip_prefix('=').map(skip);
                value.ok_or_else(|| format!("{name} has no value"))
            };
            rest = skip(match name {
                "allow" => {
                    let (rules, after) = rules(name, value()?)?;
                    machine.allow = Some(rules);
                    after
                }
                "deny" => {
                    let (rules, after) = rules(name, value()?)?;
                    machine.deny = rules;
                    after
                }
                "max_file_bytes" => {
                    let (digits, after) = word(value()?);
                    let bytes = digits.replace('_', "").parse();
                    machine.limits.max_file_bytes =
                        Some(bytes.map_err(|_| format!("{name} is not a number of bytes, such as 500_000_000_000"))?);
                    after
                }
                "digest_required" => {
                    let (value, after) = word(value()?);
                    machine.limits.digest_required =
                        value.parse().map_err(|_| format!("{name} is neither true nor false"))?;
                    after
                }
                _ => {
                    let line = crate::excerpt::excerpt(rest.lines().next().unwrap_or_default());
                    return Err(format!(
                        "{line:?} is none of `allow = [\"…\"]`, `deny = [\"…\"]`, `max_file_bytes = N` and \
                         `digest_required = true`"
                    ));
                }
            });
        }
        Ok(machine)
    }
}

/// A name or a plain value, and the text after it.
fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    text.split_at(end)
}

/// The rules of an array, and the text after it.
fn rules<'t>(name: &str, text: &'t str) -> Result<(Vec<Rule>, &'t str), String> {
    let (texts, after) =
        text.strip_prefix('[').and_then(array).ok_or_else(|| format!("{name} is not an array of strings"))?;
    let parsed: Result<Vec<_>, _> = texts.iter().map(|text| rule::parse(text)).collect();
    Ok((parsed?.concat(), after))
}

/// The text after white space and comments.
fn skip(text: &str) -> &str {
    let mut text = text.trim_start();
    while let Some(comment) = text.strip_prefix('#') {
        text = comment.split_once('\n').map_or("", |(_, rest)| rest.trim_start());
    }
    text
}

/// The strings up to the closing bracket, and the text after it.
fn array(mut text: &str) -> Option<(Vec<&str>, &str)> {
    let mut strings = Vec::new();
    loop {
        text = skip(text);
        if let Some(rest) = text.strip_prefix(']') {
            return Some((strings, rest));
        }
        let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        // No rule contains a backslash, so a string with an escape is not a rule either.
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

    #[test]
    fn limits() {
        let limits = parse("digest_required = true # ours\nmax_file_bytes=5_000\nallow = []").unwrap().limits;
        assert_eq!((limits.max_file_bytes, limits.digest_required), (Some(5000), true));
        assert!(!parse("digest_required = false").unwrap().limits.digest_required);
    }

    // Red (the stack overflows) when each comment is skipped by a recursive call.
    #[test]
    fn many_comments() {
        let text = "#\n".repeat(500_000) + "deny = [\"b.example\"]";
        assert_eq!(parse(&text).unwrap().deny.len(), 1);
    }

    // Red when an unknown line is skipped: it may be the one that denies something.
    #[rstest]
    #[case("denny = []", "is none of")]
    #[case("[net]\nallow = []", "is none of")]
    #[case("allow", "has no value")]
    #[case("max_file_bytes = 5GB", "is not a number")]
    #[case("max_file_bytes = -1", "is not a number")]
    #[case("max_file_bytes = 1.5", "is none of")]
    #[case("max_file_bytes = \"5\"", "is not a number")]
    #[case("max_file_bytes = 5\nmax_file_bytes = 6", "is set twice")]
    #[case("digest_required = yes", "is neither")]
    #[case("allow = \"hf\"", "is not an array")]
    #[case("allow = [\"hf\"", "is not an array")]
    #[case("allow = [\"hf\" \"a\"]", "is not an array")]
    #[case("allow = [hf]", "is not an array")]
    #[case("allow = [\"hf\"]\nallow = []", "is set twice")]
    #[case("deny = [\"a/b\"]", "more in it than a host")]
    fn what_is_not_understood_is_an_error(#[case] text: &str, #[case] problem: &str) {
        let error = parse(text).unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
}
