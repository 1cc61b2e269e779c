//! The parts of messages that depend on more than one field.

use std::ops::Range;

use crate::excerpt::excerpt;

pub(super) fn part(range: &Range<u64>) -> String {
    if range.is_empty() { "the whole blob".into() } else { format!("bytes {} to {}", range.start, range.end) }
}

pub(super) fn kept_text(young_bytes: u64, quarantine_bytes: u64) -> String {
    let mut text = String::new();
    if young_bytes > 0 {
        text.push_str(&format!("; {young_bytes} stay because they were staged or used within the last hour"));
    }
    if quarantine_bytes > 0 {
        text.push_str(&format!("; {quarantine_bytes} are in quarantine"));
    }
    text
}

pub(super) fn taken_text(has_same_content: bool) -> &'static str {
    if has_same_content { "another entry with the same content has this id" } else { "another entry has this id" }
}

pub(super) fn document_text(same_bytes: Option<&str>) -> String {
    match same_bytes {
        Some(other) => format!("it has a document with the same bytes, {other:?}"),
        None => "it has a document with this name and other bytes".to_owned(),
    }
}

pub(super) fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// The first of these names, and how many more there are.
pub(super) fn few(names: &[String]) -> String {
    const FEW: usize = 3;
    let shown: Vec<String> = names.iter().take(FEW).map(|name| excerpt(name)).collect();
    match names.len() - shown.len() {
        0 => quoted(&shown),
        more => format!("{} and {more} more", quoted(&shown)),
    }
}

pub(super) fn asked_by(pattern: &Option<String>) -> String {
    pattern.as_ref().map(|pattern| format!("; the rule for {pattern:?} asks for it")).unwrap_or_default()
}

pub(super) fn tried_text(tried: &[String]) -> String {
    if tried.is_empty() { String::new() } else { format!(" (tried {})", tried.join(", ")) }
}
