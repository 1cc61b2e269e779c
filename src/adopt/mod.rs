//! What other tools' stores hold, and how it gets into ours.
//!
//! ```text
//! found.rs        what a scan returns
//! bring.rs        brings what was found into the store
//! claims.rs       whether a file is what its tool says
//! dedupe.rs       replaces a tool's file by a link to ours: the only thing that is ever changed there
//! ```

mod bring;
mod claims;
mod dedupe;
mod found;
#[cfg(all(test, target_os = "linux", not(catalog_portable)))]
#[allow(clippy::disallowed_methods)]
mod tests;

pub use bring::{AdoptOptions, AdoptPlan, AdoptReceipt};
pub(crate) use bring::{adopt, plan};

pub use found::{Claim, Found, FoundFile, Scan, Sharing, Skipped, Tool};
