//! A model catalog on a content-addressable store of blobs, for hosts that run LLM engines.
//!
//! A provisioner stages a file, an engine opens it, and a collection removes what is no longer used:
//!
//! ```
//! use std::time::Duration;
//! use catalog_core::{CatalogStore, FsCatalog, GcPolicy, ModelRef, StageOptions};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let (root, file) = (dir.path().join("root"), dir.path().join("llama3.gguf"));
//! # std::fs::copy("tests/fixtures/tiny-llama-q8_0.gguf", &file).unwrap();
//! let catalog = FsCatalog::new(root)?;
//!
//! // Stage: the bytes are stored once, under their SHA-256, and are durable when this returns.
//! let options = StageOptions::default().with_id("llama3".to_owned());
//! let staged = catalog.stage(&ModelRef::from(file), &options)?;
//!
//! // Resolve: the path of a read-only file, which is what was staged.
//! let model = catalog.resolve("llama3")?;
//! assert_eq!(model.entry.local_path, staged.local_path);
//!
//! // Lease: while it is held, nothing takes the model away.
//! let weights = catalog.lease("llama3")?.into_map()?;
//! assert_eq!(weights.len() as u64, staged.size_bytes);
//!
//! // Collect: here with room for nothing, and without grace for what was used just now.
//! let policy = GcPolicy::default().with_max_bytes(0).with_grace(Duration::ZERO);
//! assert_eq!(catalog.gc(&policy)?.entries, 0);
//! drop(weights);
//! assert_eq!(catalog.gc(&policy)?.entries, 1);
//! assert!(catalog.list()?.is_empty());
//! # Ok::<(), catalog_core::Error>(())
//! ```
//!
//! [`ensure`](FsCatalog::ensure) stages a model unless the store has it, and returns its path, in one call.
//! [`FsCatalog`] has an example for each of its methods. `examples/` has whole programs: a provisioner,
//! a pool manager, and an HTTP service over [`CatalogStore`].
//!
//! A debug build hashes slowly, because cargo compiles the hashing crates without optimisation too: staging a file of 98 MB takes
//! 8 seconds. With this in the `Cargo.toml` at the root of its workspace, it takes half a second:
//!
//! ```toml
//! [profile.dev.package.sha2]
//! opt-level = 3
//!
//! [profile.dev.package.blake3]
//! opt-level = 3
//! ```
//!
//! Several processes can use one root, and any of them may be killed at any time. Everything that
//! [`stage`](FsCatalog::stage) and [`put`](CatalogStore::put) have acknowledged survives that, and a power cut.
//! `docs/format.md` describes the format on disk, and `docs/concurrency.md` the protocols between processes.
//!
//! A child process that is forked without `exec` may use a catalog, even one that its parent has opened, if no other
//! thread of the parent was using one at the time of the fork. It uses a single thread where its parent used several.
//!
//! Not guaranteed: that nothing is lost on a file system that does not honour `fsync`; that the root user cannot change
//! a blob; that an old version works with a store in a newer format (it refuses to open it).

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod adopt;
#[cfg(feature = "attest")]
mod attest;
mod blob;
mod cancel;
mod catalog;
mod counts;
mod digest;
mod doctor;
mod documents;
mod entry;
mod error;
mod excerpt;
mod export;
mod facts;
mod fetch;
mod formats;
mod fs;
mod gc;
mod git_blob;
mod hash;
mod hint;
mod history;
mod index;
mod ingest;
mod json;
mod layout;
mod lease;
mod model_ref;
mod naming;
#[cfg(feature = "net")]
mod net;
mod observer;
mod oci;
mod ollama_name;
mod pattern;
mod read_at;
mod referrer;
mod repair;
#[cfg(test)]
mod skip;
#[cfg(feature = "net")]
mod source;
mod stage;
mod store;
mod sum;
#[cfg(feature = "testing")]
pub mod testing;
mod threads;
#[cfg(feature = "net")]
mod transfer;
mod verify;
mod view;
mod words;

#[cfg(feature = "attest")]
pub use attest::{
    BomOptions, PrivateKey, PublicKey, Roots, SignatureOptions, SignatureReport, SigningCertificate, TrustedSigner,
    VerifiedIdentity,
};
pub use blob::{IngestMode, LocalSource, RepairSource, UsedMode};
pub use cancel::Cancel;
pub use catalog::{CatalogStore, FsCatalog, Key};
pub use digest::{Algorithm, Digest, DigestError, VerificationOutcome, verify_digest};
pub use doctor::{Doctor, Finding, FindingKind, Remedy, RepairOutcome, Severity};
pub use documents::{AttachedDocument, NewDocument};
pub use entry::{
    ArtifactKind, Attestation, CatalogEntry, Document, DocumentKind, LifecycleState, LinkMode, LogEvent, LogEventKind,
    LogSource, MAX_ID_BYTES, Pin, Provenance, Record, SigningIdentity, SigningMethod, Stamp, TrustState, check_id,
};
pub use error::{Error, HubProblem, NetError, Refused, Result};
pub use export::{
    Export, ExportLayout, ExportOptions, ExportReceipt, ExportRemoval, ExportState, ExportSync, ExportWay,
    ExportedFile, SyncAction,
};
pub use facts::StoredFile;
pub use fetch::{FileFetcher, ModelFetcher, RemoteDocument, ResolvedModel};
pub use formats::{Completeness, Facts, ModelFormat, ModelRole, PartCount, TensorCount};
pub use fs::lock::Wait;
pub use fs::{Durability, raise_descriptor_limit};
pub use gc::{
    DiskUsage, EntryUsage, GcAction, GcFailure, GcKept, GcPlan, GcPolicy, GcReason, GcReport, GcStep, KeptBlob,
    RemoveOptions, RemoveReceipt,
};
pub use hash::{FileHash, HashFunction, HashOptions, HashValue, hash_files};
pub use hint::{Collection, Hint};
pub use history::LogChain;
pub use ingest::{PartialInfo, PartialState};
#[cfg(unix)]
pub use lease::InheritableLease;
pub use lease::{Lease, LeaseHolder, ModelMap, OwnedMap};
pub use model_ref::ModelRef;
#[cfg(feature = "net")]
pub use net::{
    Body, Client, ClientOptions, ContentRange, Payload, Policy, Proxies, Purpose, Request, Response, Validator,
};
pub use observer::{Event, Observer};
pub use read_at::ReadAt;
pub use repair::{RepairOptions, RepairReport};
#[cfg(feature = "http")]
pub use source::HttpSource;
#[cfg(feature = "net")]
pub use source::{
    Cx, Expected, Listing, Opened, Outgoing, RemoteFile, RemoteReader, Sink, Source, Sources, UploadMemory,
};
#[cfg(feature = "hf")]
pub use source::{GitBlobReader, HfOptions, HfSource};
#[cfg(feature = "oci")]
pub use source::{InvalidOciPlace, OciLogins, OciOptions, OciPlace, OciSource};
#[cfg(feature = "s3")]
pub use source::{S3Options, S3Source};
pub use stage::{StageOptions, StageReceipt, TreeHash, UnmovedSource, hash_tree};
pub use store::{Check, Config, InvalidMinFree, MinFree, RuleSigner, SignatureRule, default_model_cache_dir};
#[cfg(feature = "net")]
pub use transfer::{PushOptions, PushReceipt};
pub use verify::{BadFile, VerifyDepth, VerifyOptions, VerifyReport};
pub use words::UnknownWord;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
