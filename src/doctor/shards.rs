//! `store.json` and the files next to it, and the shards of the index.

use std::path::Path;

use rayon::prelude::*;

use super::finding::{Finding, Fix};
use super::kind::FindingKind as K;
use super::look::{Known, Look};
use crate::error::{Error, Result};
use crate::fs::{Kind, Root, reserve};
use crate::index::Generation;
use crate::layout;
use crate::store::{check_store_file, has_tag};
use crate::words::counted;

impl Look<'_> {
    pub(super) fn look_at_store_json(&mut self) {
        let name = Path::new(layout::STORE_JSON);
        let is_whole = || self.store.index.all().is_ok();
        let fixed = |finding: Finding| match is_whole() {
            true => finding.fixed_by(Fix::WriteStoreJson).advised(
                "rewrites it with format 1 and without limits, because the whole index reads as format 1; what is \
                 there now is kept in quarantine. Then set the limits again with `catalog config`",
            ),
            false => finding,
        };
        let finding = match check_store_file(self.root) {
            Ok(true) => None,
            Ok(false) => Some(fixed(self.finding(K::StoreJsonMissing, name, "it is missing"))),
            Err(Error::CorruptIndex { reason, .. }) => {
                let kind = match self.root.meta(name) {
                    Ok(None) => K::StoreJsonMissing,
                    _ => K::StoreJsonDamaged,
                };
                Some(fixed(self.finding(kind, name, reason)))
            }
            // It is not a file, or it belongs to another user.
            Err(error) => {
                let is_file = self.root.meta(name).is_ok_and(|meta| meta.is_some_and(|meta| meta.kind == Kind::File));
                Some(match is_file {
                    true => self.finding(K::NotExamined, name, error.to_string()),
                    false => fixed(self.finding(K::StoreJsonDamaged, name, "it is not a regular file")),
                })
            }
        };
        self.found.extend(finding);
        let tag = Path::new(layout::CACHEDIR_TAG);
        match has_tag(self.root) {
            Ok(true) => {}
            Ok(false) => {
                let what = "it is missing, or does not begin with the signature";
                let finding = self.finding(K::CachedirTagMissing, tag, what).fixed_by(Fix::WriteTag);
                self.found.push(finding);
            }
            Err(error) => self.find(K::NotExamined, tag, error.to_string()),
        }
        self.look_at_reserve();
    }

    fn look_at_reserve(&mut self) {
        let name = Path::new(layout::RESERVE);
        match self.root.meta(name) {
            Ok(Some(meta)) if meta.kind != Kind::File => {} // reported as a strange file
            _ => match reserve::is_kept(self.root) {
                Ok(true) => {}
                Ok(false) => {
                    let finding = self.finding(K::ReserveMissing, name, "it is missing, or has the wrong size");
                    self.found.push(finding.fixed_by(Fix::MakeReserve));
                }
                Err(error) => self.find(K::NotExamined, name, error.to_string()),
            },
        }
    }

    /// Reads every readable shard, and compares each record with its blobs and its view.
    pub(super) fn look_at_shards(&mut self, known: &mut Known) {
        known.is_whole = known.broken.iter().all(|broken| broken != Path::new(layout::INDEX));
        if !known.is_whole {
            return;
        }
        let mut readable = Vec::new();
        let store = self.store;
        store.index.each_shard(&mut |number, records| match records {
            Ok(records) => {
                readable.push(number);
                self.look_at_records(&records, known);
            }
            Err(error) => {
                known.is_whole = false;
                let finding = self.bad_shard(number, &error, known);
                self.found.extend(finding);
            }
        });
        let previous: Vec<_> = readable.par_iter().map(|number| self.look_at_previous(*number)).collect();
        self.found.extend(previous.into_iter().flatten());
        self.look_at_log(&readable);
        self.tell_copied(known);
    }

    /// Follows the events of shards that can be read.
    fn look_at_log(&mut self, readable: &[u8]) {
        let problems = match self.store.index.problems_of_chains(readable) {
            Ok(problems) => problems,
            Err(error) => return self.find(K::NotExamined, Path::new(layout::LOG), error.to_string()),
        };
        for (number, problems) in readable.iter().zip(problems).filter(|(_, problems)| !problems.is_empty()) {
            self.find(K::LogBroken, &layout::shard(*number), problems.join("; "));
        }
    }

    /// The previous generation of a shard that can be read.
    fn look_at_previous(&self, number: u8) -> Option<Finding> {
        let is_there = || matches!(self.root.meta(&layout::shard(number)), Ok(Some(_)));
        let is_due = self.wants_path(&layout::shard_prev(number)) && is_there();
        if is_due { self.previous_of_a_good_one(number) } else { None }
    }

    fn previous_of_a_good_one(&self, number: u8) -> Option<Finding> {
        let path = layout::shard_prev(number);
        let kind = match self.store.index.previous(number) {
            Ok(Some(_)) => return None,
            Ok(None) => (K::PrevMissing, "it is missing".to_owned()),
            Err(error) => (K::PrevDamaged, reason(&error)),
        };
        let finding = self.finding(kind.0, &path, kind.1);
        match is_file_or_nothing(self.root, &path) {
            true => Some(finding.fixed_by(Fix::RenewPrevious(number))),
            false => Some(finding.left_to_the_operator("move it away: a file should be there")),
        }
    }

    fn bad_shard(&self, number: u8, error: &Error, known: &Known) -> Option<Finding> {
        let path = layout::shard(number);
        if matches!(error, Error::UnsupportedFormat { .. }) {
            return Some(self.finding(K::ShardNewer, &path, error.to_string()));
        }
        let is_there = match self.root.meta(&path) {
            Ok(meta) => meta,
            Err(error) => return self.not_examined(&path, known, &error),
        };
        let (kind, what) = match is_there.map(|meta| meta.kind) {
            None => (K::ShardMissing, "it is missing, but its .prev is there".to_owned()),
            Some(Kind::File) if !error.is_corrupt() => return self.not_examined(&path, known, error),
            Some(Kind::File) => (K::ShardDamaged, reason(error)),
            Some(_) => (K::ShardDamaged, "it is not a regular file".to_owned()),
        };
        let finding = self.finding(kind, &path, what);
        Some(match self.store.index.previous(number) {
            Ok(Some(before)) => offer(finding, number, &before),
            // `.prev` is from a newer version or missing: keep the kind's own advice.
            _ => finding,
        })
    }
}

fn offer(finding: Finding, number: u8, before: &Generation) -> Finding {
    finding.fixed_by(Fix::RestoreShard(number)).advised(format!(
        "restores {} from .prev; what is there now is kept in quarantine. What was recorded after that generation is \
         then missing: stage it again before the next `catalog gc`",
        named(before)
    ))
}

pub(super) fn named(Generation { generation, entries }: &Generation) -> String {
    match entries {
        0 => format!("generation {generation} with no entries"),
        1 => format!("generation {generation} with 1 entry"),
        entries => format!("generation {generation} with {}", counted(*entries, "entry", "entries")),
    }
}

/// The problem with an index file, without its path, which the finding already has.
fn reason(error: &Error) -> String {
    match error {
        Error::CorruptIndex { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}

fn is_file_or_nothing(root: &Root, path: &Path) -> bool {
    let meta: Result<_> = root.meta(path);
    meta.is_ok_and(|meta| meta.is_none_or(|meta| meta.kind == Kind::File))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use crate::layout;
    use crate::{CatalogEntry, CatalogStore as _, Doctor, Durability, FsCatalog, LifecycleState};

    // Red when each record is looked up again although nothing is wrong with it: the whole index is then in memory.
    #[test]
    fn a_look_at_a_sound_store_keeps_no_shard_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = FsCatalog::new(dir.path()).unwrap().with_durability(Durability::Relaxed);
        let id = "m".to_owned();
        let (local_path, lifecycle) = ("models/m.gguf".into(), LifecycleState::Active);
        catalog.put(&CatalogEntry { id, local_path, lifecycle, digest: None, last_verified_ms: None }).unwrap();
        let number = layout::shard_number("m");
        // A shard that was just written is never kept.
        let shard = File::open(dir.path().join(layout::shard(number))).unwrap();
        shard.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        let doctor = Doctor::open(dir.path()).unwrap();
        assert_eq!(doctor.examine().unwrap(), []);
        assert!(!doctor.store.index.keeps(number));
        doctor.store.record("m").unwrap().unwrap();
        assert!(doctor.store.index.keeps(number), "this test would notice");
    }
}
