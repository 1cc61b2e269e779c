//! What a scan of another tool's store returns.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::pattern::Pattern;
use crate::sum::SumBytes as _;
use crate::words::words;

/// A tool whose store can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Tool {
    /// The cache of huggingface_hub, which vLLM, transformers and others share.
    Hf,
    /// The cache of llama.cpp: the layout of the Hugging Face cache, and the flat files of earlier versions.
    LlamaCpp,
    /// Ollama.
    Ollama,
    /// RamaLama.
    RamaLama,
    /// LM Studio.
    LmStudio,
    /// ModelScope.
    ModelScope,
    /// Docker Model Runner.
    Docker,
    /// An OCI image layout: a directory with `oci-layout`.
    Oci,
}

words!(Tool, "tool", {
    Hf => "hf",
    LlamaCpp => "llamacpp",
    Ollama => "ollama",
    RamaLama => "ramalama",
    LmStudio => "lmstudio",
    ModelScope => "modelscope",
    Docker => "docker",
    Oci => "oci",
});

/// What is in a store: models that are complete, and what is no model or not complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scan {
    /// The complete models, sorted by id.
    pub models: Vec<Found>,
    /// What was left out, sorted by path.
    pub skipped: Vec<Skipped>,
}

/// A complete model in another tool's store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Whose store it is in.
    pub tool: Tool,
    /// The id under which the tool's users know it, such as `hf:org/repo@<commit>`.
    pub id: String,
    /// Its further ids, such as `hf:org/repo` for the commit that the branch `main` is at.
    pub also: Vec<String>,
    /// The version that it is: a commit, or the digest of a manifest.
    pub pinned: Option<String>,
    /// One file, or a directory of files.
    pub kind: ArtifactKind,
    /// The name that its view gets: for a file, one that engines understand.
    pub name: String,
    /// Its files, sorted by path.
    pub files: Vec<FoundFile>,
    /// Whether the tool's own list shows that these are all files of what the id names. If not, files that were never
    /// downloaded may be missing, although the model can be used without them.
    pub is_whole: bool,
}

/// A file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundFile {
    /// Its path in the model, with `/` between the parts. Empty if the model is this one file.
    pub path: String,
    /// The regular file with its bytes: an absolute path without symlinks, inside the tool's store.
    pub source: PathBuf,
    /// Its size in bytes when it was found.
    pub size_bytes: u64,
    /// What the tool says that the bytes are. It is checked when the model is adopted.
    pub claim: Option<Claim>,
    /// How it can share its bytes with another store.
    pub sharing: Sharing,
    /// The lock file that the tool holds while it changes the file.
    pub lock: Option<PathBuf>,
}

/// What a tool says that a file is. No scan checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claim {
    /// Its SHA-256.
    Sha256(Digest),
    /// Its hash as a blob of a git repository.
    GitBlobSha1([u8; 20]),
}

/// How a file can share its bytes with another store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sharing {
    /// Its inode can have names in both, because its tool never writes into a finished file.
    Hardlink,
    /// Only blocks can be shared, because its tool may write into the file.
    Reflink,
}

/// Something in a store that is no complete model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Skipped {
    /// Whose store it is in.
    pub tool: Tool,
    /// The file or directory.
    #[serde(serialize_with = "crate::json::lossy")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub path: PathBuf,
    /// The reason, for humans: `an unfinished download`.
    pub reason: String,
}

/// The bytes of all files of these models, each file counted once.
#[must_use]
pub fn size_bytes(models: &[Found]) -> u64 {
    let files = models.iter().flat_map(|model| &model.files);
    let by_source: BTreeMap<_, _> = files.map(|file| (&file.source, file.size_bytes)).collect();
    by_source.into_values().sum_bytes()
}

impl Found {
    /// Whether one of its ids matches a pattern, as Python's `fnmatch` reads it: `*` also matches `/`.
    #[must_use]
    pub fn matches(&self, pattern: &str) -> bool {
        let pattern = Pattern::parse(pattern);
        pattern.matches(&self.id) || self.also.iter().any(|id| pattern.matches(id))
    }

    /// The bytes of all its files.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum_bytes()
    }
}
