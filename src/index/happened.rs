//! What a change of a record means: the events that the log gets for it.

use super::record::StoredRecord;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Attestation, Document, LifecycleState, LogEventKind as Kind, LogSource};

/// What happened to an id. A change that concerns only uses, views and times is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happened {
    pub(crate) kind: Kind,
    pub(crate) note: Option<String>,
}

impl Happened {
    pub(crate) fn new(kind: Kind) -> Self {
        Happened { kind, note: None }
    }

    pub(crate) fn with_note(kind: Kind, note: impl Into<String>) -> Self {
        Happened { kind, note: Some(note.into()) }
    }
}

/// Compares the old and the new record of an id. `brought` is how its content came; `None`: by staging.
pub(super) fn happened(old: Option<&StoredRecord>, new: &StoredRecord, brought: Option<Happened>) -> Vec<Happened> {
    let brought_anew = old.is_none_or(|old| !new.is_content_of(old) || source(new) != source(old));
    let brought = brought.unwrap_or_else(|| {
        Happened::new(if new.kind == ArtifactKind::Registered { Kind::Registered } else { Kind::Staged })
    });
    let mut all: Vec<Happened> = brought_anew.then_some(brought).into_iter().collect();
    let is_new = |one: &&Attestation| {
        Some(one.digest) == new.digest && old.is_none_or(|old| !old.attested.contains(*one)) && !is_copied(all.first())
    };
    let attested: Vec<_> = new.attested.iter().filter(is_new).collect();
    all.extend(attested.into_iter().map(|one| Happened::with_note(Kind::Attested, one.signer.to_string())));
    let Some(old) = old else { return all };
    match (old.damaged_ms, new.damaged_ms) {
        (None, Some(_)) => all.push(Happened::new(Kind::Damaged)),
        (Some(_), None) => all.push(Happened::new(Kind::Repaired)),
        _ if !brought_anew && new.last_verified_ms > old.last_verified_ms => all.push(Happened::new(Kind::Verified)),
        _ => {}
    }
    if old.lifecycle != new.lifecycle {
        all.push(Happened::new(match new.lifecycle {
            LifecycleState::Active => Kind::Activated,
            LifecycleState::Retired => Kind::Retired,
        }));
    }
    let named = |kind| move |name: &String| Happened::with_note(kind, name);
    all.extend(old.pins.keys().filter(|name| !new.pins.contains_key(*name)).map(named(Kind::Unpinned)));
    all.extend(
        new.pins
            .iter()
            .filter(|(name, pin)| old.pins.get(*name) != Some(pin))
            .map(|(name, _)| name)
            .map(named(Kind::Pinned)),
    );
    let documents = |record: &StoredRecord, other: &StoredRecord| {
        let is_new = |(digest, _): &(&Digest, &Document)| !other.documents.contains_key(*digest);
        record.documents.iter().filter(is_new).map(|(_, document)| document.name.clone()).collect::<Vec<_>>()
    };
    if !brought_anew {
        all.extend(documents(old, new).iter().map(named(Kind::Detached)));
        all.extend(documents(new, old).iter().map(named(Kind::Attached)));
    }
    all.extend(new.pushed.keys().filter(|place| !old.pushed.contains_key(*place)).map(named(Kind::Pushed)));
    all
}

/// Whether the record was made from that of another id, with what was known of its content.
fn is_copied(brought: Option<&Happened>) -> bool {
    brought.is_some_and(|brought| matches!(brought.kind, Kind::Renamed | Kind::Tagged))
}

/// Where the content of a record came from.
pub(super) fn source(record: &StoredRecord) -> Option<LogSource> {
    let source = record.source.as_ref()?;
    Some(LogSource {
        named_by: source.named_by.clone(),
        pinned: source.pinned.clone(),
        reference: source.reference.clone(),
        validator: source.validator.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Pin, Provenance};
    use crate::index::testing;

    fn staged() -> StoredRecord {
        let digest = Some(Digest::sha256_of(b"a"));
        let source = Some(Provenance::new("file:/m"));
        StoredRecord {
            digest,
            source,
            kind: ArtifactKind::File,
            last_verified_ms: Some(5),
            ..testing::record("views/m/a/m")
        }
    }

    fn kinds(old: Option<&StoredRecord>, new: &StoredRecord) -> Vec<(Kind, Option<String>)> {
        happened(old, new, None).into_iter().map(|happened| (happened.kind, happened.note)).collect()
    }

    #[test]
    fn what_a_change_is_called() {
        let old = staged();
        let change = |change: &dyn Fn(&mut StoredRecord)| {
            let mut new = old.clone();
            change(&mut new);
            kinds(Some(&old), &new)
        };
        assert_eq!(kinds(None, &old), [(Kind::Staged, None)]);
        assert_eq!(kinds(None, &testing::record("m")), [(Kind::Registered, None)]);
        let other = Provenance { pinned: Some("1".into()), ..Provenance::new("hf:a/b") };
        assert_eq!(change(&|new| new.source = Some(other.clone())), [(Kind::Staged, None)]);
        assert_eq!(change(&|new| new.digest = Some(Digest::sha256_of(b"b"))), [(Kind::Staged, None)]);
        assert_eq!(change(&|new| new.last_verified_ms = Some(6)), [(Kind::Verified, None)]);
        assert_eq!(change(&|new| new.damaged_ms = Some(6)), [(Kind::Damaged, None)]);
        assert_eq!(change(&|new| new.set_lifecycle(LifecycleState::Retired, 6)), [(Kind::Retired, None)]);
        assert_eq!(change(&|new| new.pushed.extend([("oci://r".into(), 6)])), [(Kind::Pushed, Some("oci://r".into()))]);
        let pin = Pin { created_ms: 6, expiry_ms: None };
        let pinned = StoredRecord { pins: [("p".to_owned(), pin)].into(), ..old.clone() };
        assert_eq!(kinds(Some(&old), &pinned), [(Kind::Pinned, Some("p".into()))]);
        assert_eq!(kinds(Some(&pinned), &old), [(Kind::Unpinned, Some("p".into()))]);
        let by = Digest::sha256_of(b"key");
        let attestation = Attestation {
            at_signing_time: false,
            bundle: by,
            checked_ms: 6,
            digest: Digest::sha256_of(b"a"),
            issuer: None,
            key: by,
            method: crate::entry::SigningMethod::Key,
            pattern: None,
            signer: by,
            subject: None,
            with_unsigned_files: false,
        };
        let signed = StoredRecord { attested: vec![attestation], ..old.clone() };
        assert_eq!(kinds(Some(&old), &signed), [(Kind::Attested, Some(by.to_string()))]);
        assert_eq!(kinds(Some(&signed), &signed), []);
        // A copy of another id's record takes its signatures along.
        let tagged = Happened::with_note(Kind::Tagged, "m");
        assert_eq!(happened(None, &signed, Some(tagged.clone())), [tagged]);
        let document = Document { attached_ms: 6, kind: "doc".into(), name: "d".into() };
        let attached = StoredRecord { documents: [(Digest::sha256_of(b"d"), document)].into(), ..old.clone() };
        assert_eq!(kinds(Some(&old), &attached), [(Kind::Attached, Some("d".into()))]);
        assert_eq!(kinds(Some(&attached), &old), [(Kind::Detached, Some("d".into()))]);
        let damaged = StoredRecord { damaged_ms: Some(6), ..old.clone() };
        assert_eq!(
            kinds(Some(&damaged), &StoredRecord { last_verified_ms: Some(7), ..old.clone() }),
            [(Kind::Repaired, None)]
        );
        // Uses and times alone.
        assert_eq!(change(&|new| (new.last_used_ms, new.updated_ms) = (Some(9), 9)), []);
    }
}
