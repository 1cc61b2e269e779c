//! What other tools' stores hold. Reads them, and changes nothing there.
//!
//! ```text
//! found.rs        what a scan returns
//! places.rs       where each tool keeps its store
//! ```

mod found;

pub use found::{Claim, Found, FoundFile, Scan, Sharing, Skipped, Tool};
