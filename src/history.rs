//! The log: what happened to each id, in 256 chains of events, one for each shard of the index.

use serde::Serialize;

use crate::entry::LogEvent;
use crate::error::Result;
use crate::index::Chain;
use crate::layout;
use crate::store::Store;

/// Whether one chain of the log is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct LogChain {
    /// Which chain: the first byte of the SHA-256 of its ids, in hex.
    pub chain: String,
    /// How many events it has had.
    pub count: u64,
    /// The number of the oldest event that is kept. Older ones are dropped once the chain is long.
    pub first: Option<u64>,
    /// The BLAKE3 of its last event: `blake3:` and 64 hex digits. Whoever keeps it elsewhere can tell later that no event
    /// up to here was changed.
    pub head: Option<String>,
    /// What does not hold, for humans; empty if the chain is whole.
    pub problems: Vec<String>,
}

/// The events of one id, or of all, oldest first.
pub(crate) fn log(store: &Store, id: Option<&str>) -> Result<Vec<LogEvent>> {
    let numbers = numbers(id);
    let chains = store.index.chains(&numbers)?;
    let mut events: Vec<LogEvent> = chains.into_iter().flat_map(|chain| chain.events).collect();
    events.retain(|event| id.is_none_or(|id| event.id == id));
    // Stable: events of one chain stay in their order, even if the clock was set back between them and within a moment.
    events.sort_by_key(|event| event.at_ms);
    Ok(events)
}

/// Follows the links of the chain of an id, or of every chain that has events.
pub(crate) fn check(store: &Store, id: Option<&str>) -> Result<Vec<LogChain>> {
    let numbers = numbers(id);
    let chains = store.index.chains(&numbers)?.into_iter().zip(numbers);
    let chain = |(Chain { first, count, head, problems, .. }, number): (Chain, u8)| LogChain {
        chain: format!("{number:02x}"),
        count,
        first,
        head,
        problems,
    };
    Ok(chains.map(chain).filter(|chain| chain.count > 0 || !chain.problems.is_empty()).collect())
}

fn numbers(id: Option<&str>) -> Vec<u8> {
    id.map_or_else(|| (0..=u8::MAX).collect(), |id| vec![layout::shard_number(id)])
}
