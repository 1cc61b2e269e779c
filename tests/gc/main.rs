//! Garbage collection: what a policy takes and in which order, what it never takes, and how much that frees.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;
mod numbers;
mod plan;
mod policy;
mod protected;
mod refused;
mod shared;
mod trash;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use catalog_core::{Digest, Durability, FsCatalog, GcAction, GcPlan, GcPolicy, GcReason};
use common::{Host, edit_shard, stage};
use serde_json::Value;

const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Large enough that every file system gives it blocks of its own, and the same number each time.
const SIZE: usize = 64 << 10;

/// No grace: everything that is not leased or pinned can go.
fn now() -> GcPolicy {
    GcPolicy::default().with_grace(Duration::ZERO)
}

/// Room for this many of the blobs of these tests.
fn room_for(blobs: u64) -> GcPolicy {
    now().with_max_bytes(Some(blobs * SIZE as u64))
}

fn catalog(host: &Host) -> FsCatalog {
    host.catalog().with_durability(Durability::Relaxed)
}

fn content(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(SIZE).collect()
}

/// Stages a file of [`SIZE`] bytes under its name. Each name has its own bytes.
fn add(host: &Host, catalog: &FsCatalog, name: &str) -> Digest {
    add_as(host, catalog, name, name)
}

/// The same, under another id.
fn add_as(host: &Host, catalog: &FsCatalog, name: &str, id: &str) -> Digest {
    let file = host.file(&format!("sources/{name}"), content(name));
    stage(catalog, &file, id).unwrap().digest
}

/// Stages a tree of such files.
fn add_tree(host: &Host, catalog: &FsCatalog, id: &str, names: &[&str]) -> Digest {
    for name in names {
        host.file(&format!("trees/{id}/{name}"), content(name));
    }
    stage(catalog, &host.path(&format!("trees/{id}")), id).unwrap().digest
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn ago(time: Duration) -> u64 {
    now_ms() - time.as_millis() as u64
}

fn ahead(time: Duration) -> u64 {
    now_ms() + time.as_millis() as u64
}

/// Changes a member of a record on disk.
fn set(root: &Path, id: &str, member: &str, value: impl Into<Value>) {
    edit_shard(root, id, |entries| {
        entries[id].as_object_mut().unwrap().insert(member.to_owned(), value.into());
    });
}

/// Makes an entry look as if it had been staged at that time and not used since.
fn set_staged(root: &Path, id: &str, at_ms: u64) {
    set(root, id, "created_ms", at_ms);
    set(root, id, "updated_ms", at_ms);
}

/// The ids that a plan evicts, in order.
fn evicted(plan: &GcPlan) -> Vec<&str> {
    let mut ids = Vec::new();
    for step in &plan.steps {
        if let GcAction::EvictEntry { id, .. } = &step.action {
            ids.push(id.as_str());
        }
    }
    ids
}

/// The ids that a plan keeps although the policy would take them, and why.
fn kept(plan: &GcPlan) -> Vec<(&str, GcReason)> {
    plan.kept.iter().map(|kept| (kept.id.as_str(), kept.reason.clone())).collect()
}

fn ids(catalog: &FsCatalog) -> Vec<String> {
    catalog.records().unwrap().into_iter().map(|record| record.entry.id).collect()
}
