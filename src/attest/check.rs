//! Whether the files of an entry are those that were signed.

use std::collections::BTreeMap;

use super::statement::{IGNORED, ONE_FILE, Signed};
use crate::digest::Digest;

/// How many names are told of one kind.
const FEW: usize = 5;

/// The files of an entry, by the names that a signature has for them.
pub(crate) type Files = BTreeMap<String, Digest>;

/// The files that a signature says nothing about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsigned {
    /// All of them, by their names.
    pub(super) files: Vec<String>,
    /// Whether the signer did not leave all of them out.
    pub(super) was_allowed: bool,
}

/// Compares what was signed with what is there. Files may be unsigned by the signer's will or since `allow_unsigned` allows
/// it. The error is the reason, for humans.
pub(super) fn check(
    signed: &Signed,
    files: &Files,
    signature: Option<&str>,
    allow_unsigned: bool,
) -> Result<Unsigned, String> {
    let mut problems = Vec::new();
    let is_absent = |name: &&String| !files.contains_key(*name);
    problems.extend(told("is signed, and missing here", signed.files.keys().filter(is_absent)));
    let differs = |(name, digest): &(&String, &Digest)| files.get(*name).is_some_and(|there| there != *digest);
    let other = signed.files.iter().filter(differs).map(|(name, _)| name);
    problems.extend(told("has other bytes than were signed", other));
    let unsigned: Vec<&String> = files.keys().filter(|name| !signed.files.contains_key(*name)).collect();
    let is_left_out = |name: &&&String| {
        let ignored = IGNORED.into_iter().chain(signed.ignored.iter().map(String::as_str)).chain(signature);
        ignored.into_iter().any(|path| is_at_or_below(name, path))
    };
    let extra: Vec<&String> = unsigned.iter().filter(|name| !is_left_out(name)).copied().collect();
    if !allow_unsigned {
        problems.extend(told("is not signed", extra.iter().copied()));
    }
    if !problems.is_empty() {
        return Err(problems.join("; "));
    }
    let files = unsigned.into_iter().filter(|name| signature != Some(name.as_str())).cloned().collect();
    Ok(Unsigned { files, was_allowed: !extra.is_empty() })
}

fn is_at_or_below(name: &str, path: &str) -> bool {
    let path = path.trim_start_matches("./").trim_end_matches('/');
    name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) && !path.is_empty()
        || path == ONE_FILE
}

fn told<'n>(what: &str, names: impl Iterator<Item = &'n String>) -> Option<String> {
    let names: Vec<&String> = names.collect();
    let shown: Vec<String> = names.iter().take(FEW).map(|name| format!("{name:?}")).collect();
    match names.len() {
        0 => None,
        1..=FEW => Some(format!("{} {what}", shown.join(", "))),
        more => Some(format!("{} and {} more: {what}", shown.join(", "), more - FEW)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[(&str, &str)]) -> Files {
        names.iter().map(|(name, content)| ((*name).to_owned(), Digest::sha256_of(content.as_bytes()))).collect()
    }

    fn signed(names: &[(&str, &str)], ignored: &[&str]) -> Signed {
        Signed { files: files(names), ignored: ignored.iter().map(|path| (*path).to_owned()).collect() }
    }

    // Red when a file that is missing, changed or added passes.
    #[test]
    fn every_file_must_be_the_one_that_was_signed() {
        let both = [("a", "1"), ("sub/b", "2")];
        let check = |there: &[(&str, &str)]| check(&signed(&both, &[]), &files(there), None, false);
        assert_eq!(check(&both), Ok(Unsigned { files: vec![], was_allowed: false }));
        assert_eq!(check(&both[..1]).unwrap_err(), "\"sub/b\" is signed, and missing here");
        assert_eq!(check(&[("a", "x"), both[1]]).unwrap_err(), "\"a\" has other bytes than were signed");
        assert_eq!(check(&[both[0], both[1], ("c", "3")]).unwrap_err(), "\"c\" is not signed");
    }

    // Red when a path counts as ignored because it only begins alike.
    #[test]
    fn what_the_signer_left_out_is_told() {
        let there = files(&[("a", "1"), (".git/config", "x"), ("logs/l", "y"), ("model.sig", "z"), ("logs2", "w")]);
        let signed = signed(&[("a", "1")], &["logs", "model.sig"]);
        assert_eq!(check(&signed, &there, Some("model.sig"), false).unwrap_err(), "\"logs2\" is not signed");
        let told = check(&signed, &there, Some("model.sig"), true).unwrap();
        assert_eq!(
            (told.files.as_slice(), told.was_allowed),
            (&[".git/config", "logs/l", "logs2"].map(str::to_owned)[..], true)
        );
        let there = files(&[("a", "1"), ("logs/l", "y")]);
        assert!(!check(&signed, &there, None, true).unwrap().was_allowed);
    }
}
