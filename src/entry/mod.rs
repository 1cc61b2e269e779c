//! What the catalog knows of a model: the five-field entry that callers build, and the record that holds it.

mod fingerprint;
mod json;

pub(crate) use fingerprint::fingerprint;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::excerpt::excerpt;
use crate::words::words;

/// How exact a record knows when its entry was last used: a use within this time of the recorded one is not recorded.
pub(crate) const TOUCH_INTERVAL: Duration = Duration::from_secs(3600);

/// The longest id, in bytes of UTF-8.
pub const MAX_ID_BYTES: usize = 1024;

/// Whether a model is offered to engines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LifecycleState {
    /// In use or ready for use.
    #[default]
    Active,
    /// On its way out: still here, and the first that a policy takes.
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
    /// The file or directory that an engine opens; absolute in what the catalog returns.
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
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ArtifactKind {
    /// One file.
    File,
    /// A directory of files.
    Tree,
    /// A path that was recorded before anything was staged there.
    Registered,
}

words!(ArtifactKind, "kind of artifact", {
    File => "file",
    Tree => "tree",
    Registered => "registered",
});

/// How far the content can be trusted to be what it was said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TrustState {
    /// Its digest was given beforehand, and matched.
    Verified,
    /// It was hashed, and there was nothing to compare the digest with.
    Warned,
    /// It was never hashed.
    Unverified,
}

words!(TrustState, "trust state", {
    Verified => "verified",
    Warned => "warned",
    Unverified => "unverified",
});

/// How bytes got to where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LinkMode {
    /// A second name of the same inode: no bytes, no blocks.
    Hardlink,
    /// A symlink to the blob: on an overlay, where a hardlink of a file of a lower layer copies all of it up.
    Symlink,
    /// An inode of its own that shares its blocks until one of the two is written.
    Reflink,
    /// An inode and blocks of its own.
    Copy,
}

words!(LinkMode, "link mode", {
    Hardlink => "hardlink",
    Symlink => "symlink",
    Reflink => "reflink",
    Copy => "copy",
});

impl LinkMode {
    /// Whether a view is the blob itself, whose stamp then speaks for both, and no file of its own.
    pub(crate) fn is_the_blob(self) -> bool {
        matches!(self, LinkMode::Hardlink | LinkMode::Symlink)
    }
}

/// A file as it was when its bytes were last read in full: same stamp, same bytes, unless somebody set the clock of
/// the file back on purpose.
///
/// There is no change time in it, because every new hardlink changes that, and no device number, because that changes
/// between mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    // Sorted by name, as in the text of a record; so are the fields of a source and of a pin.
    /// The inode number.
    pub inode: u64,
    /// The modification time in nanoseconds since the Unix epoch.
    pub mtime_ns: i128,
    /// The size in bytes.
    pub size_bytes: u64,
}

/// A source as it was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceStamp {
    pub(crate) stamp: Stamp,
    /// Its change time, which nobody can set back: other bytes with the same size and modification time show in it.
    pub(crate) changed_ns: i128,
}

/// Where an artifact came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Provenance {
    // The first in the order of its name on disk.
    /// The local file's change time when it was staged, in nanoseconds since the Unix epoch; `None` when there is no stamp.
    #[serde(default)]
    pub(crate) changed_ns: Option<i128>,
    /// The BLAKE3 hash of the paths, stamps and change times of all files of a tree when they were staged; `None` for a
    /// file, and when one of them was still young. Of something that was fetched, that of the patterns by which its files were
    /// selected; `None` for all files.
    #[serde(default)]
    pub(crate) fingerprint: Option<String>,
    /// The party that has named the digests of all its files beforehand, such as the server that it was fetched from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named_by: Option<String>,
    /// What a reference that can move meant when it was staged: a commit, the digest of a manifest, a version. `None`
    /// for one that has no such thing, such as a local path.
    #[serde(default)]
    pub pinned: Option<String>,
    /// The reference's own string.
    pub reference: String,
    /// The local file's stamp when it was staged; `None` for a tree, and for a file that was still young when it was
    /// read, so that a later write could not be told apart.
    pub stamp: Option<Stamp>,
    /// What tells whether the origin still has this version, such as an `ETag`; `None` when it gave nothing of the kind.
    #[serde(default)]
    pub validator: Option<String>,
}

impl Provenance {
    /// From this reference, of which nothing more is known.
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
#[non_exhaustive]
pub struct Pin {
    /// When it was set, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When it ends, in milliseconds since the Unix epoch; `None`: never.
    pub expiry_ms: Option<u64>,
}

impl Pin {
    /// Whether it holds at this time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn holds_at(&self, now_ms: u64) -> bool {
        self.expiry_ms.is_none_or(|expiry_ms| now_ms < expiry_ms)
    }
}

/// An entry and everything else that the catalog knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The five fields of the contract.
    pub entry: CatalogEntry,
    /// A file, a tree, or only a registered path.
    pub kind: ArtifactKind,
    /// Bytes of all its files together, as an engine sees them.
    pub size_bytes: u64,
    /// How many files it has.
    pub files: u64,
    /// How far the content is known to be right.
    pub trust: TrustState,
    /// How `local_path` was made from the blob; for a tree, the costliest way any of its files took.
    pub view: Option<LinkMode>,
    /// Where it came from; `None` for a registered path.
    pub source: Option<Provenance>,
    /// When the id was first recorded, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When the record was last changed, in milliseconds since the Unix epoch.
    pub updated_ms: u64,
    /// When it was retired, in milliseconds since the Unix epoch; `None` while it is active.
    pub retired_ms: Option<u64>,
    /// When its path was last given out, in milliseconds since the Unix epoch, to the hour.
    pub last_used_ms: Option<u64>,
    /// When a part of it was found to be damaged, in milliseconds since the Unix epoch; `None`: it is not known to be. It is
    /// not given out until it was repaired or staged again.
    pub damaged_ms: Option<u64>,
    /// Further blobs that it needs, such as signatures of its content: they are kept as long as it is.
    pub needs: BTreeSet<Digest>,
    /// Users, beside the root's owner, to whom its blobs and its view belonged when they were stored or checked for it. What
    /// an outboard says of a file of anybody else is not believed.
    pub(crate) owners: BTreeSet<u32>,
    /// What asks for it to be kept, by name.
    pub pins: BTreeMap<String, Pin>,
    /// Where its content is as well, by its places, such as `oci://registry.example.org/models/llama3`: when it was last seen there,
    /// in milliseconds since the Unix epoch.
    pub pushed: BTreeMap<String, u64>,
    /// The hash of the paths and stamps of a view's files when they were made or checked last, unless it is made of hardlinks.
    pub(crate) view_fingerprint: Option<String>,
}

impl Record {
    /// Whether both are of the same content at the same path; what is noted of it may differ.
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
