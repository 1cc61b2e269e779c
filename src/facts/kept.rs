//! The facts of a model beside its blob, so that the headers are read once.
//!
//! They are advice: what cannot be read, is torn, belongs to another blob or to another version of the readers is read
//! from the headers again and replaced. Nothing is synced, and a failure to write is no error. They belong to the
//! content, which its digest names, and to the name of a file, by which its format is known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::digest::Digest;
use crate::entry::Record;
use crate::formats::{self, Facts};
use crate::fs::{Durability, atomic};
use crate::layout;
use crate::store::Store;

/// Equal files can have several names, each in an entry of its own. More names begin anew.
const MOST_NAMES: usize = 8;

#[derive(Serialize, Deserialize)]
struct File {
    /// The version of the readers.
    version: u32,
    /// Covers the blob's digest, the version and the text of the facts.
    checksum: String,
    facts: Box<RawValue>,
}

/// The facts by the name of the file; of a tree, the name is empty.
type ByName = BTreeMap<String, Facts>;

fn checksum(digest: &Digest, version: u32, facts: &RawValue) -> String {
    format!("blake3:{}", blake3::hash(format!("{digest} {version} {}", facts.get()).as_bytes()).to_hex())
}

/// All that is kept for the blob.
fn all(store: &Store, record: &Record, digest: &Digest) -> Option<ByName> {
    let (text, meta) = store.root.read_with_meta(&layout::facts(digest), layout::MAX_FACTS_BYTES).ok()??;
    let file: File = serde_json::from_slice(&text).ok()?;
    let is_ours = file.version == formats::VERSION && file.checksum == checksum(digest, file.version, &file.facts);
    // Whoever owns it could have made it say anything.
    let is_trusted = store.root.trusts(meta.owner, &record.owners);
    (is_ours && is_trusted).then(|| serde_json::from_str(file.facts.get()).ok()).flatten()
}

pub(super) fn read(store: &Store, record: &Record, digest: &Digest, name: &str) -> Option<Facts> {
    all(store, record, digest)?.remove(name)
}

pub(super) fn write(store: &Store, record: &Record, digest: &Digest, name: &str, facts: &Facts) {
    let mut by_name = all(store, record, digest).unwrap_or_default();
    if by_name.len() >= MOST_NAMES {
        by_name.clear();
    }
    by_name.insert(name.to_owned(), facts.clone());
    let encode = || {
        let facts = serde_json::value::to_raw_value(&by_name)?;
        let version = formats::VERSION;
        serde_json::to_vec(&File { version, checksum: checksum(digest, version, &facts), facts })
    };
    let Some(text) = encode().ok().filter(|text| text.len() as u64 <= layout::MAX_FACTS_BYTES) else { return };
    if let Err(error) = atomic::replace(&store.root, &layout::facts(digest), &text, Durability::Relaxed) {
        tracing::debug!(%digest, %error, "could not keep the facts of a model");
    }
}
