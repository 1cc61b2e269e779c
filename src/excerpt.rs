//! Text from outside, for a message.

/// Cuts text from outside to a length that fits an error line.
pub(crate) fn excerpt(text: &str) -> String {
    const LIMIT_CHARS: usize = 120;
    if text.chars().nth(LIMIT_CHARS).is_none() {
        return text.to_owned();
    }
    text.chars().take(LIMIT_CHARS).chain("…".chars()).collect()
}
