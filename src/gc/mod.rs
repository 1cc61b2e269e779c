//! Garbage collection: a policy, a plan made from facts alone, and the steps that a sweep takes.

mod facts;
mod plan;
mod policy;
mod report;

pub use policy::{GcPolicy, MinFree};
pub use report::{GcAction, GcKept, GcPlan, GcReason, GcReport, GcStep};

pub(crate) use facts::{BlobFacts, EntryFacts, Facts, TrashFacts, TrashedBlob, ViewFacts};
pub(crate) use plan::{is_due, make_plan, shortfall};
