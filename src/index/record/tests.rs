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
    let mut new = StoredRecord::parse(later.get()).unwrap();
    new.lifecycle = LifecycleState::Retired;
    new.digest = None;
    new.pins.remove("dropped");
    new.pushed.clear();
    let text = new.render(Some(&later)).unwrap();
    assert_eq!(StoredRecord::parse(text.get()).unwrap(), new);
    assert!(text.get().contains("[1e400,99999999999999999999999]") && text.get().contains(&"[".repeat(500)));
    let kept: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text.get()).unwrap();
    let value = |member: &str| serde_json::from_str::<Value>(kept[member].get()).unwrap();
    assert_eq!(value("later")["a"], 1);
    assert_eq!(value("pins")["kept"]["why"], "x");
    assert_eq!(value("pins").as_object().unwrap().len(), 1);
    assert!(!kept.contains_key("pushed") && !kept.contains_key("digest"));
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

/// The text of a record with all its members, as earlier versions wrote it.
fn with_all_members(record: &StoredRecord) -> Box<RawValue> {
    let mut members: Value = serde_json::from_str(record.render(None).unwrap().get()).unwrap();
    for member in OPTIONAL {
        let nothing = match member {
            "attested" | "needs" | "owners" => "[]",
            "documents" | "pins" | "pushed" => "{}",
            _ => "null",
        };
        members.as_object_mut().unwrap().entry(member).or_insert_with(|| serde_json::from_str(nothing).unwrap());
    }
    RawValue::from_string(members.to_string()).unwrap()
}

// Red when a member that says nothing is written, or comes back from an older text, and when one that may be missing is
// not in the list.
#[test]
fn a_member_that_says_nothing_is_not_written() {
    let registered = testing::record("m");
    let text = registered.render(None).unwrap();
    let written: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text.get()).unwrap();
    let expected = ["created_ms", "files", "kind", "lifecycle", "path", "size_bytes", "trust", "updated_ms"];
    assert_eq!(written.keys().collect::<Vec<_>>(), expected);
    for record in [registered, StoredRecord { source: Some(Provenance::new("m")), ..record() }] {
        let all = with_all_members(&record);
        assert_eq!(serde_json::from_str::<BTreeMap<String, Value>>(all.get()).unwrap().len(), 22);
        assert_eq!(StoredRecord::parse(all.get()).unwrap(), record);
        assert_eq!(record.render(Some(&all)).unwrap().get(), record.render(None).unwrap().get());
    }
    let full = StoredRecord { retired_ms: Some(1), view: Some(LinkMode::Copy), ..record() };
    let less = StoredRecord { retired_ms: None, view: None, ..full.clone() };
    assert_eq!(less.render(Some(&full.render(None).unwrap())).unwrap().get(), less.render(None).unwrap().get());
    assert!(OPTIONAL.is_sorted());
}

// A member of the source that an older version did not write is empty.
#[test]
fn a_source_without_the_newer_members_has_nothing_in_them() {
    let record = StoredRecord { source: Some(Provenance::new("m")), ..record() };
    let text = record.render(None).unwrap();
    let mut older = text.get().to_owned();
    for member in [r#""changed_ns":null,"#, r#""pinned":null,"#, r#","validator":null"#] {
        assert!(older.contains(member), "{older}");
        older = older.replace(member, "");
    }
    let older = RawValue::from_string(older).unwrap();
    assert_eq!(StoredRecord::parse(older.get()).unwrap(), record);
    assert_eq!(record.render(Some(&older)).unwrap().get(), text.get());
}

#[test]
fn needs_are_digests_each_once_and_sorted() {
    let [a, b] = [b"a", b"b"].map(|bytes| Digest::sha256_of(bytes));
    let with = |needs: &str| {
        let text = record().render(None).unwrap().get().replacen('{', &format!(r#"{{"needs":{needs},"#), 1);
        StoredRecord::parse(&text)
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
    assert_eq!(StoredRecord::parse(text.get()).unwrap(), with);
    let needless = text.get().replace(&format!("\"needs\":[\"{digest}\"],"), "");
    let needless = RawValue::from_string(needless).unwrap();
    assert_eq!(StoredRecord::parse(needless.get()).unwrap(), record());
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
        issuer: None,
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
    assert_eq!(StoredRecord::parse(text.get()).unwrap(), record);
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
    let [kept, gone, late] = ["kept", "gone", "late"].map(|name| (Digest::sha256_of(name.as_bytes()), document(name)));
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
        StoredRecord::parse(text.get()).expect_err(path);
    }
}
