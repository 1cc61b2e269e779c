//! Garbage collection: a policy, a plan made from facts alone, and the steps that a sweep takes.

mod plan;
mod policy;
mod report;

pub use policy::{GcPolicy, MinFree};
pub use report::{GcAction, GcKept, GcPlan, GcReason, GcReport, GcStep};

pub(crate) use plan::{BlobFacts, EntryFacts, Facts, TrashFacts, TrashedBlob, ViewFacts, is_due, make_plan, shortfall};
