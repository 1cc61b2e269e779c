//! A model catalog on a content-addressable store of blobs, for hosts that run LLM engines.
//!
//! A provisioner stages a file, an engine opens its path, an operator removes it:
//!
//! ```
//! use catalog_core::{CatalogStore, FsCatalog, LifecycleState, ModelRef, StageOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let (root, file) = (dir.path().join("root"), dir.path().join("llama.gguf"));
//! # std::fs::copy("tests/fixtures/tiny-llama-q8_0.gguf", &file)?;
//! let catalog = FsCatalog::new(&root)?;
//!
//! // Stage: the bytes are stored once, under their SHA-256, and are durable when this returns.
//! let model = ModelRef::parse(file.to_str().unwrap())?;
//! let staged = catalog.stage(&model, &StageOptions::default())?;
//!
//! // Resolve: the path of a read-only file that an engine opens.
//! let found = catalog.locate(&model)?.expect("it was staged");
//! assert_eq!(found.local_path, staged.local_path);
//! assert!(found.local_path.ends_with("llama.gguf"));
//!
//! // Look around, retire, remove.
//! assert_eq!(catalog.list()?.len(), 1);
//! catalog.set_state(&staged.id, LifecycleState::Retired)?;
//! let removed = catalog.remove(&staged.id)?.expect("it was there");
//! assert_eq!(removed.blobs_removed, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Several processes may work on one root, and any of them may be killed at any moment. What
//! [`stage`](FsCatalog::stage) and [`put`](CatalogStore::put) have acknowledged survives that, and a power cut. The
//! format on disk is in `docs/format.md`, the protocols between processes are in `docs/concurrency.md`.
//!
//! Not promised: that a file system which lies about `fsync` loses nothing; that root does not change a blob by hand;
//! that an old version can work with a store that a newer one has written in a newer format (it refuses).

mod blob;
mod cancel;
mod catalog;
mod digest;
mod entry;
mod error;
mod fetch;
mod fs;
mod gc;
mod hash;
mod index;
mod ingest;
mod layout;
mod lease;
mod model_ref;
mod observer;
mod read_at;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod threads;
mod view;

pub use blob::{IngestMode, LocalSource, RepairSource, UsedMode};
pub use cancel::Cancel;
pub use catalog::{
    BadFile, Check, Config, Depth, DiskUsage, Doctor, EntryUsage, Finding, FindingKind, FsCatalog, Kept, Key,
    MendOutcome, Remedy, RemoveReceipt, RepairOptions, RepairReport, Severity, StageOptions, StageReceipt,
    VerifyOptions, VerifyReport, default_model_cache_dir,
};
pub use digest::{Algorithm, Digest, VerificationOutcome, verify_digest};
pub use entry::{
    ArtifactKind, CatalogEntry, LifecycleState, LinkMode, MAX_ID_BYTES, Pin, Record, Source, Stamp, TrustState,
    check_id,
};
pub use error::{Error, Result};
pub use fetch::{FileFetcher, ModelFetcher, ResolvedModel};
pub use fs::Durability;
pub use fs::lock::Wait;
pub use gc::{GcAction, GcKept, GcPlan, GcPolicy, GcReason, GcReport, GcStep, MinFree};
pub use hash::{FileHash, HashFunction, hash_files};
pub use lease::{Lease, ModelMap};
pub use model_ref::ModelRef;
pub use observer::{Event, Observer};
pub use read_at::ReadAt;
pub use store::CatalogStore;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
