//! Commit: blobs, then views, then the index; all durable before anything is acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::FsCatalog;
use super::plan::Plan;
use super::stage::StageReceipt;
use crate::blob::manifest::TreeFile;
use crate::blob::{self, Checker, IngestMode, Published, Sealed, Subject, Touched, UsedMode, Verdict};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, LinkMode, Source, TrustState};
use crate::error::{Error, Result};
use crate::fs::source::source_meta;
use crate::fs::{Meta, Session, link, now_ms};
use crate::index::{Change, Flushed, StoredRecord, encode_path};
use crate::view::listing;
use crate::{layout, view};

/// An artifact that was brought in: private, hashed, as durable as its round asks.
pub(super) struct Artifact<'r> {
    pub(super) plan: Plan,
    /// The root blob's: the file's, or the manifest's.
    pub(super) digest: Digest,
    /// Its files; one with an empty path when it is a file.
    pub(super) tree: Vec<TreeFile>,
    /// One for each of `tree`, in its order, then the manifest of a tree.
    pub(super) incoming: Vec<Sealed<'r>>,
    pub(super) mode: UsedMode,
    /// What was not in the store before this commit.
    pub(super) stored: BTreeSet<Digest>,
    /// A hardlink was refused, and there are no copies yet.
    pub(super) needs_copies: bool,
    /// What stands in for hardlinks.
    pub(super) copies: Option<view::Copies>,
}

/// Where an artifact is shown.
struct Shown {
    path: PathBuf,
    stored_path: String,
    view: LinkMode,
    /// Of a view that is no hardlink.
    listing: Option<String>,
}

/// Checks of doubtful blobs before giving up: more than one only when somebody damages blobs meanwhile.
const ATTEMPTS: usize = 4;

impl FsCatalog {
    /// Publishes, shows and records artifacts whose ids all differ. With `flush`, what was brought in was not synced yet.
    pub(super) fn commit(
        &self,
        session: &Session<'_>,
        mut artifacts: Vec<(usize, Artifact<'_>)>,
        flush: bool,
    ) -> Vec<(usize, Result<StageReceipt>)> {
        if artifacts.is_empty() {
            return Vec::new();
        }
        let results: Vec<Result<StageReceipt>> = match self.try_commit(session, &mut artifacts, flush) {
            Ok(shown) => artifacts
                .iter()
                .zip(shown)
                .map(|((_, artifact), shown)| shown.map(|shown| self.receipt(artifact, shown)))
                .collect(),
            Err(error) => artifacts.iter().map(|_| Err(error.clone())).collect(),
        };
        for ((_, artifact), result) in artifacts.iter_mut().zip(&results) {
            match result {
                Ok(_) => {
                    artifact.incoming.iter_mut().for_each(Sealed::keep);
                    remove_moved(self.root(), artifact);
                }
                Err(error) => {
                    if error.is_failed_sync() {
                        artifact.incoming.iter_mut().for_each(Sealed::distrust);
                    }
                    self.undo(artifact);
                }
            }
        }
        artifacts.iter().map(|(number, _)| *number).zip(results).collect()
    }

    fn try_commit(
        &self,
        session: &Session<'_>,
        artifacts: &mut [(usize, Artifact<'_>)],
        flush: bool,
    ) -> Result<Vec<Result<Shown>>> {
        if flush {
            // Before any of it gets a name: a power cut must not leave a name with other bytes.
            self.root.sync_file_system()?;
            artifacts.iter_mut().flat_map(|(_, artifact)| &mut artifact.incoming).for_each(Sealed::was_synced);
        }
        let mut last = None;
        let mut settled: BTreeMap<Digest, Meta> = BTreeMap::new();
        let mut attempts = ATTEMPTS;
        while attempts > 0 {
            let store = self.lock_for_commit()?;
            let mut touched = Touched::default();
            let trash = blob::trash(&self.root)?;
            let (mut doubtful, mut unsynced) = (Vec::new(), false);
            for (_, artifact) in artifacts.iter_mut() {
                for incoming in &mut artifact.incoming {
                    match blob::publish(&self.root, incoming, &trash, self.durability, &mut touched)? {
                        Published::New => drop(artifact.stored.insert(incoming.digest())),
                        Published::Existing => {}
                        // Where the outboard cannot be written, as on a full disk, only we know that it is good.
                        Published::Doubtful
                            if self.is_as_settled(settled.get(&incoming.digest()), &incoming.digest())? => {}
                        Published::Doubtful => doubtful.push(incoming.digest()),
                        Published::Unsynced => unsynced = true,
                    }
                }
            }
            let is_published = doubtful.is_empty() && !unsynced;
            if is_published {
                let recorded = self.show_and_record(session, artifacts, flush, &mut touched);
                // Somebody has removed the lock file: a sweep may have run beside this, and taken what was found here. What
                // could not be synced cannot be relied on, however often it is done again.
                let is_final = recorded.as_ref().is_err_and(Error::is_failed_sync);
                if !is_final && !store.is_named(&self.root, &layout::lock_store())? {
                    continue;
                }
                if let Some(shown) = recorded? {
                    return Ok(shown);
                }
            }
            drop(store);
            if is_published {
                self.copy_views(session, artifacts)?;
            }
            for incoming in artifacts.iter_mut().flat_map(|(_, artifact)| &mut artifact.incoming).filter(|_| unsynced) {
                incoming.sync()?;
            }
            for digest in &doubtful {
                settled.extend(self.settle(digest)?.map(|good| (*digest, good)));
            }
            last = doubtful.pop().or(last);
            attempts -= 1;
        }
        let path = last.map(|digest| self.root.absolute(&layout::blob(&digest))).unwrap_or_default();
        Err(Error::CorruptBlob { path, reason: "it was damaged again each time it was replaced".into() })
    }

    /// Checks a blob that is here already, and takes a bad one out of the way. Of a good one, what it was before.
    pub(super) fn settle(&self, digest: &Digest) -> Result<Option<Meta>> {
        let before = self.root.meta(&layout::blob(digest))?;
        match Checker::quiet(&self.root, self.durability).one(Subject::blob(digest, None))? {
            Verdict::Good => Ok(before),
            Verdict::Missing => Ok(None),
            Verdict::Bad { file, .. } => self.take_out_of_service(digest, &file).map(|_| None),
        }
    }

    /// Whether a blob is the very file that was read in full a moment ago.
    pub(super) fn is_as_settled(&self, settled: Option<&Meta>, digest: &Digest) -> Result<bool> {
        let Some(then) = settled else { return Ok(false) };
        let now = self.root.meta(&layout::blob(digest))?;
        Ok(now.is_some_and(|now| now.same_inode(then) && now.stamp() == then.stamp()))
    }

    /// Makes the files that are to stand where no hardlink can.
    fn copy_views(&self, session: &Session<'_>, artifacts: &mut [(usize, Artifact<'_>)]) -> Result<()> {
        for (_, artifact) in artifacts.iter_mut().filter(|(_, artifact)| artifact.needs_copies) {
            artifact.copies = Some(view::copy(&self.root, &artifact.tree, session, self.durability)?);
        }
        Ok(())
    }

    /// Makes the views and the records of what is published. The store lock is held shared. `None`: first, copies have to
    /// be made, without it.
    fn show_and_record(
        &self,
        session: &Session<'_>,
        artifacts: &mut [(usize, Artifact<'_>)],
        flush: bool,
        touched: &mut Touched,
    ) -> Result<Option<Vec<Result<Shown>>>> {
        let mut shown = Vec::with_capacity(artifacts.len());
        for (_, artifact) in artifacts.iter_mut() {
            let result = self.show(session, artifact, touched).transpose();
            artifact.needs_copies = result.is_none() && artifact.copies.is_none();
            shown.extend(result);
        }
        if artifacts.iter().any(|(_, artifact)| artifact.needs_copies) {
            return Ok(None);
        }
        let artifacts = &*artifacts;
        let by_id: BTreeMap<&str, (&Artifact<'_>, &Shown)> = artifacts
            .iter()
            .zip(&shown)
            .filter_map(|((_, artifact), shown)| Some((artifact.plan.id.as_str(), (artifact, shown.as_ref().ok()?))))
            .collect();
        let ids: Vec<&str> = by_id.keys().copied().collect();
        let mut make_durable = || match (self.durability.is_full(), flush) {
            (false, _) => Ok(Flushed::Nothing),
            (true, true) => self.root.sync_file_system().map(|()| Flushed::FileSystem),
            (true, false) => touched.sync(&self.root).map(|()| Flushed::Nothing),
        };
        self.index.update(&ids, self.durability, self.lock_wait, &mut make_durable, &mut |id, old| {
            Ok(match by_id.get(id) {
                Some((artifact, shown)) => Change::Put(Box::new(record(artifact, shown, old))),
                None => Change::Keep,
            })
        })?;
        Ok(Some(shown))
    }

    fn show(&self, session: &Session<'_>, artifact: &Artifact<'_>, touched: &mut Touched) -> Result<Option<Shown>> {
        let plan = &artifact.plan;
        let path = match &plan.adopt {
            Some(path) => {
                self.check_unchanged(artifact)?;
                path.clone()
            }
            None => layout::view(&plan.id, &artifact.digest, &plan.name),
        };
        let stored_path = encode_path(&path).ok_or_else(|| Error::InvalidPath {
            path: self.root.absolute(&path),
            reason: "it is not UTF-8, which the index needs; rename it",
        })?;
        let copies = artifact.copies.as_ref();
        let Some(view) = view::show(&self.root, &artifact.tree, &path, session, copies, touched)? else {
            return Ok(None);
        };
        let listing = view::listing_of(&self.root, &artifact.tree, &path, view)?;
        Ok(Some(Shown { path, stored_path, view, listing }))
    }

    /// An adopted path is about to be replaced by a view of what was read there: it has to be what was read.
    fn check_unchanged(&self, artifact: &Artifact<'_>) -> Result<()> {
        for (file, incoming) in artifact.plan.files.iter().zip(&artifact.incoming) {
            let now = source_meta(&file.source)?.stamp();
            if incoming.source_stamp() != Some(now) {
                let detail = "it was written to before its view was made".into();
                return Err(Error::SourceChanged { path: file.source.clone(), detail });
            }
        }
        Ok(())
    }

    /// Removes what an artifact that was not recorded has left: best effort, the next sweep finds the rest.
    fn undo(&self, artifact: &Artifact<'_>) {
        if let Err(error) = self.reclaim_unrecorded(artifact) {
            tracing::warn!(id = %artifact.plan.id, %error, "what a failed staging left stays until the next sweep");
        }
    }

    fn reclaim_unrecorded(&self, artifact: &Artifact<'_>) -> Result<()> {
        let mut sweep = self.sweep()?;
        if artifact.plan.adopt.is_none()
            && let Some(folder) = layout::view(&artifact.plan.id, &artifact.digest, &artifact.plan.name).parent()
        {
            sweep.remove_stray_view(folder)?;
        }
        for digest in &artifact.stored {
            sweep.remove_blob(digest, true)?;
            sweep.forget_claims();
        }
        sweep.finish().map(drop)
    }

    fn receipt(&self, artifact: &Artifact<'_>, shown: Shown) -> StageReceipt {
        let sizes: BTreeMap<Digest, u64> = artifact.tree.iter().map(|file| (file.digest, file.size_bytes)).collect();
        let is_new = |digest: &Digest| artifact.stored.contains(digest);
        StageReceipt {
            id: artifact.plan.id.clone(),
            digest: artifact.digest,
            local_path: self.root.absolute(&shown.path),
            kind: artifact.plan.kind,
            size_bytes: artifact.tree.iter().map(|file| file.size_bytes).sum(),
            files: artifact.tree.len() as u64,
            mode: artifact.mode,
            view: shown.view,
            deduplicated: !sizes.keys().any(is_new),
            stored_bytes: sizes.iter().filter(|(digest, _)| is_new(digest)).map(|(_, size)| size).sum(),
            resumed_bytes: artifact.incoming.iter().map(Sealed::resumed_bytes).sum(),
            elapsed: Duration::ZERO,
        }
    }
}

/// The record of a staged artifact. What belongs to the id and not to the content is kept from the old one.
fn record(artifact: &Artifact<'_>, shown: &Shown, old: Option<StoredRecord>) -> StoredRecord {
    let (plan, now) = (&artifact.plan, now_ms());
    let was_verified =
        old.as_ref().is_some_and(|old| old.digest == Some(artifact.digest) && old.trust == TrustState::Verified);
    let mut record = StoredRecord {
        path: shown.stored_path.clone(),
        kind: plan.kind,
        digest: Some(artifact.digest),
        size_bytes: artifact.tree.iter().map(|file| file.size_bytes).sum(),
        files: artifact.tree.len() as u64,
        lifecycle: plan.lifecycle,
        trust: if plan.expected.is_some() || was_verified { TrustState::Verified } else { TrustState::Warned },
        view: Some(shown.view),
        source: Some(source(artifact)),
        created_ms: old.as_ref().map_or(now, |old| old.created_ms),
        updated_ms: now,
        last_verified_ms: plan.last_verified_ms.or(Some(now)),
        last_used_ms: old.as_ref().and_then(|old| old.last_used_ms),
        retired_ms: old.as_ref().and_then(|old| old.retired_ms),
        damaged_ms: None,
        view_listing: shown.listing.clone(),
        pins: old.map(|old| old.pins).unwrap_or_default(),
    };
    record.set_lifecycle(plan.lifecycle, now);
    record
}

/// Where the artifact came from, with what tells later whether it is still the same. An adopted path has become a view,
/// and a moved source is gone.
fn source(artifact: &Artifact<'_>) -> Source {
    let plan = &artifact.plan;
    let mut source = Source { reference: plan.reference.clone(), stamp: None, listing: None };
    if plan.adopt.is_none() && plan.mode != IngestMode::Move {
        let stamps = plan
            .files
            .iter()
            .zip(&artifact.incoming)
            .map(|(file, brought)| Some((file.path.as_str(), brought.lasting_stamp()?)));
        match plan.kind {
            ArtifactKind::File => source.stamp = artifact.incoming.first().and_then(Sealed::lasting_stamp),
            _ => source.listing = stamps.collect::<Option<Vec<_>>>().map(|stamps| listing(&stamps)),
        }
    }
    source
}

/// Removes the sources of `--mode move`, now that their bytes are recorded. A source that has changed since stays, and
/// so does one below the root, to which a symlink in the tree has led: it may be another entry's.
fn remove_moved(root: &Path, artifact: &Artifact<'_>) {
    if artifact.plan.mode != IngestMode::Move || artifact.plan.adopt.is_some() {
        return;
    }
    for (file, incoming) in artifact.plan.files.iter().zip(&artifact.incoming) {
        if file.source.canonicalize().is_ok_and(|real| real.starts_with(root)) {
            continue;
        }
        if let Err(error) = link::remove_source(&file.source, incoming.source_stamp()) {
            tracing::warn!(path = %file.source.display(), %error, "the moved file could not be removed");
        }
    }
    if artifact.plan.kind == ArtifactKind::Tree {
        link::remove_empty_folders(&artifact.plan.source);
    }
}
