//! Reading shards, and the cache of parsed ones.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rayon::prelude::*;

use super::format::{ShardText, Unusable};
use super::record::StoredRecord;
use crate::entry::{Record, Stamp, check_id};
use crate::error::{Error, Result, excerpt};
use crate::fs::{Kind, Root};
use crate::layout::{self, FORMAT, SHARDS};

/// The records of one shard, sorted by id.
pub(crate) type Records = BTreeMap<String, Record>;

/// The index below one root. One `stat` tells whether a shard that was parsed before has changed since.
#[derive(Debug)]
pub(crate) struct Index {
    pub(super) root: Arc<Root>,
    pub(super) locks_work: bool,
    shards: Vec<RwLock<Option<Cached>>>,
}

#[derive(Clone, Debug)]
struct Cached {
    /// `None`: there was no file.
    stamp: Option<Stamp>,
    records: Arc<Records>,
}

impl Index {
    pub(crate) fn new(root: Arc<Root>, locks_work: bool) -> Self {
        Index { root, locks_work, shards: (0..SHARDS).map(|_| RwLock::new(None)).collect() }
    }

    /// As if no lock excluded anybody.
    #[cfg(test)]
    pub(super) fn without_locks(root: Arc<Root>) -> Self {
        Index::new(root, false)
    }

    /// The record of this id.
    pub(crate) fn get(&self, id: &str) -> Result<Option<Record>> {
        Ok(self.shard(layout::shard_number(id))?.get(id).cloned())
    }

    /// Every shard. Fails when any of them cannot be read: what it holds is then unknown, which is not "nothing".
    pub(crate) fn all(&self) -> Result<Vec<Arc<Records>>> {
        (0..=u8::MAX).into_par_iter().map(|number| self.shard(number)).collect()
    }

    fn shard(&self, number: u8) -> Result<Arc<Records>> {
        let path = layout::shard(number);
        let slot = self.shards.get(usize::from(number)).expect("there are 256 shards and a number below 256");
        let stamp = self.root.peek(&path)?.map(|meta| meta.stamp());
        if let Some(cached) = slot.read().unwrap_or_else(PoisonError::into_inner).as_ref()
            && cached.stamp == stamp
            // One that was not there may have been written and lost since: then its `.prev` tells.
            && (stamp.is_some() || self.root.peek(&layout::shard_prev(number))?.is_none())
        {
            return Ok(cached.records.clone());
        }
        let read_began = SystemTime::now();
        let text = read_text(&self.root, number)?;
        let records = Arc::new(text.parse(&self.root, number, &path)?);
        // A shard so young that a change in the same tick of the clock would not show is read again next time.
        let cached = (!text.is_racy(read_began)).then(|| Cached { stamp: text.stamp, records: records.clone() });
        *slot.write().unwrap_or_else(PoisonError::into_inner) = cached;
        Ok(records)
    }
}

/// A shard's text and the stamp of the file that it was read from.
pub(super) struct Loaded {
    pub(super) text: ShardText,
    pub(super) stamp: Option<Stamp>,
    meta: Option<crate::fs::Meta>,
}

impl Loaded {
    fn parse(&self, root: &Root, number: u8, path: &Path) -> Result<Records> {
        let corrupt = |reason| Error::CorruptIndex { path: root.absolute(path), reason };
        let records = self.text.entries.iter().map(|(id, text)| {
            if check_id(id).is_err() || layout::shard_number(id) != number {
                return Err(corrupt(format!("it has the id {:?}, which does not belong there", excerpt(id))));
            }
            let stored = StoredRecord::parse(text).map_err(|reason| corrupt(unreadable(id, &reason)))?;
            Ok((id.clone(), stored.into_record(id.clone(), root)))
        });
        records.collect()
    }

    fn is_racy(&self, read_began: SystemTime) -> bool {
        self.meta.is_some_and(|meta| meta.is_racy(read_began))
    }
}

/// What is said of an entry that cannot be read.
pub(super) fn unreadable(id: &str, reason: &str) -> String {
    format!("the entry {:?} cannot be read: {}", excerpt(id), excerpt(reason))
}

/// Reads a shard. One that was never written is empty; one that is gone is an error.
pub(super) fn read_text(root: &Root, number: u8) -> Result<Loaded> {
    let path = layout::shard(number);
    let corrupt = |reason: String| Error::CorruptIndex { path: root.absolute(&path), reason: excerpt(&reason) };
    let Some(file) = root.open_file(&path)? else {
        // Every write leaves a `.prev` beside the shard, the first one too.
        return match root.meta(&layout::shard_prev(number))? {
            None if root.meta(Path::new(layout::INDEX))?.is_some_and(|meta| meta.kind == Kind::Dir) => {
                Ok(Loaded { text: ShardText::default(), stamp: None, meta: None })
            }
            None => Err(corrupt("the folder of the index is not there".into())),
            // Or it was written for the first time between the two looks.
            Some(_) if root.meta(&path)?.is_some() => read_text(root, number),
            Some(_) => Err(corrupt("it is not there, and there was one before".into())),
        };
    };
    let meta = crate::fs::meta_of(&file).map_err(|e| root.fail("look at", &path, e))?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut &file, &mut bytes).map_err(|e| root.fail("read", &path, e))?;
    let text = ShardText::parse(&bytes).map_err(|unusable| match unusable {
        Unusable::Damaged(reason) => corrupt(reason),
        Unusable::Newer(found) => Error::UnsupportedFormat {
            path: root.absolute(&path),
            found: format!("index format {found}"),
            supported: format!("format {FORMAT}"),
        },
    })?;
    Ok(Loaded { text, stamp: Some(meta.stamp()), meta: Some(meta) })
}
