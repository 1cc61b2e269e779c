//! The index: id → record, in 256 JSON shards.

mod as_written;
mod entries;
mod format;
mod generation_claim;
mod happened;
mod lines;
mod load;
mod log;
mod record;
mod records;
mod restore;
mod segments;
#[cfg(test)]
mod testing;
mod update;

#[cfg(feature = "testing")]
pub(crate) use format::{ShardText, Unusable};
pub(crate) use happened::Happened;
pub(crate) use load::Index;
pub(crate) use log::Chain;
pub(crate) use record::{StoredRecord, encode_path};
pub(crate) use records::{Place, Records};
pub(crate) use restore::Generation;
pub(crate) use update::{Change, Edit, FLUSH_ONCE_FROM, Flush};
