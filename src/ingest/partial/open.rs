//! Resumes the partial that another process left, or begins a new one.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rayon::prelude::*;

use super::journal::{self, Content, Journal, Writer};
use super::{DATA, JOURNAL, Partial, What, group_range};
use crate::blob::Pending;
use crate::error::Result;
use crate::fs::lock::{Hold, try_lock_file};
use crate::fs::map::Map;
use crate::fs::owned::OwnedFolder;
use crate::fs::sparse::Blocks;
use crate::fs::{Durability, Kind, Meta, Root, Temp, current_user, meta_of, space};
use crate::hash::groups;
use crate::layout;
use crate::threads::ready_for_rayon;

/// A listing locks a partial's folder for a moment; a process that fills it holds the lock for long.
const ATTEMPTS: usize = 5;
const NAP: Duration = Duration::from_millis(10);

/// How the data of a new partial begins.
#[derive(Clone, Copy)]
pub(in crate::ingest) enum Begin<'a> {
    /// As an empty file that gets its blocks this way.
    Empty(Blocks),
    /// As this file, which is a clone.
    As(&'a Pending<'a>),
}

impl<'r> Partial<'r> {
    /// Opens or begins the partial of these bytes. `None`: another process fills it, or partials are not possible here.
    /// The caller then makes a private copy, which does not outlive its process. `begin` says how new data begins.
    pub(in crate::ingest) fn open(root: &'r Root, what: &What, size_bytes: u64, begin: Begin<'_>) -> Option<Self> {
        let opened = Self::try_open(root, what, size_bytes, begin);
        opened.unwrap_or_else(|error| {
            tracing::debug!(what = what.name, %error, "could not open a partial");
            None
        })
    }

    fn try_open(root: &'r Root, what: &What, size_bytes: u64, begin: Begin<'_>) -> Result<Option<Self>> {
        // A file of one group has no chaining values.
        if groups::count(size_bytes) < 2 {
            return Ok(None);
        }
        let Some(folder) = own(root, &what.folder())? else { return Ok(None) };
        // With two writers and a changing source, one could write to what the other has published.
        if !excludes(root, &folder)? || !is_mine(root, folder.path())? {
            root.remove_empty_dir(folder.path())?; // if this call made it
            return Ok(None);
        }
        let is_clone = matches!(begin, Begin::As(_));
        let found = match take_up(root, &folder, what, size_bytes, is_clone)? {
            Some(found) => found,
            None => begin_anew(root, &folder, what, size_bytes, begin)?,
        };
        Ok(Some(found.of(root, folder, is_clone)))
    }
}

/// Creates the folder if there is none, and becomes its owner.
fn own(root: &Root, folder: &Path) -> Result<Option<OwnedFolder>> {
    root.make_dirs(Path::new(layout::PARTIALS))?;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            thread::sleep(NAP);
        }
        if root.meta(folder)?.is_none()
            && let Err(error) = root.make_private_dir(folder)
            && root.meta(folder)?.is_none()
        {
            return Err(error);
        }
        if let Some(owned) = OwnedFolder::claim(root, folder)? {
            return Ok(Some(owned));
        }
    }
    Ok(None)
}

/// Whether the lock on the folder excludes a second one.
fn excludes(root: &Root, folder: &OwnedFolder) -> Result<bool> {
    let Some(again) = root.open_dir(folder.path())? else { return Ok(false) };
    Ok(try_lock_file(root, again, folder.path(), Hold::Exclusive)?.is_none())
}

/// Another user can write to their own file at any time.
fn is_mine(root: &Root, name: &Path) -> Result<bool> {
    Ok(root.meta(name)?.is_some_and(|meta| meta.owner == current_user()))
}

/// A partial without its folder.
struct Found {
    data: File,
    journal: Journal,
    size_bytes: u64,
    content: Content,
}

impl Found {
    fn of<'r>(self, root: &'r Root, folder: OwnedFolder, is_clone: bool) -> Partial<'r> {
        let Found { data, journal, size_bytes, content: Content { values, midstates, digest, .. } } = self;
        let held = values.iter().enumerate().filter(|(_, value)| value.is_some());
        let bytes_of = |number| {
            let range = group_range(number, size_bytes);
            range.end - range.start
        };
        let resumed_bytes = held.map(|(number, _)| bytes_of(number)).sum();
        let midstate = midstates.last().copied();
        let before = Vec::new();
        Partial {
            root,
            folder,
            data,
            journal,
            size_bytes,
            is_clone,
            values,
            before,
            told: None,
            midstate,
            digest,
            resumed_bytes,
        }
    }
}

/// `None`: nothing usable is there.
fn take_up(root: &Root, folder: &OwnedFolder, what: &What, size_bytes: u64, is_clone: bool) -> Result<Option<Found>> {
    let (data_name, journal_name) = (folder.path().join(DATA), folder.path().join(JOURNAL));
    let identity = what.identity();
    for name in [&data_name, &journal_name] {
        let is_usable = |meta: &Meta| meta.kind == Kind::File && meta.owner == current_user();
        if !root.meta(name)?.is_some_and(|meta| is_usable(&meta)) {
            return Ok(None);
        }
    }
    let Some(journal_file) = root.open_file(&journal_name)? else { return Ok(None) };
    let Some(mut content) = Content::read(journal_file, &identity, size_bytes) else { return Ok(None) };
    let Some(data) = root.open_file(&data_name)? else { return Ok(None) };
    let meta = meta_of(&data).map_err(|e| root.fail("look at", &data_name, e))?;
    if meta.size_bytes != size_bytes {
        return Ok(None);
    }
    let writer = Writer::of(&data).map_err(|e| root.fail("look at", &data_name, e))?;
    let is_believed = writer == Some(content.writer);
    if !is_believed && is_clone {
        return Ok(None); // bytes not yet hashed may be gone; cloning again costs nothing
    }
    if !is_believed {
        check(&mut content, &data, size_bytes);
    }
    let prefix = held_prefix(&content, size_bytes);
    content.midstates.retain(|midstate| midstate.length_bytes <= prefix);
    content.digest = content.digest.filter(|_| prefix == size_bytes);
    let data = match content.digest {
        // It may already be published, and a blob is never written to.
        Some(_) => data,
        None if meta.links > 1 => return Ok(None),
        None => match root.open_private_file(&data_name) {
            Ok(Some(data)) => data,
            Ok(None) => return Ok(None),
            // It was sealed, and the journal could not record that.
            Err(error) if error.is_permission_denied() => return Ok(None),
            Err(error) => return Err(error),
        },
    };
    if !is_believed {
        // The groups that passed the check are valid for this boot from now on.
        let (text, records) = journal::compact(identity, size_bytes, writer, &what.name, &content);
        Temp::write(root, folder.path(), &text, Durability::Relaxed)?.publish_over(&journal_name)?;
        content.records = records;
    }
    let Some(journal_file) = root.open_private_file(&journal_name)? else { return Ok(None) };
    let journal = Journal::resume(journal_file, identity, &what.name, content.records);
    let journal = journal.map_err(|e| root.fail("cut", &journal_name, e))?;
    Ok(Some(Found { data, journal, size_bytes, content }))
}

/// Reads each group back and compares it with its chaining value: a power cut may have lost any of them.
fn check(content: &mut Content, data: &File, size_bytes: u64) {
    ready_for_rayon();
    content.values.par_iter_mut().enumerate().for_each(|(number, slot)| {
        let is_there = |value| {
            // A group that the disk cannot read is gone, too.
            let bytes = Map::read_in(data, group_range(number, size_bytes));
            bytes.is_ok_and(|bytes| groups::value_of(number as u64, &bytes) == value)
        };
        *slot = slot.filter(|value| is_there(*value));
    });
}

/// The length of the part before the first gap.
fn held_prefix(content: &Content, size_bytes: u64) -> u64 {
    let groups = content.values.iter().take_while(|value| value.is_some()).count();
    group_range(groups, size_bytes).start
}

fn begin_anew(root: &Root, folder: &OwnedFolder, what: &What, size_bytes: u64, begin: Begin<'_>) -> Result<Found> {
    for name in root.names(folder.path())? {
        root.remove_all(&folder.path().join(name))?;
    }
    begin_in_empty(root, folder, what, size_bytes, begin).inspect_err(|_| {
        let _ = root.remove_all(folder.path()); // best effort, like all cleanup after a failure
    })
}

fn begin_in_empty(root: &Root, folder: &OwnedFolder, what: &What, size_bytes: u64, begin: Begin<'_>) -> Result<Found> {
    let (data_name, journal_name) = (folder.path().join(DATA), folder.path().join(JOURNAL));
    let data = match begin {
        Begin::Empty(blocks) => {
            let data = root.create_file(&data_name, 0o600)?;
            space::set_size(&data, size_bytes, blocks).map_err(|e| root.fail("reserve room for", &data_name, e))?;
            data
        }
        Begin::As(clone) => {
            let fail = |e| root.fail("link the clone to", &data_name, e);
            // The clone is a snapshot, perhaps of another state than the one asked for.
            if meta_of(clone.file()).map_err(fail)?.size_bytes != size_bytes {
                return Err(fail(io::ErrorKind::InvalidData.into()));
            }
            // Its first name goes when the clone is dropped.
            root.link(clone.name(), &data_name).map_err(fail)?;
            clone.file().try_clone().map_err(fail)?
        }
    };
    let writer = Writer::of(&data).map_err(|e| root.fail("look at", &data_name, e))?;
    let journal_file = root.create_file(&journal_name, 0o600)?;
    let journal = Journal::begin(journal_file, what.identity(), size_bytes, writer, &what.name);
    let journal = journal.map_err(|e| root.fail("write", &journal_name, e))?;
    let content = Content::empty(size_bytes);
    Ok(Found { data, journal, size_bytes, content })
}
