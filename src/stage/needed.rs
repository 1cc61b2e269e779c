//! How much room a batch needs: none for content that is already in the store, none on the disk for what is cloned or
//! linked, and twice the size if a view cannot be a hardlink.

use std::collections::{BTreeMap, BTreeSet};

use super::item::{Content, Item};
use crate::blob::{self, Checker, IngestMode, Subject};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::ArtifactKind;
use crate::error::Result;
use crate::fs::Session;
use crate::fs::source::{Foreign, source_meta};
use crate::gc::{Room, Wanted, remove_dead_sessions};
use crate::git_blob::git_blob_sha1;
use crate::ingest::{self, Candidates, ContentFile, Origin};
use crate::layout;
use crate::store::Store;
use crate::sum::SumBytes;

/// A smaller file is ingested almost as fast as it is opened and compared.
const COMPARE_FROM_BYTES: u64 = 1 << 20;

/// So many bytes are copied, hashed and synced in about five times the time in which one blob is listed. If a batch has
/// fewer for each blob, and nothing of it is here, the list of all blobs would delay it by more than a fifth.
const BYTES_A_LISTED_BLOB: u64 = 8 << 10;

/// Finds out which contents of a batch the store already has, and makes room for the rest. Always compares files whose known
/// digest is in the store, and large ones if that [pays](comparing_pays), because that is faster than a copy. Compares the rest only
/// before it would evict anything for them.
pub(super) fn make_room_for(
    store: &Store,
    session: &Session<'_>,
    batch: &mut [(usize, Item)],
    cancel: &Cancel,
    advanced: &(dyn Fn(&str, u64) + Sync),
) -> Result<()> {
    remove_dead_sessions(store);
    name_git_blobs(store, batch)?;
    let known: Vec<Vec<Option<Digest>>> = batch.iter().map(|(_, item)| expected(store, item)).collect();
    check_unfetched(store, batch, &known, cancel)?;
    let pays = comparing_pays(store, batch, &known);
    let is_due = |content: &Content| pays && is_large(content);
    compare(store, batch, &known, &|content, known| known.is_some() || is_due(content), cancel, advanced)?;
    // A batch never needs more than twice its size: if that much is free, there is nothing more to find out.
    let size_bytes = batch.iter().map(|(_, item)| item.size_bytes()).sum_bytes();
    let at_most = size_bytes.saturating_mul(2);
    let most = Wanted { stored_bytes: at_most, copied_bytes: at_most, ..Wanted::default() };
    let room = Room::measure(store)?;
    if room.fits(&most)? || room.fits(&wanted(store, session, batch))? {
        return Ok(());
    }
    compare(store, batch, &known, &|content, known| known.is_none() && !is_due(content), cancel, advanced)?;
    let wanted = wanted(store, session, batch);
    if room.fits(&wanted)? { Ok(()) } else { room.make(&wanted) }
}

fn is_large(content: &Content) -> bool {
    content.file.size_bytes >= COMPARE_FROM_BYTES && matches!(content.file.origin, Origin::Local { .. })
}

/// Whether to compare the large files of a batch with all blobs: the more blobs there are, the more bytes must be at stake.
fn comparing_pays(store: &Store, batch: &[(usize, Item)], known: &[Vec<Option<Digest>>]) -> bool {
    let contents = batch.iter().zip(known).flat_map(|((_, item), known)| {
        item.contents
            .iter()
            .zip(known)
            .filter(|(content, known)| known.is_none() && is_comparable(item, content) && is_large(content))
    });
    let at_stake_bytes = contents.map(|(content, _)| content.file.size_bytes).sum_bytes();
    at_stake_bytes > 0 && at_stake_bytes >= blob::estimate(&store.root).saturating_mul(BYTES_A_LISTED_BLOB)
}

/// Larger files have a SHA-256 wherever they come from.
const MAX_GIT_BLOB_BYTES: u64 = 64 << 20;

/// Finds the contents in the store that are named only by their hash in a git repository, so that these are not fetched
/// again. Reads each blob of such a size.
fn name_git_blobs(store: &Store, batch: &mut [(usize, Item)]) -> Result<()> {
    let unnamed = |content: &&mut Content| {
        content.file.expected.is_none() && content.git_sha1.is_some() && content.file.size_bytes <= MAX_GIT_BLOB_BYTES
    };
    let mut contents: Vec<&mut Content> =
        batch.iter_mut().flat_map(|(_, item)| &mut item.contents).filter(unnamed).collect();
    if contents.is_empty() {
        return Ok(());
    }
    let sizes: BTreeSet<u64> = contents.iter().map(|content| content.file.size_bytes).collect();
    let mut by_sha1: BTreeMap<[u8; 20], Digest> = BTreeMap::new();
    for digest in blob::by_size(&store.root, &sizes)? {
        // A blob that cannot be read is fetched again.
        if let Ok(Some(bytes)) = store.root.read(&layout::blob(&digest), MAX_GIT_BLOB_BYTES) {
            by_sha1.insert(git_blob_sha1(&bytes), digest);
        }
    }
    for content in &mut contents {
        content.file.expected = content.git_sha1.and_then(|sha1| by_sha1.get(&sha1).copied());
    }
    Ok(())
}

/// Compares each content for which `is_due` holds with the blob that it must be, if that is known, and otherwise with
/// every blob of its size. Ignores blobs that cannot be inspected.
fn compare(
    store: &Store,
    batch: &mut [(usize, Item)],
    known: &[Vec<Option<Digest>>],
    is_due: &dyn Fn(&Content, Option<Digest>) -> bool,
    cancel: &Cancel,
    advanced: &(dyn Fn(&str, u64) + Sync),
) -> Result<()> {
    let is_due =
        |item: &Item, content: &Content, known: Option<Digest>| is_comparable(item, content) && is_due(content, known);
    let (mut digests, mut sizes) = (BTreeSet::new(), BTreeSet::new());
    for ((_, item), known) in batch.iter().zip(known) {
        for (content, known) in
            item.contents.iter().zip(known).filter(|(content, known)| is_due(item, content, **known))
        {
            match known {
                Some(digest) => drop(digests.insert(*digest)),
                None => drop(sizes.insert(content.file.size_bytes)),
            }
        }
    }
    if !sizes.is_empty() {
        digests.extend(blob::by_size(&store.root, &sizes).unwrap_or_default());
    }
    let candidates = Candidates::of(&store.root, digests);
    if candidates.is_empty() {
        return Ok(()); // do not even open a source
    }
    for ((_, item), known) in batch.iter_mut().zip(known) {
        for number in 0..item.contents.len() {
            let (Some(content), Some(known)) = (item.contents.get(number), known.get(number)) else { continue };
            if !is_due(item, content, *known) {
                continue;
            }
            let Origin::Local { path, links, .. } = &content.file.origin else {
                // A digest in the store is enough: the remote source is not asked.
                let present = known.and_then(|digest| candidates.by_digest(&digest));
                if let Some(content) = item.contents.get_mut(number) {
                    content.file.present = present;
                }
                continue;
            };
            let told = |bytes| advanced(&item.reference, bytes);
            let found = candidates.find(path, *links, cancel, &told);
            // A cancelled comparison does not prove that the content is new, so nothing may be evicted for it.
            cancel.check(|| format!("comparing {}", path.display()))?;
            let present = found.filter(|present| known.is_none_or(|digest| digest == present.digest));
            if let Some(content) = item.contents.get_mut(number) {
                content.file.present = present;
            }
        }
    }
    Ok(())
}

/// Checks blobs whose stamp does not vouch for them if that could save a fetch.
fn check_unfetched(
    store: &Store,
    batch: &[(usize, Item)],
    known: &[Vec<Option<Digest>>],
    cancel: &Cancel,
) -> Result<()> {
    let contents = batch.iter().zip(known).flat_map(|((_, item), known)| item.contents.iter().zip(known));
    let mut wanted: BTreeMap<Digest, u64> = BTreeMap::new();
    for (content, digest) in contents.filter(|(content, _)| !matches!(content.file.origin, Origin::Local { .. })) {
        if let Some(digest) = digest
            && store.root.meta(&layout::blob(digest))?.is_some()
            && Candidates::of(&store.root, [*digest]).is_empty()
        {
            wanted.insert(*digest, content.file.size_bytes);
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let subjects: Vec<Subject> = wanted.iter().map(|(digest, size)| Subject::blob(digest, Some(*size))).collect();
    let checker = Checker { cancel: Some(cancel), ..Checker::quiet(&store.root, store.durability()) };
    // A bad blob is fetched, and the publish finds it bad again.
    checker.all(&subjects).map(drop)
}

/// A file whose own inode is to become the blob is not compared.
fn is_comparable(item: &Item, content: &Content) -> bool {
    content.file.present.is_none() && item.mode != IngestMode::Link
}

/// Returns the known digest of each content, including those listed by an expected tree manifest that the store has.
fn expected(store: &Store, item: &Item) -> Vec<Option<Digest>> {
    let manifest = item.expected.filter(|_| item.kind == ArtifactKind::Tree);
    let files = manifest.and_then(|digest| store.files_of(item.kind, digest, 0).ok()).unwrap_or_default();
    let by_path: BTreeMap<&str, Digest> = files.iter().map(|file| (file.path.as_str(), file.digest)).collect();
    let of = |content: &Content| item.expected_of(content).or_else(|| by_path.get(&*content.file.path).copied());
    item.contents.iter().map(of).collect()
}

fn wanted(store: &Store, session: &Session<'_>, batch: &[(usize, Item)]) -> Wanted<'static> {
    let mut cloning = Cloning::new(session);
    let can_hardlink = cloning.can_hardlink;
    let (mut wanted, mut partials) = (Wanted::default(), BTreeSet::new());
    for (_, item) in batch {
        for content in &item.contents {
            let size_bytes = content.file.size_bytes;
            if !can_hardlink {
                wanted.add(size_bytes, size_bytes);
            }
            match content.file.present {
                Some(present) => drop(wanted.held.insert(present.digest)),
                None if item.mode == IngestMode::Link => {}
                None if cloning.takes_no_room(content) => wanted.add(size_bytes, 0),
                None => {
                    // An interrupted copy or fetch already has its room reserved. Contents with the same key share one
                    // partial.
                    let file = ContentFile { expected: item.expected_of(content), ..content.file.clone() };
                    let may_be_left =
                        size_bytes >= ingest::PARTIAL_FROM_BYTES || matches!(file.origin, Origin::Remote(_));
                    let reserved = if may_be_left { ingest::reserved(&store.root, &file) } else { None };
                    let reserved_bytes =
                        reserved.filter(|(folder, _)| partials.insert(folder.clone())).map_or(0, |(_, bytes)| bytes);
                    let new_bytes = size_bytes.saturating_sub(reserved_bytes);
                    wanted.add(new_bytes, new_bytes);
                }
            }
        }
    }
    wanted
}

/// Which sources share their blocks or their inode with the store, and so need no room on the disk.
pub(super) struct Cloning<'s, 'r> {
    session: &'s Session<'r>,
    can_hardlink: bool,
    /// Whether files of a device can be cloned into the root. Some file systems clone across devices, as btrfs does
    /// across its subvolumes.
    by_device: BTreeMap<u64, bool>,
}

impl<'s, 'r> Cloning<'s, 'r> {
    pub(super) fn new(session: &'s Session<'r>) -> Self {
        Cloning { session, can_hardlink: session.can_hardlink(), by_device: BTreeMap::new() }
    }

    pub(super) fn takes_no_room(&mut self, content: &Content) -> bool {
        let Origin::Local { path, mode, .. } = &content.file.origin else { return false };
        let Ok(source) = source_meta(path) else { return false };
        let session = self.session;
        let is_here = || session.device().is_some_and(|device| device == source.device);
        match mode {
            IngestMode::Copy => false,
            IngestMode::Move if self.can_hardlink && is_here() => true,
            IngestMode::Share if self.can_hardlink && is_here() && ingest::may_be_taken(&source) => true,
            _ => *self
                .by_device
                .entry(source.device)
                .or_insert_with(|| Foreign::open(path).is_ok_and(|source| session.can_reflink_from(source.file()))),
        }
    }
}
