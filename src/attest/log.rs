//! Signs what happened to an id.

use std::collections::BTreeMap;

use serde::Serialize;

use super::bundle::Bundle;
use super::keys::PrivateKey;
use super::statement::TYPE;
use crate::digest::Digest;
use crate::entry::LogEvent;
use crate::error::{Error, Result};
use crate::history;
use crate::store::Store;

/// What the predicate is: the events of an id, as in the log.
const PREDICATE_TYPE: &str = "urn:catalog-core:log:v1";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'a str,
    subject: Vec<Subject<'a>>,
    predicate_type: &'a str,
    predicate: Predicate<'a>,
}

#[derive(Serialize)]
struct Subject<'a> {
    name: &'a str,
    digest: BTreeMap<&'a str, String>,
}

#[derive(Serialize)]
struct Predicate<'a> {
    id: &'a str,
    events: &'a [LogEvent],
}

/// Signs the log of an id; see [`FsCatalog::sign_log`](crate::FsCatalog::sign_log).
pub(crate) fn sign_log(store: &Store, id: &str, key: &PrivateKey) -> Result<Vec<u8>> {
    let events = history::log(store, Some(id))?;
    if events.is_empty() {
        return Err(store.not_found(id));
    }
    let mut digests: Vec<Digest> = events.iter().filter_map(|event| event.digest).collect();
    digests.sort_unstable();
    digests.dedup();
    let subject = |digest: &Digest| Subject { name: id, digest: BTreeMap::from([("sha256", digest.to_hex())]) };
    let statement = Statement {
        kind: TYPE,
        subject: digests.iter().map(subject).collect(),
        predicate_type: PREDICATE_TYPE,
        predicate: Predicate { id, events: &events },
    };
    let fail = |e: serde_json::Error| Error::io("sign the log of", store.path(), std::io::Error::from(e));
    Bundle::sign(&serde_json::to_vec(&statement).map_err(fail)?, key).map_err(fail)
}
