//! Changes many records, so that one that cannot be changed does not block the others.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::layout;

/// Changes the records of these ids in one write. If that fails, it changes each shard on its own, and then each id, so
/// that one damaged shard or one refused edit does not fail the others. Failures for which `is_everybodys` holds are
/// not retried, and a busy shard is busy for all of its ids. Returns one result per id.
pub(crate) fn each<'i>(
    ids: &[&'i str],
    is_everybodys: &dyn Fn(&Error) -> bool,
    change: &mut dyn FnMut(&[&'i str]) -> Result<()>,
) -> Vec<(&'i str, Result<()>)> {
    let result = change(ids);
    let parts = match &result {
        Err(error) if ids.len() > 1 && !is_everybodys(error) => parts(ids, error.is_busy()),
        _ => Vec::new(),
    };
    match parts.is_empty() {
        true => ids.iter().map(|id| (*id, result.clone())).collect(),
        false => parts.iter().flat_map(|part| each(part, is_everybodys, change)).collect(),
    }
}

/// Splits ids by shard; if all are of one shard, one by one, unless it is busy.
fn parts<'i>(ids: &[&'i str], is_busy: bool) -> Vec<Vec<&'i str>> {
    let mut shards: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
    for id in ids {
        shards.entry(layout::shard_number(id)).or_default().push(id);
    }
    match shards.len() {
        0 | 1 if is_busy => Vec::new(),
        0 | 1 => ids.iter().map(|id| vec![*id]).collect(),
        _ => shards.into_values().collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    // Red when the ids of a busy shard are tried one by one: each would wait for the same lock.
    #[test]
    fn a_busy_shard_is_tried_once_more_and_no_other_is_kept_from_its_change() {
        let ids: Vec<String> = (0..2000).map(|number| format!("m{number}")).collect();
        let ids: Vec<&str> = ids.iter().map(|id| &**id).collect();
        let busy = || Error::Busy { what: "", path: "".into(), waited: Duration::ZERO, holder: None };
        for (is_everybodys, expected) in [(false, 1 + 256), (true, 1)] {
            let mut calls = 0;
            let results = each(&ids, &|_| is_everybodys, &mut |ids| {
                calls += 1;
                if ids.iter().any(|id| layout::shard_number(id) == 7) { Err(busy()) } else { Ok(()) }
            });
            assert_eq!((calls, results.len()), (expected, ids.len()));
            let fails = |id: &str| is_everybodys || layout::shard_number(id) == 7;
            assert!(results.iter().all(|(id, result)| result.is_err() == fails(id)));
        }
    }
}
