//! A record as JSON: flat, with the entry's own fields first.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    ArtifactKind, Attestation, Document, LifecycleState, LinkMode, Pin, Provenance, Record, Stamp, TrustState,
};
use crate::digest::Digest;
use crate::json::json_as;

#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct RecordJson<'a> {
    /// The entry's id.
    id: &'a str,
    /// The digest of the file, or of the tree's manifest; null if the content was never hashed.
    digest: Option<&'a Digest>,
    /// The path that an engine opens, absolute.
    local_path: Cow<'a, str>,
    /// Bytes of all its files together.
    size_bytes: u64,
    /// Active or retired.
    lifecycle: LifecycleState,
    /// How far the content can be trusted to be what it was said to be.
    trust: TrustState,
    /// When the content was last checked in full, in milliseconds since the Unix epoch.
    last_verified_ms: Option<u64>,
    /// When the path was last given out, in milliseconds since the Unix epoch, to the hour.
    last_used_ms: Option<u64>,
    /// A part of it was found to be damaged.
    damaged: bool,
    /// When that was, in milliseconds since the Unix epoch.
    damaged_ms: Option<u64>,
    /// A file, a tree, or only a registered path.
    kind: ArtifactKind,
    /// How many files it has.
    files: u64,
    /// How `local_path` was made from the blob; for a tree, the costliest way that any file took.
    view: Option<LinkMode>,
    /// Where it came from; null for a registered path.
    source: Option<SourceJson<'a>>,
    /// Further blobs that it needs, such as signatures.
    needs: &'a BTreeSet<Digest>,
    /// The documents that were attached to it, by their digests, which are among `needs`.
    documents: &'a BTreeMap<Digest, Document>,
    /// Signatures of its content that were verified.
    attested: Vec<&'a Attestation>,
    /// When the id was first recorded, in milliseconds since the Unix epoch.
    created_ms: u64,
    /// When the record was last changed, in milliseconds since the Unix epoch.
    updated_ms: u64,
    /// When it was retired, in milliseconds since the Unix epoch; null while it is active.
    retired_ms: Option<u64>,
    /// Its pins, by name.
    pins: &'a BTreeMap<String, Pin>,
    /// The places to which it was pushed: when it was last seen there, in milliseconds since the Unix epoch.
    pushed: &'a BTreeMap<String, u64>,
}

/// Where an artifact came from.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct SourceJson<'a> {
    /// The reference's own string.
    reference: &'a str,
    /// What a reference that can move meant: a commit, the digest of a manifest, a version.
    pinned: Option<&'a str>,
    /// The party that named the digests of all its files, such as the server that it was fetched from.
    named_by: Option<&'a str>,
    /// What tells whether the origin still has this version, such as an `ETag`.
    validator: Option<&'a str>,
    /// The local file as it was when it was staged; null for a tree, and for what was fetched.
    file: Option<FileJson>,
}

/// A local file as it was when it was read.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct FileJson {
    /// The inode number. It is text, because it may need all of 64 bits.
    inode: String,
    /// Its size.
    size_bytes: u64,
    /// When it was last written, in milliseconds since the Unix epoch.
    modified_ms: i64,
}

impl<'a> From<&'a Record> for RecordJson<'a> {
    fn from(record: &'a Record) -> Self {
        let entry = &record.entry;
        RecordJson {
            id: &entry.id,
            digest: entry.digest.as_ref(),
            local_path: entry.local_path.to_string_lossy(),
            size_bytes: record.size_bytes,
            lifecycle: entry.lifecycle,
            trust: record.trust,
            last_verified_ms: entry.last_verified_ms,
            last_used_ms: record.last_used_ms,
            damaged: record.damaged_ms.is_some(),
            damaged_ms: record.damaged_ms,
            kind: record.kind,
            files: record.files,
            view: record.view,
            source: record.source.as_ref().map(SourceJson::from),
            needs: &record.needs,
            documents: &record.documents,
            attested: record.signatures().collect(),
            created_ms: record.created_ms,
            updated_ms: record.updated_ms,
            retired_ms: record.retired_ms,
            pins: &record.pins,
            pushed: &record.pushed,
        }
    }
}

impl<'a> From<&'a Provenance> for SourceJson<'a> {
    fn from(source: &'a Provenance) -> Self {
        SourceJson {
            reference: &source.reference,
            pinned: source.pinned.as_deref(),
            named_by: source.named_by.as_deref(),
            validator: source.validator.as_deref(),
            file: source.stamp.map(FileJson::from),
        }
    }
}

impl From<Stamp> for FileJson {
    fn from(stamp: Stamp) -> Self {
        FileJson {
            inode: stamp.inode.to_string(),
            size_bytes: stamp.size_bytes,
            modified_ms: i64::try_from(stamp.mtime_ns.div_euclid(1_000_000)).unwrap_or(i64::MAX),
        }
    }
}

json_as!(Record, RecordJson);
