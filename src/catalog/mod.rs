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

use rayon::prelude::*;

use crate::export;
use crate::fetch::Resolver;
use crate::index::{Place, Records};
#[cfg(feature = "net")]
use crate::source::Sources;
use crate::store::Store;

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

/// Sorts the entries of all shards by id.
fn sorted(shards: &[Arc<Records>]) -> Vec<Place<'_>> {
    let places = || shards.iter().flat_map(|shard| shard.all());
    // Within a shard, entries are sorted, so all ids have in common what the first and the last of every shard have.
    let ends = shards.iter().flat_map(|shard| shard.all().next().into_iter().chain(shard.all().next_back()));
    let ids = || ends.clone().map(|place| place.id().as_bytes());
    let (least, most) = (ids().min().unwrap_or_default(), ids().max().unwrap_or_default());
    let common = least.iter().zip(most).take_while(|(a, b)| a == b).count();
    // The ids are all over the memory, so they are compared by what follows, where that tells. No id contains a zero.
    let key = |place: Place<'_>| {
        let mut key = [0; 8];
        let rest = place.id().as_bytes().get(common..).unwrap_or_default();
        key.iter_mut().zip(rest).for_each(|(key, byte)| *key = *byte);
        u64::from_be_bytes(key)
    };
    let mut keyed: Vec<(u64, Place<'_>)> = places().map(|place| (key(place), place)).collect();
    keyed.par_sort_unstable_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.id().cmp(other.id())));
    keyed.into_iter().map(|(_, place)| place).collect()
}
