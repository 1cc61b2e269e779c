//! The text of every error: the action, the path and the cause in one line, and separately what to do about it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use catalog_core::testing::error_samples as samples;
use catalog_core::{Error, Hint};

/// `NotFound` of `NotFound { id: …`.
fn variant(error: &Error) -> String {
    format!("{error:?}").chars().take_while(|c| c.is_alphanumeric()).collect()
}

#[test]
fn what_each_error_says() {
    let hint = |error: &Error| error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    let line = |error| format!("{}: {error}{}", variant(error), hint(error));
    insta::assert_snapshot!(samples().iter().map(line).collect::<Vec<_>>().join("\n"));
}

#[test]
fn each_message_is_one_line_that_begins_with_what_was_done() {
    for error in samples() {
        let message = error.to_string();
        assert!(message.starts_with("could not ") || error.is_cancelled(), "{message}");
        assert!(!message.contains(char::is_control), "{message}");
        assert!(!message.ends_with(['.', ' ', ';']) && !message.contains("  "), "{message}");
        let names = ["/srv/models/", "https://", "hf:", "/etc/", "\"", "`"];
        assert!(names.iter().any(|name| message.contains(name)), "it names nothing: {message}");
    }
}

// Red when a message or a hint suggests something that a user of the library cannot type.
#[test]
fn no_message_and_no_hint_names_a_command() {
    for error in samples() {
        let hint = error.hint().as_ref().map(Hint::to_string).unwrap_or_default();
        for words in [error.to_string(), hint] {
            assert!(!words.contains("`catalog ") && !words.contains(" --"), "{words}");
        }
    }
}

#[test]
fn errors_cross_threads() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Error>();
    shared::<Hint>();
}

// Red when a variant is added without a sample.
#[test]
fn every_variant_has_a_sample() {
    let source = include_str!("../src/error.rs");
    let (_, body) = source.split_once("pub enum Error {").unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    let variants: BTreeSet<String> = body
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| line.chars().take_while(|c| c.is_alphanumeric()).collect())
        .collect();
    assert!(variants.len() > 20, "{variants:?}");
    assert_eq!(samples().iter().map(variant).collect::<BTreeSet<_>>(), variants);
}

#[test]
fn callers_ask_for_the_kind() {
    type Is = fn(&Error) -> bool;
    let of = |is: Is| samples().iter().filter(|error| is(error)).map(variant).collect::<Vec<_>>().join(" ");
    assert_eq!(of(Error::is_not_found), format!("NotFound NotStaged SourceMissing NoCatalog {}", ["Net"; 6].join(" ")));
    assert_eq!(of(Error::is_unsigned), "Unsigned Unsigned");
    assert_eq!(of(Error::is_refused), ["Net"; 10].join(" "));
    assert_eq!(of(Error::is_unreachable), "Net Offline");
    assert_eq!(of(Error::is_denied), ["Net"; 6].join(" "));
    assert_eq!(
        of(Error::is_corrupt),
        "DamagedCache DigestMismatch BadSignature Incomplete CorruptIndex CorruptBlob Damaged Occupied NoGoodSource NoGoodSource Net"
    );
    assert_eq!(of(Error::is_busy), "Busy Busy");
    assert_eq!(of(Error::is_cancelled), "Cancelled");
    assert_eq!(
        of(Error::is_invalid_input),
        "InvalidDigest InvalidRef InvalidId Ambiguous Ambiguous NoSink InvalidExport InvalidLimit InvalidNetRule"
    );
    assert_eq!(of(Error::is_no_space), "NoRoom Io Io");
}
