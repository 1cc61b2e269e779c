//! How bytes are ingested: the requested mode, and the mode that was used.

use serde::{Deserialize, Serialize};

use crate::words::words;

/// How the bytes of an artifact are ingested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum IngestMode {
    /// Reflink if the file system can, otherwise copy.
    #[default]
    Auto,
    /// Share the source's blocks until one of the two is written; fail if the file system cannot.
    Reflink,
    /// Copy the bytes.
    Copy,
    /// Reflink if the file system can; otherwise like `Link` if that is possible, otherwise copy. For sources whose
    /// owner never writes into them.
    Share,
    /// Make the source's own inode the blob, by another name. The source becomes read-only. A process that has the
    /// source open for writing but cannot be seen can still change the blob. A source that is not readable by everyone
    /// is refused, because its own name would become readable.
    Link,
    /// Like `Link` if possible, otherwise like `Auto`; then remove the source.
    Move,
}

words!(IngestMode, "ingest mode", {
    Auto => "auto",
    Reflink => "reflink",
    Copy => "copy",
    Share => "share",
    Link => "link",
    Move => "move",
});

/// How the bytes of an artifact were actually ingested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum UsedMode {
    /// Nothing was read: the source is unchanged since it was last staged, or the catalog already had the reference.
    Unchanged,
    /// The bytes were already in the store: the source was compared with them and not ingested.
    Present,
    /// The source's inode became the blob; the source is still there.
    Link,
    /// The source is gone; its inode, or a copy of it, became the blob.
    Move,
    /// The blob shares the source's blocks.
    Reflink,
    /// The bytes were copied.
    Copy,
    /// The bytes were fetched from a server.
    Fetch,
}

words!(UsedMode, "way to ingest", {
    Unchanged => "unchanged",
    Present => "present",
    Link => "link",
    Move => "move",
    Reflink => "reflink",
    Copy => "copy",
    Fetch => "fetch",
});
