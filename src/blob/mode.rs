//! How bytes are ingested: as it was asked for, and as it was done.

use serde::{Deserialize, Serialize};

use crate::words::words;

/// How the bytes of an artifact are ingested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum IngestMode {
    /// Reflink where the file system can, else copy.
    #[default]
    Auto,
    /// Share the source's blocks until one of the two is written; fail where the file system cannot.
    Reflink,
    /// Copy the bytes.
    Copy,
    /// Take the source's own inode as the blob, by one more name. The source becomes read-only. Somebody who could not
    /// be seen to have it open for writing can still change the blob. A source that not everybody may read is refused, since
    /// its own name would become readable.
    Link,
    /// As `Link` where possible, else as `Auto`; then remove the source.
    Move,
}

words!(IngestMode, "ingest mode", {
    Auto => "auto",
    Reflink => "reflink",
    Copy => "copy",
    Link => "link",
    Move => "move",
});

/// How the bytes of an artifact were really ingested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum UsedMode {
    /// Nothing was read: the source is as it was when it was staged last, or the catalog held the reference already.
    Unchanged,
    /// The bytes were in the store: the source was compared with them and not brought in.
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
