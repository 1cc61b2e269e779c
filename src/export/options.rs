//! How a model is exported.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::adopt::Tool;
use crate::words::words;

/// The layout that a model is exported in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ExportLayout {
    /// The cache of huggingface_hub, which vLLM, SGLang, transformers and others share.
    Hf,
    /// The cache of llama.cpp, which has the layout of the Hugging Face cache.
    LlamaCpp,
    /// The store of Ollama.
    Ollama,
    /// The store of RamaLama.
    RamaLama,
    /// The folder of LM Studio.
    LmStudio,
    /// The cache of ModelScope.
    ModelScope,
    /// An OCI image layout: a directory, or a tar archive if its name ends in `.tar`.
    Oci,
    /// A plain file, or a folder with the files.
    Dir,
}

words!(ExportLayout, "layout", {
    Hf => "hf",
    LlamaCpp => "llamacpp",
    Ollama => "ollama",
    RamaLama => "ramalama",
    LmStudio => "lmstudio",
    ModelScope => "modelscope",
    Oci => "oci",
    Dir => "dir",
});

impl ExportLayout {
    /// Whether the documents of a model are exported with it. The other layouts have no place for them.
    pub(super) fn has_documents(self) -> bool {
        matches!(self, ExportLayout::Oci | ExportLayout::Dir)
    }

    /// The tool whose store has this layout and a place of its own.
    pub(super) fn tool(self) -> Option<Tool> {
        Some(match self {
            ExportLayout::Hf => Tool::Hf,
            ExportLayout::LlamaCpp => Tool::LlamaCpp,
            ExportLayout::Ollama => Tool::Ollama,
            ExportLayout::RamaLama => Tool::RamaLama,
            ExportLayout::LmStudio => Tool::LmStudio,
            ExportLayout::ModelScope => Tool::ModelScope,
            ExportLayout::Oci | ExportLayout::Dir => return None,
        })
    }
}

/// How a model is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportOptions {
    /// The layout.
    pub layout: ExportLayout,
    /// The tool's own folder. `None`: where the tool looks, by its environment variables; an image layout and a plain
    /// folder have no such place.
    pub to: Option<PathBuf>,
    /// The name there: `ORG/NAME`; for Ollama `[NAMESPACE/]MODEL[:TAG]`; for an image layout a tag; for a plain folder
    /// one file name. `None`: from the reference that the model was staged from, or from its id.
    pub repo: Option<String>,
    /// The version there: for the Hugging Face layout the commit, of 40 hex digits. `None`: the commit that the model
    /// was fetched at, or else one made up from the digest.
    pub revision: Option<String>,
}

impl ExportOptions {
    /// Exports in this layout, to the tool's own place, under the model's own name.
    #[must_use]
    pub fn new(layout: ExportLayout) -> Self {
        ExportOptions { layout, to: None, repo: None, revision: None }
    }

    /// Sets [`to`](ExportOptions::to).
    #[must_use]
    pub fn with_to(mut self, to: impl Into<Option<PathBuf>>) -> Self {
        self.to = to.into();
        self
    }

    /// Sets [`repo`](ExportOptions::repo).
    #[must_use]
    pub fn with_repo(mut self, repo: impl Into<Option<String>>) -> Self {
        self.repo = repo.into();
        self
    }

    /// Sets [`revision`](ExportOptions::revision).
    #[must_use]
    pub fn with_revision(mut self, revision: impl Into<Option<String>>) -> Self {
        self.revision = revision.into();
        self
    }
}
