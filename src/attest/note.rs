//! Records that a signature was verified.

use crate::entry::{Attestation, Record, TOUCH_INTERVAL, TrustState};
use crate::error::Result;
use crate::fs::{Session, now_ms};
use crate::index::Change;
use crate::ingest;
use crate::store::{self, Store, Unit};

/// Records it, with the bundle as a blob if it is none yet. Best effort: it returns whether the record has it.
pub(super) fn note(store: &Store, record: &Record, attestation: Attestation, bundle: Option<Vec<u8>>) -> bool {
    match try_note(store, record, attestation, bundle) {
        Ok(is_noted) => is_noted,
        Err(error) => {
            tracing::debug!(id = %record.entry.id, %error, "could not record that a signature was verified");
            false
        }
    }
}

fn try_note(store: &Store, record: &Record, attestation: Attestation, bundle: Option<Vec<u8>>) -> Result<bool> {
    if record.signatures().any(|known| is_fresh(known, &attestation)) {
        return Ok(true);
    }
    let session = Session::begin(&store.root)?;
    let ingest = |bytes| ingest::ingest_bytes(&session, bytes, store.durability());
    let mut blobs = bundle.map(ingest).transpose()?.into_iter().collect::<Vec<_>>();
    let needs: Vec<_> = blobs.iter().map(|blob| blob.digest()).collect();
    let is_noted = std::cell::Cell::new(false);
    let unit = Unit {
        id: &record.entry.id,
        blobs: &mut blobs,
        exhibit: None,
        is_due: &|| Ok(true),
        record: Some(&|_, old| {
            let same = old.filter(|now| now.digest_here() == record.entry.digest);
            is_noted.set(same.is_some());
            let Some(mut now) = same else { return Ok(Change::Keep) };
            now.attest(vec![attestation.clone()]);
            now.needs.extend(&needs);
            if !attestation.with_unsigned_files {
                now.trust = TrustState::Verified;
            }
            now.updated_ms = now_ms();
            Ok(Change::Put(Box::new(now)))
        }),
    };
    let done = store::commit(store, &session, &mut [unit], false).pop();
    if let Some(store::Done { result, stored, .. }) = done {
        if result.is_err() || !is_noted.get() {
            store::undo(store, &stored, &[]);
        }
        result?;
    }
    Ok(is_noted.get())
}

/// Whether the record says the same already, and has said so for less than an hour: whoever verifies before each start of an
/// engine does not write each time.
fn is_fresh(known: &Attestation, now: &Attestation) -> bool {
    let Attestation { checked_ms, .. } = *now;
    let age_ms = checked_ms.checked_sub(known.checked_ms);
    let pattern = known.pattern.clone();
    known == &Attestation { checked_ms: known.checked_ms, pattern, ..now.clone() }
        && age_ms.is_some_and(|age_ms| u128::from(age_ms) < TOUCH_INTERVAL.as_millis())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::entry::{CatalogEntry, LifecycleState, SigningMethod};
    use crate::{CatalogStore as _, FsCatalog};

    // Red when what was verified is recorded for content that has come since, or when its bundle stays.
    #[test]
    fn only_the_content_that_was_verified_is_said_to_be_signed() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = FsCatalog::new(dir.path().join("root")).unwrap();
        let file = dir.path().join("m");
        let put = |content: &str| {
            std::fs::write(&file, content).unwrap();
            let (id, local_path) = ("m".to_owned(), file.clone());
            let lifecycle = LifecycleState::Active;
            catalog.put(&CatalogEntry { id, local_path, lifecycle, digest: None, last_verified_ms: None }).unwrap();
            catalog.record("m").unwrap().unwrap()
        };
        let record = put("a");
        let attestation = |checked_ms| Attestation {
            at_signing_time: false,
            bundle: Digest::sha256_of(b"bundle"),
            checked_ms,
            digest: record.entry.digest.unwrap(),
            issuer: None,
            key: Digest::sha256_of(b"key"),
            method: SigningMethod::Key,
            pattern: None,
            signer: Digest::sha256_of(b"key"),
            subject: None,
            with_unsigned_files: false,
        };
        let store = catalog.store();
        let noted = |record: &Record, ms| note(store, record, attestation(ms), Some(b"bundle".to_vec()));
        let kept = || catalog.record("m").unwrap().unwrap();
        let bundle = store.root.absolute(&crate::layout::blob(&Digest::sha256_of(b"bundle")));
        assert!(noted(&record, 1_000));
        assert!(bundle.exists());
        // Again within the hour, and after it.
        assert!(noted(&kept(), 2_000));
        assert_eq!(kept().attested, [attestation(1_000)]);
        assert!(noted(&kept(), 10_000_000));
        assert_eq!(kept().attested, [attestation(10_000_000)]);
        let now = put("b");
        assert_eq!(now.attested, []);
        std::fs::remove_file(&bundle).ok();
        assert!(!noted(&record, 20_000_000));
        assert_eq!(kept(), now);
        assert!(!bundle.exists());
    }
}
