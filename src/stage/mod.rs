//! `stage`: ingest an artifact, show it, record it.
//!
//! [`item`] decides what is to be ingested and whether it has to be; [`single_flight`] keeps two processes from doing the
//! same work; [`batch`] ingests files and hands [`artifact`]s to the one commit of the store.

mod artifact;
mod batch;
mod item;
mod needed;
mod put;
mod remote;
mod single_flight;
mod target;
mod walk;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::blob::{IngestMode, UsedMode};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, LinkMode, Record};
use crate::error::Result;
use crate::fetch::{ResolvedModel, Resolver};
use crate::fs::lock::Wait;
use crate::fs::spare_descriptors;
use crate::json::{lossy, millis};
use crate::model_ref::ModelRef;
use crate::observer::Observer;
use crate::store::Store;
use item::{Decision, Item};
use remote::Question;

pub(crate) use put::put_many;
pub(crate) use remote::From;

/// How an artifact is staged.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct StageOptions {
    /// The entry's id; the reference's own string when `None`.
    pub id: Option<String>,
    /// What the view is called: one plain name. The source's own name when `None`.
    pub name: Option<String>,
    /// What the content has to hash to: of a file its SHA-256, of a directory that of its manifest. Other content is an
    /// error, and nothing is recorded.
    pub digest: Option<Digest>,
    /// How the bytes are brought in.
    pub mode: IngestMode,
    /// Take the files that symlinks in a directory lead to, also outside it.
    pub follow_links: bool,
    /// Only the files of a repository that match one of these patterns are wanted. They are those of Python's `fnmatch`: `*` crosses
    /// `/`, and `dir/` means all that is below it. All files, if there is none.
    pub include: Vec<String>,
    /// And none of the files that match one of these.
    pub exclude: Vec<String>,
    /// Ask no server anything. What is here is given; what is not is [`Error::Offline`](crate::Error::Offline).
    pub offline: bool,
    /// Leave it to the first check to make what the bytes are checked against in parallel and by range. It is made beside
    /// the SHA-256 otherwise, on another core; only with a single core this saves time.
    pub defer_outboard: bool,
    /// How long to wait for another process that stages the same reference; for as long as it takes unless told
    /// otherwise. What it has done is then not done again.
    pub wait: Wait,
    /// Gives the work up when it is used; a large copy goes on where it was when it is staged again. If several artifacts are
    /// staged together, the first one's counts for all.
    pub cancel: Option<Cancel>,
    /// Told of the progress. If several artifacts are staged together, the first one's is told of all.
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
    /// The file's digest, or that of a tree's manifest.
    pub digest: Digest,
    /// The path that an engine opens, absolute.
    #[serde(serialize_with = "lossy")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub local_path: PathBuf,
    /// A file or a tree.
    pub kind: ArtifactKind,
    /// Bytes of all its files together.
    pub size_bytes: u64,
    /// How many files it has.
    pub files: u64,
    /// How the bytes were brought in; for a tree, the costliest way any file took.
    pub mode: UsedMode,
    /// How `local_path` was made; for a tree, the costliest way any file took.
    pub view: LinkMode,
    /// What the id had before, if that was other content.
    pub replaced: Option<Digest>,
    /// Every byte of it was in the store already.
    pub deduplicated: bool,
    /// Bytes of it that were not in the store before.
    pub stored_bytes: u64,
    /// Bytes of it that an earlier attempt, which was interrupted, had copied or fetched already: they were not brought again.
    pub resumed_bytes: u64,
    /// Bytes that servers have sent for it.
    pub fetched_bytes: u64,
    /// What a reference that can move meant: a commit, a version.
    pub pinned: Option<String>,
    /// Bytes that were copied for `local_path` where no hardlink could be made: they are on the disk a second time.
    pub view_copied_bytes: u64,
    /// Sources of [`IngestMode::Move`] that could not be removed. Their bytes are in the store all the same.
    pub unmoved: Vec<UnmovedSource>,
    /// From the call to durability; the same for all artifacts that are staged together.
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
    /// Why, for a person.
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

/// Stages an artifact unless it is here, and notes its use.
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

/// Stages several artifacts; one result for each, in their order.
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
    // Each question costs a descriptor until its answer is recorded, and others wait that long for the reference.
    let at_once = (spare_descriptors() / 4).max(1);
    for (number, (reference, options)) in items.iter().enumerate() {
        let decision = item::decide(store, &from, reference, options, &call.ids);
        call.take(number, decision);
        if call.questions.len() >= at_once {
            call.work_off(store, from, &observer, &cancel);
        }
    }
    call.work_off(store, from, &observer, &cancel);
    let results = call.results;
    let elapsed = start.elapsed();
    results
        .into_iter()
        .map(|result| {
            let receipt = result.expect("every item is unchanged, was ingested, or has failed")?;
            tracing::debug!(id = %receipt.id, digest = %receipt.digest, bytes = receipt.size_bytes, ?elapsed, "staged");
            Ok(StageReceipt { elapsed, ..receipt })
        })
        .collect()
}

/// What becomes of the items of one call, by their numbers.
#[derive(Default)]
struct Call {
    results: Vec<Option<Result<StageReceipt>>>,
    due: Vec<(usize, Item)>,
    questions: Vec<(usize, Question)>,
    /// The ids of `due`.
    ids: BTreeSet<String>,
    /// The ids of what is as it was.
    unchanged: Vec<String>,
}

impl Call {
    fn take(&mut self, number: usize, decision: Result<Decision>) {
        match decision {
            Ok(Decision::Ingest(item)) => {
                self.ids.insert(item.id.clone());
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

    /// Does all that has been taken so far.
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

    /// Asks what has to be asked, in the order of the lock files.
    fn ask(&mut self, store: &Store, sources: &dyn Resolver, observer: &Arc<dyn Observer>, cancel: &Cancel) {
        let mut questions = std::mem::take(&mut self.questions);
        questions.sort_by_cached_key(|(_, question)| question.lock_file());
        let mut claimed = BTreeSet::new();
        for (number, question) in questions {
            let decision = question.settle(store, sources, &mut claimed, observer, cancel);
            self.take(number, decision);
        }
        // If two items have one id, the later one counts, as if they came one after the other.
        self.due.sort_by_key(|(number, _)| *number);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
