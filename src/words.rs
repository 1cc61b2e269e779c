//! Enums whose values are plain words: the same word in JSON, in tables, on the command line and in the index.

/// A number, and the word for what it counts in the singular or plural.
pub(crate) fn counted(number: impl TryInto<u64>, one: &str, several: &str) -> String {
    match number.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {one}"),
        number => format!("{number} {several}"),
    }
}

/// The error for text that is not one of the possible words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}; write {words}")]
pub struct UnknownWord {
    text: String,
    what: &'static str,
    words: String,
}

impl UnknownWord {
    pub(crate) fn new(text: &str, what: &'static str, words: &[&str]) -> Self {
        let words = match words {
            [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
            other => other.concat(),
        };
        UnknownWord { text: crate::excerpt::excerpt(text), what, words }
    }
}

/// Gives an enum `ALL`, `Display` and `FromStr`; with `Variant => "word"` also `as_str`.
macro_rules! words {
    ($type:ident, $what:literal, { $($variant:ident => $word:literal),* $(,)? }) => {
        impl $type {
            /// The word for this value in JSON, in tables and on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($type::$variant => $word,)*
                }
            }
        }

        $crate::words::words!($type, $what, [$($variant),*]);
    };
    ($type:ident, $what:literal, [$($variant:ident),* $(,)?]) => {
        impl $type {
            /// All values.
            pub const ALL: &'static [Self] = &[$($type::$variant),*];
        }

        $crate::words::words!($type, $what);
    };
    ($type:ident, $what:literal) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::words::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| {
                    let words: Vec<&str> = Self::ALL.iter().map(|value| value.as_str()).collect();
                    $crate::words::UnknownWord::new(text, $what, &words)
                })
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Display};
    use std::str::FromStr;

    use serde::Serialize;

    use crate::*;

    /// Checks that every word parses back, and is the same in JSON.
    fn check<T: Copy + Debug + Display + FromStr<Err = UnknownWord> + PartialEq + Serialize>(all: &[T]) {
        assert!(all.len() > 1);
        for value in all {
            let word = value.to_string();
            assert_eq!(word.parse::<T>().as_ref(), Ok(value));
            assert_eq!(serde_json::to_string(value).unwrap(), format!("{word:?}"));
            assert!(format!("{word}x").parse::<T>().unwrap_err().to_string().contains(&word));
        }
    }

    #[test]
    fn a_word_is_one_everywhere() {
        check(LifecycleState::ALL);
        check(ArtifactKind::ALL);
        check(TrustState::ALL);
        check(LinkMode::ALL);
        check(IngestMode::ALL);
        check(UsedMode::ALL);
        check(VerifyDepth::ALL);
        check(HashFunction::ALL);
        check(Severity::ALL);
        check(Remedy::ALL);
        check(FindingKind::ALL);
    }

    #[test]
    fn an_unknown_word_is_told_what_there_is() {
        let error = "retried".parse::<LifecycleState>().unwrap_err();
        assert_eq!(error.to_string(), "\"retried\" is not a lifecycle state; write active or retired");
    }
}
