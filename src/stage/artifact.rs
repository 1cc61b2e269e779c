//! Commits ingested artifacts and builds their records and receipts.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::item::Item;
use super::remote::Fetched;
#[cfg(feature = "attest")]
use super::signed;
use super::{StageReceipt, UnmovedSource, complete};
use crate::blob::manifest::TreeFile;
use crate::blob::{IngestMode, Sealed, UsedMode};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Attestation, LogEventKind, Provenance, Stamp, TrustState, fingerprint};
use crate::error::{Error, Result};
use crate::formats::{self, Completeness};
use crate::fs::Session;
use crate::fs::{link, now_ms};
use crate::hint::Hint;
use crate::index::{Change, Happened, StoredRecord, encode_path};
use crate::ingest::Origin;
use crate::layout;
use crate::store::{self, Done, Store, Unit};
use crate::sum::SumBytes;
use crate::view::{Exhibit, Occupied, View};

/// An ingested artifact: private, hashed, and as durable as its batch requires.
pub(super) struct Artifact<'r> {
    pub(super) item: Item,
    /// Digest of the root blob: the file itself, or the manifest of a tree.
    pub(super) digest: Digest,
    /// The artifact's files. A single file has an empty path.
    pub(super) tree: Vec<TreeFile>,
    /// One per entry of `tree`, in the same order, followed by the manifest if the artifact is a tree, and by documents.
    pub(super) incoming: Vec<Sealed<'r>>,
    pub(super) mode: UsedMode,
}

impl Artifact<'_> {
    /// The number of blobs that are its content; those behind them are documents.
    fn content_blobs(&self) -> usize {
        self.tree.len() + usize::from(self.item.kind == ArtifactKind::Tree)
    }
}

/// What stays the same across the rounds of a commit.
struct Prepared {
    path: PathBuf,
    stored_path: String,
    /// Signatures that were verified.
    attested: Vec<Attestation>,
    /// The stamp of each file at the time it was read.
    stamps: Vec<Option<Stamp>>,
    source: Option<Provenance>,
    completeness: Completeness,
    missing: Vec<String>,
    /// The digest that the id had before, if the content was different. Known once the new record is written.
    replaced: Rc<Cell<Option<Digest>>>,
}

/// Publishes, shows and records artifacts with distinct ids. `flush` means that the ingested files are not yet synced.
pub(super) fn commit(
    store: &Store,
    session: &Session<'_>,
    artifacts: Vec<(usize, Artifact<'_>)>,
    flush: bool,
) -> Vec<(usize, Result<StageReceipt>)> {
    let mut results = Vec::with_capacity(artifacts.len());
    let mut ready = Vec::with_capacity(artifacts.len());
    let completeness = complete::check_all(store, artifacts.iter().map(|(_, artifact)| artifact));
    for ((number, mut artifact), facts) in artifacts.into_iter().zip(completeness) {
        match prepare(store, session, &mut artifact, facts) {
            Ok(prepared) => ready.push((number, artifact, prepared)),
            Err(error) => results.push((number, Err(error))),
        }
    }
    if ready.is_empty() {
        return results;
    }
    let done = commit_prepared(store, session, &mut ready, flush);
    let (mut stored, mut views) = (BTreeSet::new(), Vec::new());
    for ((number, artifact, prepared), mut done) in ready.iter_mut().zip(done) {
        results.push(match std::mem::replace(&mut done.result, Ok(None)) {
            Ok(Some(view)) => {
                artifact.incoming.iter_mut().for_each(Sealed::keep);
                let unmoved = remove_moved(store.path(), artifact);
                (*number, Ok(receipt(store, artifact, prepared, &view, &done, unmoved)))
            }
            Ok(None) => unreachable!("a staged artifact always has a view"),
            Err(error) => {
                if error.is_failed_sync() {
                    artifact.incoming.iter_mut().for_each(Sealed::distrust);
                }
                stored.extend(done.stored);
                let is_ours = artifact.item.in_place.is_none() && done.tally.made > 0;
                views.extend(prepared.path.parent().filter(|_| is_ours).map(Path::to_path_buf));
                (*number, Err(error))
            }
        });
    }
    // Undo before the artifacts are dropped: the drop restores the mode of a source inode that did not become a blob.
    store::undo(store, &stored, &views);
    results
}

fn commit_prepared(
    store: &Store,
    session: &Session<'_>,
    ready: &mut [(usize, Artifact<'_>, Prepared)],
    flush: bool,
) -> Vec<Done> {
    let edits: Vec<_> = ready
        .iter()
        .map(|(_, artifact, prepared)| {
            let (facts, is_adopted) = (Facts::of(artifact, prepared), artifact.item.is_adopted);
            move |view: Option<&View>, old: Option<StoredRecord>| {
                let Some(view) = view else { return Ok(Change::Keep) };
                let record = Box::new(facts.record(view, old));
                Ok(match is_adopted {
                    true => Change::PutBrought { record, how: Happened::new(LogEventKind::Adopted), made_from: None },
                    false => Change::Put(record),
                })
            }
        })
        .collect();
    let mut units: Vec<Unit<'_, '_>> = ready
        .iter_mut()
        .zip(&edits)
        .map(|((_, Artifact { item, tree, incoming, .. }, prepared), edit)| Unit {
            id: &item.id,
            blobs: incoming,
            exhibit: Some(Exhibit {
                id: &item.id,
                files: tree,
                at: &prepared.path,
                occupied: match item.in_place {
                    Some(_) => Occupied::Replace(&prepared.stamps),
                    None => Occupied::Quarantine,
                },
                durability: store.durability(),
            }),
            is_due: &|| Ok(true),
            record: Some(edit),
        })
        .collect();
    store::commit(store, session, &mut units, flush)
}

fn prepare<'r>(
    store: &Store,
    session: &Session<'r>,
    artifact: &mut Artifact<'r>,
    facts: Result<formats::Facts>,
) -> Result<Prepared> {
    #[cfg(feature = "attest")]
    let attested = signed::check(store, session, artifact)?;
    #[cfg(not(feature = "attest"))]
    let (attested, _) = (Vec::new(), session); // the rules are asked when it is recorded
    let item = &artifact.item;
    let path = match &item.in_place {
        Some(path) => path.clone(),
        None => layout::view(&item.id, &artifact.digest, &item.name),
    };
    let stored_path = encode_path(&path).ok_or_else(|| Error::InvalidPath {
        path: store.root.absolute(&path),
        reason: "it is not UTF-8, which the index needs",
        hint: Hint::Rename,
    })?;
    let formats::Facts { completeness, missing, .. } = facts?;
    let stamps = artifact.incoming.iter().map(Sealed::source_stamp).collect();
    let source = source(artifact);
    Ok(Prepared { path, stored_path, attested, stamps, source, completeness, missing, replaced: Rc::default() })
}

/// What goes into the record of an artifact.
struct Facts {
    kind: ArtifactKind,
    digest: Digest,
    size_bytes: u64,
    files: u64,
    lifecycle: crate::entry::LifecycleState,
    /// The trust that the digests which were known beforehand give.
    trust: TrustState,
    last_verified_ms: Option<u64>,
    stored_path: String,
    attested: Vec<Attestation>,
    /// Blobs besides those of the content.
    needs: BTreeSet<Digest>,
    source: Option<Provenance>,
    replaced: Rc<Cell<Option<Digest>>>,
}

impl Facts {
    fn of(artifact: &Artifact<'_>, prepared: &Prepared) -> Self {
        Facts {
            kind: artifact.item.kind,
            digest: artifact.digest,
            size_bytes: artifact.tree.iter().map(|file| file.size_bytes).sum_bytes(),
            files: artifact.tree.len() as u64,
            lifecycle: artifact.item.lifecycle,
            trust: match prepared.attested.iter().any(|attestation| !attestation.with_unsigned_files) {
                true => TrustState::Verified,
                false => trust(&artifact.item),
            },
            last_verified_ms: artifact.item.last_verified_ms,
            stored_path: prepared.stored_path.clone(),
            attested: prepared.attested.clone(),
            needs: artifact.incoming.iter().skip(artifact.content_blobs()).map(Sealed::digest).collect(),
            source: prepared.source.clone(),
            replaced: prepared.replaced.clone(),
        }
    }

    /// Builds the record of a staged artifact. Keeps from the old record what belongs to the id rather than to the
    /// content.
    fn record(&self, view: &View, old: Option<StoredRecord>) -> StoredRecord {
        let now = now_ms();
        // A second round finds the record that the first one wrote.
        if let Some(replaced) = old.as_ref().and_then(|old| old.digest).filter(|digest| *digest != self.digest) {
            self.replaced.set(Some(replaced));
        }
        let before = old.as_ref().filter(|old| old.digest == Some(self.digest)).map(|old| old.trust);
        let record = StoredRecord {
            attested: self.attested.clone(),
            needs: self.needs.clone(),
            digest: Some(self.digest),
            size_bytes: self.size_bytes,
            files: self.files,
            trust: before.map_or(self.trust, |before| before.min(self.trust)),
            view: Some(view.mode),
            source: self.source.clone(),
            last_verified_ms: self.last_verified_ms.or(Some(now)),
            view_fingerprint: view.fingerprint.clone(),
            ..StoredRecord::new(now, self.stored_path.clone(), self.kind)
        };
        let mut record = record.replacing(old);
        record.set_lifecycle(self.lifecycle, now);
        record
    }
}

fn trust(item: &Item) -> TrustState {
    let is_in_reference = item.fetched.as_ref().is_some_and(|fetched| fetched.is_in_reference);
    match item.named_by {
        _ if item.expected.is_some() => TrustState::Verified,
        Some(_) if is_in_reference => TrustState::Verified,
        Some(_) => TrustState::Claimed,
        None => TrustState::Warned,
    }
}

fn receipt(
    store: &Store,
    artifact: &Artifact<'_>,
    prepared: &Prepared,
    view: &View,
    done: &Done,
    unmoved: Vec<UnmovedSource>,
) -> StageReceipt {
    let stored = &done.stored;
    let is_moved = artifact.item.mode == IngestMode::Move && unmoved.is_empty();
    let sizes: BTreeMap<Digest, u64> = artifact.tree.iter().map(|file| (file.digest, file.size_bytes)).collect();
    StageReceipt {
        id: artifact.item.id.clone(),
        digest: artifact.digest,
        local_path: store.root.absolute(&prepared.path),
        kind: artifact.item.kind,
        size_bytes: artifact.tree.iter().map(|file| file.size_bytes).sum_bytes(),
        files: artifact.tree.len() as u64,
        mode: if is_moved { UsedMode::Move } else { artifact.mode },
        view: view.mode,
        replaced: prepared.replaced.get(),
        deduplicated: !sizes.keys().any(|digest| stored.contains(digest)),
        stored_bytes: sizes.iter().filter(|(digest, _)| stored.contains(*digest)).map(|(_, size)| size).sum_bytes(),
        copied_bytes: copied_bytes(artifact, &mut |digest| stored.contains(digest)),
        resumed_bytes: artifact.incoming.iter().map(Sealed::resumed_bytes).sum_bytes(),
        fetched_bytes: artifact.item.fetched.as_ref().map_or(0, Fetched::bytes),
        pinned: prepared.source.as_ref().and_then(|source| source.pinned.clone()),
        view_copied_bytes: done.tally.copied_bytes,
        unshared: artifact.incoming.iter().find_map(Sealed::unshared).map(str::to_owned),
        completeness: Some(prepared.completeness),
        missing: prepared.missing.clone(),
        unmoved,
        elapsed: Duration::ZERO,
    }
}

/// The bytes of its new blobs that are neither clones nor the source's own inodes.
fn copied_bytes(artifact: &Artifact<'_>, is_new: &mut dyn FnMut(&Digest) -> bool) -> u64 {
    let is_copied = |incoming: &&Sealed<'_>| matches!(incoming.mode(), UsedMode::Copy | UsedMode::Fetch);
    let copied = artifact.incoming.iter().take(artifact.tree.len()).filter(is_copied);
    let sizes: BTreeMap<Digest, u64> = copied.map(|incoming| (incoming.digest(), incoming.size_bytes())).collect();
    sizes.iter().filter(|(digest, _)| is_new(digest)).map(|(_, size)| size).sum_bytes()
}

/// Describes where the artifact came from, with stamps that show later whether the source has changed. There are no
/// stamps if the source became a view in place, or was moved and is gone.
///
/// A stream has no source: nothing of it can be had again.
fn source(artifact: &Artifact<'_>) -> Option<Provenance> {
    let item = &artifact.item;
    if item.contents.is_empty() {
        return None;
    }
    let mut source = Provenance { named_by: item.named_by.clone(), ..Provenance::new(item.reference.clone()) };
    if let Some(fetched) = &item.fetched {
        return Some(fetched.provenance(source));
    }
    if item.in_place.is_none() && item.mode != IngestMode::Move {
        let stamps = item
            .contents
            .iter()
            .zip(&artifact.incoming)
            .map(|(content, brought)| Some((content.file.path.as_str(), brought.lasting_stamp()?.text())));
        match item.kind {
            ArtifactKind::File => {
                let lasting = artifact.incoming.first().and_then(Sealed::lasting_stamp);
                source.stamp = lasting.map(|lasting| lasting.stamp);
                source.changed_ns = lasting.map(|lasting| lasting.changed_ns);
            }
            _ => source.fingerprint = stamps.collect::<Option<Vec<_>>>().map(fingerprint),
        }
    }
    Some(source)
}

/// Removes the sources of `--mode move` after their bytes are recorded. Returns the sources that it did not remove:
/// those that have changed since, and those that a symlink in the tree leads to below the root, because another entry
/// may own them.
fn remove_moved(root: &Path, artifact: &Artifact<'_>) -> Vec<UnmovedSource> {
    let mut unmoved = Vec::new();
    if artifact.item.mode != IngestMode::Move || artifact.item.in_place.is_some() {
        return unmoved;
    }
    for (content, incoming) in artifact.item.contents.iter().zip(&artifact.incoming) {
        let Origin::Local { path, .. } = &content.file.origin else { continue };
        let removed = match path.canonicalize().is_ok_and(|real| real.starts_with(root)) {
            true => Err("it leads to a file below the root, which may be another entry's".to_owned()),
            false => link::remove_source(path, incoming.source_stamp()).map_err(|error| error.to_string()),
        };
        if let Err(reason) = removed {
            tracing::warn!(path = %path.display(), reason, "could not remove the source of a moved file");
            unmoved.push(UnmovedSource { path: path.clone(), reason });
        }
    }
    if artifact.item.kind == ArtifactKind::Tree {
        link::remove_empty_folders(&artifact.item.source);
    }
    unmoved
}
