//! A change of many records, where one that cannot be changed does not keep the others from it.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::layout;

/// Changes the records of these ids in one write. If that fails, each shard by itself, and then each id: one shard that is
/// damaged, or one edit that is refused, is not the failure of the others. `is_everybodys` tells the failures that are not
/// tried again. Returns one result for each id.
pub(crate) fn each<'i>(
    ids: &[&'i str],
    is_everybodys: &dyn Fn(&Error) -> bool,
    change: &mut dyn FnMut(&[&'i str]) -> Result<()>,
) -> Vec<(&'i str, Result<()>)> {
    match change(ids) {
        Err(error) if ids.len() > 1 && !is_everybodys(&error) => {
            parts(ids).iter().flat_map(|part| each(part, is_everybodys, change)).collect()
        }
        result => ids.iter().map(|id| (*id, result.clone())).collect(),
    }
}

/// Ids by their shards; those of one shard one by one.
fn parts<'i>(ids: &[&'i str]) -> Vec<Vec<&'i str>> {
    let mut shards: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
    for id in ids {
        shards.entry(layout::shard_number(id)).or_default().push(id);
    }
    match shards.len() {
        0 | 1 => ids.iter().map(|id| vec![*id]).collect(),
        _ => shards.into_values().collect(),
    }
}
