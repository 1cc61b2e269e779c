//! The JSON of one entry, and its conversion to a `Record`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::as_written;
use crate::digest::Digest;
use crate::entry::{
    ArtifactKind, Attestation, CatalogEntry, Document, LifecycleState, LinkMode, Pin, Provenance, Record, TrustState,
};
use crate::fs::Root;
use crate::layout;

/// A record as it is on disk. A member that says nothing (null, or empty) is not written: most records have a dozen of
/// them, and a shard is written as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredRecord {
    // Sorted by name, like the members of its text.
    /// Signatures that were verified. An older version may leave one of other content here, which counts for nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) attested: Vec<Attestation>,
    pub(crate) created_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) damaged_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<Digest>,
    /// What some of the blobs that it needs are. Those that it does not need have no document, whatever is said here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) documents: BTreeMap<Digest, Document>,
    pub(crate) files: u64,
    pub(crate) kind: ArtifactKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_used_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_verified_ms: Option<u64>,
    pub(crate) lifecycle: LifecycleState,
    /// Blobs that it needs besides those of its content.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) needs: BTreeSet<Digest>,
    /// Users, besides the root's owner, who owned its blobs and its view when these were stored or checked.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) owners: BTreeSet<u32>,
    /// Relative to the root, with `/` as separator.
    pub(crate) path: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) pins: BTreeMap<String, Pin>,
    /// Other places that have its content, and when it was last seen there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) pushed: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retired_ms: Option<u64>,
    pub(crate) size_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Provenance>,
    pub(crate) trust: TrustState,
    pub(crate) updated_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) view: Option<LinkMode>,
    // Sorted by its name on disk.
    #[serde(rename = "view_fingerprint", default, skip_serializing_if = "Option::is_none")]
    pub(crate) view_fingerprint: Option<String>,
}

impl StoredRecord {
    /// The first record of an id: active, with nothing known about its content.
    pub(crate) fn new(now_ms: u64, path: impl Into<String>, kind: ArtifactKind) -> Self {
        StoredRecord {
            attested: Vec::new(),
            created_ms: now_ms,
            damaged_ms: None,
            digest: None,
            documents: BTreeMap::new(),
            files: 0,
            kind,
            last_used_ms: None,
            last_verified_ms: None,
            lifecycle: LifecycleState::Active,
            needs: BTreeSet::new(),
            owners: BTreeSet::new(),
            path: path.into(),
            pins: BTreeMap::new(),
            pushed: BTreeMap::new(),
            retired_ms: None,
            size_bytes: 0,
            source: None,
            trust: TrustState::Unverified,
            updated_ms: now_ms,
            view: None,
            view_fingerprint: None,
        }
    }

    /// Takes over what is kept when a record of its id is replaced: what belongs to the id and, if the content is the
    /// same, what belongs to the content. The lifecycle is not taken over: set it afterwards.
    #[must_use]
    pub(crate) fn replacing(mut self, old: Option<StoredRecord>) -> Self {
        let Some(old) = old else { return self };
        if self.digest.is_some() && self.digest == old.digest {
            self.needs.extend(old.needs);
            self.documents.extend(old.documents);
            self.pushed.extend(old.pushed);
            self.attest(old.attested);
        }
        StoredRecord {
            created_ms: old.created_ms,
            last_used_ms: old.last_used_ms,
            pins: old.pins,
            retired_ms: old.retired_ms,
            ..self
        }
    }

    /// Adds signatures that were verified. The latest of a signer replaces the one before, and those of other content go.
    pub(crate) fn attest(&mut self, more: Vec<Attestation>) {
        self.attested.extend(more);
        self.attested.retain(|attestation| Some(attestation.digest) == self.digest);
        self.attested.sort_by_key(|one| {
            (one.method, one.signer, one.at_signing_time, one.with_unsigned_files, std::cmp::Reverse(one.checked_ms))
        });
        self.attested.dedup_by_key(|one| (one.method, one.signer, one.at_signing_time, one.with_unsigned_files));
    }

    /// Takes a document out of what it needs, unless it is the bundle of a signature that was verified.
    pub(crate) fn unneed(&mut self, document: &Digest) {
        if !self.attested.iter().any(|attestation| attestation.bundle == *document) {
            self.needs.remove(document);
        }
    }

    /// What an engine would read: the content, or the path of what is only registered.
    pub(crate) fn content(&self) -> (ArtifactKind, Option<Digest>, Option<String>) {
        (self.kind, self.digest, self.digest_here().is_none().then(|| self.path.clone()))
    }

    /// The digest of the content that the store has. `None`: it has none, and only the path is registered.
    pub(crate) fn digest_here(&self) -> Option<Digest> {
        self.digest.filter(|_| self.kind != ArtifactKind::Registered)
    }

    /// Whether both are of the same content; of what is only registered, at the same path.
    pub(crate) fn is_content_of(&self, other: &StoredRecord) -> bool {
        self.content() == other.content()
    }

    /// Whether nothing would be lost with a record of another id: all that it says is said here as well.
    pub(crate) fn has_all_of(&self, other: &StoredRecord) -> bool {
        let has_pins = other.pins.iter().all(|(name, pin)| self.pins.get(name) == Some(pin));
        let of_id = |record: &StoredRecord| (record.created_ms, record.lifecycle, record.retired_ms);
        self.is_content_of(other)
            && of_id(self) == of_id(other)
            && (self.trust, &self.source) == (other.trust, &other.source)
            && has_pins
            && self.needs.is_superset(&other.needs)
            && other.documents.iter().all(|(digest, document)| self.documents.get(digest) == Some(document))
            && other.attested.iter().all(|attestation| self.attested.contains(attestation))
            && other.pushed.keys().all(|place| self.pushed.contains_key(place))
    }

    /// Takes over what has changed in a record of another id, of the same content, since this one was made from it.
    pub(crate) fn follow(&mut self, before: &StoredRecord, now: &StoredRecord) {
        self.pins.retain(|name, _| !before.pins.contains_key(name) || now.pins.contains_key(name));
        let new_pins = now.pins.iter().filter(|(name, pin)| before.pins.get(*name) != Some(pin));
        self.pins.extend(new_pins.map(|(name, pin)| (name.clone(), pin.clone())));
        if before.lifecycle != now.lifecycle {
            (self.lifecycle, self.retired_ms) = (now.lifecycle, now.retired_ms);
        }
        self.last_used_ms = self.last_used_ms.max(now.last_used_ms);
        self.last_verified_ms = self.last_verified_ms.max(now.last_verified_ms);
        self.damaged_ms = self.damaged_ms.or(now.damaged_ms);
        for detached in before.documents.keys().filter(|digest| !now.documents.contains_key(digest)) {
            self.documents.remove(detached);
            self.unneed(detached);
        }
        self.needs.extend(&now.needs);
        self.documents.extend(now.documents.clone());
        self.attest(now.attested.clone());
        self.owners.extend(&now.owners);
        self.pushed.extend(now.pushed.clone());
        (self.trust, self.updated_ms) = (now.trust, self.updated_ms.max(now.updated_ms));
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parsed = as_written::parse(text).map_or_else(|| serde_json::from_str::<Self>(text), Ok);
        parsed.map_err(|e| e.to_string())?.checked()
    }

    /// Checks what the types do not guarantee.
    fn checked(mut self) -> Result<Self, String> {
        // An earlier version empties `needs` when the content changes, and keeps this member, which it does not know.
        self.documents.retain(|digest, _| self.needs.contains(digest));
        match layout::is_plain_path(&self.path) {
            true => Ok(self),
            false => Err(format!("its path {:?} leads out of the root", self.path)),
        }
    }

    /// Returns its text; members that a later version wrote into `old` are kept verbatim. Members are sorted by name,
    /// so equal records have equal texts.
    pub(crate) fn render(&self, old: Option<&RawValue>) -> serde_json::Result<Box<RawValue>> {
        let new = RawValue::from_string(serde_json::to_string(self)?)?;
        old.map_or(Ok(new.clone()), |old| keep_unknown(&new, old, ""))
    }

    /// Changes the lifecycle. The time of retirement is the time of the change.
    pub(crate) fn set_lifecycle(&mut self, state: LifecycleState, now_ms: u64) {
        self.retired_ms = match state {
            LifecycleState::Active => None,
            LifecycleState::Retired => self.retired_ms.or(Some(now_ms)),
        };
        self.lifecycle = state;
        self.updated_ms = now_ms;
    }

    /// The path below the root; `None` if it is not a plain one.
    pub(crate) fn relative_path(&self) -> Option<PathBuf> {
        layout::is_plain_path(&self.path).then(|| PathBuf::from(&self.path))
    }

    /// Converts it to a record with an absolute path, for callers.
    pub(crate) fn into_record(self, id: String, root: &Root) -> Record {
        let local_path = root.absolute_text(&self.path);
        Record {
            entry: CatalogEntry {
                id,
                local_path,
                lifecycle: self.lifecycle,
                digest: self.digest,
                last_verified_ms: self.last_verified_ms,
            },
            kind: self.kind,
            size_bytes: self.size_bytes,
            files: self.files,
            trust: self.trust,
            view: self.view,
            source: self.source,
            created_ms: self.created_ms,
            updated_ms: self.updated_ms,
            retired_ms: self.retired_ms,
            last_used_ms: self.last_used_ms,
            damaged_ms: self.damaged_ms,
            view_fingerprint: self.view_fingerprint,
            needs: self.needs,
            documents: self.documents,
            attested: self.attested,
            owners: self.owners,
            pins: self.pins,
            pushed: self.pushed,
        }
    }
}

/// The members of a record that may be missing from its text. Sorted.
const OPTIONAL: [&str; 14] = [
    "attested",
    "damaged_ms",
    "digest",
    "documents",
    "last_used_ms",
    "last_verified_ms",
    "needs",
    "owners",
    "pins",
    "pushed",
    "retired_ms",
    "source",
    "view",
    "view_fingerprint",
];

/// Adds to `new` the members that only `old` has and that come from a later version, in nested objects too. A removed
/// pin, place or document is not an unknown member, and neither is one of the record that says nothing any more.
fn keep_unknown(new: &RawValue, old: &RawValue, name: &str) -> serde_json::Result<Box<RawValue>> {
    type Members = BTreeMap<String, Box<RawValue>>;
    let parse = |value: &RawValue| serde_json::from_str::<Members>(value.get());
    let (Ok(mut new_members), Ok(old_members)) = (parse(new), parse(old)) else { return Ok(new.to_owned()) };
    for (member, old) in old_members {
        match new_members.get_mut(&member) {
            Some(new) => *new = keep_unknown(new, &old, &member)?,
            None if matches!(name, "documents" | "pins" | "pushed") => {}
            None if name.is_empty() && OPTIONAL.binary_search(&&*member).is_ok() => {}
            None => drop(new_members.insert(member, old)),
        }
    }
    serde_json::value::to_raw_value(&new_members)
}

/// A path below the root in the form that records store; `None` if it is not UTF-8.
pub(crate) fn encode_path(relative: &Path) -> Option<String> {
    let parts: Option<Vec<&str>> = relative.components().map(|part| part.as_os_str().to_str()).collect();
    Some(parts?.join("/"))
}

#[cfg(test)]
mod tests;
