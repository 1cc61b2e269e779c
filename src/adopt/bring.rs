//! Brings found models into the store.

use std::sync::Arc;

use serde::Serialize;

use super::dedupe::{Dedupe, Forecast};
use super::{Claim, Found, FoundFile, Sharing, Tool};
use crate::blob::IngestMode;
use crate::blob::manifest::TreeFile;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::error::{Error, Result};
use crate::fetch::Selection;
use crate::observer::Observer;
use crate::stage::{self, FilePlace, Gathered, GatheredFile, GatheredPlan, StageOptions, StageReceipt};
use crate::store::Store;

/// How models are adopted.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct AdoptOptions {
    /// How the bytes come in. `None`: a reflink, otherwise a hardlink if the tool never writes into its files and they
    /// belong to this user, otherwise a copy.
    pub mode: Option<IngestMode>,
    /// Replace the tool's own files by hardlinks to the store's where the same bytes would otherwise be kept twice.
    pub dedupe: bool,
    /// Cancels the work.
    pub cancel: Option<Cancel>,
    /// Receives progress events.
    pub observer: Option<Arc<dyn Observer>>,
}

impl AdoptOptions {
    /// Sets [`mode`](AdoptOptions::mode).
    #[must_use]
    pub fn with_mode(mut self, mode: impl Into<Option<IngestMode>>) -> Self {
        self.mode = mode.into();
        self
    }

    /// Sets [`dedupe`](AdoptOptions::dedupe).
    #[must_use]
    pub fn with_dedupe(mut self, dedupe: bool) -> Self {
        self.dedupe = dedupe;
        self
    }

    /// Sets [`cancel`](AdoptOptions::cancel).
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// Sets [`observer`](AdoptOptions::observer).
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }
}

impl std::fmt::Debug for AdoptOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdoptOptions").field("mode", &self.mode).field("dedupe", &self.dedupe).finish_non_exhaustive()
    }
}

/// What adopting one model did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct AdoptReceipt {
    /// Whose store it was found in.
    pub tool: Tool,
    /// What staging it did.
    #[serde(flatten)]
    pub staged: StageReceipt,
    /// Bytes that the disk holds more than before.
    pub new_bytes: u64,
    /// Its further ids that were recorded.
    pub also: Vec<String>,
    /// Bytes of the tool's own files that came free, because they were replaced by hardlinks to the store's.
    pub deduped_bytes: u64,
    /// Why files of the tool were not replaced although that was asked for.
    pub not_deduped: Vec<String>,
}

/// What adopting one model would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct AdoptPlan {
    /// Whose store it was found in.
    pub tool: Tool,
    /// The id that it would get.
    pub id: String,
    /// Its further ids.
    pub also: Vec<String>,
    /// The bytes of all its files.
    pub size_bytes: u64,
    /// How many files it has.
    pub files: u64,
    /// Whether it is in the catalog already, with this version.
    pub is_here: bool,
    /// Bytes that the disk would hold more than before. Content that nothing names a digest of counts as new.
    pub new_bytes: u64,
    /// Bytes of the tool's own files that would come free, as far as digests are known without reading files.
    pub deduped_bytes: u64,
}

/// Finds out what [`adopt`] would do. Hashes nothing: a file is in the store if its tool names a digest that is. Returns
/// one result each, in the same order.
pub(crate) fn plan(store: &Store, models: &[Found], options: &AdoptOptions) -> Vec<Result<AdoptPlan>> {
    let gathered = models.iter().map(|model| gathered(model, options)).collect();
    let plans = stage::plan_gathered(store, gathered);
    let mut forecast = options.dedupe.then(|| Forecast::new(store));
    models
        .iter()
        .zip(plans)
        .map(|(model, plan)| Ok(plan_of(model, plan.map_err(in_a_cache)?, forecast.as_mut())))
        .collect()
}

fn plan_of(model: &Found, plan: GatheredPlan, forecast: Option<&mut Forecast<'_>>) -> AdoptPlan {
    let digests = plan.files.iter().zip(&model.files);
    let known = digests.filter_map(|(stored, file)| Some((file, stored.or_else(|| named(file))?)));
    let deduped_bytes = forecast.map_or(0, |forecast| forecast.freed_bytes(known));
    AdoptPlan {
        tool: model.tool,
        id: model.id.clone(),
        also: model.also.clone(),
        size_bytes: model.size_bytes(),
        files: model.files.len() as u64,
        is_here: plan.is_here,
        new_bytes: plan.new_bytes,
        deduped_bytes,
    }
}

/// Adopts models, made durable together. Returns one result each, in the same order.
pub(crate) fn adopt(store: &Store, models: &[Found], options: &AdoptOptions) -> Vec<Result<AdoptReceipt>> {
    let work =
        StageOptions { cancel: options.cancel.clone(), observer: options.observer.clone(), ..Default::default() };
    // Before anything is read: a file whose stamp is the same afterwards is what was read.
    let dedupe = options.dedupe.then(|| Dedupe::look(store, models));
    let gathered = models.iter().map(|model| gathered(model, options)).collect();
    let staged = stage::stage_gathered(store, gathered, &work).into_iter();
    let staged: Vec<Result<StageReceipt>> = staged.map(|result| result.map_err(in_a_cache)).collect();
    let also = also(store, models, &staged, &work);
    let receipt = |number: usize, model: &Found, staged: Result<StageReceipt>, also: Result<Vec<String>>| {
        let staged = staged?;
        let replaced = dedupe.as_ref().map(|dedupe| dedupe.model(number, model, &staged)).unwrap_or_default();
        Ok(AdoptReceipt {
            tool: model.tool,
            // Clones and links take up no room.
            new_bytes: staged.copied_bytes.saturating_add(staged.view_copied_bytes),
            also: also?,
            deduped_bytes: replaced.freed_bytes,
            not_deduped: replaced.kept,
            staged,
        })
    };
    let each = models.iter().zip(staged).zip(also).enumerate();
    each.map(|(number, ((model, staged), also))| receipt(number, model, staged, also)).collect()
}

/// A file that differs from its name was damaged before it was read. One that is gone was there when it was found.
fn in_a_cache(error: Error) -> Error {
    match error {
        Error::SourceMissing { path } => Error::SourceChanged { path, detail: "it was removed".into() },
        Error::DigestMismatch { path, expected, actual } => {
            Error::DamagedCache { path, named: expected.to_string(), actual: actual.to_string() }
        }
        other => other,
    }
}

/// The model as staging takes it.
fn gathered(model: &Found, options: &AdoptOptions) -> Gathered {
    let file = |file: &FoundFile| GatheredFile {
        path: file.path.clone(),
        size_bytes: file.size_bytes,
        expected: named(file),
        git_sha1: match file.claim {
            Some(Claim::GitBlobSha1(sha1)) => Some(sha1),
            _ => None,
        },
        place: FilePlace::Outside(file.source.clone(), options.mode.unwrap_or_else(|| mode_of(file))),
    };
    Gathered {
        id: model.id.clone(),
        reference: model.id.clone(),
        pinned: model.pinned.clone(),
        selection: selection(model),
        named_by: named_by(model),
        kind: model.kind,
        name: model.name.clone(),
        source: model.files.first().map(|file| file.source.clone()).unwrap_or_default(),
        files: model.files.iter().map(file).collect(),
    }
}

/// The SHA-256 that the tool names.
fn named(file: &FoundFile) -> Option<Digest> {
    match file.claim {
        Some(Claim::Sha256(digest)) => Some(digest),
        _ => None,
    }
}

fn mode_of(file: &FoundFile) -> IngestMode {
    match file.sharing {
        Sharing::Hardlink => IngestMode::Share,
        Sharing::Reflink => IngestMode::Auto,
    }
}

/// If files of what the id names may be missing, the model is a selection of its files, so that staging the id does not
/// take it for all of them.
fn selection(model: &Found) -> Option<String> {
    let include = || model.files.iter().map(|file| file.path.clone()).collect();
    let is_part = model.kind == ArtifactKind::Tree && !model.is_whole;
    is_part.then(|| Selection { include: include(), exclude: Vec::new() }.fingerprint()).flatten()
}

fn named_by(model: &Found) -> Option<String> {
    model.files.iter().all(|file| file.claim.is_some()).then(|| format!("the store of {}", model.tool))
}

/// Records the further ids of the models that were staged, and returns those of each model.
fn also(
    store: &Store,
    models: &[Found],
    staged: &[Result<StageReceipt>],
    work: &StageOptions,
) -> Vec<Result<Vec<String>>> {
    let wanted: Vec<Result<Vec<Gathered>>> = models
        .iter()
        .zip(staged)
        .map(|(model, staged)| staged.as_ref().map_or_else(|_| Ok(Vec::new()), |staged| again(store, model, staged)))
        .collect();
    let all = wanted.iter().flatten().flatten().cloned().collect();
    let mut recorded = stage::stage_gathered(store, all, work).into_iter();
    let of_model = |wanted: Result<Vec<Gathered>>| {
        let results: Vec<Result<StageReceipt>> = recorded.by_ref().take(wanted?.len()).collect();
        results.into_iter().map(|result| Ok(result?.id)).collect()
    };
    wanted.into_iter().map(of_model).collect()
}

/// The model under each of its further ids. Its bytes are in the store.
fn again(store: &Store, model: &Found, staged: &StageReceipt) -> Result<Vec<Gathered>> {
    if model.also.is_empty() {
        return Ok(Vec::new());
    }
    let files = store.files_of(staged.kind, staged.digest, staged.size_bytes)?;
    let file = |file: TreeFile| GatheredFile {
        path: file.path,
        size_bytes: file.size_bytes,
        expected: Some(file.digest),
        git_sha1: None,
        place: FilePlace::Stored,
    };
    let stored = Gathered {
        source: staged.local_path.clone(),
        files: files.into_iter().map(file).collect(),
        ..gathered(model, &AdoptOptions::default())
    };
    Ok(model.also.iter().map(|id| Gathered { id: id.clone(), reference: id.clone(), ..stored.clone() }).collect())
}
