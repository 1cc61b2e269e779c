//! Checks that do not read everything: by stamps, and of paths that were registered but not staged.

use std::time::Instant;

use super::recorder;
use super::{BadFile, VerifyDepth, VerifyOptions, VerifyReport, report_of};
use crate::blob::{Subject, outboard};
use crate::digest::{Digest, VerificationOutcome, verify_digest};
use crate::entry::Record;
use crate::error::{Error, Result};
use crate::fs::{Durability, Meta, now_ms};
use crate::hash::{HashFunction, HashOptions, hash_files};
use crate::store::Store;

/// Checks by stamps alone.
pub(super) fn verify_quick(store: &Store, record: &Record, start: Instant) -> Result<VerifyReport> {
    let report = |outcome, bad| report_of(record, outcome, bad, 0, start);
    if record.damaged_ms.is_some() {
        let reason = "it is known to be damaged".to_owned();
        return Ok(report(VerificationOutcome::Fail { reason }, Vec::new()));
    }
    let Some(digest) = record.entry.digest else {
        return Ok(report(VerificationOutcome::Warn { reason: "nothing was staged".into() }, Vec::new()));
    };
    let is_known =
        |digest: &Digest, meta: &Meta| outboard::fits(&store.root, digest, meta, Durability::Relaxed, &record.owners);
    let files = store.files_of(record.kind, digest, record.size_bytes)?;
    let mut doubtful = store.doubtful_views(record, &files)?;
    for file in &files {
        let blob = Subject::blob(&file.digest, Some(file.size_bytes)).owned_by(&record.owners);
        let meta = store.root.meta(&blob.path)?;
        let is_known = meta.is_some_and(|meta| is_known(&file.digest, &meta));
        if !is_known && !doubtful.contains(&blob) {
            doubtful.push(blob);
        }
    }
    for needed in &record.needs {
        let blob = Subject::blob(needed, None).owned_by(&record.owners);
        let meta = store.root.meta(&blob.path)?;
        if !meta.is_some_and(|meta| is_known(needed, &meta)) {
            doubtful.push(blob);
        }
    }
    let mut bad = Vec::new();
    let mut is_wrong = None;
    for subject in &doubtful {
        let found = store.root.meta(&subject.path)?.map(|meta| meta.size_bytes);
        // Nothing records the size of a document next to the content.
        let expected = subject.size_bytes.or(found).unwrap_or(0);
        if found == Some(expected) {
            continue;
        }
        is_wrong.get_or_insert_with(|| store.root.absolute(&subject.path));
        if !subject.is_blob() {
            continue; // the problem is its place, not its content
        }
        let found = found.unwrap_or(0);
        let path = files.iter().find(|file| file.digest == subject.digest).map(|file| file.path.clone());
        let (path, is_needed) = (path.clone().unwrap_or_default(), path.is_none());
        let ranges = vec![found.min(expected)..found.max(expected).max(1)];
        bad.push(BadFile { path, is_needed, digest: subject.digest, ranges, quarantined: false });
    }
    let fail = |reason| VerificationOutcome::Fail { reason };
    let extra = store.extra_file(record, &files)?.map(|path| store.root.absolute(&path));
    let changed = doubtful.first().map(|subject| store.root.absolute(&subject.path));
    let outcome = match (is_wrong, extra, changed) {
        (Some(path), ..) => fail(format!("{} is missing or has another size", path.display())),
        (None, Some(path), _) => fail(format!("{} is an extra file", path.display())),
        (None, None, Some(path)) => {
            let path = path.display();
            let reason = format!("{path} may have changed since it was last checked; check it in full");
            VerificationOutcome::Warn { reason }
        }
        (None, None, None) => VerificationOutcome::Pass { reason: "not changed since its last full check".into() },
    };
    Ok(report(outcome, bad))
}

/// Checks a path that was registered before staging. The store does not own that file, so it is read and never mapped.
pub(super) fn verify_registered(
    store: &Store,
    record: &Record,
    options: &VerifyOptions,
    start: Instant,
) -> Result<VerifyReport> {
    let path = &record.entry.local_path;
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NotStaged { id: record.entry.id.clone(), path: path.clone() });
        }
        Err(e) => return Err(Error::io("look at", path, e)),
    };
    let warn = |reason: &str| VerificationOutcome::Warn { reason: reason.into() };
    let report = |outcome, bad, read| report_of(record, outcome, bad, read, start);
    let Some(expected) = record.entry.digest else {
        return Ok(report(
            warn("it was registered without a digest, so there is nothing to compare with"),
            Vec::new(),
            0,
        ));
    };
    if options.depth == VerifyDepth::Quick || !meta.is_file() {
        return Ok(report(warn("it was registered and not staged; stage it to have it checked"), Vec::new(), 0));
    }
    let told =
        HashOptions { observer: options.observer.clone(), cancel: options.cancel.clone(), ..HashOptions::default() };
    let hashed = hash_files(std::slice::from_ref(path), HashFunction::Sha256, &told);
    let hash = hashed.into_iter().next().expect("there is one result for each path")?;
    let outcome = verify_digest(hash.value.digest().as_ref(), Some(&expected));
    let bad = match outcome {
        VerificationOutcome::Pass { .. } => {
            recorder::note_verified(store, &[(&record.entry.id, now_ms())], true);
            Vec::new()
        }
        _ => {
            let ranges = vec![0..hash.size_bytes.max(1)];
            vec![BadFile { path: String::new(), is_needed: false, digest: expected, ranges, quarantined: false }]
        }
    };
    Ok(report(outcome, bad, hash.size_bytes))
}
