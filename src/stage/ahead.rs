//! Decides on the many local files of one call on all cores: each is some twenty system calls.

use std::collections::{BTreeMap, BTreeSet};

use super::item::{self, Decision};
use super::{From, StageOptions};
use crate::error::Result;
use crate::model_ref::ModelRef;
use crate::store::Store;
use crate::threads::{SHARE_FROM, map_all};

/// The decisions that do not depend on what else the call does, by the numbers of the items; empty if there are none.
///
/// A decision depends on the earlier items with the same id. If a server is asked for some items, the call works in
/// several steps, and what an early step evicts must not count as staged later: then nothing is decided ahead.
pub(super) fn decide(
    store: &Store,
    from: &From<'_>,
    items: &[(ModelRef, StageOptions)],
) -> Vec<Option<Result<Decision>>> {
    let is_local = |(reference, _): &(ModelRef, StageOptions)| matches!(reference, ModelRef::File { .. });
    if items.len() < SHARE_FROM || !items.iter().all(is_local) {
        return Vec::new();
    }
    let mut occurs: BTreeMap<String, usize> = BTreeMap::new();
    let ids: Vec<Option<String>> = items.iter().map(|(reference, options)| id(reference, options)).collect();
    for id in ids.iter().flatten() {
        *occurs.entry(id.clone()).or_default() += 1;
    }
    let nothing_earlier = BTreeSet::new();
    map_all(items.iter().zip(&ids).collect(), |((reference, options), id)| {
        let is_alone = id.as_ref().is_some_and(|id| occurs.get(id) == Some(&1));
        is_alone.then(|| item::decide(store, from, reference, options, &nothing_earlier))
    })
}

fn id(reference: &ModelRef, options: &StageOptions) -> Option<String> {
    options.id.clone().or_else(|| reference.id().ok())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::FsCatalog;
    use crate::fs::Durability;

    // Red when the second item of an id is decided ahead: it is unchanged then, and what the first one has put in its
    // place stays.
    #[test]
    fn the_last_of_two_items_with_one_id_wins_among_many() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = FsCatalog::new(dir.path().join("root")).unwrap().with_durability(Durability::Relaxed);
        let item = |id: &str, text: &str| {
            let path = dir.path().join(text);
            std::fs::write(&path, text).unwrap();
            (ModelRef::File { path }, StageOptions::default().with_id(Some(id.to_owned())))
        };
        let mut items: Vec<_> = (0..2 * SHARE_FROM).map(|number| item(&number.to_string(), "many")).collect();
        items.push(item("twice", "last"));
        assert!(catalog.stage_many(&items).iter().all(Result::is_ok));
        let last = items.pop().unwrap();
        items.extend([item("twice", "first"), last]);
        assert!(catalog.stage_many(&items).iter().all(Result::is_ok));
        let shown = catalog.record("twice").unwrap().unwrap().entry.local_path;
        assert_eq!(std::fs::read_to_string(shown).unwrap(), "last");
    }
}
