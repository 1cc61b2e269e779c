//! `FsCatalog`: the façade. Each method is one line over the store and its engines; its doc comment says what it
//! promises.

#[cfg(feature = "attest")]
mod attest;
mod bring;
mod check;
mod documents;
mod exports;
mod find;
mod fs_store;
mod handle;
mod history;
mod keep;
mod key;
mod look;
mod neighbours;
mod policy;
#[cfg(feature = "net")]
mod share;
mod store_trait;

pub use key::Key;
pub use store_trait::CatalogStore;

use std::sync::Arc;

use crate::entry::Record;
use crate::export;
use crate::fetch::Resolver;
use crate::index::Records;
#[cfg(feature = "net")]
use crate::source::Sources;
use crate::store::{NotedUses, Store};

/// A catalog in a directory: maps ids to models in a content-addressable store of blobs.
///
/// Clones are cheap and share one cache. Any number of processes can use one root at the same time.
#[derive(Clone, Debug)]
pub struct FsCatalog {
    store: Store,
    /// The records of exports, as last read.
    exports: Arc<export::Records>,
    /// The sources that are asked for what the store does not have.
    sources: Option<Arc<dyn Resolver>>,
    /// The same sources, for pushing models.
    #[cfg(feature = "net")]
    pushes: Option<Sources>,
}

/// The records, each with the latest use that any process has noted.
fn with_uses(store: &Store, records: impl Iterator<Item = Record>) -> Vec<Record> {
    let uses = NotedUses::read(&store.root);
    records
        .map(|record| Record { last_used_ms: record.last_used_ms.max(uses.of(&record.entry.id)), ..record })
        .collect()
}

/// Sorts before anything is copied, because a record is large.
fn sorted(shards: &[Arc<Records>]) -> Vec<&Record> {
    let mut records: Vec<&Record> = shards.iter().flat_map(|shard| shard.all()).collect();
    records.sort_unstable_by(|a, b| a.entry.id.cmp(&b.entry.id));
    records
}
