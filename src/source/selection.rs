//! Which files of a repository to take: patterns like those of the Hub's own tools.

use crate::pattern::Pattern;

/// Which files of a repository to take.
///
/// A pattern is compared with the whole path in the repository. `dir/` stands for `dir/*`.
pub(super) struct Selection {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl Selection {
    /// Takes files that match a pattern in `include`, or all if it is empty, except those that match one in `exclude`.
    pub(super) fn new(include: &[String], exclude: &[String]) -> Self {
        let read_all = |patterns: &[String]| patterns.iter().map(|text| read(text)).collect();
        Selection { include: read_all(include), exclude: read_all(exclude) }
    }

    pub(super) fn takes(&self, path: &str) -> bool {
        let matches = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(path));
        (self.include.is_empty() || matches(&self.include)) && !matches(&self.exclude)
    }
}

fn read(text: &str) -> Pattern {
    if text.ends_with('/') { Pattern::parse(&format!("{text}*")) } else { Pattern::parse(text) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    // Red when `dir/` is not `dir/*`, when an empty list includes nothing, or when an include wins over an exclude.
    #[rstest]
    #[case(&[], &[], "a", true)]
    #[case(&["*.gguf"], &[], "a/b/c.gguf", true)]
    #[case(&["*.gguf"], &[], "a/b/c.json", false)]
    #[case(&["a.json", "*.gguf"], &[], "a.json", true)]
    #[case(&["dir/"], &[], "dir/a/b", true)]
    #[case(&["dir/"], &[], "dir", false)]
    #[case(&["dir/"], &[], "other/dir/a", false)]
    #[case(&["dir"], &[], "dir/a", false)]
    #[case(&["*"], &["*.bin"], "a.bin", false)]
    #[case(&[], &["dir/"], "dir/a", false)]
    #[case(&[], &["dir/"], "a", true)]
    fn taken(#[case] include: &[&str], #[case] exclude: &[&str], #[case] path: &str, #[case] is: bool) {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(Selection::new(&owned(include), &owned(exclude)).takes(path), is);
    }
}
