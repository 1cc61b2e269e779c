//! Looking at shards one by one, damaged ones too, and taking the generation before where a shard is lost.

use std::path::Path;
use std::sync::Arc;

use super::load::{Index, load_file, load_records, parse_records};
use super::records::Records;
use super::update::keep_previous;
use crate::error::{Error, Result};
use crate::fs::lock::{Hold, Lock, Wait, lock};
use crate::fs::{Durability, atomic};
use crate::layout::{self, MAX_SHARD_BYTES};

/// What `.prev` of a shard holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) generation: u64,
    pub(crate) entries: usize,
}

impl Index {
    /// The records of one shard.
    pub(crate) fn one(&self, number: u8) -> Result<Arc<Records>> {
        self.shard(number)
    }

    /// The generation before a shard's; `None`: there is none. Every record of it can be read.
    pub(crate) fn previous(&self, number: u8) -> Result<Option<Generation>> {
        let path = layout::shard_prev(number);
        let loaded = load_file(&self.root, &path, &|text| parse_records(&self.root, number, text))?;
        let generation = |records: Records| Generation { generation: records.generation, entries: records.all().len() };
        Ok(loaded.map(|loaded| generation(loaded.value)))
    }

    /// Puts the generation before in the place of a shard that is damaged or lost; what is there is moved to
    /// `quarantine/`, never removed. Called by the guard that excludes commits. `None`: the shard can be read by now.
    pub(crate) fn restore_previous(
        &self,
        number: u8,
        durability: Durability,
        wait: Wait,
    ) -> Result<Option<Generation>> {
        let _lock = self.lock_one(number, wait)?;
        let (path, prev) = (layout::shard(number), layout::shard_prev(number));
        match load_records(&self.root, number) {
            Err(error) if error.is_corrupt() => {}
            Err(error) => return Err(error), // a newer format above all
            Ok(_) => return Ok(None),
        }
        // Again, now that nobody writes: it takes the place of the shard.
        let lost = |reason: String| Error::CorruptIndex { path: self.root.absolute(&prev), reason };
        let before = self.previous(number)?.ok_or_else(|| lost("it is not there".into()))?;
        if self.root.meta(&path)?.is_some() {
            let to = layout::quarantine_other(&format!("{number:02x}.json"), &atomic::random_name());
            self.root.rename_new(&path, &to).map_err(|e| self.root.fail("move to quarantine", &path, e))?;
        }
        match self.root.link(&prev, &path) {
            Ok(()) => {}
            Err(e) if atomic::is_link_refusal(&e) => {
                let text = self.root.read(&prev, MAX_SHARD_BYTES)?.ok_or_else(|| lost("it is gone".into()))?;
                atomic::replace(&self.root, &path, &text, durability)?;
            }
            Err(e) => return Err(self.root.fail("restore", &path, e)),
        }
        if durability.is_full() {
            self.root.sync_dir(Path::new(layout::QUARANTINE))?;
            self.root.sync_dir(Path::new(layout::INDEX))?;
        }
        Ok(Some(before))
    }

    /// Gives a good shard the second name `.prev`, where that is missing or cannot be read. `false`: it can be read by now.
    pub(crate) fn renew_previous(&self, number: u8, durability: Durability, wait: Wait) -> Result<bool> {
        let _lock = self.lock_one(number, wait)?;
        load_records(&self.root, number)?; // whatever is cached
        if matches!(self.previous(number), Ok(Some(_))) {
            return Ok(false);
        }
        keep_previous(&self.root, number, durability)?;
        if durability.is_full() {
            self.root.sync_dir(Path::new(layout::INDEX))?;
        }
        Ok(true)
    }

    fn lock_one(&self, number: u8, wait: Wait) -> Result<Option<Lock>> {
        match self.locks_work {
            true => lock(&self.root, layout::lock_shard(number), "an index shard", Hold::Exclusive, wait).map(Some),
            false => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::testing::root;

    // Red when `lock_one` locks nothing: a writer's new shard would be put in quarantine, or replaced by the old one.
    #[test]
    fn a_shard_that_is_being_written_is_left_alone() {
        let (_dir, root) = root();
        let index = Index::new(root.clone(), true);
        let writer = index.lock_one(7, Wait::Never).unwrap();
        assert!(index.restore_previous(7, Durability::Relaxed, Wait::Never).unwrap_err().is_busy());
        assert!(index.renew_previous(7, Durability::Relaxed, Wait::Never).unwrap_err().is_busy());
        drop(writer);
        assert!(index.restore_previous(7, Durability::Relaxed, Wait::Never).unwrap().is_none());
    }
}
