//! The names that a model gets in another tool's folder.

use super::options::ExportOptions;
use crate::entry::Record;
use crate::error::{Error, Result};
use crate::excerpt::excerpt;
use crate::model_ref::{ModelRef, is_commit};
use crate::ollama_name::{DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, short_name};

/// A repository, by the rules of the Hugging Face Hub, which the other tools' names fulfil too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repo {
    pub(super) org: String,
    pub(super) name: String,
    /// The path in the repository that the model is. Empty: the whole repository.
    pub(super) path: String,
    /// The commit that is known for it.
    pub(super) commit: Option<String>,
}

impl Repo {
    pub(super) fn id(&self) -> String {
        format!("{}/{}", self.org, self.name)
    }

    /// The path of a file in the repository. `inside` is empty if the model is one file.
    pub(super) fn path_of(&self, inside: &str, name: &str) -> String {
        match (self.path.as_str(), inside) {
            ("", "") => name.to_owned(),
            (path, "") => path.to_owned(),
            ("", inside) => inside.to_owned(),
            (path, inside) => format!("{path}/{inside}"),
        }
    }
}

pub(super) fn invalid(value: &str, reason: impl Into<String>) -> Error {
    Error::InvalidExport { value: excerpt(value), reason: reason.into() }
}

/// The repository that was asked for, or the one that the model was staged from. `None` if neither is known.
pub(super) fn repo(record: &Record, options: &ExportOptions) -> Result<Option<Repo>> {
    let known = origin(record);
    let Some(asked) = &options.repo else { return Ok(known) };
    let parsed = ModelRef::parse(&format!("hf:{asked}")).ok();
    match parsed {
        Some(ModelRef::Hf { org, repo, path: None }) if !repo.contains('@') => {
            // The commit of another repository says nothing about this one.
            let same = known.filter(|known| (&known.org, &known.name) == (&org, &repo));
            Ok(Some(same.unwrap_or(Repo { org, name: repo, path: String::new(), commit: None })))
        }
        _ => {
            Err(invalid(asked, "a repository is written as ORG/NAME, with the names that the Hugging Face Hub allows"))
        }
    }
}

fn origin(record: &Record) -> Option<Repo> {
    let source = record.source.as_ref();
    let texts = [source.map(|source| source.reference.as_str()), Some(record.entry.id.as_str())];
    texts.into_iter().flatten().find_map(|text| {
        let parsed = text.starts_with("hf:").then(|| ModelRef::parse(text).ok())??;
        let ModelRef::Hf { org, repo, path } = &parsed else { return None };
        let name = repo.split('@').next()?.to_owned();
        let pinned = source.and_then(|source| source.pinned.as_deref());
        let commit = pinned.or(parsed.hf_revision()).filter(|commit| is_commit(commit)).map(str::to_owned);
        Some(Repo { org: org.clone(), name, path: path.clone().unwrap_or_default(), commit })
    })
}

/// A word that can be one name in a folder.
pub(super) fn is_word(text: &str) -> bool {
    let is_of_words = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    begins_well && text.len() <= 128 && text.chars().all(is_of_words)
}

/// The text as such a word; `model` if nothing is left of it.
pub(super) fn to_word(text: &str) -> String {
    let replaced: String = text.chars().map(|c| if is_word(&format!("_{c}")) { c } else { '-' }).take(120).collect();
    let word = replaced.trim_matches(['-', '.']);
    if word.is_empty() { "model".to_owned() } else { word.to_owned() }
}

/// A name of Ollama.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OllamaName {
    host: String,
    namespace: String,
    model: String,
    tag: String,
}

impl OllamaName {
    /// Parses `[[HOST/]NAMESPACE/]MODEL[:TAG]` by the rules of Ollama.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, '/');
        let last = parts.next()?;
        let namespace = parts.next().unwrap_or(DEFAULT_NAMESPACE);
        let host = parts.next().unwrap_or(DEFAULT_HOST);
        let (model, tag) = last.split_once(':').unwrap_or((last, DEFAULT_TAG));
        let is_part = |text: &str, extra: &[char]| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                && text.len() <= 80
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-') || extra.contains(&c))
        };
        let is_name =
            is_part(host, &['.', ':']) && is_part(namespace, &[]) && is_part(model, &['.']) && is_part(tag, &['.']);
        let owned = str::to_owned;
        is_name.then(|| OllamaName {
            host: owned(host),
            namespace: owned(namespace),
            model: owned(model),
            tag: owned(tag),
        })
    }

    /// The name that was asked for, or that of the id.
    pub(super) fn of(record: &Record, options: &ExportOptions) -> Result<Self> {
        if let Some(asked) = &options.repo {
            let reason = "a name of Ollama is written as [[HOST/]NAMESPACE/]MODEL[:TAG], of letters, digits, `_`, `-` \
                          and, in the last two, `.`";
            return Self::parse(asked).ok_or_else(|| invalid(asked, reason));
        }
        let id = record.entry.id.as_str();
        if let Some(name) = id.strip_prefix("ollama:").and_then(Self::parse) {
            return Ok(name);
        }
        let last = id.rsplit(['/', ':']).next().unwrap_or_default();
        let word: String = to_word(last.strip_suffix(".gguf").unwrap_or(last)).chars().take(80).collect();
        Self::parse(&word).ok_or_else(|| invalid(id, "no name of Ollama can be made from the id; name the repository"))
    }

    /// As Ollama prints it.
    pub(super) fn short(&self) -> String {
        short_name(&self.host, &self.namespace, &self.model, &self.tag)
    }

    pub(super) fn manifest(&self) -> String {
        let OllamaName { host, namespace, model, tag } = self;
        format!("manifests/{host}/{namespace}/{model}/{tag}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when a part is not checked: the manifest would be written elsewhere.
    #[test]
    fn names_of_ollama() {
        let of = |text: &str| OllamaName::parse(text).map(|name| (name.short(), name.manifest()));
        let full = |short: &str, path: &str| Some((short.to_owned(), format!("manifests/{path}")));
        assert_eq!(of("llama3"), full("llama3:latest", "registry.ollama.ai/library/llama3/latest"));
        assert_eq!(of("me/m:8b-q4_K.1"), full("me/m:8b-q4_K.1", "registry.ollama.ai/me/m/8b-q4_K.1"));
        assert_eq!(of("h.example:5/n/m"), full("h.example:5/n/m:latest", "h.example:5/n/m/latest"));
        for hostile in
            ["", "..", "../m", "a/../m", "m:", "m:..", ":t", "/m", "a//m", "m/", "-m", "a.b/m", "m:t:u", "é", "m\0"]
        {
            assert_eq!(of(hostile), None, "{hostile:?}");
        }
    }

    #[test]
    fn any_text_becomes_a_word() {
        for (text, word) in [("Llama 3", "Llama-3"), ("../x", "x"), ("é", "model"), ("", "model"), ("a:b/c", "a-b-c")]
        {
            assert_eq!(to_word(text), word);
            assert!(is_word(word), "{word}");
        }
    }
}
