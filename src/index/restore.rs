//! Inspects shards one by one, including damaged ones, and restores the previous generation of a shard that is lost.

use std::path::Path;

use super::load::{Index, check_records, load_file, load_records};
use super::update::keep_previous;
use crate::error::{Error, Result};
use crate::fs::lock::{Hold, Lock, Wait, lock};
use crate::fs::{Durability, atomic};
use crate::layout::{self, MAX_SHARD_BYTES};

/// What the `.prev` of a shard contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) generation: u64,
    pub(crate) entries: usize,
}

impl Index {
    /// The previous generation of a shard; `None` if there is none. All of its records are readable.
    pub(crate) fn previous(&self, number: u8) -> Result<Option<Generation>> {
        let loaded = load_file(&self.root, &layout::shard_prev(number), &|text| check_records(number, &text))?;
        Ok(loaded.map(|loaded| loaded.value))
    }

    /// Replaces a damaged or lost shard with its previous generation. A damaged shard is moved to `quarantine/`, never
    /// removed. The guard that excludes commits calls this. `None`: the shard is readable by now.
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
            Err(error) => return Err(error), // above all if it has a newer format
            Ok(_) => return Ok(None),
        }
        // Read it again now that nobody writes: it will replace the shard.
        let lost = |reason: String| Error::CorruptIndex { path: self.root.absolute(&prev), reason };
        let before = self.previous(number)?.ok_or_else(|| lost("it is missing".into()))?;
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

    /// Makes a good shard its own `.prev`, if that is missing or unreadable. `false`: it is readable by now.
    pub(crate) fn renew_previous(&self, number: u8, durability: Durability, wait: Wait) -> Result<bool> {
        let _lock = self.lock_one(number, wait)?;
        load_records(&self.root, number)?; // bypasses the cache
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

    // Red when `lock_one` does not lock: a writer's new shard would be moved to quarantine, or replaced by the old one.
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
