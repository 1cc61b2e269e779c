//! `stage`: bring an artifact in, show it, record it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::FsCatalog;
use super::commit::Artifact;
use super::tree::{self, SourceFile};
use crate::blob::manifest::{self, TreeFile};
use crate::blob::{self, Incoming, IngestMode, Session, UsedMode};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, LifecycleState, LinkMode, Record, TrustState, check_id};
use crate::error::{Error, Result};
use crate::fs::{Durability, Kind};
use crate::model_ref::{ModelRef, absolute};
use crate::observer::{Event, Observer};

/// How an artifact is staged.
#[derive(Clone, Default)]
#[non_exhaustive]
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
    /// From the call to durability. Of several artifacts that are staged together, that of all.
    pub elapsed: Duration,
}

/// An artifact that is to be brought in.
pub(super) struct Plan {
    pub(super) id: String,
    pub(super) reference: String,
    /// What its view is called.
    pub(super) name: String,
    pub(super) kind: ArtifactKind,
    pub(super) files: Vec<SourceFile>,
    pub(super) mode: IngestMode,
    pub(super) expected: Option<Digest>,
    /// The artifact is below the root and its path, relative, stays.
    pub(super) adopt: Option<PathBuf>,
    pub(super) lifecycle: LifecycleState,
    pub(super) last_verified_ms: Option<u64>,
    pub(super) source: PathBuf,
}

/// One round ends when it has this many bytes or files: what came before is acknowledged then, and a batch of any
/// size needs only so much memory and can only lose so much work.
const ROUND_BYTES: u64 = 4 << 30;
const ROUND_FILES: usize = 16 << 10;

/// From how many files on one flush of the file system is cheaper than one a file.
const FLUSH_ONCE_FROM: usize = 8;

impl FsCatalog {
    /// Stages the file or directory that `reference` names, under `options.id` or the reference's own string.
    ///
    /// When it returns, the entry is durable (see [`Durability`]), its view reads the bytes that hash to its digest, and
    /// nothing that happens to the source changes that. A file that was staged under this id before and has not
    /// changed since is not read again. When it fails, nothing is recorded and nothing is left behind; an entry that had
    /// this id is as it was.
    pub fn stage(&self, reference: &ModelRef, options: &StageOptions) -> Result<StageReceipt> {
        let mut results = self.stage_many(&[(reference.clone(), options.clone())]);
        results.pop().expect("there is one result for each item")
    }

    /// Stages several artifacts, made durable together. One result for each, in their order; one that fails does not
    /// hinder the others.
    pub fn stage_many(&self, items: &[(ModelRef, StageOptions)]) -> Vec<Result<StageReceipt>> {
        let start = Instant::now();
        let span = tracing::debug_span!("stage", items = items.len());
        let _entered = span.enter();
        let mut results: Vec<Option<Result<StageReceipt>>> = Vec::with_capacity(items.len());
        let mut plans = Vec::new();
        for (number, (reference, options)) in items.iter().enumerate() {
            results.push(match self.plan(reference, options) {
                Ok(Planned::Bring(plan)) => {
                    plans.push((number, *plan));
                    None
                }
                Ok(Planned::Here(receipt)) => Some(Ok(*receipt)),
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

    fn plan(&self, reference: &ModelRef, options: &StageOptions) -> Result<Planned> {
        let id = match &options.id {
            Some(id) => id.clone(),
            None => reference.id()?,
        };
        check_id(&id)?;
        let ModelRef::File { path } = reference else { return self.plan_remote(reference, &id, options) };
        let source = absolute(path)?;
        let reference = source.to_str().map_or_else(|| id.clone(), |path| format!("file:{path}"));
        let location = super::place::locate(&self.root, &source)?;
        let adopt = match location {
            super::place::Location::Adopted(relative) if !relative.starts_with(crate::layout::VIEWS) => Some(relative),
            _ => None,
        };
        let meta = blob::source_meta(&source)?;
        let takes_source = matches!(options.mode, IngestMode::Link | IngestMode::Move);
        if !takes_source
            && meta.kind == Kind::File
            && let Some(record) = self.record(&id)?
        {
            let same_source = record
                .source
                .as_ref()
                .is_some_and(|recorded| recorded.reference == reference && recorded.stamp == Some(meta.stamp()));
            let same_name = record.entry.local_path.file_name() == Some(view_name(&source).as_ref());
            let as_expected = match options.digest {
                None => true,
                Some(expected) => record.entry.digest == Some(expected) && record.trust == TrustState::Verified,
            };
            let active = record.entry.lifecycle == LifecycleState::Active;
            if same_source && same_name && as_expected && active && self.is_intact(&record)? {
                return Ok(Planned::Here(Box::new(unchanged(record))));
            }
        }
        Ok(Planned::Bring(Box::new(Plan {
            expected: options.digest,
            adopt,
            mode: options.mode,
            ..Plan::new(id, reference, source, options.follow_links)?
        })))
    }

    /// A reference that no fetcher of this build can bring is fine when the catalog holds it already.
    fn plan_remote(&self, reference: &ModelRef, id: &str, options: &StageOptions) -> Result<Planned> {
        let name = reference.id()?;
        let held = self.record(id)?.filter(|record| {
            let is_reference = id == name || record.source.as_ref().is_some_and(|source| source.reference == name);
            is_reference && options.digest.is_none_or(|expected| record.entry.digest == Some(expected))
        });
        match held {
            Some(record) if self.is_intact(&record)? => Ok(Planned::Here(Box::new(unchanged(record)))),
            _ => Err(Error::NoFetcher { scheme: reference.scheme().to_owned(), reference: name }),
        }
    }

    /// Brings plans in and commits them, a round at a time.
    pub(super) fn bring_and_commit(
        &self,
        plans: Vec<(usize, Plan)>,
        observer: &dyn Observer,
    ) -> Vec<(usize, Result<StageReceipt>)> {
        if plans.is_empty() {
            return Vec::new();
        }
        let what = match plans.as_slice() {
            [(_, one)] => one.source.display().to_string(),
            many => format!("{} artifacts", many.len()),
        };
        let bytes_total = plans.iter().map(|(_, plan)| plan.size_bytes()).sum();
        observer.on(&Event::Started { what: &what, bytes_total });
        let results = rounds(plans).into_iter().flat_map(|round| self.run_round(round, observer)).collect();
        observer.on(&Event::Finished);
        results
    }

    fn run_round(&self, round: Vec<(usize, Plan)>, observer: &dyn Observer) -> Vec<(usize, Result<StageReceipt>)> {
        let session = match Session::begin(&self.root) {
            Ok(session) => session,
            Err(error) => return round.iter().map(|(number, _)| (*number, Err(error.clone()))).collect(),
        };
        let files: usize = round.iter().map(|(_, plan)| plan.files.len()).sum();
        // A batch is synced as a whole before it is published; a few files are synced here, each.
        let each = if files < FLUSH_ONCE_FROM { self.durability } else { Durability::Relaxed };
        let brought: Vec<(usize, Result<Artifact<'_>>)> =
            round.into_par_iter().map(|(number, plan)| (number, self.bring(&session, plan, each, observer))).collect();
        observer.on(&Event::Syncing);
        let mut results = Vec::with_capacity(brought.len());
        let mut artifacts = Vec::new();
        for (number, artifact) in brought {
            match artifact {
                Ok(artifact) => artifacts.push((number, artifact)),
                Err(error) => results.push((number, Err(error))),
            }
        }
        results.extend(self.commit(artifacts, each != self.durability));
        results
    }

    fn bring<'r>(
        &self,
        session: &Session<'r>,
        plan: Plan,
        durability: Durability,
        observer: &dyn Observer,
    ) -> Result<Artifact<'r>> {
        let advanced = |bytes| observer.on(&Event::Advanced { bytes });
        let mut incoming: Vec<Incoming<'r>> = plan
            .files
            .par_iter()
            .map(|file| blob::bring(session, &file.source, plan.mode, durability, &advanced))
            .collect::<Result<_>>()?;
        let tree: Vec<TreeFile> = plan
            .files
            .iter()
            .zip(&incoming)
            .map(|(file, brought)| TreeFile {
                path: file.path.clone(),
                digest: brought.digest(),
                size_bytes: brought.size_bytes(),
            })
            .collect();
        let mode = incoming.iter().map(Incoming::mode).max().unwrap_or(UsedMode::Unchanged);
        if plan.kind == ArtifactKind::Tree {
            let bytes = manifest::encode(&tree).map_err(|e| Error::io("describe the tree", &plan.source, e))?;
            incoming.push(blob::bring_bytes(session, &bytes, durability)?);
        }
        let digest = incoming.last().map(Incoming::digest).expect("a plan has a file");
        match plan.expected {
            Some(expected) if expected != digest => {
                Err(Error::DigestMismatch { path: plan.source, expected, actual: digest })
            }
            _ => Ok(Artifact { plan, digest, tree, incoming, mode, stored: BTreeSet::new() }),
        }
    }

    /// Whether everything that a record promises is here and was not changed since it was checked: no bytes are read.
    pub(super) fn is_intact(&self, record: &Record) -> Result<bool> {
        let (Some(digest), Some(view)) = (record.entry.digest, record.view) else { return Ok(false) };
        let Ok(at) = record.entry.local_path.strip_prefix(self.root()) else { return Ok(false) };
        if !blob::is_good_by_stamp(&self.root, &digest)? {
            return Ok(false);
        }
        for file in &self.files_of(record.kind, digest, record.size_bytes)? {
            let shown = if file.path.is_empty() { at.to_path_buf() } else { at.join(&file.path) };
            let intact = blob::is_good_by_stamp(&self.root, &file.digest)?
                && match view {
                    LinkMode::Hardlink => crate::view::is_hardlink_of(&self.root, &file.digest, &shown)?,
                    // Its bytes are its own, and nothing tells whether they were changed: make it again.
                    LinkMode::Reflink | LinkMode::Copy => false,
                };
            if !intact {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

enum Planned {
    Bring(Box<Plan>),
    Here(Box<StageReceipt>),
}

impl Plan {
    /// The plan to stage `source`, a regular file or a directory, as it is.
    pub(super) fn new(id: String, reference: String, source: PathBuf, follow_links: bool) -> Result<Self> {
        let meta = blob::source_meta(&source)?;
        let (kind, files) = if meta.kind == Kind::Dir {
            (ArtifactKind::Tree, tree::walk(&source, follow_links)?)
        } else {
            let file = SourceFile { path: String::new(), source: source.clone(), size_bytes: meta.size_bytes };
            (ArtifactKind::File, vec![file])
        };
        Ok(Plan {
            id,
            reference,
            name: view_name(&source),
            kind,
            files,
            mode: IngestMode::Auto,
            expected: None,
            adopt: None,
            lifecycle: LifecycleState::Active,
            last_verified_ms: None,
            source,
        })
    }

    fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }
}

/// Splits plans into rounds. An id is in a round once: what is given last wins, as it would one after the other.
fn rounds(plans: Vec<(usize, Plan)>) -> Vec<Vec<(usize, Plan)>> {
    let mut rounds: Vec<Vec<(usize, Plan)>> = Vec::new();
    let mut current = Vec::new();
    let mut ids = BTreeSet::new();
    let (mut bytes, mut files) = (0_u64, 0);
    for (number, plan) in plans {
        let is_full = bytes >= ROUND_BYTES || files >= ROUND_FILES || ids.contains(&plan.id);
        if is_full {
            rounds.push(std::mem::take(&mut current));
            ids.clear();
            (bytes, files) = (0, 0);
        }
        bytes = bytes.saturating_add(plan.size_bytes());
        files += plan.files.len();
        ids.insert(plan.id.clone());
        current.push((number, plan));
    }
    rounds.push(current);
    rounds
}

/// The file's own name, because engines look at it; what a path or a terminal cannot bear is replaced.
fn view_name(source: &Path) -> String {
    let name = source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String =
        name.chars().map(|c| if c.is_control() || c == char::REPLACEMENT_CHARACTER { '_' } else { c }).collect();
    if name.is_empty() { "model".into() } else { name }
}

fn unchanged(record: Record) -> StageReceipt {
    StageReceipt {
        id: record.entry.id,
        digest: record.entry.digest.expect("an intact record has a digest"),
        local_path: record.entry.local_path,
        kind: record.kind,
        size_bytes: record.size_bytes,
        files: record.files,
        mode: UsedMode::Unchanged,
        view: record.view.expect("an intact record has a view"),
        deduplicated: true,
        stored_bytes: 0,
        elapsed: Duration::ZERO,
    }
}
