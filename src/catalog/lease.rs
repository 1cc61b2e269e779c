//! Leasing an entry, pinning it, and noting that it is used.

use std::time::Duration;

use super::FsCatalog;
use crate::entry::{Pin, Record, TOUCH_INTERVAL, check_id};
use crate::error::{Error, Result};
use crate::fetch::ResolvedModel;
use crate::fs::lock::Wait;
use crate::fs::{Durability, now_ms};
use crate::index::Change;
use crate::lease::{self, Lease};
use crate::model_ref::ModelRef;

impl FsCatalog {
    /// Leases the artifact of an id: until the guard is dropped, nothing of it is removed, evicted or collected.
    ///
    /// Works on a read-only root. Fails as [`resolve`](FsCatalog::resolve) does when the artifact is not there.
    pub fn lease(&self, id: &str) -> Result<Lease> {
        loop {
            let not_found = || Error::NotFound { id: id.to_owned(), root: self.root().to_path_buf() };
            let record = self.record(id)?.ok_or_else(not_found)?;
            let not_staged = Error::NotStaged { id: id.to_owned(), path: record.entry.local_path.clone() };
            let taken = lease::take(&self.root, record.clone(), self.lock_wait)?;
            // Again, now that the lock is held. A sweep that has seen neither the record nor a lease may go on to take
            // the view, or files of the tree; and of a tree that is being staged anew the view may be half made. A
            // record that is there now is whole, and no sweep takes anything of it that does not see the lock.
            let now = self.record(id)?.ok_or_else(not_found)?;
            match taken {
                Some(lease) if is_same_artifact(&now, &record) => {
                    self.ensure_usable(&now)?;
                    self.touch_record(&now);
                    return Ok(lease);
                }
                _ if now == record => {
                    self.ensure_usable(&now)?; // which may know better why it cannot be used
                    return Err(not_staged);
                }
                _ => {} // removed, given new content or used just now
            }
        }
    }

    /// Notes that an entry is used now, for the policies that go by it: at most once an hour, not durably, and never
    /// failing, so also on a read-only root. Answers whether it was recorded.
    pub fn touch(&self, id: &str) -> bool {
        self.record(id).ok().flatten().is_some_and(|record| self.touch_record(&record))
    }

    /// [`locate`](FsCatalog::locate) for whoever is about to use it: it is checked when it was changed, as
    /// [`resolve`](FsCatalog::resolve) does, and the use is noted.
    pub fn locate_and_touch(&self, reference: &ModelRef) -> Result<Option<ResolvedModel>> {
        let Some(record) = self.record(&reference.id()?)? else { return Ok(None) };
        match self.ensure_usable(&record) {
            Ok(()) => {}
            Err(Error::NotStaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        self.touch_record(&record);
        Ok(Some(ResolvedModel { id: record.entry.id, local_path: record.entry.local_path }))
    }

    fn touch_record(&self, record: &Record) -> bool {
        let is_due = |last_used_ms: Option<u64>, now_ms: u64| {
            // One from the future was written by a clock that was wrong.
            last_used_ms.is_none_or(|ms| ms > now_ms || now_ms - ms >= TOUCH_INTERVAL.as_millis() as u64)
        };
        if !is_due(record.last_used_ms, now_ms()) {
            return false;
        }
        // Whoever waits for a path does not wait for this.
        let handle = self.clone().with_durability(Durability::Relaxed).with_lock_wait(Wait::UpTo(TOUCH_PATIENCE));
        let mut touched = false;
        let edited = handle.edit(&[&record.entry.id], &mut |_, old| {
            let now = now_ms();
            touched = false;
            Ok(match old {
                Some(mut record) if is_due(record.last_used_ms, now) => {
                    record.last_used_ms = Some(now);
                    touched = true;
                    Change::Put(Box::new(record))
                }
                _ => Change::Keep,
            })
        });
        if let Err(error) = &edited {
            tracing::debug!(id = %record.entry.id, %error, "its use was not recorded");
        }
        edited.is_ok() && touched
    }

    /// Pins an entry under a name, so that no policy takes it, for this long or for good. A pin of the same name is
    /// replaced. Answers the record as it is then.
    pub fn pin(&self, id: &str, name: &str, lifetime: Option<Duration>) -> Result<Record> {
        check_id(name)?;
        self.edit_record(id, &mut |record, now_ms| {
            let lifetime_ms = lifetime.map(|lifetime| u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX));
            let expiry_ms = lifetime_ms.map(|ms| now_ms.saturating_add(ms));
            record.pins.insert(name.to_owned(), Pin { created_ms: now_ms, expiry_ms });
        })
    }

    /// Takes the pin of this name, or all pins, from an entry. Answers the record as it is then; that there was no such
    /// pin is no error.
    pub fn unpin(&self, id: &str, name: Option<&str>) -> Result<Record> {
        self.edit_record(id, &mut |record, _| record.pins.retain(|pin, _| name.is_some_and(|name| name != pin)))
    }

    fn edit_record(&self, id: &str, edit: &mut dyn FnMut(&mut crate::index::StoredRecord, u64)) -> Result<Record> {
        let not_found = || Error::NotFound { id: id.to_owned(), root: self.root().to_path_buf() };
        let mut edited = None;
        self.edit(&[id], &mut |_, old| {
            let mut record = old.ok_or_else(not_found)?;
            let before = record.clone();
            edit(&mut record, now_ms());
            edited = Some(record.clone().into_record(id.to_owned(), &self.root));
            if record == before {
                return Ok(Change::Keep);
            }
            record.updated_ms = now_ms();
            Ok(Change::Put(Box::new(record)))
        })?;
        edited.ok_or_else(not_found)
    }
}

fn is_same_artifact(one: &Record, other: &Record) -> bool {
    let what = |record: &Record| (record.kind, record.entry.digest);
    what(one) == what(other) && one.entry.local_path == other.entry.local_path
}

/// How long noting a use may wait for a lock.
const TOUCH_PATIENCE: Duration = Duration::from_millis(50);

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::blob::{self, Claim};
    use crate::catalog::StageOptions;

    /// A sweep takes the blob while a lease waits for it, and the same bytes are staged again under another inode: all
    /// that the lease looks at by name is as it was, and its lock is on the inode that is gone.
    // Red when `take` does not compare inodes: the next sweep then takes what is leased.
    #[test]
    fn a_lease_that_waited_for_a_sweep_is_on_the_blob_that_is_there_now() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = FsCatalog::new(dir.path().join("root")).unwrap().with_durability(Durability::Relaxed);
        let source = dir.path().join("a.gguf");
        std::fs::write(&source, "a").unwrap();
        let options = StageOptions { id: Some("a".into()), ..StageOptions::default() };
        let stage = || catalog.stage(&ModelRef::File { path: source.clone() }, &options).unwrap();
        let digest = stage().digest;
        let Claim::Free(sweeping) = blob::claim(&catalog.root, &digest).unwrap() else { panic!("nobody leases it") };
        std::thread::scope(|scope| {
            let leasing = scope.spawn(|| catalog.lease("a").unwrap());
            std::thread::sleep(Duration::from_millis(100)); // it has opened the blob by now, and waits
            let trashed = blob::to_trash(&catalog.root, &digest).unwrap();
            catalog.root.remove_file(&trashed).unwrap();
            stage();
            drop(sweeping);
            let lease = leasing.join().unwrap();
            assert_eq!(std::fs::read(lease.local_path()).unwrap(), b"a");
            assert!(matches!(blob::claim(&catalog.root, &digest).unwrap(), Claim::Leased));
        });
    }
}
