//! Brings found models into the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::claims;
use super::dedupe::{self, Forecast, Replaced};
use super::{Found, FoundFile, Sharing, Tool};
use crate::blob::IngestMode;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, SourceStamp};
use crate::error::{Error, Result};
use crate::fetch::Selection;
use crate::fs::source::source_meta;
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

/// Finds out what [`adopt`] would do. Hashes nothing: a file is in the store if its tool names a digest that is.
pub(crate) fn plan(store: &Store, models: &[Found], options: &AdoptOptions) -> Result<Vec<AdoptPlan>> {
    let gathered = models.iter().map(|model| gathered(model, options, &BTreeMap::new())).collect();
    let plans = stage::plan_gathered(store, gathered)?;
    let mut forecast = options.dedupe.then(|| Forecast::new(store));
    Ok(models.iter().zip(plans).map(|(model, plan)| plan_of(model, plan, forecast.as_mut())).collect())
}

fn plan_of(model: &Found, plan: GatheredPlan, forecast: Option<&mut Forecast<'_>>) -> AdoptPlan {
    let digests = plan.files.iter().zip(&model.files);
    let known = digests.filter_map(|(stored, file)| Some((file, stored.or_else(|| claims::named(file))?)));
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
    let seen: Vec<Result<Seen>> = models.iter().map(|model| Seen::of(model, options)).collect();
    let work =
        StageOptions { cancel: options.cancel.clone(), observer: options.observer.clone(), ..Default::default() };
    let gathered = models.iter().zip(&seen).filter_map(|(model, seen)| {
        let seen = seen.as_ref().ok()?;
        Some(gathered(model, options, &seen.expected))
    });
    let mut staged = stage::stage_gathered(store, gathered.collect(), &work).into_iter();
    let staged: Vec<Result<(Seen, StageReceipt)>> = seen
        .into_iter()
        .map(|seen| {
            let seen = seen?;
            let receipt = staged.next().expect("each has a result").map_err(in_a_cache)?;
            Ok((seen, receipt))
        })
        .collect();
    let mut also = also(store, models, &staged, &work);
    models
        .iter()
        .zip(staged)
        .enumerate()
        .map(|(number, (model, staged))| {
            let (seen, staged) = staged?;
            let replaced =
                if options.dedupe { dedupe_model(store, model, &seen, &staged)? } else { Replaced::default() };
            let also = also.remove(&number).unwrap_or(Ok(Vec::new()))?;
            Ok(AdoptReceipt {
                tool: model.tool,
                new_bytes: new_bytes(&staged),
                also,
                deduped_bytes: replaced.freed_bytes,
                not_deduped: replaced.kept,
                staged,
            })
        })
        .collect()
}

/// What was known about a model's files before they were read.
struct Seen {
    /// The digests that they must have, by path.
    expected: BTreeMap<String, Digest>,
    /// Their stamps, in the order of the files.
    stamps: Vec<SourceStamp>,
}

impl Seen {
    fn of(model: &Found, options: &AdoptOptions) -> Result<Self> {
        let cancel = options.cancel.clone().unwrap_or_default();
        let mut seen = Seen { expected: BTreeMap::new(), stamps: Vec::with_capacity(model.files.len()) };
        for file in &model.files {
            cancel.check(|| format!("reading {}", file.source.display()))?;
            seen.stamps.push(source_meta(&file.source).map_err(in_a_cache)?.source_stamp());
            if let Some(expected) = claims::expected(file).map_err(in_a_cache)? {
                seen.expected.insert(file.path.clone(), expected);
            }
        }
        Ok(seen)
    }
}

/// Bytes that take up room on the disk: what is copied. Clones and links take none.
fn new_bytes(staged: &StageReceipt) -> u64 {
    use crate::blob::UsedMode::{Copy, Fetch};
    let stored = if matches!(staged.mode, Copy | Fetch) { staged.copied_bytes } else { 0 };
    stored.saturating_add(staged.view_copied_bytes)
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

/// The model as staging takes it. `expected` are digests that are known besides the SHA-256 that the tool names.
fn gathered(model: &Found, options: &AdoptOptions, expected: &BTreeMap<String, Digest>) -> Gathered {
    let file = |file: &FoundFile| GatheredFile {
        path: file.path.clone(),
        size_bytes: file.size_bytes,
        expected: expected.get(&file.path).copied().or_else(|| claims::named(file)),
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

/// Records the further ids of the models that were staged. Their bytes are in the store by now. Returns those of each
/// model, by its number.
fn also(
    store: &Store,
    models: &[Found],
    staged: &[Result<(Seen, StageReceipt)>],
    work: &StageOptions,
) -> BTreeMap<usize, Result<Vec<String>>> {
    let (mut gathered, mut owners, mut also) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (number, (model, staged)) in models.iter().zip(staged).enumerate() {
        let Ok((_, receipt)) = staged else { continue };
        let files = match store.files_of(receipt.kind, receipt.digest, receipt.size_bytes) {
            Ok(files) => files,
            Err(error) => {
                also.insert(number, Err(error));
                continue;
            }
        };
        for id in &model.also {
            owners.push((number, id.clone()));
            gathered.push(Gathered {
                id: id.clone(),
                reference: id.clone(),
                pinned: model.pinned.clone(),
                selection: selection(model),
                named_by: named_by(model),
                kind: model.kind,
                name: model.name.clone(),
                source: receipt.local_path.clone(),
                files: files
                    .iter()
                    .map(|file| GatheredFile {
                        path: file.path.clone(),
                        size_bytes: file.size_bytes,
                        expected: Some(file.digest),
                        place: FilePlace::Stored,
                    })
                    .collect(),
            });
        }
    }
    for ((number, id), result) in owners.into_iter().zip(stage::stage_gathered(store, gathered, work)) {
        let of_model = also.entry(number).or_insert_with(|| Ok(Vec::new()));
        match (result, &mut *of_model) {
            (Ok(_), Ok(ids)) => ids.push(id),
            (Err(error), Ok(_)) => *of_model = Err(error),
            (_, Err(_)) => {}
        }
    }
    also
}

fn dedupe_model(store: &Store, model: &Found, seen: &Seen, staged: &StageReceipt) -> Result<Replaced> {
    let stored = store.files_of(staged.kind, staged.digest, staged.size_bytes)?;
    let mut replaced = Replaced::default();
    for ((file, stamp), stored) in model.files.iter().zip(&seen.stamps).zip(&stored) {
        // A model that was recorded before was not read now.
        let read = (staged.mode != crate::blob::UsedMode::Unchanged).then_some(stamp);
        dedupe::replace(store, file, read, &stored.digest, &mut replaced);
    }
    Ok(replaced)
}
