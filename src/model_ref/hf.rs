//! `hf:org/repo[@revision][/path]`.

use super::ModelRef;

const FORM: &str = "write hf:org/repo[@revision][/path]";

/// Parses the text after `hf:`.
///
/// The names follow the rules of the Hugging Face Hub, so that a name which no repository can have fails before any
/// request.
pub(super) fn read(rest: &str) -> Result<ModelRef, String> {
    if rest.starts_with("//") {
        return Err(format!("`hf:` is not followed by slashes; {FORM}"));
    }
    let mut parts = rest.splitn(3, '/');
    let (org, repo, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
    let (name, revision) = repo.split_once('@').map_or((repo, None), |(name, revision)| (name, Some(revision)));

    check_name(org).map_err(|problem| format!("the organisation {problem}; {FORM}"))?;
    check_name(name).map_err(|problem| format!("the repository {problem}; {FORM}"))?;
    if name.ends_with(".git") {
        return Err(format!("the repository ends in `.git`; {FORM}, without the ending"));
    }
    if let Some(revision) = revision {
        check_revision(revision)?;
    }
    if let Some(path) = path {
        check_path(path).map_err(|problem| {
            format!("the path in the repository has {problem}; {FORM}, the path as the repository lists it")
        })?;
    }
    Ok(ModelRef::Hf { org: org.into(), repo: repo.into(), path: path.map(Into::into) })
}

/// A commit as the Hub writes it. Git's short forms, and capital letters, could also be the name of a branch.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("is missing");
    }
    if !name.chars().all(is_word) {
        return Err("has a character other than A-Z, a-z, 0-9, `.`, `_` and `-`");
    }
    if name.len() > 96 {
        return Err("is longer than 96 characters");
    }
    if name.starts_with(['-', '.']) || name.ends_with(['-', '.']) {
        return Err("starts or ends with `-` or `.`");
    }
    if name.contains("--") || name.contains("..") {
        return Err("has `--` or `..` in it");
    }
    Ok(())
}

fn check_revision(revision: &str) -> Result<(), String> {
    if revision.is_empty() {
        return Err(format!("there is no revision after the `@`; {FORM}"));
    }
    // `refs/pr/1` would silently become the revision `refs` and a path.
    if matches!(revision, "." | ".." | "refs") || !revision.chars().all(is_word) {
        return Err(format!(
            "the revision is not a word of A-Z a-z 0-9 . _ -; {FORM}, for a branch with a slash the commit that it is at"
        ));
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.contains('\\') {
        return Err("a backslash");
    }
    if path.split('/').any(str::is_empty) {
        return Err("an empty segment");
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err("a `.` or `..` segment");
    }
    Ok(())
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::reason_of;
    use super::*;

    #[rstest]
    #[case("hf:org/repo", "repo", None, None)]
    #[case("hf:org/repo/q4.gguf", "repo", None, Some("q4.gguf"))]
    #[case("hf:org/repo@v1.0", "repo@v1.0", Some("v1.0"), None)]
    #[case("hf:org/repo@main/a b/ü@1?.gguf", "repo@main", Some("main"), Some("a b/ü@1?.gguf"))]
    #[case("hf:org/re.po_-x/%2e%2e/...", "re.po_-x", None, Some("%2e%2e/..."))]
    #[case("HF:org/repo", "repo", None, None)]
    fn read_and_shown(
        #[case] text: &str,
        #[case] repo: &str,
        #[case] revision: Option<&str>,
        #[case] path: Option<&str>,
    ) {
        let parsed = ModelRef::parse(text).unwrap();
        assert_eq!(parsed, ModelRef::Hf { org: "org".into(), repo: repo.into(), path: path.map(Into::into) });
        assert_eq!((parsed.scheme(), parsed.hf_revision()), ("hf", revision));
        assert_eq!(parsed.to_string(), text.replace("HF:", "hf:"));
    }

    #[rstest]
    #[case::nothing("", "organisation is missing")]
    #[case::slashes("//org/repo", "not followed by slashes")]
    #[case::no_org("/repo", "organisation is missing")]
    #[case::no_repo("org", "repository is missing")]
    #[case::empty_repo("org/", "repository is missing")]
    #[case::only_a_revision("org/@main", "repository is missing")]
    #[case::blank("or g/repo", "organisation has a character")]
    #[case::not_ascii("örg/repo", "organisation has a character")]
    #[case::revision_on_the_org("org@main/repo", "organisation has a character")]
    #[case::percent("org/%2e%2e", "repository has a character")]
    #[case::backslash(r"org\repo", "organisation has a character")]
    #[case::climb("../repo", "organisation starts or ends")]
    #[case::climb_in_repo("org/..", "repository starts or ends")]
    #[case::dash_first("-org/repo", "organisation starts or ends")]
    #[case::dot_last("org/repo.", "repository starts or ends")]
    #[case::two_dashes("org/a--b", "repository has `--`")]
    #[case::two_dots("a..b/repo", "organisation has `--` or `..`")]
    #[case::git("org/repo.git", "repository ends in `.git`")]
    #[case::git_before_a_revision("org/repo.git@main", "repository ends in `.git`")]
    #[case::empty_revision("org/repo@", "no revision after")]
    #[case::empty_revision_and_path("org/repo@/a", "no revision after")]
    #[case::dot_dot_revision("org/repo@../a", "revision is not a word")]
    #[case::two_revisions("org/repo@a@b", "revision is not a word")]
    #[case::escaped_slash("org/repo@refs%2Fpr%2F1", "the commit that it is at")]
    #[case::pull_request("org/repo@refs/pr/1", "the commit that it is at")]
    #[case::trailing_slash("org/repo/", "an empty segment")]
    #[case::double_slash("org/repo/a//b", "an empty segment")]
    #[case::dot("org/repo/./a", "a `.` or `..` segment")]
    #[case::dot_dot("org/repo/a/..", "a `.` or `..` segment")]
    #[case::backslash_in_path(r"org/repo/..\a", "a backslash")]
    fn rejected_with_the_form(#[case] rest: &str, #[case] reason: &str) {
        let found = reason_of(&format!("hf:{rest}"));
        assert!(found.contains(reason) && found.contains(FORM), "{found}");
    }

    #[test]
    fn a_name_has_at_most_96_characters() {
        let name = "a".repeat(96);
        assert!(ModelRef::parse(&format!("hf:{name}/{name}")).is_ok());
        assert!(reason_of(&format!("hf:{name}a/repo")).contains("organisation is longer"));
        assert!(reason_of(&format!("hf:org/{name}a")).contains("repository is longer"));
    }
}
