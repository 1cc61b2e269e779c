//! The outboard of a blob, in `outboards/`: the stamp of its last full check, and the hashes of its groups. It is only
//! a hint: if it is missing or does not match, the blob is checked against its digest.

mod again;

use std::collections::BTreeSet;

use blake3::hazmat::ChainingValue;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::entry::Stamp;
use crate::error::Result;
use crate::fs::{Durability, Kind, Meta, Root, atomic, current_user, now_ms};
use crate::hash::groups::{self, GROUP_BYTES, Groups};
use crate::layout;
use again::TimeAt;
pub(crate) use again::note_again;

/// The small file. If there is more than one group, their chaining values are in a second file next to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outboard {
    format: u32,
    pub(crate) stamp: Stamp,
    pub(crate) checked_ms: u64,
    /// Whether the blob's bytes are known to have reached the disk.
    #[serde(default)]
    pub(crate) is_durable: bool,
    /// `None` until the next full check computes it.
    #[serde(default)]
    blake3: Option<Tree>,
    /// The owner of the outboard file.
    #[serde(skip)]
    owner: u32,
    /// Where the time is written.
    #[serde(skip)]
    time_at: Option<TimeAt>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Tree {
    /// The blob's size; the file may have another size by now.
    size_bytes: u64,
    /// 64 hex digits: the plain BLAKE3 hash of the blob.
    root: String,
    group_bytes: u64,
    /// Covers all of the above and the blob's digest. The list of groups is covered by the root.
    #[serde(default)]
    checksum: String,
}

impl Tree {
    fn new(digest: &Digest, groups: &Groups) -> Self {
        let (size_bytes, root) = (groups.size_bytes(), groups.root().to_hex().to_string());
        let tree = Tree { size_bytes, root, group_bytes: GROUP_BYTES as u64, checksum: String::new() };
        Tree { checksum: tree.checksum_for(digest), ..tree }
    }

    /// Detects an outboard that is torn or belongs to another blob: with it, good bytes would count as bad.
    fn checksum_for(&self, digest: &Digest) -> String {
        let Tree { size_bytes, root, group_bytes, .. } = self;
        let hash = blake3::hash(format!("{digest} {size_bytes} {root} {group_bytes}").as_bytes());
        format!("blake3:{}", hash.to_hex())
    }
}

/// Records that the blob was checked in full while it had this stamp, and is as durable as `durability`.
pub(crate) fn write(
    root: &Root,
    digest: &Digest,
    stamp: &Stamp,
    groups: Option<&Groups>,
    durability: Durability,
) -> Result<()> {
    let path = layout::outboard(digest);
    root.make_dirs(path.parent().unwrap_or(&path))?;
    if let Some(groups) = groups.filter(|groups| !groups.values().is_empty()) {
        // Nothing is synced here: if a power cut loses or tears it, the next check is against the blob's digest.
        atomic::replace(root, &layout::outboard_groups(digest), &groups.values().concat(), Durability::Relaxed)?;
    }
    let blake3 = groups.map(|groups| Tree::new(digest, groups));
    let is_durable = durability.is_full();
    let outboard = Outboard {
        format: layout::FORMAT,
        stamp: *stamp,
        checked_ms: now_ms(),
        is_durable,
        blake3,
        owner: current_user(),
        time_at: None,
    };
    let mut text = serde_json::to_vec(&outboard).map_err(|e| root.fail("encode", &path, e.into()))?;
    text.push(b'\n');
    atomic::replace(root, &path, &text, Durability::Relaxed)
}

/// Durably clears the stamp of a bad blob, so that a process that finds the blob before it is moved away checks it
/// again. The hashes of its groups stay.
pub(crate) fn distrust(root: &Root, digest: &Digest) -> Result<()> {
    let Some(known) = read(root, digest) else { return Ok(()) };
    let path = layout::outboard(digest);
    let nothing = Stamp { inode: 0, size_bytes: 0, mtime_ns: 0 };
    let outboard = Outboard { stamp: nothing, ..known };
    let text = serde_json::to_vec(&outboard).map_err(|e| root.fail("encode", &path, e.into()))?;
    atomic::replace(root, &path, &text, Durability::Full)
}

/// Reads the outboard of a blob; `None` if there is none that can be read.
pub(crate) fn read(root: &Root, digest: &Digest) -> Option<Outboard> {
    let (text, meta) = root.read_with_meta(&layout::outboard(digest), layout::MAX_OUTBOARD_BYTES).ok()??;
    let outboard = decode(&text)?;
    let time_at = TimeAt::find(&text, meta.stamp(), outboard.checked_ms);
    Some(Outboard { owner: meta.owner, time_at, ..outboard })
}

fn decode(text: &[u8]) -> Option<Outboard> {
    let outboard: Outboard = serde_json::from_slice(text).ok()?;
    (outboard.format == layout::FORMAT).then_some(outboard)
}

impl Outboard {
    /// Whether a file is unchanged since the last full check of the blob, and the owners of the file and the outboard
    /// are trusted.
    pub(crate) fn fits(&self, root: &Root, file: &Meta, owners: &BTreeSet<u32>) -> bool {
        self.has_stamp_of(file) && self.speaks_for(root, file, owners)
    }

    pub(crate) fn has_stamp_of(&self, file: &Meta) -> bool {
        file.kind == Kind::File && self.stamp == file.stamp()
    }

    /// Whether the bytes have reached the disk.
    pub(crate) fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// Whether to trust what it says about this file: the owner of either could have made it say anything, and in a
    /// root shared by a group every member can put both there. `owners` are the users that the record names.
    pub(crate) fn speaks_for(&self, root: &Root, file: &Meta, owners: &BTreeSet<u32>) -> bool {
        root.trusts(self.owner, owners) && root.trusts(file.owner, owners)
    }

    /// Whether it has groups.
    pub(crate) fn has_groups(&self) -> bool {
        self.blake3.is_some()
    }

    /// The hashes of the blob's groups; `None` if they are missing or not consistent.
    pub(crate) fn groups(&self, root: &Root, digest: &Digest) -> Option<Groups> {
        let is_its_own = |tree: &&Tree| tree.checksum == tree.checksum_for(digest);
        let tree = self.blake3.as_ref().filter(is_its_own)?;
        let values = match tree.size_bytes {
            0..=ONE_GROUP => Vec::new(),
            size_bytes => root.read(&layout::outboard_groups(digest), list_bytes(size_bytes)?).ok()??,
        };
        join(tree, &values)
    }
}

const ONE_GROUP: u64 = GROUP_BYTES as u64;

/// The size of the list of a 16 TiB blob, the largest file that ext4 supports.
const MAX_LIST_BYTES: u64 = (16 << 40) / ONE_GROUP * VALUE_BYTES;
const VALUE_BYTES: u64 = size_of::<ChainingValue>() as u64;

/// The length of the list of a blob of this size; `None`: no blob is that large, whatever the outboard says.
fn list_bytes(size_bytes: u64) -> Option<u64> {
    groups::count(size_bytes).checked_mul(VALUE_BYTES).filter(|bytes| *bytes <= MAX_LIST_BYTES)
}

fn join(tree: &Tree, values: &[u8]) -> Option<Groups> {
    let (values, rest) = values.as_chunks::<{ size_of::<ChainingValue>() }>();
    let hash = blake3::Hash::from_hex(&tree.root).ok()?;
    // With another group size it is a different list.
    let is_ours = rest.is_empty() && tree.group_bytes == ONE_GROUP;
    if is_ours { Groups::from_parts(tree.size_bytes, hash, values.to_vec()) } else { None }
}

/// Whether the blob is unchanged since its last full check and at least as durable as `durability`. `false` if anything
/// cannot be read.
pub(crate) fn fits(root: &Root, digest: &Digest, blob: &Meta, durability: Durability, owners: &BTreeSet<u32>) -> bool {
    let is_durable = |outboard: &Outboard| outboard.is_durable || !durability.is_full();
    read(root, digest).is_some_and(|outboard| is_durable(&outboard) && outboard.fits(root, blob, owners))
}

pub(crate) fn remove(root: &Root, digest: &Digest) -> Result<()> {
    root.remove_file(&layout::outboard(digest))?;
    root.remove_file(&layout::facts(digest))?;
    root.remove_file(&layout::outboard_groups(digest)).map(drop)
}

/// Parses both files of an outboard as if they had been found, for tests with hostile bytes.
#[cfg(feature = "testing")]
pub(crate) fn probe(text: &[u8], values: &[u8]) -> Option<(u64, Vec<ChainingValue>)> {
    let groups = join(decode(text)?.blake3.as_ref()?, values)?;
    Some((groups.size_bytes(), groups.values().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::groups::GroupHasher;

    fn groups_of(bytes: &[u8]) -> Groups {
        let mut hasher = GroupHasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    #[test]
    fn what_is_written_is_read_again_and_damage_is_not_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let digest = Digest::sha256_of(b"any");
        let stamp = Stamp { inode: 1, size_bytes: 2, mtime_ns: 3 };
        for bytes in [vec![], vec![1; GROUP_BYTES], vec![1; 3 * GROUP_BYTES + 1]] {
            let groups = groups_of(&bytes);
            write(&root, &digest, &stamp, Some(&groups), Durability::Full).unwrap();
            let outboard = read(&root, &digest).unwrap();
            assert_eq!(outboard.stamp, stamp);
            assert_eq!(outboard.groups(&root, &digest).unwrap(), groups);
        }
        let list = layout::outboard_groups(&digest);
        let mut values = root.read(&list, 1000).unwrap().unwrap();
        values[40] ^= 1;
        atomic::replace(&root, &list, &values, Durability::Relaxed).unwrap();
        assert!(read(&root, &digest).unwrap().groups(&root, &digest).is_none());
        atomic::replace(&root, &list, &values[1..], Durability::Relaxed).unwrap();
        assert!(read(&root, &digest).unwrap().groups(&root, &digest).is_none());
        remove(&root, &digest).unwrap();
        assert!(read(&root, &digest).is_none() && root.read(&list, 1000).unwrap().is_none());
    }

    // Red when the size that an outboard claims is trusted: its list would be read whatever its size.
    #[test]
    fn no_list_is_longer_than_that_of_the_largest_blob() {
        assert_eq!(list_bytes(3 * ONE_GROUP + 1), Some(4 * VALUE_BYTES));
        assert_eq!(list_bytes(16 << 40), Some(512 << 20));
        for claimed in [(16 << 40) + 1, u64::MAX] {
            assert_eq!(list_bytes(claimed), None);
        }
    }

    #[test]
    fn an_outboard_without_groups_still_has_the_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let digest = Digest::sha256_of(b"any");
        let stamp = Stamp { inode: 1, size_bytes: 2, mtime_ns: 3 };
        write(&root, &digest, &stamp, None, Durability::Relaxed).unwrap();
        let outboard = read(&root, &digest).unwrap();
        assert!(outboard.stamp == stamp && outboard.groups(&root, &digest).is_none() && !outboard.is_durable);
    }
}
