//! What a batch needs room for: nothing for what is here already, nothing on the disk for what is cloned or linked, and twice
//! the size where a view cannot be a hardlink.

use std::collections::{BTreeMap, BTreeSet};

use super::item::{Content, Item};
use crate::blob::{self, IngestMode};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::error::Result;
use crate::fs::Session;
use crate::fs::source::{Foreign, source_meta};
use crate::gc::{Wanted, has_room, make_room, remove_dead_sessions};
use crate::ingest::{self, Origin, find_present};
use crate::store::Store;
use crate::sum::SumBytes;

/// Finds out what of a batch is here already, and makes room for the rest. Large files, and files whose digest is given and
/// here, are compared in any case, which is faster than a copy; all others before anything is evicted for them.
pub(super) fn make_room_for(
    store: &Store,
    session: &Session<'_>,
    batch: &mut [(usize, Item)],
    cancel: &Cancel,
    advanced: &(dyn Fn(&str, u64) + Sync),
) -> Result<()> {
    remove_dead_sessions(store);
    find_all(store, batch, &|content| content.file.size_bytes >= ingest::PARTIAL_FROM_BYTES, cancel, advanced);
    // Twice the size is the most that it can be: where there is that much, nothing has to be tried.
    let size_bytes = batch.iter().map(|(_, item)| item.size_bytes()).sum_bytes();
    let at_most = size_bytes.saturating_mul(2);
    let most = Wanted { stored_bytes: at_most, copied_bytes: at_most, ..Wanted::default() };
    if has_room(store, &most)? || has_room(store, &wanted(store, session, batch))? {
        return Ok(());
    }
    find_all(store, batch, &|_| true, cancel, advanced);
    make_room(store, &wanted(store, session, batch))
}

/// Compares contents with the blobs that they may be: the one that is expected, or, of those that `by_size` names, all
/// of the same size. Blobs that cannot be looked at are none.
fn find_all(
    store: &Store,
    batch: &mut [(usize, Item)],
    by_size: &dyn Fn(&Content) -> bool,
    cancel: &Cancel,
    advanced: &(dyn Fn(&str, u64) + Sync),
) {
    let contents = batch.iter().flat_map(|(_, item)| item.contents.iter().map(move |content| (item, content)));
    let sizes: BTreeSet<u64> = contents
        .filter(|(item, content)| is_comparable(item, content) && by_size(content))
        .map(|(_, content)| content.file.size_bytes)
        .collect();
    let of_size = match sizes.is_empty() {
        true => BTreeMap::new(),
        false => blob::by_size(&store.root, &sizes).unwrap_or_default(),
    };
    for (_, item) in batch {
        let expected = expected(store, item);
        for number in 0..item.contents.len() {
            let Some(content) = item.contents.get(number).filter(|content| is_comparable(item, content)) else {
                continue;
            };
            let candidates = match expected.get(number).copied().flatten() {
                Some(digest) => vec![digest],
                None if by_size(content) => of_size.get(&content.file.size_bytes).cloned().unwrap_or_default(),
                None => Vec::new(),
            };
            let Origin::Local { path, .. } = &content.file.origin else { continue };
            if candidates.is_empty() {
                continue; // without a look at the source
            }
            let told = |bytes| advanced(&item.reference, bytes);
            let present = find_present(&store.root, path, &candidates, cancel, &told);
            if let Some(content) = item.contents.get_mut(number) {
                content.file.present = present;
            }
        }
    }
}

/// A file whose own inode is to be the blob is not compared.
fn is_comparable(item: &Item, content: &Content) -> bool {
    content.file.present.is_none() && item.mode != IngestMode::Link
}

/// What each content has to hash to, as far as that is known: also by the manifest that is expected of a tree and is here.
fn expected(store: &Store, item: &Item) -> Vec<Option<Digest>> {
    let manifest = item.expected.filter(|_| item.kind == ArtifactKind::Tree);
    let files = manifest.and_then(|digest| store.files_of(item.kind, digest, 0).ok()).unwrap_or_default();
    let by_path: BTreeMap<&str, Digest> = files.iter().map(|file| (file.path.as_str(), file.digest)).collect();
    let of = |content: &Content| item.expected_of(content).or_else(|| by_path.get(&*content.file.path).copied());
    item.contents.iter().map(of).collect()
}

fn wanted(store: &Store, session: &Session<'_>, batch: &[(usize, Item)]) -> Wanted<'static> {
    let can_hardlink = session.can_hardlink();
    let mut cloning = Cloning { session, can_hardlink, by_device: BTreeMap::new() };
    let mut wanted = Wanted::default();
    for (_, item) in batch {
        for content in &item.contents {
            let size_bytes = content.file.size_bytes;
            if !can_hardlink {
                wanted.stored_bytes = wanted.stored_bytes.saturating_add(size_bytes);
                wanted.copied_bytes = wanted.copied_bytes.saturating_add(size_bytes);
            }
            if let Some(present) = content.file.present {
                wanted.held.insert(present.digest);
            } else if item.mode != IngestMode::Link {
                wanted.stored_bytes = wanted.stored_bytes.saturating_add(size_bytes);
                let copied_bytes = if cloning.takes_no_room(content) { 0 } else { size_bytes };
                wanted.copied_bytes = wanted.copied_bytes.saturating_add(copied_bytes);
            }
        }
    }
    // What an interrupted copy has left has its room already.
    let reserved_bytes = reserved_bytes(store, batch);
    wanted.stored_bytes = wanted.stored_bytes.saturating_sub(reserved_bytes);
    wanted.copied_bytes = wanted.copied_bytes.saturating_sub(reserved_bytes);
    wanted
}

/// Which sources share their blocks, or their inode, with the store, so that the disk needs no room for them.
struct Cloning<'s, 'r> {
    session: &'s Session<'r>,
    can_hardlink: bool,
    /// Whether a file of this device can be cloned into the root: some file systems do so across devices, as btrfs does
    /// across its subvolumes.
    by_device: BTreeMap<u64, bool>,
}

impl Cloning<'_, '_> {
    fn takes_no_room(&mut self, content: &Content) -> bool {
        let Origin::Local { path, mode } = &content.file.origin else { return false };
        let Ok(source) = source_meta(path) else { return false };
        let session = self.session;
        let is_here = || session.device().is_some_and(|device| device == source.device);
        match mode {
            IngestMode::Copy => false,
            IngestMode::Move if self.can_hardlink && is_here() => true,
            _ => *self
                .by_device
                .entry(source.device)
                .or_insert_with(|| Foreign::open(path).is_ok_and(|source| session.can_reflink_from(source.file()))),
        }
    }
}

/// What partials of these items have on disk.
fn reserved_bytes(store: &Store, batch: &[(usize, Item)]) -> u64 {
    let contents = batch.iter().flat_map(|(_, item)| &item.contents);
    let large = contents
        .filter(|content| content.file.size_bytes >= ingest::PARTIAL_FROM_BYTES && content.file.present.is_none());
    // A path that several of them name has one partial.
    let paths: BTreeSet<_> = large
        .filter_map(|content| match &content.file.origin {
            Origin::Local { path, .. } => Some(path),
            Origin::Remote(_) | Origin::Memory(_) => None,
        })
        .collect();
    paths.into_iter().map(|path| ingest::reserved_bytes(&store.root, path)).sum_bytes()
}
