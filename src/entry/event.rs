//! What happened to an id: one line of the log.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::words::words;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogEventKind {
    /// A path was recorded although nothing was staged there.
    Registered,
    /// Content was brought in, or found to be here already.
    Staged,
    /// Content was taken over from another tool's store.
    Adopted,
    /// All of it was read and has its digest.
    Verified,
    /// A part of it was found damaged or missing.
    Damaged,
    /// It is intact again.
    Repaired,
    /// It is no longer offered to engines.
    Retired,
    /// It is offered again.
    Activated,
    /// A pin was set; the note is its name.
    Pinned,
    /// A pin was removed; the note is its name.
    Unpinned,
    /// Its content is also at another place, which is the note.
    Pushed,
    /// A signature of its content was verified; the note is the fingerprint of who was trusted.
    Attested,
    /// A document was attached; the note is its name.
    Attached,
    /// A document was taken away; the note is its name.
    Detached,
    /// The id was given the content of another one, which is the note. The other one is gone.
    Renamed,
    /// The id was given the content of another one, which is the note.
    Tagged,
    /// Its entry was removed.
    Removed,
    /// A policy took its entry; the note is the reason.
    Evicted,
    /// What only a later version knows.
    #[serde(other)]
    Other,
}

words!(LogEventKind, "kind of event", {
    Registered => "registered",
    Staged => "staged",
    Adopted => "adopted",
    Verified => "verified",
    Damaged => "damaged",
    Repaired => "repaired",
    Retired => "retired",
    Activated => "activated",
    Pinned => "pinned",
    Unpinned => "unpinned",
    Pushed => "pushed",
    Attested => "attested",
    Attached => "attached",
    Detached => "detached",
    Renamed => "renamed",
    Tagged => "tagged",
    Removed => "removed",
    Evicted => "evicted",
    Other => "other",
});

/// Where content came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct LogSource {
    // Sorted by name, like the fields of `LogEvent`.
    /// The party that stated its digests beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named_by: Option<String>,
    /// The commit, the digest of the manifest, or the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    /// The reference: a path, a URL without secrets, `hf:` and a repository.
    pub reference: String,
    /// The server's validator, such as an ETag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validator: Option<String>,
}

/// Something that happened to an id. Each event is linked to the one before it in its chain by that one's hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct LogEvent {
    // Sorted by name, like the members of its text.
    /// When it was recorded, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The digest of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The id.
    pub id: String,
    /// What the kind does not say: see [`LogEventKind`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Its place in its chain; the first is 1.
    pub number: u64,
    /// The BLAKE3 of the text of the event before it: `blake3:` and 64 hex digits. `None` for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The size of the content in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<LogSource>,
    /// The version of this crate that recorded it.
    pub version: String,
    /// What happened.
    pub what: LogEventKind,
}
