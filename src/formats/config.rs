//! The small files beside safetensors, as transformers and its relatives write them.

use serde_json::{Map, Value};

use super::files::{ModelFiles, shown};
use crate::error::Result;

/// More than any of these files has, even with a template for chats.
const MAX_BYTES: u64 = 16 << 20;

/// Objects in `config.json` that describe the language model of a larger one.
const INNER: [&str; 4] = ["text_config", "llm_config", "language_config", "thinker_config"];

/// One of these is a whole tokenizer.
const TOKENIZERS: [&[&str]; 7] = [
    &["tokenizer.json"],
    &["tokenizer.model"],
    &["vocab.json", "merges.txt"],
    &["vocab.txt"],
    &["tekken.json"],
    &["spiece.model"],
    &["sentencepiece.bpe.model"],
];

/// `config.json`, with `tokenizer_config.json`.
pub(super) struct Config {
    values: Map<String, Value>,
    tokenizer: Map<String, Value>,
    has_template: bool,
}

impl Config {
    /// `None`: there is no `config.json`, or it is no object.
    pub(super) fn of(files: &ModelFiles<'_>) -> Result<Option<Self>> {
        let Some(values) = files.json("config.json", MAX_BYTES)? else { return Ok(None) };
        let tokenizer: Map<String, Value> = files.json("tokenizer_config.json", MAX_BYTES)?.unwrap_or_default();
        let templates = ["chat_template.jinja", "chat_template.json"];
        let has_template = tokenizer.get("chat_template").is_some_and(|template| !template.is_null())
            || templates.into_iter().any(|name| files.has(name));
        Ok(Some(Config { values, tokenizer, has_template }))
    }

    /// The first of these that it has, also in the part about the language model.
    pub(super) fn number(&self, names: &[&str]) -> Option<u64> {
        let inner = INNER.iter().filter_map(|name| self.values.get(*name)?.as_object());
        let mut all = std::iter::once(&self.values).chain(inner);
        all.find_map(|values| names.iter().find_map(|name| values.get(*name)?.as_u64()))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_str()
    }

    pub(super) fn architecture(&self) -> Option<String> {
        let class = || self.values.get("architectures")?.get(0)?.as_str();
        self.text("model_type").or_else(class).and_then(shown)
    }

    /// Whether transformers would take it for a model.
    pub(super) fn is_model(&self) -> bool {
        self.architecture().is_some()
    }

    /// Whether it works on text, and so needs a tokenizer.
    pub(super) fn is_of_text(&self) -> bool {
        self.number(&["vocab_size"]).is_some()
    }

    /// Such as `gptq-4bit` or `fp8`.
    pub(super) fn quantization(&self) -> Option<String> {
        let config = self.values.get("quantization_config")?;
        let method = config.get("quant_method")?.as_str().and_then(shown)?;
        let bits = config.get("bits").and_then(Value::as_u64);
        Some(bits.map_or_else(|| method.clone(), |bits| format!("{method}-{bits}bit")))
    }

    pub(super) fn tokenizer(&self) -> Option<String> {
        self.tokenizer.get("tokenizer_class")?.as_str().and_then(shown)
    }

    pub(super) fn has_template(&self) -> bool {
        self.has_template
    }
}

/// Whether one of the known tokenizers is there.
pub(super) fn has_tokenizer(files: &ModelFiles<'_>) -> bool {
    TOKENIZERS.iter().any(|names| names.iter().all(|name| files.has(name)))
        || files.all().iter().any(|file| file.path.ends_with(".tiktoken"))
}
