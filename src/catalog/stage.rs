//! `stage`: bring an artifact in, show it, record it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::FsCatalog;
use super::plan::Planned;
use crate::blob::{IngestMode, UsedMode};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, LinkMode};
use crate::error::Result;
use crate::fetch::ResolvedModel;
use crate::fs::lock::Wait;
use crate::model_ref::ModelRef;
use crate::observer::Observer;

/// How an artifact is staged. Later versions may add fields: build it with `..StageOptions::default()`.
#[derive(Clone, Default)]
pub struct StageOptions {
    /// The entry's id; the reference's own string when `None`.
    pub id: Option<String>,
    /// What the content has to hash to: of a file its SHA-256, of a directory that of its manifest. Other content is an
    /// error, and nothing is recorded.
    pub digest: Option<Digest>,
    /// How the bytes are brought in.
    pub mode: IngestMode,
    /// Take the files that symlinks in a directory lead to, also outside it.
    pub follow_links: bool,
    /// Leave it to the first check to make what the bytes are checked against in parallel and by range. It is made beside
    /// the SHA-256 otherwise, on another core; only with a single core this saves time.
    pub defer_outboard: bool,
    /// How long to wait for another process that stages the same reference; for as long as it takes unless told
    /// otherwise. What it has done is then not done again.
    pub wait: Wait,
    /// Told of the progress. Of several artifacts that are staged together, the first one's is told of all.
    pub observer: Option<Arc<dyn Observer>>,
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StageReceipt {
    /// The entry's id.
    pub id: String,
    /// The file's digest, or that of a tree's manifest.
    pub digest: Digest,
    /// The path that an engine opens, absolute.
    pub local_path: PathBuf,
    /// A file or a tree.
    pub kind: ArtifactKind,
    /// Bytes of all its files together.
    pub size_bytes: u64,
    /// How many files it has.
    pub files: u64,
    /// How the bytes were brought in; of a tree, the costliest way any file took.
    pub mode: UsedMode,
    /// How `local_path` was made; of a tree, the costliest way any file took.
    pub view: LinkMode,
    /// Every byte of it was in the store already.
    pub deduplicated: bool,
    /// Bytes of it that were not in the store before.
    pub stored_bytes: u64,
    /// Bytes of it that an earlier attempt, which was interrupted, had copied already: they were not copied again.
    pub resumed_bytes: u64,
    /// From the call to durability. Of several artifacts that are staged together, that of all.
    pub elapsed: Duration,
}

impl FsCatalog {
    /// Stages the file or directory that `reference` names, under `options.id` or the reference's own string.
    ///
    /// When it returns, the entry is durable (see [`Durability`](crate::Durability)), its view reads the bytes that hash to its digest, and
    /// nothing that happens to the source changes that. A file that was staged under this id before and has not
    /// changed since is not read again. When it fails, nothing is recorded and nothing is left behind; an entry that had
    /// this id is as it was.
    pub fn stage(&self, reference: &ModelRef, options: &StageOptions) -> Result<StageReceipt> {
        let mut results = self.stage_many(&[(reference.clone(), options.clone())]);
        results.pop().expect("there is one result for each item")
    }

    /// Makes sure that the artifact of a reference is here, and says where: [`stage`](FsCatalog::stage) for a local file or
    /// directory, a look-up for what only a fetcher could bring. Its use is noted.
    pub fn ensure(&self, reference: &ModelRef, options: &StageOptions) -> Result<ResolvedModel> {
        let staged = self.stage(reference, options)?;
        self.touch(&staged.id);
        Ok(ResolvedModel { id: staged.id, local_path: staged.local_path })
    }

    /// Stages several artifacts, made durable together. One result for each, in their order; one that fails does not
    /// hinder the others.
    pub fn stage_many(&self, items: &[(ModelRef, StageOptions)]) -> Vec<Result<StageReceipt>> {
        let start = Instant::now();
        let span = tracing::debug_span!("stage", items = items.len());
        let _entered = span.enter();
        let mut results: Vec<Option<Result<StageReceipt>>> = Vec::with_capacity(items.len());
        let mut plans = Vec::new();
        let mut ids = BTreeSet::new();
        for (number, (reference, options)) in items.iter().enumerate() {
            results.push(match self.plan(reference, options, &ids) {
                Ok(Planned::Bring(plan)) => {
                    ids.insert(plan.id.clone());
                    plans.push((number, *plan));
                    None
                }
                Ok(Planned::Here(receipt)) => {
                    self.touch(&receipt.id); // whoever stages it is about to use it
                    Some(Ok(*receipt))
                }
                Err(error) => Some(Err(error)),
            });
        }
        let observer = items.iter().find_map(|(_, options)| options.observer.clone()).unwrap_or_else(|| Arc::new(()));
        for (number, result) in self.bring_and_commit(plans, &*observer) {
            if let Some(slot) = results.get_mut(number) {
                *slot = Some(result);
            }
        }
        let elapsed = start.elapsed();
        results
            .into_iter()
            .map(|result| {
                let receipt = result.expect("every item was planned, brought in, or has failed")?;
                tracing::debug!(id = %receipt.id, digest = %receipt.digest, bytes = receipt.size_bytes, ?elapsed, "staged");
                Ok(StageReceipt { elapsed, ..receipt })
            })
            .collect()
    }
}
