//! What is known of a model by its bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::words::words;

/// What is known of a model by the headers of its files, and by the small files beside them.
///
/// These are the words of whoever made the model. Only [`tensors`](Facts::tensors), [`dtypes`](Facts::dtypes),
/// [`parameters`](Facts::parameters) and the sizes are counted from the tensors themselves. A missing value means that
/// nothing says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Facts {
    /// The format of the weights.
    pub format: Option<ModelFormat>,
    /// The file that engines are given, by its path in the model: a GGUF file, of a split one the first part. `None`:
    /// they are given the model as it is.
    pub entry: Option<String>,
    /// What engines use it for.
    pub role: Option<ModelRole>,
    /// Its name.
    pub name: Option<String>,
    /// The family that engines know, such as `llama`.
    pub architecture: Option<String>,
    /// Number of parameters.
    pub parameters: Option<u64>,
    /// Whether it has more parameters than that, because several are packed into one value.
    pub parameters_are_minimum: bool,
    /// How large its maker calls it, such as `8B`.
    pub size_label: Option<String>,
    /// How its weights are stored, such as `Q4_K_M`, `BF16` or `gptq-4bit`.
    pub quantization: Option<String>,
    /// Number of tokens that it was made for.
    pub context_length: Option<u64>,
    /// Length of the vector of a token.
    pub embedding_length: Option<u64>,
    /// Number of layers.
    pub layers: Option<u64>,
    /// Number of experts in a layer.
    pub experts: Option<u64>,
    /// Number of experts that work on a token.
    pub experts_used: Option<u64>,
    /// Number of tokens that it knows.
    pub vocabulary: Option<u64>,
    /// The kind of tokenizer.
    pub tokenizer: Option<String>,
    /// Whether it has a template for chats.
    pub chat_template: bool,
    /// The licence, by its maker's word: an SPDX id, or another name.
    pub license: Option<String>,
    /// The models that it was made from.
    pub base_models: Vec<String>,
    /// The languages that it is for.
    pub languages: Vec<String>,
    /// Number of tensors.
    pub tensors: u64,
    /// The tensors by their data type.
    pub dtypes: BTreeMap<String, TensorCount>,
    /// Its parts, if it is split.
    pub parts: Option<PartCount>,
    /// Number of other models beside it, such as other quantizations. The facts are those of the largest.
    pub other_models: u64,
    /// Bytes that the files of weights must have for their tensors.
    pub needed_bytes: Option<u64>,
    /// Bytes that these files have.
    pub weight_bytes: u64,
    /// Whether all of it is there.
    pub completeness: Completeness,
    /// What is missing or wrong, each for humans.
    pub missing: Vec<String>,
}

/// How many parts of a split model there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PartCount {
    /// Number of parts that are there.
    pub present: u64,
    /// Number of parts that belong to it.
    pub total: u64,
}

/// How much of a model has one data type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TensorCount {
    /// Number of tensors.
    pub tensors: u64,
    /// Number of values in them.
    pub values: u64,
}

/// The format of a model's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ModelFormat {
    /// GGUF, of llama.cpp and Ollama.
    Gguf,
    /// Safetensors, of transformers, vLLM and others.
    Safetensors,
}

words!(ModelFormat, "model format", {
    Gguf => "gguf",
    Safetensors => "safetensors",
});

/// What engines use a model for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ModelRole {
    /// A model of its own.
    Model,
    /// What turns images or sound into input of a model. An engine needs the model, too.
    Projector,
    /// A change to a model, such as a LoRA. An engine needs the model, too.
    Adapter,
    /// A tokenizer without weights.
    Vocabulary,
    /// What a quantizer needs to know of a model.
    Imatrix,
}

words!(ModelRole, "role", {
    Model => "model",
    Projector => "projector",
    Adapter => "adapter",
    Vocabulary => "vocabulary",
    Imatrix => "imatrix",
});

/// Whether all of a model is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Completeness {
    /// Everything that its own files name is there, with all bytes of its tensors.
    Complete,
    /// Something that its own files name is not there, or a file is cut.
    Incomplete,
    /// Nothing in it says what belongs to it.
    #[default]
    Unknown,
}

words!(Completeness, "completeness", {
    Complete => "complete",
    Incomplete => "incomplete",
    Unknown => "unknown",
});
