//! What the catalog knows about a model: the five-field entry that callers build, and the record that contains it.

mod attestation;
mod event;
mod fingerprint;
mod identity;
mod json;

pub use attestation::{Attestation, SigningMethod};
pub use event::{LogEvent, LogEventKind, LogSource};
pub(crate) use fingerprint::fingerprint;
pub use identity::SigningIdentity;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::excerpt::excerpt;
use crate::words::words;

/// The precision of the last use in a record: a use within this time of the recorded one is not recorded.
pub(crate) const TOUCH_INTERVAL: Duration = Duration::from_secs(3600);

/// The longest id, in bytes of UTF-8.
pub const MAX_ID_BYTES: usize = 1024;

/// Whether a model is offered to engines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LifecycleState {
    /// In use or ready for use.
    #[default]
    Active,
    /// On its way out: still here, but the first that a policy evicts.
    Retired,
}

words!(LifecycleState, "lifecycle state", {
    Active => "active",
    Retired => "retired",
});

/// One model of the catalog, as other crates read and write it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CatalogEntry {
    /// Opaque UTF-8, 1 to 1024 bytes, no control characters, compared byte by byte.
    pub id: String,
    /// The file or directory that an engine opens; always absolute in entries that the catalog returns.
    pub local_path: PathBuf,
    /// Active or retired.
    pub lifecycle: LifecycleState,
    /// The content's digest: of the file's bytes, or of a tree's manifest. `None` until the content was hashed.
    pub digest: Option<Digest>,
    /// When the content was last checked in full, in milliseconds since the Unix epoch.
    pub last_verified_ms: Option<u64>,
}

/// What an id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ArtifactKind {
    /// One file.
    File,
    /// A directory of files.
    Tree,
    /// A path that was recorded although nothing was staged there.
    Registered,
}

words!(ArtifactKind, "kind of artifact", {
    File => "file",
    Tree => "tree",
    Registered => "registered",
});

/// How far the content can be trusted to be what it claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TrustState {
    /// Someone other than its source gave its digest, such as the operator, and it matched.
    Verified,
    /// Its source said what its digests are, and they matched.
    Claimed,
    /// It was hashed, but there was no expected digest.
    Warned,
    /// It was never hashed.
    Unverified,
}

words!(TrustState, "trust state", {
    Verified => "verified",
    Claimed => "claimed",
    Warned => "warned",
    Unverified => "unverified",
});

/// How a file was made from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LinkMode {
    /// A second name of the same inode: it needs no bytes and no blocks.
    Hardlink,
    /// A symlink to the blob, used on an overlay, where hardlinking a file of a lower layer would copy all of it up.
    Symlink,
    /// A new inode that shares its blocks until one of the two is written.
    Reflink,
    /// A new inode with its own blocks.
    Copy,
}

words!(LinkMode, "link mode", {
    Hardlink => "hardlink",
    Symlink => "symlink",
    Reflink => "reflink",
    Copy => "copy",
});

impl LinkMode {
    /// Whether a view is the blob itself, so that the blob's stamp covers both, and not a separate file.
    pub(crate) fn is_the_blob(self) -> bool {
        matches!(self, LinkMode::Hardlink | LinkMode::Symlink)
    }
}

/// Identifies a file's state when its bytes were last read in full: the same stamp means the same bytes, unless someone
/// set the modification time back on purpose.
///
/// It contains no change time, because every new hardlink changes that, and no device number, because that changes
/// between mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    // Sorted by name, as in the text of a record; so are the fields of `Provenance` and `Pin`.
    /// The inode number.
    pub inode: u64,
    /// The modification time in nanoseconds since the Unix epoch.
    pub mtime_ns: i128,
    /// The size in bytes.
    pub size_bytes: u64,
}

/// Identifies a source's state when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceStamp {
    pub(crate) stamp: Stamp,
    /// Its change time, which no user can set back: it shows that the bytes changed even if size and modification time
    /// are the same.
    pub(crate) changed_ns: i128,
}

/// Where an artifact came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Provenance {
    // Comes first because the fields are sorted by their names on disk.
    /// The local file's change time when it was staged, in nanoseconds since the Unix epoch; `None` if there is no
    /// stamp.
    #[serde(default)]
    pub(crate) changed_ns: Option<i128>,
    /// For a tree: the BLAKE3 hash of the paths, stamps and change times of all files when they were staged; `None` if
    /// one of them had just been changed. For something fetched: the hash of the patterns that selected its files;
    /// `None` for all files. `None` for a local file.
    #[serde(default)]
    pub(crate) fingerprint: Option<String>,
    /// The party that stated the digests of all its files beforehand, such as the server from which it was fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named_by: Option<String>,
    /// What a movable reference pointed to when it was staged: a commit, the digest of a manifest, a version. `None`
    /// for a reference without such a thing, such as a local path.
    #[serde(default)]
    pub pinned: Option<String>,
    /// The reference's own string.
    pub reference: String,
    /// The local file's stamp when it was staged; `None` for a tree, and for a file that had just been changed when it
    /// was read, so that a later write might not show.
    pub stamp: Option<Stamp>,
    /// A validator for whether the origin still has this version, such as an `ETag`; `None` if the origin gave none.
    #[serde(default)]
    pub validator: Option<String>,
}

impl Provenance {
    /// From this reference; nothing else is known.
    pub(crate) fn new(reference: impl Into<String>) -> Self {
        let reference = reference.into();
        Provenance {
            changed_ns: None,
            fingerprint: None,
            named_by: None,
            pinned: None,
            reference,
            stamp: None,
            validator: None,
        }
    }
}

/// A reason to keep an entry, recorded on disk under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Pin {
    /// When the pin was set, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When the pin expires, in milliseconds since the Unix epoch; `None` if it never does.
    pub expiry_ms: Option<u64>,
}

impl Pin {
    /// Whether the pin holds at this time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn holds_at(&self, now_ms: u64) -> bool {
        self.expiry_ms.is_none_or(|expiry_ms| now_ms < expiry_ms)
    }
}

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DocumentKind {
    /// A bill of materials.
    Sbom,
    /// A signature.
    Signature,
    /// Anything else.
    Doc,
}

words!(DocumentKind, "kind of document", {
    Sbom => "sbom",
    Signature => "signature",
    Doc => "doc",
});

/// What a blob that a record needs is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Document {
    /// When it was attached, in milliseconds since the Unix epoch.
    pub attached_ms: u64,
    /// `sbom`, `signature`, `doc`, or a word of a later version.
    pub kind: String,
    /// Its name, unique among the documents of the entry.
    pub name: String,
}

/// An entry and everything else that the catalog knows about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The five fields of the contract.
    pub entry: CatalogEntry,
    /// Whether it is a file, a tree, or only a registered path.
    pub kind: ArtifactKind,
    /// The total size of its files in bytes, as an engine sees them.
    pub size_bytes: u64,
    /// How many files it has.
    pub files: u64,
    /// How far the content can be trusted.
    pub trust: TrustState,
    /// How `local_path` was made from the blob; for a tree, the costliest mode that any of its files needed.
    pub view: Option<LinkMode>,
    /// Where it came from; `None` for a registered path, and for a stream.
    pub source: Option<Provenance>,
    /// When the id was first recorded, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When the record was last changed, in milliseconds since the Unix epoch.
    pub updated_ms: u64,
    /// When it was retired, in milliseconds since the Unix epoch; `None` while it is active.
    pub retired_ms: Option<u64>,
    /// When its path was last handed out, in milliseconds since the Unix epoch, precise to the hour.
    pub last_used_ms: Option<u64>,
    /// When a part of it was found damaged, in milliseconds since the Unix epoch; `None`: no damage is known. A damaged
    /// artifact is not handed out until it is repaired or staged again.
    pub damaged_ms: Option<u64>,
    /// Further blobs that it needs, such as signatures of its content. They are kept as long as the record is.
    pub needs: BTreeSet<Digest>,
    /// Those of them that were attached as documents.
    pub documents: BTreeMap<Digest, Document>,
    /// Users, besides the root's owner, who owned its blobs and its view when these were stored or checked. An outboard
    /// that belongs to anyone else is not trusted.
    pub(crate) owners: BTreeSet<u32>,
    /// Signatures that were verified, sorted by signer. Those of other content count for nothing:
    /// [`signatures`](Record::signatures) are the others.
    pub attested: Vec<Attestation>,
    /// The pins that keep it, by name.
    pub pins: BTreeMap<String, Pin>,
    /// Other places that have its content, such as `oci://registry.example.org/models/llama3`, and when it was last
    /// seen there, in milliseconds since the Unix epoch.
    pub pushed: BTreeMap<String, u64>,
    /// The hash of the paths and stamps of a view's files when they were last made or checked; `None` if the view
    /// consists of hardlinks.
    pub(crate) view_fingerprint: Option<String>,
}

impl Record {
    /// The signatures of the content that it has now that were verified.
    pub fn signatures(&self) -> impl Iterator<Item = &Attestation> {
        let digest = self.entry.digest.filter(|_| self.kind != ArtifactKind::Registered);
        self.attested.iter().filter(move |attestation| Some(attestation.digest) == digest)
    }

    /// Whether both describe the same content at the same path; other fields may differ.
    pub(crate) fn is_same_content(&self, other: &Record) -> bool {
        let content = |record: &Record| (record.kind, record.entry.digest);
        content(self) == content(other) && self.entry.local_path == other.entry.local_path
    }
}

/// Checks an id: 1 to [`MAX_ID_BYTES`] bytes, no control characters.
pub fn check_id(id: &str) -> Result<()> {
    let fail = |reason| Err(Error::InvalidId { id: excerpt(id), reason });
    if id.is_empty() {
        return fail("it is empty");
    }
    if id.len() > MAX_ID_BYTES {
        return fail("it is longer than 1024 bytes");
    }
    if id.chars().any(char::is_control) {
        return fail("it has a control character");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_1_to_1024_bytes_without_control_characters() {
        for good in ["a", "file:/a b", "..", "/etc/passwd", "CON", "é", "%2e%2e%2f", &"x".repeat(1024)] {
            check_id(good).unwrap();
        }
        for bad in ["", "a\0b", "a\nb", "\u{7f}", "\u{85}", &"x".repeat(1025), &"é".repeat(513)] {
            assert!(check_id(bad).unwrap_err().is_invalid_input(), "{bad:?}");
        }
    }
}
