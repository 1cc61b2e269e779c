//! What the headers of model files say: facts about the model, and whether all of it is there.
//!
//! This module sees only paths, sizes and bytes. It trusts nothing: a header is read in pieces up to a limit, and one that
//! is cut, hostile or of a kind that is not known gives fewer facts, and never an error. Only a file that cannot be read
//! is an error.
//!
//! ```text
//! facts.rs            the facts
//! files.rs            the files of a model
//! headers.rs          which files have headers, and what these are
//! header_reader.rs    reads a header in pieces
//! gguf.rs, ggml.rs    GGUF, and its types of tensors
//! safetensors.rs      safetensors
//! config.rs           config.json and its neighbours, as transformers writes them
//! card.rs             the first lines of a README.md
//! gather.rs           facts from all of these
//! complete.rs         whether all of a model is there
//! ```

/// The version of what is read. It is raised whenever the same files give other facts, since facts are kept.
pub(crate) const VERSION: u32 = 1;

mod card;
mod complete;
mod config;
mod facts;
mod files;
mod gather;
mod ggml;
pub(crate) mod gguf;
mod header_reader;
mod headers;
#[cfg(test)]
mod made;
mod safetensors;

pub use facts::{Completeness, Facts, ModelFormat, ModelRole, PartCount, TensorCount};
pub(crate) use files::{ModelFile, ModelFiles};
pub(crate) use gather::facts_of;
pub(crate) use ggml::file_type_name;

#[cfg(test)]
mod tests;
