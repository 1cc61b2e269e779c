//! The JSON of one entry, and its conversion to a `Record`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::digest::Digest;
use crate::entry::{
    ArtifactKind, Attestation, CatalogEntry, Document, LifecycleState, LinkMode, Pin, Provenance, Record, TrustState,
};
use crate::fs::Root;
use crate::layout;

/// A record as it is on disk. Every field is always written, so that a member that is in the old text but not in the
/// new one is known to come from a later version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredRecord {
    // Sorted by name, like the members of its text.
    /// Signatures that were verified. An older version may leave one of other content here, which counts for nothing.
    #[serde(default)]
    pub(crate) attested: Vec<Attestation>,
    pub(crate) created_ms: u64,
    #[serde(default)]
    pub(crate) damaged_ms: Option<u64>,
    pub(crate) digest: Option<Digest>,
    /// What some of the blobs that it needs are. Those that it does not need have no document, whatever is said here.
    #[serde(default)]
    pub(crate) documents: BTreeMap<Digest, Document>,
    pub(crate) files: u64,
    pub(crate) kind: ArtifactKind,
    pub(crate) last_used_ms: Option<u64>,
    pub(crate) last_verified_ms: Option<u64>,
    pub(crate) lifecycle: LifecycleState,
    /// Blobs that it needs besides those of its content.
    #[serde(default)]
    pub(crate) needs: BTreeSet<Digest>,
    /// Users, besides the root's owner, who owned its blobs and its view when these were stored or checked.
    #[serde(default)]
    pub(crate) owners: BTreeSet<u32>,
    /// Relative to the root, with `/` as separator.
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) pins: BTreeMap<String, Pin>,
    /// Other places that have its content, and when it was last seen there.
    #[serde(default)]
    pub(crate) pushed: BTreeMap<String, u64>,
    #[serde(default)]
    pub(crate) retired_ms: Option<u64>,
    pub(crate) size_bytes: u64,
    pub(crate) source: Option<Provenance>,
    pub(crate) trust: TrustState,
    pub(crate) updated_ms: u64,
    pub(crate) view: Option<LinkMode>,
    // Sorted by its name on disk.
    #[serde(rename = "view_fingerprint", default)]
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

    pub(crate) fn parse(text: &RawValue) -> Result<Self, String> {
        serde_json::from_str::<Self>(text.get()).map_err(|e| e.to_string())?.checked()
    }

    /// Checks what the types do not guarantee.
    pub(super) fn checked(mut self) -> Result<Self, String> {
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
        let local_path = root.absolute(Path::new(&self.path));
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

/// Adds to `new` the members that only `old` has, in nested objects too. A removed pin, place or document is
/// not an unknown member.
fn keep_unknown(new: &RawValue, old: &RawValue, name: &str) -> serde_json::Result<Box<RawValue>> {
    type Members = BTreeMap<String, Box<RawValue>>;
    let parse = |value: &RawValue| serde_json::from_str::<Members>(value.get());
    let (Ok(mut new_members), Ok(old_members)) = (parse(new), parse(old)) else { return Ok(new.to_owned()) };
    for (member, old) in old_members {
        match new_members.get_mut(&member) {
            Some(new) => *new = keep_unknown(new, &old, &member)?,
            None if matches!(name, "documents" | "pins" | "pushed") => {}
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
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::entry::Stamp;
    use crate::index::testing;

    fn record() -> StoredRecord {
        let digest = Some(Digest::sha256_of(b""));
        StoredRecord { digest, last_verified_ms: Some(3), ..testing::record("views/m-0123/abc/m.gguf") }
    }

    #[test]
    fn members_of_a_later_version_survive_a_rewrite() {
        let mut old = record();
        old.pins.insert("kept".into(), Pin { created_ms: 1, expiry_ms: None });
        old.pins.insert("dropped".into(), Pin { created_ms: 1, expiry_ms: None });
        old.pushed.insert("oci://a.example/b".into(), 1);
        let text = old.render(None).unwrap();
        // Numbers that none of our types can hold, and deeper nesting than the parser accepts, are kept verbatim.
        let odd = format!(r#"{{"odd":[1e400,99999999999999999999999],"deep":{}{},"#, "[".repeat(500), "]".repeat(500));
        let later = text
            .get()
            .replacen('{', r#"{"later":{"a":1},"#, 1)
            .replacen('{', &odd, 1)
            .replace(r#""kept":{"#, r#""kept":{"why":"x","#);
        let later = RawValue::from_string(later).unwrap();
        let mut new = StoredRecord::parse(&later).unwrap();
        new.lifecycle = LifecycleState::Retired;
        new.digest = None;
        new.pins.remove("dropped");
        new.pushed.clear();
        let text = new.render(Some(&later)).unwrap();
        assert_eq!(StoredRecord::parse(&text).unwrap(), new);
        assert!(text.get().contains("[1e400,99999999999999999999999]") && text.get().contains(&"[".repeat(500)));
        let kept: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text.get()).unwrap();
        let value = |member: &str| serde_json::from_str::<Value>(kept[member].get()).unwrap();
        assert_eq!(value("later")["a"], 1);
        assert_eq!(value("pins")["kept"]["why"], "x");
        assert_eq!(value("pins").as_object().unwrap().len(), 1);
        assert_eq!(value("pushed").as_object().unwrap().len(), 0);
        assert_eq!(value("digest"), Value::Null);
    }

    // Red when a field of a record, a provenance, a stamp or a pin is not sorted by name.
    #[test]
    fn the_text_of_a_record_is_the_same_whether_it_is_new_or_not() {
        let mut record = record();
        let stamp = Stamp { inode: 1, mtime_ns: i128::MAX, size_bytes: 3 };
        record.source = Some(Provenance { stamp: Some(stamp), ..Provenance::new("m") });
        record.pins.insert("kept".into(), Pin { created_ms: 1, expiry_ms: None });
        let new = record.render(None).unwrap();
        let again = record.render(Some(&new)).unwrap();
        assert_eq!(new.get(), again.get());
    }

    // Every member is always written; a member that an older version did not write is empty.
    #[test]
    fn a_record_without_the_newer_members_has_nothing_in_them() {
        let record = StoredRecord { source: Some(Provenance::new("m")), ..record() };
        let text = record.render(None).unwrap();
        let mut older = text.get().to_owned();
        for member in [
            r#""changed_ns":null,"#,
            r#""documents":{},"#,
            r#""needs":[],"#,
            r#""pinned":null,"#,
            r#","validator":null"#,
        ] {
            assert!(older.contains(member), "{older}");
            older = older.replace(member, "");
        }
        let older = RawValue::from_string(older).unwrap();
        assert_eq!(StoredRecord::parse(&older).unwrap(), record);
        assert_eq!(record.render(Some(&older)).unwrap().get(), text.get());
    }

    #[test]
    fn needs_are_digests_each_once_and_sorted() {
        let [a, b] = [b"a", b"b"].map(|bytes| Digest::sha256_of(bytes));
        let with = |needs: &str| {
            let text = record().render(None).unwrap().get().replace(r#""needs":[]"#, &format!(r#""needs":{needs}"#));
            StoredRecord::parse(&RawValue::from_string(text).unwrap())
        };
        let read = with(&format!(r#"["{a}","{b}","{a}"]"#)).unwrap();
        assert_eq!(read.needs, BTreeSet::from([a, b]));
        let sorted = read.needs.iter().map(|digest| format!("{:?}", digest.to_string())).collect::<Vec<_>>().join(",");
        assert!(read.render(None).unwrap().get().contains(&format!(r#""needs":[{sorted}]"#)));
        for other in ["null", r#"["x"]"#, r#"["sha256:"]"#, "{}"] {
            with(other).expect_err(other);
        }
    }

    fn document(name: &str) -> Document {
        Document { attached_ms: 1, kind: "doc".into(), name: name.into() }
    }

    // Red when a document outlives the content, because an earlier version did not know it, or comes back once it is
    // detached.
    #[test]
    fn a_document_counts_only_if_its_blob_is_needed() {
        let digest = Digest::sha256_of(b"document");
        let documents = BTreeMap::from([(digest, document("d"))]);
        let with = StoredRecord { documents, needs: BTreeSet::from([digest]), ..record() };
        let text = with.render(None).unwrap();
        assert_eq!(StoredRecord::parse(&text).unwrap(), with);
        let needless = text.get().replace(&format!("\"needs\":[\"{digest}\"]"), "\"needs\":[]");
        let needless = RawValue::from_string(needless).unwrap();
        assert_eq!(StoredRecord::parse(&needless).unwrap(), record());
        for old in [text, needless] {
            assert_eq!(record().render(Some(&old)).unwrap().get(), record().render(None).unwrap().get());
        }
    }

    // Red when a signature of other content stays, or an old one beside a new one of the same signer.
    #[test]
    fn the_latest_signatures_of_the_content_are_kept() {
        let [a, b] = ["a", "b"].map(|text| Digest::sha256_of(text.as_bytes()));
        let by = |signer, checked_ms, digest| Attestation {
            at_signing_time: false,
            bundle: a,
            checked_ms,
            digest,
            key: signer,
            method: crate::entry::SigningMethod::Key,
            pattern: None,
            signer,
            subject: None,
            with_unsigned_files: false,
        };
        let mut record = StoredRecord { digest: Some(a), ..record() };
        record.attest(vec![by(a, 1, a), by(b, 1, a), by(a, 5, b)]);
        record.attest(vec![by(b, 2, a)]);
        record.attest(vec![by(a, 0, a)]);
        let kept: Vec<_> = record.attested.iter().map(|one| (one.signer, one.checked_ms, one.digest)).collect();
        let mut expected = [(a, 1, a), (b, 2, a)];
        expected.sort();
        assert_eq!(kept, expected);
        let text = record.render(None).unwrap();
        assert_eq!(StoredRecord::parse(&text).unwrap(), record);
        assert_eq!(record.render(Some(&text)).unwrap().get(), text.get());
        let again = StoredRecord { digest: Some(a), ..StoredRecord::new(1, "views/m/n", ArtifactKind::File) };
        assert_eq!(again.clone().replacing(Some(record.clone())).attested, record.attested);
        assert_eq!(StoredRecord { digest: Some(b), ..again }.replacing(Some(record)).attested, []);
    }

    #[test]
    fn what_belongs_to_the_id_stays_and_what_belongs_to_the_content_stays_with_it() {
        let [a, b, signature] = ["a", "b", "signature"].map(|text| Digest::sha256_of(text.as_bytes()));
        let old = StoredRecord {
            digest: Some(a),
            last_used_ms: Some(8),
            documents: BTreeMap::from([(signature, document("s"))]),
            needs: BTreeSet::from([signature]),
            pushed: BTreeMap::from([("oci://a.example/b".into(), 5)]),
            pins: BTreeMap::from([("p".into(), Pin { created_ms: 1, expiry_ms: None })]),
            retired_ms: Some(9),
            damaged_ms: Some(10),
            source: Some(Provenance::new("old")),
            ..record()
        };
        let fresh = |digest| StoredRecord { digest, ..StoredRecord::new(20, "views/m/n", ArtifactKind::File) };
        assert_eq!(fresh(Some(a)).replacing(None), fresh(Some(a)));
        let kept = |digest, needs: BTreeSet<Digest>, pushed| StoredRecord {
            created_ms: old.created_ms,
            documents: needs.iter().map(|digest| (*digest, document("s"))).collect(),
            last_used_ms: Some(8),
            needs,
            pushed,
            pins: old.pins.clone(),
            retired_ms: Some(9),
            ..fresh(digest)
        };
        let replacing = |digest| fresh(digest).replacing(Some(old.clone()));
        assert_eq!(replacing(Some(a)), kept(Some(a), old.needs.clone(), old.pushed.clone()));
        assert_eq!(replacing(Some(b)), kept(Some(b), BTreeSet::new(), BTreeMap::new()));
        assert_eq!(replacing(None), kept(None, BTreeSet::new(), BTreeMap::new()));
    }

    #[test]
    fn a_record_that_follows_another_one_takes_what_has_changed_and_no_more() {
        let pin = |created_ms| Pin { created_ms, expiry_ms: None };
        let pins = |pins: &[(&str, u64)]| pins.iter().map(|(name, ms)| ((*name).to_owned(), pin(*ms))).collect();
        let pinned = pins(&[("kept", 1), ("gone", 1), ("renewed", 1)]);
        let [kept, gone, late] =
            ["kept", "gone", "late"].map(|name| (Digest::sha256_of(name.as_bytes()), document(name)));
        let with = |documents: &[&(Digest, Document)], record: StoredRecord| StoredRecord {
            documents: documents.iter().copied().cloned().collect(),
            needs: documents.iter().map(|(digest, _)| *digest).collect(),
            ..record
        };
        let before = with(&[&kept, &gone], StoredRecord { kind: ArtifactKind::File, pins: pinned, ..record() });
        let now = StoredRecord { pins: pins(&[("kept", 1), ("renewed", 2), ("late", 3)]), ..before.clone() };
        let mut now = with(&[&kept, &late], now);
        now.set_lifecycle(LifecycleState::Retired, 7);
        now.last_used_ms = Some(9);
        now.damaged_ms = Some(10);
        // Somebody has pinned it under its new name already.
        let made = StoredRecord { path: "views/n/a/m".into(), ..before.clone() };
        let mut new = StoredRecord { pins: pins(&[("kept", 1), ("gone", 1), ("renewed", 1), ("own", 4)]), ..made };
        assert!(new.has_all_of(&before) && !new.has_all_of(&now));
        new.follow(&before, &now);
        assert_eq!(new.pins, pins(&[("kept", 1), ("renewed", 2), ("late", 3), ("own", 4)]));
        assert_eq!((new.lifecycle, new.retired_ms), (LifecycleState::Retired, Some(7)));
        assert_eq!((new.last_used_ms, new.damaged_ms, new.path.as_str()), (Some(9), Some(10), "views/n/a/m"));
        assert_eq!((&new.documents, &new.needs), (&now.documents, &now.needs));
        assert!(new.has_all_of(&now));
        // Each of these would be lost.
        for other in [
            StoredRecord { created_ms: now.created_ms + 1, ..now.clone() },
            StoredRecord { source: Some(Provenance::new("elsewhere")), ..now.clone() },
            StoredRecord { trust: TrustState::Verified, ..now.clone() },
            StoredRecord { lifecycle: LifecycleState::Active, ..now.clone() },
            StoredRecord { needs: BTreeSet::from([Digest::sha256_of(b"signature")]), ..now.clone() },
            with(&[&kept, &gone, &late], now.clone()),
            with(&[&kept, &(late.0, document("renamed"))], now.clone()),
            StoredRecord { digest: Some(Digest::sha256_of(b"other")), ..now.clone() },
        ] {
            assert!(!new.has_all_of(&other), "{other:?}");
        }
    }

    #[test]
    fn a_path_that_leads_out_is_no_record() {
        for path in ["", "/etc/passwd", "../x", "views/../../x", "a//b", "a/", "./a", "a/."] {
            let text = StoredRecord { path: path.into(), ..record() }.render(None).unwrap();
            StoredRecord::parse(&text).expect_err(path);
        }
    }
}
