//! `stage`: ingest an artifact, show it, record it.
//!
//! [`item`] decides what to ingest, and whether that is needed at all; [`single_flight`] keeps two processes from doing
//! the same work; [`batch`] ingests files and hands [`artifact`]s to the store's commit.

mod ahead;
mod artifact;
mod batch;
mod beside;
mod complete;
mod from_reader;
mod gathered;
mod hash_tree;
mod item;
mod needed;
mod put;
mod remote;
#[cfg(feature = "attest")]
mod signed;
mod single_flight;
mod target;
mod walk;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

#[cfg(feature = "attest")]
use crate::attest::TrustedSigner;
use crate::blob::{IngestMode, UsedMode};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, LinkMode, Record};
use crate::error::Result;
use crate::fetch::{Asking, ResolvedModel, Resolver};
use crate::formats::Completeness;
use crate::fs::lock::Wait;
use crate::fs::spare_descriptors;
use crate::json::{lossy, millis};
use crate::model_ref::ModelRef;
use crate::observer::Observer;
use crate::store::Store;
use item::{Decision, Item};
use remote::Question;

pub(crate) use from_reader::stage_from;
pub(crate) use gathered::{FilePlace, Gathered, GatheredFile, GatheredPlan, plan_gathered, stage_gathered};
pub use hash_tree::{TreeHash, hash_tree};
pub(crate) use put::put_many;
pub(crate) use remote::From;

/// How an artifact is staged.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct StageOptions {
    /// The entry's id. `None`: the reference's own string.
    pub id: Option<String>,
    /// The name of the view: one plain path component. `None`: the source's own name.
    pub name: Option<String>,
    /// The expected SHA-256 of the content: of the file, or of the manifest if it is a directory. Other content is an
    /// error, and nothing is recorded.
    pub digest: Option<Digest>,
    /// Refuse a model of which something is missing ([`Completeness::Incomplete`]). Nothing is recorded then. A model
    /// that does not say what belongs to it is not refused.
    pub require_complete: bool,
    /// Refuse a model without a good signature by one of [`signers`](StageOptions::signers), or if these are none, by a
    /// signer of the store's rules for its id. Nothing is recorded then. Rules of the store ask for it in any case.
    #[cfg(feature = "attest")]
    pub require_signature: bool,
    /// One of them must have signed.
    #[cfg(feature = "attest")]
    pub signers: Vec<TrustedSigner>,
    /// The bundle, which is then kept. `None`: the file `model.sig` of a directory.
    #[cfg(feature = "attest")]
    pub signature: Option<Vec<u8>>,
    /// How to bring the bytes into the store.
    pub mode: IngestMode,
    /// Follow symlinks in a directory even if they lead out of it.
    pub follow_links: bool,
    /// Take only those files of a repository that match one of these patterns. They work like Python's `fnmatch`: `*`
    /// also matches `/`, and `dir/` matches everything below that directory. Empty: all files.
    pub include: Vec<String>,
    /// Skip files that match one of these patterns.
    pub exclude: Vec<String>,
    /// Contact no server. A reference that the store holds is resolved; any other is
    /// [`Error::Offline`](crate::Error::Offline).
    pub offline: bool,
    /// Leave the outboard, which allows parallel checks and checks of ranges, to the first check. Otherwise it is
    /// computed alongside the SHA-256 on another core, so this saves time only on a single core.
    pub defer_outboard: bool,
    /// How long to wait for another process that stages the same reference; for ever by default. This call then reuses
    /// what the other process staged.
    pub wait: Wait,
    /// Cancels the work. When a large copy is staged again, it resumes where it stopped. If several artifacts are
    /// staged together, the first `cancel` among them applies to all.
    pub cancel: Option<Cancel>,
    /// Receives progress events. If several artifacts are staged together, the first observer among them receives all
    /// events.
    pub observer: Option<Arc<dyn Observer>>,
}

impl StageOptions {
    /// Sets [`id`](StageOptions::id).
    #[must_use]
    pub fn with_id(mut self, id: impl Into<Option<String>>) -> Self {
        self.id = id.into();
        self
    }

    /// Sets [`name`](StageOptions::name).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Option<String>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets [`digest`](StageOptions::digest).
    #[must_use]
    pub fn with_digest(mut self, digest: impl Into<Option<Digest>>) -> Self {
        self.digest = digest.into();
        self
    }

    /// Sets [`require_complete`](StageOptions::require_complete).
    #[must_use]
    pub fn with_require_complete(mut self, require_complete: bool) -> Self {
        self.require_complete = require_complete;
        self
    }

    /// Sets [`require_signature`](StageOptions::require_signature).
    #[cfg(feature = "attest")]
    #[must_use]
    pub fn with_require_signature(mut self, require_signature: bool) -> Self {
        self.require_signature = require_signature;
        self
    }

    /// Sets [`signers`](StageOptions::signers).
    #[cfg(feature = "attest")]
    #[must_use]
    pub fn with_signers(mut self, signers: Vec<TrustedSigner>) -> Self {
        self.signers = signers;
        self
    }

    /// Sets [`signature`](StageOptions::signature).
    #[cfg(feature = "attest")]
    #[must_use]
    pub fn with_signature(mut self, signature: impl Into<Option<Vec<u8>>>) -> Self {
        self.signature = signature.into();
        self
    }

    /// Sets [`mode`](StageOptions::mode).
    #[must_use]
    pub fn with_mode(mut self, mode: IngestMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets [`follow_links`](StageOptions::follow_links).
    #[must_use]
    pub fn with_follow_links(mut self, follow_links: bool) -> Self {
        self.follow_links = follow_links;
        self
    }

    /// Sets [`include`](StageOptions::include) and [`exclude`](StageOptions::exclude).
    #[must_use]
    pub fn with_selection(mut self, include: Vec<String>, exclude: Vec<String>) -> Self {
        (self.include, self.exclude) = (include, exclude);
        self
    }

    /// Sets [`offline`](StageOptions::offline).
    #[must_use]
    pub fn with_offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Sets [`defer_outboard`](StageOptions::defer_outboard).
    #[must_use]
    pub fn with_defer_outboard(mut self, defer_outboard: bool) -> Self {
        self.defer_outboard = defer_outboard;
        self
    }

    /// Sets [`wait`](StageOptions::wait).
    #[must_use]
    pub fn with_wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Sets [`cancel`](StageOptions::cancel).
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// Sets [`observer`](StageOptions::observer).
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }
}

impl fmt::Debug for StageOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageOptions")
            .field("id", &self.id)
            .field("digest", &self.digest)
            .field("mode", &self.mode)
            .field("follow_links", &self.follow_links)
            .finish_non_exhaustive()
    }
}

/// What staging did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct StageReceipt {
    /// The entry's id.
    pub id: String,
    /// The digest of the file, or of the tree's manifest.
    pub digest: Digest,
    /// The absolute path that an engine opens.
    #[serde(serialize_with = "lossy")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub local_path: PathBuf,
    /// A file or a tree.
    pub kind: ArtifactKind,
    /// Total size of all its files.
    pub size_bytes: u64,
    /// Number of files.
    pub files: u64,
    /// How the bytes were brought in; for a tree, the costliest way that any file took.
    pub mode: UsedMode,
    /// How `local_path` was made; for a tree, the costliest way that any file took.
    pub view: LinkMode,
    /// The digest that the id had before, if the content was different.
    pub replaced: Option<Digest>,
    /// Whether every byte was in the store already.
    pub deduplicated: bool,
    /// Bytes that were new to the store.
    pub stored_bytes: u64,
    /// The part of these bytes that was copied or fetched, and so takes up room on the disk: the rest shares its
    /// blocks or its inode with the source.
    pub copied_bytes: u64,
    /// Bytes that an interrupted attempt had already copied or fetched, and that were not brought in again.
    pub resumed_bytes: u64,
    /// Bytes that servers sent for it.
    pub fetched_bytes: u64,
    /// The commit or version that a movable reference stood for.
    pub pinned: Option<String>,
    /// Bytes copied for `local_path` because hardlinks were not possible. They take up disk space a second time.
    pub view_copied_bytes: u64,
    /// With [`IngestMode::Share`]: why the bytes of at least one file were copied. `None` if all are shared.
    pub unshared: Option<String>,
    /// Whether all of the model is there. `None`: nothing new was staged, so this was not looked at.
    pub completeness: Option<Completeness>,
    /// What is missing of it, each for humans.
    pub missing: Vec<String>,
    /// Sources of [`IngestMode::Move`] that could not be removed. Their bytes are in the store nevertheless.
    pub unmoved: Vec<UnmovedSource>,
    /// Time from the call until the result was durable; the same for all artifacts staged together.
    #[serde(rename = "elapsed_ms", serialize_with = "millis")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub elapsed: Duration,
}

/// A source that is still there after a move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct UnmovedSource {
    /// Where it is.
    #[serde(serialize_with = "lossy")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub path: PathBuf,
    /// The reason, for humans.
    pub reason: String,
}

/// Stages one artifact.
pub(crate) fn stage(
    store: &Store,
    from: From<'_>,
    reference: &ModelRef,
    options: &StageOptions,
) -> Result<StageReceipt> {
    let mut results = stage_many(store, from, &[(reference.clone(), options.clone())]);
    results.pop().expect("there is one result for each item")
}

/// Stages an artifact unless the store has it, and records its use.
pub(crate) fn ensure(
    store: &Store,
    from: From<'_>,
    reference: &ModelRef,
    options: &StageOptions,
) -> Result<ResolvedModel> {
    let staged = stage(store, From { held_will_do: true, ..from }, reference, options)?;
    if let Ok(Some(record)) = store.record(&staged.id) {
        store.touch(&record);
    }
    Ok(ResolvedModel { id: staged.id, local_path: staged.local_path })
}

/// Stages several artifacts. Returns one result each, in the same order.
pub(crate) fn stage_many(
    store: &Store,
    from: From<'_>,
    items: &[(ModelRef, StageOptions)],
) -> Vec<Result<StageReceipt>> {
    let start = Instant::now();
    let span = tracing::debug_span!("stage", items = items.len());
    let _entered = span.enter();
    let observer = items.iter().find_map(|(_, options)| options.observer.clone()).unwrap_or_else(|| Arc::new(()));
    let cancel = items.iter().find_map(|(_, options)| options.cancel.clone()).unwrap_or_default();
    let mut call = Call { results: items.iter().map(|_| None).collect(), ..Call::default() };
    // Each question holds a descriptor, and its reference's lock against other processes, until its answer is recorded.
    let at_once = if items.len() > 1 { (spare_descriptors() / 4).max(1) } else { 1 };
    let mut ahead = ahead::decide(store, &from, items);
    for (number, (reference, options)) in items.iter().enumerate() {
        let decision = match ahead.get_mut(number).and_then(Option::take) {
            Some(decision) => decision,
            None => item::decide(store, &from, reference, options, &call.ids),
        };
        call.take(number, decision);
        if call.questions.len() >= at_once {
            call.work_off(store, from, &observer, &cancel);
        }
    }
    call.work_off(store, from, &observer, &cancel);
    let fetched = std::mem::take(&mut call.fetched);
    let mut results = call.receipts(start);
    if let Some(sources) = from.sources {
        let asking = Asking { observer, cancel, has_digest: true, digest: None, mirrors: false };
        for (number, ((reference, options), result)) in items.iter().zip(&results).enumerate() {
            if let (Ok(receipt), true) = (result, fetched.contains(&number) && !options.offline) {
                beside::attach(store, sources, reference, receipt, &asking);
            }
        }
    }
    for (result, _) in results.iter_mut().zip(items).filter(|(_, (_, options))| options.require_complete) {
        if let Some(error) = result.as_ref().ok().and_then(|receipt| complete::refusal_of_held(store, receipt)) {
            *result = Err(error);
        }
    }
    results
}

/// The state of one call's items, by their numbers.
#[derive(Default)]
struct Call {
    results: Vec<Option<Result<StageReceipt>>>,
    due: Vec<(usize, Item)>,
    questions: Vec<(usize, Question)>,
    /// The ids of `due`.
    ids: BTreeSet<String>,
    /// The items that a server was asked for.
    fetched: BTreeSet<usize>,
    /// The ids of unchanged items.
    unchanged: Vec<String>,
}

impl Call {
    fn take(&mut self, number: usize, decision: Result<Decision>) {
        match decision {
            Ok(Decision::Ingest(item)) => {
                self.ids.insert(item.id.clone());
                if item.fetched.is_some() {
                    self.fetched.insert(number);
                }
                self.due.push((number, *item));
            }
            Ok(Decision::Ask(question)) => self.questions.push((number, *question)),
            Ok(Decision::Unchanged(receipt)) => {
                self.unchanged.push(receipt.id.clone());
                self.end(number, Ok(*receipt));
            }
            Err(error) => self.end(number, Err(error)),
        }
    }

    fn end(&mut self, number: usize, result: Result<StageReceipt>) {
        if let Some(slot) = self.results.get_mut(number) {
            *slot = Some(result);
        }
    }

    /// The results of a call that began at `start`, in the order of its items.
    fn receipts(self, start: Instant) -> Vec<Result<StageReceipt>> {
        let elapsed = start.elapsed();
        let told = |receipt: StageReceipt| {
            tracing::debug!(id = %receipt.id, digest = %receipt.digest, bytes = receipt.size_bytes, ?elapsed, "staged");
            StageReceipt { elapsed, ..receipt }
        };
        let ended = |result: Option<_>| result.expect("every item is unchanged, was ingested, or has failed");
        self.results.into_iter().map(|result| ended(result).map(told)).collect()
    }

    /// Processes everything taken so far.
    fn work_off(&mut self, store: &Store, from: From<'_>, observer: &Arc<dyn Observer>, cancel: &Cancel) {
        if let Some(sources) = from.sources {
            self.ask(store, sources, observer, cancel);
        }
        // What is staged is about to be used.
        let unchanged = std::mem::take(&mut self.unchanged);
        let used: Vec<Record> = unchanged.iter().filter_map(|id| store.record(id).ok().flatten()).collect();
        store.touch_all(&used);
        self.ids.clear();
        for (number, result) in batch::ingest_and_commit(store, std::mem::take(&mut self.due), &**observer, cancel) {
            self.end(number, result);
        }
    }

    /// Asks the open questions, in the order of their lock files.
    fn ask(&mut self, store: &Store, sources: &dyn Resolver, observer: &Arc<dyn Observer>, cancel: &Cancel) {
        let mut questions = std::mem::take(&mut self.questions);
        questions.sort_by_cached_key(|(_, question)| question.lock_file());
        let mut claimed = BTreeSet::new();
        for (number, question) in questions {
            let decision = question.settle(store, sources, &mut claimed, observer, cancel);
            self.take(number, decision);
        }
        // If two items have the same id, the later one wins, as if they were staged one after the other.
        self.due.sort_by_key(|(number, _)| *number);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
