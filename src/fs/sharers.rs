//! The processes that hold shared locks on files, as far as the system reports them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use super::{Meta, lock_table, process, sys};

/// The device and the number of an inode.
type Inode = (u64, u64);

/// For each of these files, the processes that hold a shared lock on it; files without any are left out. Every process that
/// inherited the lock is named, not only the one that took it.
///
/// This takes no lock: each descriptor reports the locks it has. Only root may read the descriptors of another user's
/// process; for such processes, the list of all locks shows what they took themselves. Processes in other containers and
/// on other hosts are not visible.
pub(crate) fn of<'m>(files: impl IntoIterator<Item = &'m Meta>) -> BTreeMap<Inode, BTreeSet<u32>> {
    let wanted: HashSet<Inode> = files.into_iter().map(|file| (file.device, file.inode)).collect();
    let mut sharers: BTreeMap<Inode, BTreeSet<u32>> = BTreeMap::new();
    let mut unseen = HashSet::new();
    for pid in process::all() {
        match process::open_inodes(pid, |inode| wanted.contains(&inode)) {
            Some(open) => {
                for (inode, _) in open.into_iter().filter(|(_, descriptor)| has_shared_lock(descriptor)) {
                    sharers.entry(inode).or_default().insert(pid);
                }
            }
            None => drop(unseen.insert(pid)),
        }
    }
    if unseen.is_empty() {
        return sharers;
    }
    let by_listed: BTreeMap<(String, u64), Inode> =
        wanted.iter().map(|inode| ((sys::device_numbers(inode.0), inode.1), *inode)).collect();
    let list = lock_table::read().unwrap_or_default();
    for lock in lock_table::listed(&list).filter(|lock| lock.is_shared) {
        let inode = by_listed.get(&(lock.device.to_owned(), lock.inode));
        if let (Some(inode), Some(pid)) = (inode, lock.pid.filter(|pid| unseen.contains(pid))) {
            sharers.entry(*inode).or_default().insert(pid);
        }
    }
    sharers
}

/// Whether the descriptor, a link below `/proc/<pid>/fd`, has a shared lock.
fn has_shared_lock(descriptor: &Path) -> bool {
    let info = descriptor.parent().and_then(|fd| Some(fd.with_file_name("fdinfo").join(descriptor.file_name()?)));
    let info = info.and_then(|info| fs::read_to_string(info).ok()).unwrap_or_default();
    lock_table::listed(&info).any(|lock| lock.is_shared)
}
