//! Records that a signature was verified.

use crate::entry::{Attestation, Record, TrustState};
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
