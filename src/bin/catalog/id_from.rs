//! `stage --id-from`: what the id of a model is made from.

use std::ffi::OsStr;

use catalog_core::ModelRef;

/// What an id is made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum IdFrom {
    /// The whole reference, such as file:/models/a.gguf or hf:org/repo
    #[default]
    Reference,
    /// What was typed, word for word
    Path,
    /// The last part, such as a.gguf or repo
    File,
    /// The last part without an ending such as .gguf
    Name,
}

const ENDINGS: [&str; 4] = [".gguf", ".safetensors", ".bin", ".tar"];

impl IdFrom {
    /// The id for the typed reference. Returns `None` to leave the choice to the library, which takes the reference.
    pub(crate) fn id(self, typed: &OsStr, reference: &ModelRef) -> Option<String> {
        let whole = reference.to_string();
        let last = || last_part(&whole, reference).to_owned();
        match self {
            IdFrom::Reference => None,
            IdFrom::Path => Some(typed.to_string_lossy().into_owned()),
            IdFrom::File => Some(last()),
            IdFrom::Name => {
                let last = last();
                let stem = ENDINGS.iter().find_map(|ending| last.strip_suffix(ending)).filter(|stem| !stem.is_empty());
                Some(stem.unwrap_or(&last).to_owned())
            }
        }
    }
}

/// The text after the last slash, without a query, a revision or a tag. For a model in a bucket, its name.
fn last_part<'a>(whole: &'a str, reference: &ModelRef) -> &'a str {
    let last = |text: &'a str| text.trim_end_matches('/').rsplit('/').next().unwrap_or(text);
    match reference {
        ModelRef::Url { url } if url.starts_with("s3://") => match whole.rsplit_once('#') {
            Some((_, name)) => name,
            None => last(whole),
        },
        ModelRef::Url { url } if url.starts_with("oci://") => {
            let name = last(whole);
            name.split(['@', ':']).next().unwrap_or(name)
        }
        ModelRef::Url { .. } => last(whole.split(['?', '#']).next().unwrap_or(whole)),
        ModelRef::Hf { .. } => {
            let name = last(whole);
            name.split('@').next().unwrap_or(name)
        }
        _ => last(whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_names_a_model() {
        for (typed, file, name) in [
            ("models/a.gguf", "a.gguf", "a"),
            ("/models/tree/", "tree", "tree"),
            ("hf:org/repo", "repo", "repo"),
            ("hf:org/repo@main", "repo", "repo"),
            ("hf:org/repo/sub/b.Q4.gguf", "b.Q4.gguf", "b.Q4"),
            ("https://example.org/m/c.gguf?token=x", "c.gguf", "c"),
            ("oci://example.org:5000/models/llama:8b", "llama", "llama"),
            ("s3://bucket/prefix/d.safetensors", "d.safetensors", "d"),
            ("s3://bucket/prefix#llama", "llama", "llama"),
        ] {
            let reference = ModelRef::parse(typed).unwrap();
            let id = |from: IdFrom| from.id(OsStr::new(typed), &reference);
            assert_eq!(id(IdFrom::File).as_deref(), Some(file), "{typed}");
            assert_eq!(id(IdFrom::Name).as_deref(), Some(name), "{typed}");
            assert_eq!(id(IdFrom::Path).as_deref(), Some(typed));
            assert_eq!(id(IdFrom::Reference), None);
        }
    }
}
