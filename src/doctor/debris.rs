//! Finds what a collection would remove, by planning one, and what is in `trash/` and `quarantine/`.

use std::path::Path;

use super::finding::Finding;
use super::kind::FindingKind as K;
use super::look::{Known, Look};
use crate::blob;
use crate::error::Result;
use crate::fs::now_ms;
use crate::gc::{GcAction, GcPolicy, disk_bytes_below, plan_gc};
use crate::layout::{self, Thing};
use crate::words::counted;

impl Look<'_> {
    /// What a collection would remove. For a million entries, a plan takes as much memory as all that is known of the
    /// records, so it is made before that is gathered.
    pub(super) fn planned_debris(&mut self, known: &Known) -> Vec<Finding> {
        let kinds = [K::DeadSession, K::UnfinishedFile, K::StrayOutboard, K::StrayView, K::UnreferencedBlob];
        let found_before = self.found.len();
        if self.wants_one_of(&kinds) && known.broken.is_empty() {
            self.look_at_plan(known);
        }
        self.found.split_off(found_before)
    }

    pub(super) fn look_at_debris(&mut self, planned: Vec<Finding>, known: &Known) {
        // What a damaged index or manifest references is unknown, so then nothing is debris.
        if known.is_whole && known.broken.is_empty() {
            self.found.extend(planned);
        }
        if self.is_first() {
            let done = self.look_at_trash();
            self.or_say(Path::new(layout::TRASH), known, done);
            let done = self.look_at_quarantine();
            self.or_say(Path::new(layout::QUARANTINE), known, done);
        }
    }

    fn look_at_plan(&mut self, known: &Known) {
        let policy = GcPolicy { grace: std::time::Duration::ZERO, ..GcPolicy::default() };
        let plan = match plan_gc(self.store, &policy) {
            Ok(plan) => plan,
            // The record or the shard was damaged in the meantime: the next run finds that.
            Err(error) if error.is_corrupt() => return,
            Err(error) => {
                let finding = self.not_examined(Path::new(""), known, &error);
                return self.found.extend(finding);
            }
        };
        for step in &plan.steps {
            let bytes = step.bytes;
            match &step.action {
                GcAction::RemoveLeftover { path } => match layout::classify(path) {
                    Thing::Session => {
                        self.find(K::DeadSession, path, format!("the process that made it has ended; {bytes} bytes"));
                    }
                    thing if thing.is_unfinished() => {
                        self.find(K::UnfinishedFile, path, format!("its writer has ended; {bytes} bytes"));
                    }
                    Thing::Partial(_) => {} // it may stay for a while: see `private.rs`
                    _ => self.find(K::StrayOutboard, path, "there is no such blob"),
                },
                GcAction::RemoveView { path } => {
                    self.find(K::StrayView, path, "no entry names it, and no process leases it");
                }
                GcAction::RemoveBlob { digest } => {
                    let what = format!("no entry references it, and no process leases it; {bytes} bytes");
                    self.find(K::UnreferencedBlob, &layout::blob(digest), what);
                }
                _ => {}
            }
        }
    }

    fn look_at_trash(&mut self) -> Result<()> {
        let grace_ms = u64::try_from(GcPolicy::default().grace.as_millis()).unwrap_or(u64::MAX);
        let (mut count, mut bytes) = (0_u64, 0_u64);
        for (digest, trashed_ms) in blob::trash(self.root)? {
            if now_ms().saturating_sub(trashed_ms) > grace_ms
                && let Some(meta) = self.root.meta(&layout::trash(&digest, trashed_ms))?
            {
                count += 1;
                bytes = bytes.saturating_add(meta.allocated_bytes);
            }
        }
        if count > 0 {
            let blobs = counted(count, "blob", "blobs");
            let what = format!("in the trash for more than an hour: {blobs}, {bytes} bytes on disk");
            self.find(K::TrashOverdue, Path::new(layout::TRASH), what);
        }
        Ok(())
    }

    fn look_at_quarantine(&mut self) -> Result<()> {
        let folder = Path::new(layout::QUARANTINE);
        let count = self.root.names(folder)?.len();
        if count > 0 {
            let bytes = disk_bytes_below(self.root, folder)?.bytes;
            self.find(K::QuarantineNotEmpty, folder, format!("{count} files, {bytes} bytes on disk"));
        }
        Ok(())
    }
}
