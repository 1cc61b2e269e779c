//! Gathers the facts for a plan, without locks or writes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::entries::{Entries, EntryFacts, Rare};
use super::facts::{Facts, PartialFacts, QuarantineFacts, TrashFacts, TrashedBlob};
use super::in_use::used_by;
use super::own_names::GatheredNames;
use super::plan::make_plan;
use super::unnamed_views::{unnamed_views, view_facts};
use super::usage::{Measured, bytes_freed_below, disk_bytes_below};
use super::{GcPlan, GcPolicy, GcReason};
use crate::blob;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, LinkMode, Provenance, Record};
use crate::error::Result;
use crate::fs::Session;
use crate::fs::freed::Freeing;
use crate::fs::space::space;
use crate::fs::{Root, now_ms};
use crate::ingest::{self, PartialState};
use crate::layout::{self, Thing};
use crate::store::{GatheredRoots, Needed, NotedUses, Store};
use crate::sum::SumBytes;

/// Plans what a collection with this policy would do now, and why.
pub(crate) fn plan_gc(store: &Store, policy: &GcPolicy) -> Result<GcPlan> {
    plan_of(store, &gather(store)?, policy)
}

/// Makes the plan from these facts; asks the store which entries are in use now.
pub(super) fn plan_of(store: &Store, facts: &Facts, policy: &GcPolicy) -> Result<GcPlan> {
    let mut failed = None;
    let plan = make_plan(facts, policy, &mut |entry| {
        used_by(store, entry).unwrap_or_else(|error| {
            failed.get_or_insert(error);
            Some(GcReason::Leased)
        })
    });
    failed.map_or(Ok(plan), Err)
}

/// Fails if any part of the index or the manifest of any tree cannot be read, because what they reference is then
/// unknown. Other files that cannot be read are counted as unknown and left alone.
pub(super) fn gather(store: &Store) -> Result<Facts> {
    let now_ms = now_ms();
    let root = &store.root;
    let mut facts = Facts { now_ms, space: space(root), ..Facts::default() };
    let (mut paths, mut names) = (GatheredRoots::default(), GatheredNames::default());
    let uses = NotedUses::read(root);
    store.for_each_record(&mut |record, needed| {
        let at = store.relative(&record.entry.local_path);
        // Other paths say nothing about views. A catalog may have a million that are only registered.
        paths.add(Some(at).filter(|at| at.starts_with(layout::VIEWS)), &[]);
        names.add(record, &needed);
        if can_go(record, &needed) {
            add_entry(&mut facts.entries, record, needed.blobs, &uses, now_ms);
        }
        Ok(())
    })?;
    facts.entries.shrink_to_fit();
    let mut names = names.counted();
    let views = unnamed_views(store, &paths.counted())?;
    let trash = blob::trash(root)?;
    let (blobs, unneeded) = names.facts_of_all(store, &views, trash.keys())?;
    facts.blobs = blobs;
    facts.held = store.leased_among(&unneeded)?;
    facts.views = views.into_iter().map(|view| view_facts(store, view)).collect::<Result<_>>()?;
    let quarantine = disk_bytes_below(root, Path::new(layout::QUARANTINE))?;
    facts.quarantined = quarantined(root)?;
    facts.other_bytes = facts.entries.iter().map(EntryFacts::view_bytes).chain([quarantine.bytes]).sum_bytes();
    facts.quarantine_bytes = quarantine.bytes;
    facts.unreadable.extend(quarantine.unreadable);
    let freeing = Freeing::of(root);
    for (digest, trashed_ms) in trash {
        if let Some(meta) = root.meta(&layout::trash(&digest, trashed_ms))? {
            let bytes = freeing.bytes(&layout::trash(&digest, trashed_ms), &meta, names.of(&digest, &meta));
            facts.trash.push(TrashFacts { blob: TrashedBlob { digest, trashed_ms }, bytes });
        }
    }
    for path in leftovers(store, &mut facts)? {
        let Measured { bytes, unreadable } = bytes_freed_below(root, &path)?;
        facts.unreadable.extend(unreadable);
        facts.leftovers.push((path, bytes));
    }
    for partial in ingest::partials(root)? {
        match partial.state {
            PartialState::Alive => {}
            PartialState::Dead => facts.partials.push(PartialFacts {
                path: layout::partial(&partial.key),
                bytes: partial.disk_bytes,
                changed_ms: partial.changed_ms,
            }),
            PartialState::Unknown => facts.unreadable.push(layout::partial(&partial.key)),
        }
    }
    Ok(facts)
}

/// Whether any policy can select the entry: not a path that is only registered, because that has nothing to free,
/// unless it was retired.
fn can_go(record: &Record, needed: &Needed) -> bool {
    !needed.blobs.is_empty() || record.entry.digest.is_some() || record.retired_ms.is_some()
}

fn quarantined(root: &Root) -> Result<Vec<QuarantineFacts>> {
    let folder = Path::new(layout::QUARANTINE);
    let known = root.entries(folder)?.into_iter().map(|(name, meta)| (folder.join(name), meta));
    let known = known.filter(|(path, _)| matches!(layout::classify(path), Thing::Quarantined(_)));
    known
        .map(|(path, meta)| {
            let bytes = bytes_freed_below(root, &path)?.bytes;
            // The rename into quarantine sets the change time, and no user can set it back.
            let since_ms = u64::try_from(meta.changed_ns / 1_000_000).unwrap_or(0);
            Ok(QuarantineFacts { path, bytes, since_ms })
        })
        .collect()
}

/// What dead processes left behind: their folders below `ingest/`, unfinished small files, outboards without a blob.
/// May include a small file that is being written right now; a sweep looks again, and it is gone by then.
fn leftovers(store: &Store, facts: &mut Facts) -> Result<Vec<PathBuf>> {
    let root = &store.root;
    let mut found = Vec::new();
    let ingest = Path::new(layout::INGEST);
    let names = root.names(ingest)?;
    let sessions = names.iter().filter(|name| layout::classify_in(ingest, name) == Thing::Session);
    for folder in sessions.map(|name| ingest.join(name)) {
        match Session::claim_dead(root, &folder) {
            Ok(Some(_)) => found.push(folder),
            Ok(None) => {}
            // Another user's folder: nothing tells whether its owner is alive.
            Err(error) if error.is_permission_denied() => facts.unreadable.push(folder),
            Err(error) => return Err(error),
        }
    }
    for folder in ["", layout::INDEX, layout::EXPORTS, layout::LOG].map(Path::new) {
        let names = root.names(folder)?;
        let unfinished = names.iter().filter(|name| layout::classify_in(folder, name).is_unfinished());
        found.extend(unfinished.map(|name| folder.join(name)));
    }
    // `repair` uses the outboard of a blob in quarantine.
    let quarantine = Path::new(layout::QUARANTINE);
    let quarantined = root.names(quarantine)?.into_iter().filter_map(|name| {
        if let Thing::Quarantined(digest) = layout::classify_in(quarantine, &name) { digest } else { None }
    });
    let elsewhere: BTreeSet<Digest> = facts.trash.iter().map(|trash| trash.blob.digest).chain(quarantined).collect();
    for folder in layout::fan_out_folders(layout::OUTBOARDS) {
        for name in root.names(&folder)? {
            let thing = layout::classify_in(&folder, &name);
            let is_stray = thing
                .outboard_of()
                .is_some_and(|digest| !facts.blobs.contains(&digest) && !elsewhere.contains(&digest));
            if is_stray || thing.is_unfinished() {
                found.push(folder.join(name));
            }
        }
    }
    Ok(found)
}

pub(super) fn add_entry(to: &mut Entries, record: &Record, blobs: Vec<Digest>, uses: &NotedUses, now_ms: u64) {
    let pin = record.pins.iter().find(|(_, pin)| pin.holds_at(now_ms)).map(|(name, _)| name.clone());
    let own = record.entry.digest.filter(|_| record.kind != ArtifactKind::Registered);
    let rare = Rare {
        more_blobs: blobs.into_iter().filter(|digest| Some(*digest) != own).collect(),
        view_bytes: if record.view == Some(LinkMode::Copy) { record.size_bytes } else { 0 },
        retired_ms: record.retired_ms,
        pin,
    };
    let is_pushed = !record.pushed.is_empty() || record.source.as_ref().is_some_and(came_from_origin);
    to.add(record, record.last_used_ms.max(uses.of(&record.entry.id)), is_pushed, rare);
}

/// Whether it came, by its manifest digest, from a registry or bucket that keeps what is pushed to it.
fn came_from_origin(source: &Provenance) -> bool {
    let is_pushed = |scheme: &str| match scheme {
        "oci" => true,
        // A name means a pushed model; otherwise it is a single file of a bucket.
        "s3" => source.reference.contains('#'),
        _ => false,
    };
    source.pinned.is_some() && source.reference.split_once(':').is_some_and(|(scheme, _)| is_pushed(scheme))
}
