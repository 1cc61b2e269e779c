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
mod doctor;
mod entry;
mod error;
mod excerpt;
mod fetch;
mod fs;
mod gc;
mod hash;
mod hint;
mod index;
mod ingest;
mod json;
mod layout;
mod lease;
mod model_ref;
mod observer;
mod read_at;
mod repair;
mod stage;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod threads;
mod verify;
mod view;
mod words;

pub use blob::{IngestMode, LocalSource, RepairSource, UsedMode};
pub use cancel::Cancel;
pub use catalog::{CatalogStore, FsCatalog, Key};
pub use digest::{Algorithm, Digest, DigestError, VerificationOutcome, verify_digest};
pub use doctor::{Doctor, Finding, FindingKind, Remedy, RepairOutcome, Severity};
pub use entry::{
    ArtifactKind, CatalogEntry, LifecycleState, LinkMode, MAX_ID_BYTES, Pin, Provenance, Record, Stamp, TrustState,
    check_id,
};
pub use error::{Error, Result};
pub use fetch::{FileFetcher, ModelFetcher, ResolvedModel};
pub use fs::Durability;
pub use fs::lock::Wait;
pub use gc::{
    DiskUsage, EntryUsage, GcAction, GcFailure, GcKept, GcPlan, GcPolicy, GcReason, GcReport, GcStep, KeptBlob,
    RemoveReceipt,
};
pub use hash::{FileHash, HashFunction, HashValue, hash_files};
pub use hint::Hint;
pub use lease::{Lease, ModelMap, OwnedMap};
pub use model_ref::ModelRef;
pub use observer::{Event, Observer};
pub use read_at::ReadAt;
pub use repair::{RepairOptions, RepairReport};
pub use stage::{StageOptions, StageReceipt};
pub use store::{Check, Config, InvalidMinFree, MinFree, default_model_cache_dir};
pub use verify::{BadFile, VerifyDepth, VerifyOptions, VerifyReport};
pub use words::UnknownWord;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
