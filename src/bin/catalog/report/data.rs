//! Gathers everything that a report needs at once, through the public API.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use catalog_core::{
    ArtifactKind, Config, DiskUsage, EntryUsage, FsCatalog, GcAction, GcPlan, GcPolicy, LifecycleState, Record,
};
use serde::Serialize;

use crate::human;

/// A model, and the room that it takes.
pub(super) struct Model {
    pub(super) record: Record,
    /// Bytes on disk that only this model needs.
    pub(super) exclusive_bytes: u64,
    /// Its bytes on disk; of a blob that several models need, each has an equal part.
    pub(super) disk_bytes: u64,
}

/// What a plan was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(super) enum Asked {
    /// To keep within the store's own limits, as `gc` without options does.
    Limits,
    /// To make half of what is used free: nothing has to go, and this is what would go first.
    Half,
}

/// A plan, and the limits that it was made for.
pub(super) struct Plan {
    pub(super) asked: Asked,
    pub(super) plan: GcPlan,
}

/// The state of a store.
pub(super) struct State {
    pub(super) made_ms: u64,
    pub(super) root: PathBuf,
    pub(super) config: Config,
    pub(super) free_bytes: Option<u64>,
    pub(super) usage: DiskUsage,
    /// Sorted by room on disk, the largest first.
    pub(super) models: Vec<Model>,
    /// One plan, or two if the first one evicts nothing.
    pub(super) plans: Vec<Plan>,
}

impl State {
    /// Reads everything, and writes nothing. A change in the meantime may show in one part and not in another.
    pub(super) fn gather(catalog: &FsCatalog) -> catalog_core::Result<State> {
        let usage = catalog.disk_usage()?;
        let config = catalog.config()?;
        let by_limits = GcPolicy::default().with_max_bytes(config.max_bytes).with_min_free(config.min_free);
        let limits = catalog.plan_gc(&by_limits)?;
        let half_bytes = limits.used_bytes / 2;
        let evicts = limits.steps.iter().any(|step| step.action.id().is_some());
        let mut plans = vec![Plan { asked: Asked::Limits, plan: limits }];
        if !evicts && half_bytes > 0 {
            let plan = catalog.plan_gc(&GcPolicy::default().with_max_bytes(half_bytes))?;
            plans.push(Plan { asked: Asked::Half, plan });
        }
        Ok(State {
            made_ms: human::now_ms(),
            root: catalog.root().to_path_buf(),
            free_bytes: catalog.free_bytes(),
            models: models(catalog.records()?, &usage),
            config,
            usage,
            plans,
        })
    }

    /// The size of what dead processes have left in `ingest/`.
    pub(super) fn leftover_bytes(&self) -> u64 {
        let steps = self.plans.iter().take(1).flat_map(|plan| &plan.plan.steps);
        let left = steps.filter(|step| match &step.action {
            GcAction::RemoveLeftover { path } => path.starts_with(Path::new("ingest")),
            _ => false,
        });
        human::sum_bytes(left.map(|step| step.bytes)).min(self.usage.ingest_bytes)
    }

    /// The size of what no model needs. `gc` removes it: trash and partials after their grace period.
    pub(super) fn reclaimable_bytes(&self) -> u64 {
        let DiskUsage { unreferenced_bytes, trash_bytes, partial_bytes, .. } = self.usage;
        human::sum_bytes([unreferenced_bytes, trash_bytes, partial_bytes, self.leftover_bytes()].into_iter())
    }

    pub(super) fn damaged(&self) -> impl Iterator<Item = &Model> {
        self.models.iter().filter(|model| model.record.damaged_ms.is_some())
    }

    /// The models that can be checked and are not known to be damaged. Those that were never checked come first, then
    /// those with the oldest check.
    pub(super) fn longest_unchecked(&self) -> Vec<&Model> {
        let mut due: Vec<&Model> = self.models.iter().filter(|model| is_checkable(&model.record)).collect();
        due.sort_by_key(|model| (model.record.entry.last_verified_ms, Reverse(model.disk_bytes)));
        due
    }

    /// The number of models that this holds for.
    pub(super) fn count(&self, holds: impl Fn(&Record) -> bool) -> usize {
        self.models.iter().filter(|model| holds(&model.record)).count()
    }
}

/// Whether a check has a digest to compare with, and may find something new.
fn is_checkable(record: &Record) -> bool {
    record.damaged_ms.is_none() && record.entry.digest.is_some()
}

pub(super) fn is_retired(record: &Record) -> bool {
    record.entry.lifecycle == LifecycleState::Retired
}

pub(super) fn is_pinned(record: &Record) -> bool {
    record.pins.values().any(crate::pins::holds)
}

/// Whether the store only knows the path, and the bytes are elsewhere.
pub(super) fn is_registered(record: &Record) -> bool {
    record.kind == ArtifactKind::Registered
}

fn models(records: Vec<Record>, usage: &DiskUsage) -> Vec<Model> {
    let usage: BTreeMap<&str, &EntryUsage> = usage.entries.iter().map(|entry| (entry.id.as_str(), entry)).collect();
    let with_usage = |record: Record| {
        // A model that was staged after the measurement counts as taking nothing.
        let (exclusive_bytes, disk_bytes) = usage
            .get(record.entry.id.as_str())
            .map_or((0, 0), |entry| (entry.exclusive_bytes, entry.proportional_bytes));
        Model { record, exclusive_bytes, disk_bytes }
    };
    let mut models: Vec<Model> = records.into_iter().map(with_usage).collect();
    models.sort_by(|a, b| {
        let key = |model: &Model| (Reverse(model.disk_bytes), Reverse(model.record.size_bytes));
        key(a).cmp(&key(b)).then_with(|| a.record.entry.id.cmp(&b.record.entry.id))
    });
    models
}
