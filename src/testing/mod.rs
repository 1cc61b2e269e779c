//! What any [`CatalogStore`](crate::CatalogStore) is held against, behind the feature `testing`: a suite, a comparison
//! with a model, and a store in memory.
//!
//! ```
//! use catalog_core::testing::{MemoryCatalog, catalog_store_conformance};
//!
//! catalog_store_conformance(MemoryCatalog::default);
//! ```

mod concurrent;
mod conformance;
mod ids;
mod memory;
mod model;
mod probe;

pub use conformance::catalog_store_conformance;
pub use memory::MemoryCatalog;
pub use model::{Operation, catalog_store_model};
