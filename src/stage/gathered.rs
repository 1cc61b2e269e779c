//! Stages models that were found in other tools' stores: files that lie anywhere, with what is known about them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::item::{Content, Decision, Item, check_name, find_unchanged, has_facts, receipt_of, view_name};
use super::needed::Cloning;
use super::remote::Fetched;
use super::{Call, From, StageOptions, StageReceipt};
use crate::blob::IngestMode;
use crate::blob::manifest::TreeFile;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Record, check_id};
use crate::error::{Error, Result};
use crate::fs::Session;
use crate::fs::source::{Foreign, source_meta};
use crate::git_blob::GitBlobHasher;
use crate::hash::{Hasher, read_all};
use crate::ingest::{ContentFile, Links, Origin};
use crate::layout;
use crate::store::Store;

/// A model that was found.
#[derive(Clone, Debug)]
pub(crate) struct Gathered {
    pub(crate) id: String,
    /// The reference under which it could be found, or fetched, again.
    pub(crate) reference: String,
    /// The version that it is.
    pub(crate) pinned: Option<String>,
    /// The fingerprint of the patterns that select its files; `None` for all.
    pub(crate) selection: Option<String>,
    /// The party that named the digests of all its files.
    pub(crate) named_by: Option<String>,
    pub(crate) kind: ArtifactKind,
    /// The name of its view.
    pub(crate) name: String,
    /// Names it in messages.
    pub(crate) source: PathBuf,
    pub(crate) files: Vec<GatheredFile>,
}

/// One of its files.
#[derive(Clone, Debug)]
pub(crate) struct GatheredFile {
    /// Path below the tree; empty if the model is this one file.
    pub(crate) path: String,
    pub(crate) size_bytes: u64,
    /// The digest that it must have.
    pub(crate) expected: Option<Digest>,
    /// The hash that it must have as a blob of a git repository.
    pub(crate) git_sha1: Option<[u8; 20]>,
    pub(crate) place: FilePlace,
}

/// Where the bytes of a file are.
#[derive(Clone, Debug)]
pub(crate) enum FilePlace {
    /// In a local file at a path without symlinks.
    Outside(PathBuf, IngestMode),
    /// In the store.
    Stored,
}

/// What staging a model would do.
#[derive(Debug)]
pub(crate) struct GatheredPlan {
    /// Whether this version of it is recorded.
    pub(crate) is_here: bool,
    /// Bytes that the disk would hold more than before.
    pub(crate) new_bytes: u64,
    /// The digest of each file, if it is known and the store has it.
    pub(crate) files: Vec<Option<Digest>>,
}

/// Finds out what staging them would do. Reads no file: content is in the store if its digest is known and is there.
/// Returns one result each, in the same order.
pub(crate) fn plan_gathered(store: &Store, models: Vec<Gathered>) -> Vec<Result<GatheredPlan>> {
    let session = match Session::begin(&store.root) {
        Ok(session) => session,
        Err(error) => return models.iter().map(|_| Err(error.clone())).collect(),
    };
    let mut cloning = Cloning::new(&session);
    // The same file, and the same bytes, may belong to several models.
    let mut counted = BTreeSet::new();
    models.into_iter().map(|model| plan(store, model, &mut cloning, &mut counted)).collect()
}

fn plan(
    store: &Store,
    model: Gathered,
    cloning: &mut Cloning<'_, '_>,
    counted: &mut BTreeSet<(Option<Digest>, PathBuf)>,
) -> Result<GatheredPlan> {
    let item = match find(store, model, &StageOptions::default())? {
        Standing::Here(receipt) => {
            let files = store.files_of(receipt.kind, receipt.digest, receipt.size_bytes)?;
            let files = files.into_iter().map(|file| Some(file.digest)).collect();
            return Ok(GatheredPlan { is_here: true, new_bytes: 0, files });
        }
        Standing::New(item) => item,
    };
    let mut plan = GatheredPlan { is_here: false, new_bytes: 0, files: Vec::with_capacity(item.contents.len()) };
    for content in &item.contents {
        let size_bytes = content.file.size_bytes;
        let stored = content.file.expected.filter(|digest| {
            let blob = store.root.meta(&layout::blob(digest));
            blob.is_ok_and(|blob| blob.is_some_and(|blob| blob.size_bytes == size_bytes))
        });
        plan.files.push(stored);
        let is_first = match (content.file.expected, &content.file.origin) {
            (None, Origin::Local { path, .. }) => counted.insert((None, path.clone())),
            (digest, _) => counted.insert((digest, PathBuf::new())),
        };
        if stored.is_none() && is_first && !cloning.takes_no_room(content) {
            plan.new_bytes = plan.new_bytes.saturating_add(size_bytes);
        }
    }
    Ok(plan)
}

/// Stages them, made durable together. Returns one result each, in the same order. Uses only the options about how to
/// work, such as the observer.
pub(crate) fn stage_gathered(
    store: &Store,
    models: Vec<Gathered>,
    options: &StageOptions,
) -> Vec<Result<StageReceipt>> {
    let start = Instant::now();
    let observer = options.observer.clone().unwrap_or_else(|| Arc::new(()));
    let cancel = options.cancel.clone().unwrap_or_default();
    let mut call = Call { results: models.iter().map(|_| None).collect(), ..Call::default() };
    for (number, model) in models.into_iter().enumerate() {
        let decision = decide(store, model, options, &call.ids, &cancel);
        call.take(number, decision);
    }
    call.work_off(store, From::default(), &observer, &cancel);
    call.receipts(start)
}

/// `earlier` holds the ids that earlier models of the call replace, so what the store has under them does not count.
fn decide(
    store: &Store,
    model: Gathered,
    options: &StageOptions,
    earlier: &BTreeSet<String>,
    cancel: &Cancel,
) -> Result<Decision> {
    let mut item = match earlier.contains(&model.id) {
        true => item(model, options)?,
        false => match find(store, model, options)? {
            Standing::Here(receipt) => return Ok(Decision::Unchanged(receipt)),
            Standing::New(item) => *item,
        },
    };
    check_git_blobs(&mut item, cancel)?;
    Ok(Decision::Ingest(Box::new(item)))
}

/// How a model stands in the store.
enum Standing {
    /// It is recorded, and is what was found.
    Here(Box<StageReceipt>),
    New(Box<Item>),
}

/// Reads no file of the model.
fn find(store: &Store, model: Gathered, options: &StageOptions) -> Result<Standing> {
    check_id(&model.id)?;
    check_name(&model.name)?;
    if let Some(record) = store.record(&model.id)?
        && is_same(store, &record, &model)?
        && store.ensure_signed(&record).is_ok()
        && let Some(receipt) = receipt_of(record)
    {
        return Ok(Standing::Here(Box::new(receipt)));
    }
    let item = item(model, options)?;
    let unchanged = match find_unchanged(store, &item)? {
        None => is_the_blobs(store, &item)?,
        receipt => receipt,
    };
    Ok(unchanged.map_or_else(|| Standing::New(Box::new(item)), |receipt| Standing::Here(Box::new(receipt))))
}

/// Checks the files that are named by their hash in a git repository, and finds out the digest that each must have when
/// it is ingested.
fn check_git_blobs(item: &mut Item, cancel: &Cancel) -> Result<()> {
    for content in &mut item.contents {
        if let (Some(named), Origin::Local { path, .. }) = (content.git_sha1, &content.file.origin) {
            cancel.check(|| format!("reading {}", path.display()))?;
            content.file.expected = Some(git_blob(path, named)?);
        }
    }
    Ok(())
}

/// The SHA-256 of a file that has this hash in a git repository. Other bytes are an error.
fn git_blob(path: &Path, named: [u8; 20]) -> Result<Digest> {
    let source = Foreign::open_real(path)?;
    let size_bytes = source.before().size_bytes;
    let (mut git, mut sha256) = (GitBlobHasher::new(size_bytes), Hasher::default());
    read_all(&mut source.file(), size_bytes, |bytes| {
        git.update(bytes);
        sha256.update(bytes);
    })
    .map_err(|e| source.fail("read", e))?;
    let actual = git.finish();
    if actual != named {
        // If it was being written to, it is not damaged.
        source.stamp_after()?;
        let (named, actual) = (hex::encode(named), hex::encode(actual));
        return Err(Error::DamagedCache { path: path.to_path_buf(), named, actual });
    }
    Ok(sha256.finish())
}

/// Returns the receipt of the last staging if every file is still an inode of the store: its blob, by another name. A new
/// link sets the change time of an inode, so its stamp cannot show that.
fn is_the_blobs(store: &Store, item: &Item) -> Result<Option<StageReceipt>> {
    let Some(record) = store.record(&item.id)? else { return Ok(None) };
    let Some(digest) = record.entry.digest.filter(|_| record.kind == item.kind) else { return Ok(None) };
    let is_same = record.source.as_ref().is_some_and(|source| source.reference == item.reference);
    if !is_same || !has_facts(store, &record, item) || !store.is_intact(&record)? {
        return Ok(None);
    }
    let files = store.files_of(record.kind, digest, record.size_bytes)?;
    let is_blob = |(content, file): (&Content, &TreeFile)| {
        let Origin::Local { path, .. } = &content.file.origin else { return Ok(false) };
        let (blob, source) = (store.root.meta(&layout::blob(&file.digest))?, source_meta(path)?);
        Ok(content.file.path == file.path && blob.is_some_and(|blob| blob.same_inode(&source)))
    };
    let are_blobs = item.contents.iter().zip(&files).map(is_blob).collect::<Result<Vec<bool>>>()?;
    let is_whole = files.len() == item.contents.len() && are_blobs.iter().all(|is_blob| *is_blob);
    Ok(if is_whole { receipt_of(record) } else { None })
}

/// Whether the record has the same version of the same model, with the same files, and is intact.
fn is_same(store: &Store, record: &Record, model: &Gathered) -> Result<bool> {
    let (Some(source), Some(digest)) = (&record.source, record.entry.digest) else { return Ok(false) };
    let is_same_version = model.pinned.is_some()
        && source.pinned == model.pinned
        && source.reference == model.reference
        && source.fingerprint == model.selection
        && record.kind == model.kind
        && record.entry.local_path.file_name() == Some(model.name.as_ref());
    if !is_same_version || !store.is_intact(record)? {
        return Ok(false);
    }
    let held = store.files_of(record.kind, digest, record.size_bytes)?;
    let held = held.iter().map(|file| (file.path.as_str(), file.size_bytes));
    Ok(held.eq(model.files.iter().map(|file| (file.path.as_str(), file.size_bytes))))
}

fn item(model: Gathered, options: &StageOptions) -> Result<Item> {
    let contents = model.files.into_iter().map(content).collect::<Result<Vec<Content>>>()?;
    let fetched = model.pinned.map(|pinned| Fetched::gathered(pinned, model.selection));
    Ok(Item {
        named_by: model.named_by,
        is_adopted: true,
        name: view_name(Path::new(&model.name)),
        mode: IngestMode::Share,
        wait: options.wait,
        defer_outboard: options.defer_outboard,
        require_complete: options.require_complete,
        fetched,
        ..Item::new(model.id, model.reference, model.kind, model.source, contents)
    })
}

fn content(file: GatheredFile) -> Result<Content> {
    let GatheredFile { path, size_bytes, expected, git_sha1, place } = file;
    let (origin, size_bytes, stamp) = match place {
        FilePlace::Outside(source, mode) => {
            let stamp = source_meta(&source)?.source_stamp();
            let origin = Origin::Local { path: source, mode, links: Links::Refused };
            (origin, stamp.stamp.size_bytes, Some(stamp))
        }
        // If it disappears in the meantime, the empty bytes fail the digest check.
        FilePlace::Stored => (Origin::Memory(Vec::new()), size_bytes, None),
    };
    let file = ContentFile { path, size_bytes, expected, origin, present: None };
    Ok(Content { file, stamp, git_sha1 })
}
