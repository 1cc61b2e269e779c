//! What other tools' stores hold, and how it gets into ours.
//!
//! ```text
//! found.rs        what a scan returns
//! scan.rs         scans the store of a tool
//! places.rs       where each tool keeps its store
//! tool_of.rs      which tool's store lies at a path
//!
//! hf.rs           the cache of huggingface_hub
//! llamacpp.rs     the same cache, and the flat files of earlier versions of llama.cpp
//! ollama.rs       Ollama
//! ramalama.rs     RamaLama
//! lmstudio.rs     LM Studio
//! modelscope.rs   ModelScope
//! docker.rs       Docker Model Runner
//! oci.rs          an OCI image layout
//!
//! reader.rs       reads files and folders of a store, and nothing outside it
//! folder.rs       judges whether a folder of files is a complete model, or which GGUF files in it are
//! layers.rs       manifests that name blobs by their digests
//! names.rs        what names of files mean
//! check.rs        the last check of what was found
//!
//! bring.rs        brings what was found into the store
//! dedupe.rs       replaces a tool's file by a link to ours: the only thing that is ever changed there
//! ```

mod bring;
mod check;
mod dedupe;
mod docker;
#[cfg(test)]
mod fake;
mod folder;
mod found;
mod hf;
mod layers;
mod llamacpp;
mod lmstudio;
mod modelscope;
mod names;
mod oci;
mod ollama;
mod places;
mod ramalama;
mod reader;
mod scan;
#[cfg(test)]
#[cfg(all(target_os = "linux", not(catalog_portable)))]
#[allow(clippy::disallowed_methods)]
mod tests;
mod tool_of;

pub use bring::{AdoptOptions, AdoptPlan, AdoptReceipt};
pub(crate) use bring::{adopt, plan};
pub use found::{Claim, Found, FoundFile, Scan, Sharing, Skipped, Tool, size_bytes};
pub(crate) use places::place_of;
pub use places::places;
pub use scan::scan;
pub use tool_of::tool_of;
