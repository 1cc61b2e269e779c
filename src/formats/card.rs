//! The first lines of a model card: `README.md` begins with YAML between two lines of dashes.
//!
//! Three keys of it are of interest. Their usual forms are understood: a value, a list in brackets, and a list of lines.

use super::files::{ModelFiles, shown};
use crate::error::Result;

/// The front matter of a card is at its beginning, and shorter.
const MAX_BYTES: u64 = 256 << 10;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) license: Option<String>,
    pub(super) base_models: Vec<String>,
    pub(super) languages: Vec<String>,
}

impl Card {
    pub(super) fn of(files: &ModelFiles<'_>) -> Result<Self> {
        let start = files.start("README.md", MAX_BYTES)?.unwrap_or_default();
        Ok(Self::parse(&String::from_utf8_lossy(&start)))
    }

    fn parse(text: &str) -> Self {
        let mut lines = text.trim_start_matches('\u{feff}').lines();
        if lines.next().map(str::trim_end) != Some("---") {
            return Card::default();
        }
        let lines: Vec<&str> = lines.map(str::trim_end).take_while(|line| *line != "---").collect();
        let values = |key: &str| {
            let is_key = |line: &&str| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'));
            let Some(at) = lines.iter().position(is_key) else { return Vec::new() };
            let (first, below) = lines.split_at(at + 1);
            let value = first.last().and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim());
            let listed = value.strip_prefix('[').and_then(|list| list.strip_suffix(']'));
            let texts: Vec<&str> = match (value, listed) {
                (_, Some(list)) => list.split(',').collect(),
                ("", _) => below.iter().map_while(|line| line.trim_start().strip_prefix('-')).collect(),
                (value, _) => vec![value],
            };
            texts.into_iter().filter_map(|text| shown(unquoted(text.trim()))).take(16).collect()
        };
        Card {
            license: values("license_name").into_iter().chain(values("license")).next(),
            base_models: values("base_model"),
            languages: values("language"),
        }
    }
}

fn unquoted(text: &str) -> &str {
    let within = |quote: char| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    within('"').or_else(|| within('\'')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_forms() {
        let card = Card::parse(
            "---\nlicense: apache-2.0\nlanguage:\n- en\n- 'de'\nbase_model: [\"org/a\", org/b]\ntags:\n- x\n---\nlicense: mit\n",
        );
        assert_eq!(card.license.as_deref(), Some("apache-2.0"));
        assert_eq!(card.languages, ["en", "de"]);
        assert_eq!(card.base_models, ["org/a", "org/b"]);
        let other = Card::parse("---\nlicense: other\nlicense_name: llama3\nbase_model: org/a\n---\n");
        assert_eq!((other.license.as_deref(), other.base_models.len()), (Some("llama3"), 1));
        assert_eq!(Card::parse("# A model\nlicense: mit\n"), Card::default());
        assert_eq!(Card::parse(""), Card::default());
        assert_eq!(Card::parse("---"), Card::default());
        assert_eq!(Card::parse("---\nlicense:\n---"), Card::default());
    }
}
