//! Tests for any [`CatalogStore`](crate::CatalogStore), behind the feature `testing`: a conformance suite, a comparison
//! with a model, and a store in memory. Also the entry points for fuzzing.
//!
//! ```
//! use catalog_core::testing::{MemoryCatalog, catalog_store_conformance};
//!
//! catalog_store_conformance(MemoryCatalog::default);
//! ```

#[cfg(feature = "attest")]
mod certificates;
mod concurrent;
mod conformance;
mod errors;
mod example;
mod hostile;
mod ids;
mod memory;
mod model;
#[cfg(any(feature = "hf", feature = "oci"))]
mod network;
mod probe;

#[cfg(feature = "fault")]
pub mod fault {
    //! Deliberate faults, at every step that changes something on disk.
    pub use crate::fs::fault::{Fault, Injection, inject};
}

#[cfg(feature = "attest")]
#[doc(hidden)]
pub use certificates::{Issued, Wanted};
pub use conformance::catalog_store_conformance;
pub use errors::error_samples;
#[doc(hidden)]
pub use example::example;
#[cfg(feature = "attest")]
pub use hostile::fuzz_bundle;
pub use hostile::{
    fuzz_digest, fuzz_gguf, fuzz_layout, fuzz_manifest, fuzz_model_ref, fuzz_outboard, fuzz_safetensors, fuzz_shard,
    fuzz_store_json,
};
pub use ids::{accepted_ids, rejected_ids};
pub use memory::MemoryCatalog;
pub use model::{Operation, catalog_store_model};
#[cfg(any(feature = "hf", feature = "oci"))]
pub use network::fuzz_network;
