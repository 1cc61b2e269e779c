//! `ModelRef` against arbitrary text: it never panics, and it can parse what it displays.

use catalog_core::ModelRef;
use proptest::prelude::*;
use proptest::sample::select;

/// Pieces at which a parser may branch.
const FRAGMENTS: &[&str] = &[
    "hf:",
    "HF:",
    "file:",
    "File:",
    "http:",
    "https:",
    "HTTPS:",
    "s3:",
    "oci:",
    "ftp:",
    "gs:",
    "a:",
    "C:",
    ":",
    "//",
    "/",
    "\\",
    "\\\\",
    ".",
    "..",
    "...",
    "%2e%2e",
    "%2f",
    "%00",
    "@",
    "@main",
    "#",
    "?",
    "[",
    "]",
    "[::1]",
    ":80",
    ":65536",
    "localhost",
    "org",
    "repo",
    "repo.git",
    "-",
    "--",
    "a--b",
    "_",
    "x",
    "X",
    " ",
    "\u{a0}",
    "\u{3000}",
    "\0",
    "\n",
    "\r",
    "\t",
    "\u{1b}[2J",
    "\u{7f}",
    "\u{85}",
    "é",
    "e\u{301}",
    "\u{202e}",
    "\u{feff}",
    "😀",
    "CON",
    "nul.gguf",
    "~",
    "$HOME",
    "*",
    "\"",
    "'",
    "{}",
    "refs/pr/1",
    "a.gguf",
    "-00001-of-00003.gguf",
];

fn nasty_text() -> impl Strategy<Value = String> {
    proptest::collection::vec(select(FRAGMENTS), 0..9).prop_map(|fragments| fragments.concat())
}

/// Text that usually is a reference: most nasty text is rejected, which would leave the round trip untested.
fn likely_text() -> impl Strategy<Value = String> {
    let start = select(
        &[
            "hf:org/repo",
            "hf:a/b@c",
            "file:",
            "file://",
            "http://h",
            "https://u@h:1",
            "s3://b/",
            "oci://h/",
            "",
            "/",
            "./",
        ][..],
    );
    (start, "(/?[a-zA-Z0-9._@:%#é -]{0,6}){0,3}").prop_map(|(start, rest)| format!("{start}{rest}"))
}

fn check(text: &str) -> Result<(), TestCaseError> {
    match ModelRef::parse(text) {
        Ok(parsed) => {
            let shown = parsed.to_string();
            let again = ModelRef::parse(&shown);
            prop_assert_eq!(again.as_ref().ok(), Some(&parsed), "{:?} is shown as {:?}", text, &shown);
            prop_assert_eq!(again.map(|r| r.to_string()).ok(), Some(shown), "shown twice, {:?} differs", text);
            if let Ok(id) = parsed.id() {
                let named = ModelRef::parse(&id).map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert_eq!(named.scheme(), parsed.scheme());
                prop_assert_eq!(named.id().ok(), Some(id), "the id of {:?} is not its own id", text);
            }
            prop_assert!(!text.is_empty() && !text.contains(char::is_control), "{:?} was let through", text);
        }
        Err(error) => prop_assert!(error.is_invalid_input(), "{text:?}: {error}"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn text_of_nasty_pieces(text in nasty_text()) {
        check(&text)?;
    }

    #[test]
    fn text_that_is_nearly_right(text in likely_text()) {
        check(&text)?;
    }

    #[test]
    fn a_foreign_scheme_is_never_a_path(scheme in "[A-Za-z][A-Za-z0-9+.-]{1,8}", rest in "[ -~]{0,12}") {
        let text = format!("{scheme}://{rest}");
        let known = ["http", "https", "s3", "oci", "file"].contains(&scheme.to_ascii_lowercase().as_str());
        prop_assume!(!known);
        prop_assert!(ModelRef::parse(&text).is_err(), "{}", text);
    }

    #[test]
    fn no_repository_path_climbs(path in "[a./\\\\%2e]{0,10}") {
        if let Ok(ModelRef::Hf { path: Some(path), .. }) = ModelRef::parse(&format!("hf:org/repo/{path}")) {
            prop_assert!(path.split(['/', '\\']).all(|segment| !["", ".", ".."].contains(&segment)), "{}", path);
        }
    }
}
