//! Garbage collection: gathers facts, makes a plan from them and a policy, and executes it in a sweep.
//!
//! `gather` reads the disk; `make_plan` decides from facts alone, without I/O; `execute` works down the plan under the
//! store lock, and checks before each step whether it is still right. `room` does the same before bytes are ingested,
//! and `remove` for one entry. The sweep itself, with its locks and roots, belongs to the store: `store/sweep.rs`.

mod blob_table;
mod entries;
mod execute;
mod facts;
mod gather;
mod in_use;
mod json;
mod own_names;
mod plan;
mod policy;
mod references;
mod remove;
mod remove_plan;
mod report;
mod room;
mod unnamed_views;
mod usage;

pub use policy::GcPolicy;
pub use remove::{KeptBlob, RemoveOptions, RemoveReceipt};
pub use report::{GcAction, GcFailure, GcKept, GcPlan, GcReason, GcReport, GcStep};
pub use usage::{DiskUsage, EntryUsage};

pub(crate) use execute::execute;
pub(crate) use gather::plan_gc;
pub(crate) use remove::remove;
pub(crate) use room::{Room, Wanted, remove_dead_sessions};
pub(crate) use usage::{disk_bytes_below, disk_usage};
