//! Pushes several models below one target.

use std::collections::BTreeMap;

use super::{PushOptions, PushReceipt, push};
use crate::error::{Error, Result};
use crate::model_ref::ModelRef;
use crate::source::Sources;
use crate::store::Store;

/// Pushes several entries; see [`FsCatalog::push_many`](crate::FsCatalog::push_many).
pub(crate) fn push_many<S: AsRef<str>>(
    store: &Store,
    sources: &Sources,
    ids: &[S],
    target: &ModelRef,
    options: &PushOptions,
    each: &mut dyn FnMut(Result<PushReceipt>),
) {
    let mut taken = BTreeMap::new();
    for id in ids.iter().map(AsRef::as_ref) {
        let one = || {
            let below = sources.pusher(target, &options.cancel)?.sink(target)?.below(target, id)?;
            let digest = store.require(id)?.entry.digest;
            // The second model would take the name away from the first.
            if below != *target && taken.insert(below.to_string(), digest).is_some_and(|before| before != digest) {
                let reason = "another of these models has the same name at the target; push it by itself";
                return Err(Error::NotPushable { id: id.to_owned(), reason });
            }
            push(store, sources, id, &below, options)
        };
        let result = { one }();
        let is_over = result.as_ref().is_err_and(Error::is_cancelled);
        each(result);
        if is_over {
            break;
        }
    }
}
