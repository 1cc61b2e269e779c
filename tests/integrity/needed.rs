//! Documents that an entry needs beyond its content: they are checked and repaired like it, and never stand in its way.

use catalog_core::{DiskUsage, Error, RepairOptions, VerifyDepth};

use super::sources::from;
use super::*;
use crate::common::{assert_readable, edit_shard};

struct Signed {
    host: Host,
    catalog: FsCatalog,
    model: Digest,
    signature: Digest,
}

const TEXT: &[u8] = b"a signature";

/// A model, and a signature that only it needs.
fn signed() -> Signed {
    let host = Host::new();
    let catalog = catalog(&host);
    let model = add(&host, &catalog, "m", &noise(40, 2 * GROUP));
    let signature = add(&host, &catalog, "signature", TEXT);
    let needs = serde_json::json!([signature.to_string()]);
    edit_shard(catalog.root(), "m", |entries| {
        drop(entries["m"].as_object_mut().unwrap().insert("needs".into(), needs))
    });
    catalog.remove("signature").unwrap().unwrap();
    let signed = Signed { host, catalog, model, signature };
    assert!(passes(&check(&signed.catalog, "m")));
    signed
}

impl Signed {
    /// `verify` fails only because of the signature, and the model can still be used.
    #[track_caller]
    fn is_named(&self, depth: VerifyDepth, quarantined: bool) {
        let report = self.catalog.verify("m", &VerifyOptions::default().with_depth(depth)).unwrap();
        assert!(fails(&report), "{report:?}");
        let [bad] = report.bad.as_slice() else { panic!("{report:?}") };
        assert_eq!((bad.path.as_str(), bad.is_needed, bad.digest), ("", true, self.signature), "{report:?}");
        assert_eq!(bad.quarantined, quarantined, "{report:?}");
        assert!(
            report.outcome.reason().contains("needs besides its content") || depth == VerifyDepth::Quick,
            "{report:?}"
        );
        if let Some(range) = serde_json::to_value(&report).unwrap()["bad_ranges"].get(0) {
            assert_eq!(range["needs"], self.signature.to_string(), "{range}");
        }
        self.is_given_out();
    }

    #[track_caller]
    fn is_given_out(&self) {
        assert_eq!(self.catalog.record("m").unwrap().unwrap().damaged_ms, None);
        let lease = self.catalog.lease("m").unwrap();
        assert_eq!(Digest::sha256_of(&fs::read(lease.local_path()).unwrap()), self.model);
    }

    #[track_caller]
    fn is_repaired(&self, options: &RepairOptions) {
        let report = self.catalog.repair("m", options).unwrap();
        assert_eq!(report.files, 1, "{report:?}");
        assert_eq!(fs::read(blob(&self.catalog, &self.signature)).unwrap(), TEXT);
        assert!(passes(&check(&self.catalog, "m")));
        assert_readable(&self.catalog, "m", &noise(40, 2 * GROUP));
    }
}

// Red when `Work::enqueue` or `verify_quick` leaves out what a record needs.
#[test]
fn a_lost_signature_is_named_and_the_model_stays_in_service() {
    let signed = signed();
    fs::remove_file(blob(&signed.catalog, &signed.signature)).unwrap();
    for depth in [VerifyDepth::Quick, VerifyDepth::Full, VerifyDepth::ByName] {
        signed.is_named(depth, false);
    }
}

// Red when `mark_unmarked` considers more than the content.
#[test]
fn a_damaged_signature_goes_to_quarantine_and_the_model_stays_in_service() {
    let signed = signed();
    rot(&blob(&signed.catalog, &signed.signature), |file| flip(file, 3));
    signed.is_named(VerifyDepth::Full, true);
    assert_eq!(quarantined(&signed.catalog).len(), 1);
    // Again, with the signature in quarantine.
    signed.is_named(VerifyDepth::Full, true);
}

// Red when `repair` leaves out what a record needs.
#[test]
fn a_signature_is_repaired_from_its_file_from_another_catalog_and_from_quarantine() {
    let signed = signed();
    let lost = blob(&signed.catalog, &signed.signature);
    let good = signed.host.file("good.sig", TEXT);
    fs::remove_file(&lost).unwrap();
    let nowhere = signed.catalog.repair("m", &RepairOptions::default()).unwrap_err();
    assert!(matches!(&nowhere, Error::NoGoodSource { path, .. } if *path == lost), "{nowhere}");
    signed.is_given_out();
    // The model, which is tried first here, does not serve as a source.
    let view = view(&signed.catalog, "m");
    signed.is_repaired(&from(&[&view, &good]));

    fs::remove_file(&lost).unwrap();
    let other = Host::new();
    add(&other, &catalog(&other), "signature", TEXT);
    signed.is_repaired(&from(&[&other.root()]));

    rot(&lost, |file| flip(file, 3));
    signed.is_named(VerifyDepth::Full, true);
    signed.is_repaired(&from(&[&good]));
    fs::rename(&lost, signed.catalog.root().join(format!("quarantine/{}.0123456789abcdef", signed.signature.to_hex())))
        .unwrap();
    signed.is_repaired(&RepairOptions::default());
}

// Red when damaged content is not repaired because a signature cannot be.
#[test]
fn content_is_repaired_though_a_signature_cannot_be() {
    let signed = signed();
    fs::remove_file(blob(&signed.catalog, &signed.signature)).unwrap();
    rot(&blob(&signed.catalog, &signed.model), |file| flip(file, 3));
    assert!(fails(&check(&signed.catalog, "m")));
    let good = signed.host.file("good.gguf", noise(40, 2 * GROUP));
    let error = signed.catalog.repair("m", &from(&[&good])).unwrap_err();
    assert!(matches!(&error, Error::NoGoodSource { .. }), "{error}");
    signed.is_given_out();
}

// Red when `disk_usage` counts a document's bytes as content that deduplication should have saved, or as unreferenced.
#[test]
fn a_signature_counts_where_it_lies_and_not_as_content() {
    let signed = signed();
    let DiskUsage { logical_bytes, saved_bytes, unreferenced_bytes, entries, blobs, .. } =
        signed.catalog.disk_usage().unwrap();
    assert_eq!((logical_bytes, saved_bytes, unreferenced_bytes, blobs), (2 * GROUP, 0, 0, 2));
    let on_disk = |digest| fs::metadata(blob(&signed.catalog, digest)).unwrap().blocks() * 512;
    assert_eq!(entries[0].exclusive_bytes, on_disk(&signed.model) + on_disk(&signed.signature));
    // A second entry with the same content saves only the content.
    add(&signed.host, &signed.catalog, "again", &noise(40, 2 * GROUP));
    let usage = signed.catalog.disk_usage().unwrap();
    assert_eq!((usage.logical_bytes, usage.saved_bytes), (4 * GROUP, 2 * GROUP));
}
