//! The index: id → record, in 256 JSON shards.

mod claim;
mod format;
mod load;
mod mend;
mod record;
mod records;
#[cfg(test)]
mod testing;
mod update;

#[cfg(feature = "testing")]
pub(crate) use format::{ShardText, Unusable};
pub(crate) use load::Index;
pub(crate) use mend::Generation;
pub(crate) use record::{StoredRecord, encode_path};
pub(crate) use records::Records;
pub(crate) use update::{Change, Edit, Flushed};
