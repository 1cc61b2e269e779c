//! Rounds: what is brought in and committed together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use super::FsCatalog;
use super::commit::Artifact;
use super::flight::Flight;
use super::plan::Plan;
use super::stage::StageReceipt;
use crate::blob::manifest::{self, TreeFile};
use crate::blob::{Sealed, UsedMode};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::error::{Error, Result};
use crate::fs::ahead::sync_meanwhile;
use crate::fs::{Durability, Session, wait_for_a_tick};
use crate::ingest::{self, ContentFile, Job, Options, Origin};
use crate::layout;
use crate::observer::{Event, Observer};

/// One round ends when it has this many bytes or files: what came before is acknowledged then, and a batch of any
/// size needs only so much memory and can only lose so much work.
const ROUND_BYTES: u64 = 4 << 30;
const ROUND_FILES: usize = 16 << 10;

/// From how many files on one flush of the file system is cheaper than one a file.
const FLUSH_ONCE_FROM: usize = 8;

/// Of a batch, this much is written to disk at a time while more is brought in.
const SYNC_EVERY_BYTES: u64 = 256 << 20;

/// From what size on a file of a batch is worth a lock file of its own.
const FLIGHT_FROM_BYTES: u64 = 16 << 20;

impl FsCatalog {
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
            // What an interrupted copy has left has its room already.
            let files = round.iter().flat_map(|(_, plan)| plan.files.iter().map(move |file| (plan, file)));
            let reserved_bytes: u64 = files
                .filter(|(_, file)| copied_bytes > 0 && file.stamp.size_bytes >= ingest::PARTIAL_FROM_BYTES)
                .map(|(plan, file)| ingest::reserved_bytes(&self.root, &file.source, expected_of(plan)))
                .sum();
            let copied_bytes = copied_bytes.saturating_sub(reserved_bytes);
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
        let bytes: u64 = round.iter().map(|(_, plan)| plan.size_bytes()).sum();
        // A batch is synced as a whole before it is published, and while it is brought in; a few small files are synced
        // here, each, and so is one alone, which is synced in parts.
        let is_batch = files >= FLUSH_ONCE_FROM || (files > 1 && bytes >= SYNC_EVERY_BYTES);
        let each = if is_batch { Durability::Relaxed } else { self.durability };
        let every_bytes = (each != self.durability).then_some(SYNC_EVERY_BYTES);
        let sync = || self.root.sync_file_system();
        let (brought, synced) = sync_meanwhile(every_bytes, sync, |ahead| {
            let advanced = |reference: &str, bytes| {
                observer.on(&Event::Advanced { bytes });
                if let Some(flight) = flights.get(reference) {
                    flight.advance(bytes);
                }
                ahead.wrote(bytes);
            };
            bring(&session, round, each, &advanced)
        });
        if let Err(error) = synced {
            results.extend(brought.iter().map(|(number, _)| (*number, Err(error.clone()))));
            return results;
        }
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
}

/// Brings all files of all plans in. `advanced` is told of the reference whose bytes were hashed, and of how many.
fn bring<'r>(
    session: &Session<'r>,
    round: Vec<(usize, Plan)>,
    durability: Durability,
    advanced: &(dyn Fn(&str, u64) + Sync),
) -> Vec<(usize, Result<Artifact<'r>>)> {
    let failed: Vec<OnceLock<Error>> = round.iter().map(|_| OnceLock::new()).collect();
    let told: Vec<_> = round.iter().map(|(_, plan)| move |bytes: u64| advanced(&plan.reference, bytes)).collect();
    let cancel = Cancel::new();
    let mut jobs = Vec::new();
    for (((_, plan), failed), advanced) in round.iter().zip(&failed).zip(&told) {
        let with_groups = !plan.defer_outboard;
        let options = Options {
            durability,
            with_groups,
            partial_from_bytes: ingest::PARTIAL_FROM_BYTES,
            cancel: &cancel,
            advanced,
        };
        let expected = expected_of(plan);
        jobs.extend(plan.files.iter().map(|file| {
            let origin = Origin::Local { path: file.source.clone(), mode: plan.mode };
            let size_bytes = file.stamp.size_bytes;
            Job { file: ContentFile { path: file.path.clone(), size_bytes, expected, origin }, options, failed }
        }));
    }
    let mut sealed = ingest::ingest_all(session, jobs).into_iter();
    drop(told);
    let artifacts = round.into_iter().zip(&failed).map(|((number, plan), failed)| {
        let files: Result<_> = sealed.by_ref().take(plan.files.len()).collect();
        // The first error, and not what came of it for the other files.
        let files = failed.get().map_or(files, |error| Err(error.clone()));
        (number, files.and_then(|files| artifact(session, plan, files, durability)))
    });
    artifacts.collect()
}

/// What a file of a plan has to hash to; of a tree only the manifest's digest is known.
fn expected_of(plan: &Plan) -> Option<Digest> {
    plan.expected.filter(|_| plan.kind == ArtifactKind::File)
}

/// The artifact that these files are, with its manifest when it is a tree.
fn artifact<'r>(
    session: &Session<'r>,
    plan: Plan,
    mut incoming: Vec<Sealed<'r>>,
    durability: Durability,
) -> Result<Artifact<'r>> {
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
    let mode = incoming.iter().map(Sealed::mode).max().unwrap_or(UsedMode::Unchanged);
    if plan.kind == ArtifactKind::Tree {
        let bytes = manifest::encode(&tree).map_err(|e| Error::io("describe the tree", &plan.source, e))?;
        let size_bytes = bytes.len() as u64;
        let file = ContentFile { path: String::new(), size_bytes, expected: None, origin: Origin::Memory(bytes) };
        let cancel = Cancel::new();
        let options = Options {
            durability,
            with_groups: true,
            partial_from_bytes: ingest::PARTIAL_FROM_BYTES,
            cancel: &cancel,
            advanced: &|_| {},
        };
        incoming.push(ingest::ingest_one(session, &file, options)?);
    }
    let digest = incoming.last().map(Sealed::digest).expect("a plan has a file");
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
