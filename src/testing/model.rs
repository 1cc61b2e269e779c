//! Compares a store with a `BTreeMap`: the same operations must return the same results.

use std::collections::BTreeMap;

use super::probe::{Probe, is_invalid_input, is_not_found, same};
use crate::CatalogStore;
use crate::entry::{CatalogEntry, LifecycleState, check_id};

/// One call on a [`CatalogStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `get` of this id.
    Get(String),
    /// `put` of this entry. Its `local_path` is relative and does not exist.
    Put(CatalogEntry),
    /// `set_state` of this id.
    SetState(String, LifecycleState),
    /// `list`.
    List,
    /// `delete` of this id.
    Delete(String),
}

/// Applies the operations to an empty store and to a `BTreeMap`, and compares every result, and the list at the end.
///
/// Does not list after each operation, because that could hide a `get` that misses the last change.
///
/// # Panics
///
/// Panics at the first result that differs, with a message that names it.
pub fn catalog_store_model<S: CatalogStore>(store: &S, operations: &[Operation]) {
    let mut model = BTreeMap::new();
    Probe(store).lists([]);
    for operation in operations {
        apply(store, &mut model, operation);
    }
    Probe(store).lists(model.values());
}

fn apply<S: CatalogStore>(store: &S, model: &mut BTreeMap<String, CatalogEntry>, operation: &Operation) {
    let probe = Probe(store);
    match operation {
        Operation::Get(id) => {
            let found = store.get(id).unwrap_or_else(|error| none_if_impossible(id, None, error));
            let expected = model.get(id);
            let agree = match (&found, expected) {
                (Some(found), Some(expected)) => same(found, expected),
                (None, None) => true,
                _ => false,
            };
            assert!(agree, "{operation:?} gives {found:?}, but must give {expected:?}");
        }
        Operation::Put(entry) if check_id(&entry.id).is_err() => is_invalid_input("put", &entry.id, store.put(entry)),
        Operation::Put(entry) => {
            probe.put(entry);
            model.insert(entry.id.clone(), entry.clone());
        }
        Operation::SetState(id, state) => match model.get_mut(id) {
            Some(entry) => {
                probe.set_state(id, *state);
                entry.lifecycle = *state;
            }
            None if check_id(id).is_err() => assert!(store.set_state(id, *state).is_err(), "{operation:?} must fail"),
            None => is_not_found("set_state", id, store.set_state(id, *state)),
        },
        Operation::List => probe.lists(model.values()),
        Operation::Delete(id) => {
            let deleted = store.delete(id).unwrap_or_else(|error| none_if_impossible(id, false, error));
            let expected = model.remove(id).is_some();
            assert!(deleted == expected, "{operation:?} answers {deleted}, but must answer {expected}");
        }
    }
}

/// A store may reject an invalid id, or find nothing under it.
fn none_if_impossible<T>(id: &str, nothing: T, error: crate::Error) -> T {
    assert!(check_id(id).is_err() && error.is_invalid_input(), "a look at {id:?} must succeed, but: {error}");
    nothing
}
