//! `stage`: bring an artifact in, show it, record it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::FsCatalog;
use super::commit::Artifact;
use super::flight::Flight;
use super::place::{self, Location};
use super::tree::{self, SourceFile};
use crate::blob::manifest::{self, TreeFile};
use crate::blob::{self, Incoming, IngestMode, Session, UsedMode};
use crate::digest::Digest;
use crate::entry::{ArtifactKind, LifecycleState, LinkMode, Record, Source, TrustState, check_id};
use crate::error::{Error, Result};
use crate::fetch::ResolvedModel;
use crate::fs::lock::Wait;
use crate::fs::source::source_meta;
use crate::fs::{Durability, Kind, Root, wait_for_a_tick};
use crate::layout;
use crate::model_ref::{ModelRef, absolute};
use crate::observer::{Event, Observer};

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
    pub(super) wait: Wait,
    pub(super) source: PathBuf,
}

/// One round ends when it has this many bytes or files: what came before is acknowledged then, and a batch of any
/// size needs only so much memory and can only lose so much work.
const ROUND_BYTES: u64 = 4 << 30;
const ROUND_FILES: usize = 16 << 10;

/// From how many files on one flush of the file system is cheaper than one a file.
const FLUSH_ONCE_FROM: usize = 8;

/// From what size on a file of a batch is worth a lock file of its own.
const FLIGHT_FROM_BYTES: u64 = 16 << 20;

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

    /// `earlier` are the ids that items before this one will have brought: what is here of them will not stay.
    fn plan(&self, reference: &ModelRef, options: &StageOptions, earlier: &BTreeSet<String>) -> Result<Planned> {
        let id = match &options.id {
            Some(id) => id.clone(),
            None => reference.id()?,
        };
        check_id(&id)?;
        // Also when it is not asked for anything: a shard that cannot be read fails this item here and not all of them
        // in the end.
        let known = self.record(&id)?;
        let ModelRef::File { path } = reference else { return self.plan_remote(reference, known, &id, options) };
        let source = absolute(path)?;
        let reference = source.to_str().map_or_else(|| id.clone(), |path| format!("file:{path}"));
        let adopt = match place::locate(&self.root, &source)? {
            // Moving a view away would take it from the entry that it belongs to.
            Location::Adopted(view) if view.starts_with(layout::VIEWS) && options.mode == IngestMode::Move => {
                return Err(Error::ReservedPath { path: source });
            }
            Location::Adopted(relative) if !relative.starts_with(layout::VIEWS) => Some(relative),
            _ => None,
        };
        let plan = Plan {
            expected: options.digest,
            adopt,
            mode: options.mode,
            wait: options.wait,
            ..Plan::new(self.root(), id, reference, source, options.follow_links)?
        };
        Ok(match self.unchanged(&plan)? {
            // What an earlier item of the same call is about to stage under this id is not what is here now.
            Some(receipt) if !earlier.contains(&plan.id) => Planned::Here(Box::new(receipt)),
            _ => Planned::Bring(Box::new(plan)),
        })
    }

    /// What staging would come to when everything is as it was staged last: then no byte has to be read.
    fn unchanged(&self, plan: &Plan) -> Result<Option<StageReceipt>> {
        if plan.adopt.is_some() || matches!(plan.mode, IngestMode::Link | IngestMode::Move) {
            return Ok(None);
        }
        let Some(record) = self.record(&plan.id)? else { return Ok(None) };
        let same_source = record.kind == plan.kind
            && record.source.as_ref().is_some_and(|source| source.reference == plan.reference && plan.fits(source));
        let same_name = record.entry.local_path.file_name() == Some(plan.name.as_ref());
        let as_expected = match plan.expected {
            None => true,
            Some(expected) => record.entry.digest == Some(expected) && record.trust == TrustState::Verified,
        };
        let same_facts = record.entry.lifecycle == plan.lifecycle && plan.last_verified_ms.is_none();
        let is_here = same_source && same_name && as_expected && same_facts && self.is_intact(&record)?;
        Ok(if is_here { receipt_of(record) } else { None })
    }

    /// A reference that no fetcher of this build can bring is fine when the catalog holds it already.
    fn plan_remote(
        &self,
        reference: &ModelRef,
        known: Option<Record>,
        id: &str,
        options: &StageOptions,
    ) -> Result<Planned> {
        let name = reference.id()?;
        let held = known.filter(|record| {
            let is_reference = id == name || record.source.as_ref().is_some_and(|source| source.reference == name);
            is_reference && options.digest.is_none_or(|expected| record.entry.digest == Some(expected))
        });
        let receipt = match held {
            Some(record) if self.is_intact(&record)? => receipt_of(record),
            _ => None,
        };
        match receipt {
            Some(receipt) => Ok(Planned::Here(Box::new(receipt))),
            None => Err(Error::NoFetcher { scheme: reference.scheme().to_owned(), reference: name }),
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
        let mut results = Vec::new();
        let (flights, round) = self.take_off(round, &mut results, observer);
        if round.is_empty() {
            return results;
        }
        let begun = Session::begin(&self.root).and_then(|session| {
            let needed_bytes = round.iter().map(|(_, plan)| plan.new_bytes(&self.root)).sum();
            let copied_bytes = if session.can_reflink() { 0 } else { needed_bytes };
            self.make_room(needed_bytes, copied_bytes)?;
            Ok(session)
        });
        let session = match begun {
            Ok(session) => session,
            Err(error) => {
                results.extend(round.iter().map(|(number, _)| (*number, Err(error.clone()))));
                return results;
            }
        };
        // So that the stamps of files that were written just now can be relied on later.
        wait_for_a_tick(round.iter().flat_map(|(_, plan)| &plan.files).map(|file| file.stamp.mtime_ns));
        let files: usize = round.iter().map(|(_, plan)| plan.files.len()).sum();
        // A batch is synced as a whole before it is published; a few files are synced here, each.
        let each = if files < FLUSH_ONCE_FROM { self.durability } else { Durability::Relaxed };
        let brought: Vec<(usize, Result<Artifact<'_>>)> = round
            .into_par_iter()
            .map(|(number, plan)| {
                let flight = flights.get(&plan.reference);
                let advanced = |bytes| {
                    observer.on(&Event::Advanced { bytes });
                    if let Some(flight) = flight {
                        flight.advance(bytes);
                    }
                };
                (number, bring(&session, plan, each, &advanced))
            })
            .collect();
        observer.on(&Event::Syncing);
        let mut artifacts = Vec::new();
        for (number, artifact) in brought {
            match artifact {
                Ok(artifact) => artifacts.push((number, artifact)),
                Err(error) => results.push((number, Err(error))),
            }
        }
        results.extend(self.commit(&session, artifacts, each != self.durability));
        results
    }

    /// Takes the right to work on each reference, and finds out which of them another process has staged meanwhile.
    ///
    /// The order is that of the lock files, so that no two processes wait for each other. Of a batch, small files go
    /// without: to read one twice costs less than a lock file.
    fn take_off(
        &self,
        mut round: Vec<(usize, Plan)>,
        results: &mut Vec<(usize, Result<StageReceipt>)>,
        observer: &dyn Observer,
    ) -> (BTreeMap<String, Flight>, Vec<(usize, Plan)>) {
        let is_alone = round.len() == 1;
        round.sort_by_cached_key(|(_, plan)| layout::lock_fetch(&plan.reference));
        let mut flights: BTreeMap<String, Flight> = BTreeMap::new();
        let mut work = Vec::with_capacity(round.len());
        for (number, plan) in round {
            let needs_flight = is_alone || plan.size_bytes() >= FLIGHT_FROM_BYTES;
            if !needs_flight || flights.contains_key(&plan.reference) {
                work.push((number, plan));
                continue;
            }
            let begun = self.begin_flight(&plan.reference, plan.size_bytes(), plan.wait, observer);
            // Look again: whoever had it before may have done the work.
            match begun.and_then(|flight| Ok((flight, self.unchanged(&plan)?))) {
                Ok((_, Some(receipt))) => results.push((number, Ok(receipt))),
                Ok((flight, None)) => {
                    flights.insert(plan.reference.clone(), flight);
                    work.push((number, plan));
                }
                Err(error) => results.push((number, Err(error))),
            }
        }
        (flights, work)
    }

    /// Whether everything that a record promises is here and was not changed since it was checked: no bytes are read.
    pub(super) fn is_intact(&self, record: &Record) -> Result<bool> {
        let (Some(digest), Some(view)) = (record.entry.digest, record.view) else { return Ok(false) };
        let Ok(at) = record.entry.local_path.strip_prefix(self.root()) else { return Ok(false) };
        if !blob::is_good_by_stamp(&self.root, &digest)? {
            return Ok(false);
        }
        let files = match self.files_of(record.kind, digest, record.size_bytes) {
            Ok(files) => files,
            // Evicted just now.
            Err(_) if self.root.meta(&layout::blob(&digest))?.is_none() => return Ok(false),
            Err(error) => return Err(error),
        };
        for file in &files {
            let shown = file.below(at);
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

/// Brings all files of an artifact in, and its manifest when it is a tree.
fn bring<'r>(
    session: &Session<'r>,
    plan: Plan,
    durability: Durability,
    advanced: &(dyn Fn(u64) + Sync),
) -> Result<Artifact<'r>> {
    let mut incoming: Vec<Incoming<'r>> = plan
        .files
        .par_iter()
        .map(|file| blob::bring(session, &file.source, plan.mode, durability, advanced))
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
        _ => Ok(Artifact {
            plan,
            digest,
            tree,
            incoming,
            mode,
            stored: BTreeSet::new(),
            needs_copies: false,
            copies: None,
        }),
    }
}

enum Planned {
    Bring(Box<Plan>),
    Here(Box<StageReceipt>),
}

impl Plan {
    /// The plan to stage `source`, a regular file or a directory, as it is.
    pub(super) fn new(root: &Path, id: String, reference: String, source: PathBuf, follow_links: bool) -> Result<Self> {
        let meta = source_meta(&source)?;
        let (kind, files) = if meta.kind == Kind::Dir {
            (ArtifactKind::Tree, tree::walk(root, &source, follow_links)?)
        } else {
            let file = SourceFile { path: String::new(), source: source.clone(), stamp: meta.stamp() };
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
            wait: Wait::Forever,
            source,
        })
    }

    fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.stamp.size_bytes).sum()
    }

    /// What staging will need room for, as far as can be told before it is read.
    fn new_bytes(&self, root: &Root) -> u64 {
        let is_here = self.expected.is_some_and(|digest| blob::is_good_by_stamp(root, &digest).unwrap_or(false));
        if is_here || self.mode == IngestMode::Link { 0 } else { self.size_bytes() }
    }

    /// Whether the source is as it was when it was staged.
    fn fits(&self, source: &Source) -> bool {
        match (self.kind, self.files.as_slice()) {
            (ArtifactKind::File, [file]) => source.stamp == Some(file.stamp),
            (_, files) => {
                let stamps: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.stamp)).collect();
                source.listing.as_ref().is_some_and(|recorded| *recorded == tree::listing(&stamps))
            }
        }
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

/// The receipt of what was staged before; `None` when the record is of something that was not.
fn receipt_of(record: Record) -> Option<StageReceipt> {
    Some(StageReceipt {
        id: record.entry.id,
        digest: record.entry.digest?,
        local_path: record.entry.local_path,
        kind: record.kind,
        size_bytes: record.size_bytes,
        files: record.files,
        mode: UsedMode::Unchanged,
        view: record.view?,
        deduplicated: true,
        stored_bytes: 0,
        elapsed: Duration::ZERO,
    })
}
