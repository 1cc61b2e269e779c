//! Finds the entries that a text stands for if it is not an id: by what else a person knows of a model, or by a path
//! from a tool that shows which files a process has open.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::entry::{ArtifactKind, Record};
use crate::error::Result;
use crate::layout::{self, Thing};
use crate::model_ref::{ModelRef, absolute};
use crate::pattern::Pattern;
use crate::store::Store;

/// With fewer digits, a digest could be an ordinary word.
const LEAST_DIGITS: usize = 8;

/// How many hex digits a digest has.
const DIGITS: usize = 64;

/// Whether a text may be a pattern for ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Globs {
    /// The caller wants one entry, and a pattern does not name one.
    No,
    Yes,
}

/// The entries that a text stands for, if it is not the id of one, sorted by id. The first of these that finds any
/// counts:
///
/// 1. a reference, whose own string is the id,
/// 2. a pattern for ids,
/// 3. a digest, or its first digits,
/// 4. a path below the root.
///
/// Only the last three read the whole index. If the text can be none of the four, returns the error of parsing it as a
/// reference.
pub(super) fn by_text(store: &Store, text: &str, globs: Globs) -> Result<Vec<Record>> {
    let reference = ModelRef::parse(text);
    if let Ok(reference) = &reference
        && let Some(record) = store.record(&reference.id()?)?
    {
        return Ok(vec![record]);
    }
    let pattern = (globs == Globs::Yes && text.contains(['*', '?', '['])).then(|| Pattern::parse(text));
    let digests = digests_of(text);
    let mut found = Vec::new();
    if let Some(pattern) = &pattern {
        found = records_with(store, &|record| pattern.matches(&record.entry.id))?;
    }
    if let (Some(digests), true) = (&digests, found.is_empty()) {
        found = by_digest(store, digests)?;
    }
    if let (Ok(ModelRef::File { path }), true) = (&reference, found.is_empty()) {
        found = by_path(store, path)?;
    }
    found.sort_unstable_by(|a, b| a.entry.id.cmp(&b.entry.id));
    match reference {
        Err(error) if pattern.is_none() && digests.is_none() => Err(error),
        _ => Ok(found),
    }
}

fn records_with(store: &Store, is_meant: &dyn Fn(&Record) -> bool) -> Result<Vec<Record>> {
    let mut found = Vec::new();
    store.index.each(&mut |record| {
        found.extend(Some(record).filter(is_meant));
        Ok(())
    })?;
    Ok(found)
}

/// The digests that begin with the digits of a text.
fn digests_of(text: &str) -> Option<RangeInclusive<Digest>> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    if !(LEAST_DIGITS..=DIGITS).contains(&digits.len()) || !digits.is_ascii() {
        return None;
    }
    let filled = |with: &str| Digest::from_sha256_hex(&format!("{digits}{}", with.repeat(DIGITS - digits.len())));
    Some(filled("0")?..=filled("f")?)
}

/// The entries with such a digest, and those that need a blob with one: a file of a tree, or a signature.
///
/// A tree whose manifest cannot be read is still found by its own digest. Its files are unknown, so if nothing is
/// found, the result is an error: the tree may have a file with that digest.
fn by_digest(store: &Store, digests: &RangeInclusive<Digest>) -> Result<Vec<Record>> {
    let (mut found, mut unread) = (Vec::new(), None);
    store.try_each_record(&mut |record, needed| {
        let is_own = record.entry.digest.iter().chain(&record.needs).any(|digest| digests.contains(digest));
        match needed {
            Ok(needed) if is_own || needed.blobs.iter().any(|digest| digests.contains(digest)) => {
                found.push(record.clone());
            }
            Err(_) if is_own => found.push(record.clone()),
            Err(error) => unread = Some(error),
            Ok(_) => {}
        }
        Ok(())
    })?;
    unread.filter(|_| found.is_empty()).map_or(Ok(found), Err)
}

/// The entries that show something at a path below the root. The path may lead there through symlinks.
fn by_path(store: &Store, path: &Path) -> Result<Vec<Record>> {
    let path = absolute(path)?;
    let real = path.canonicalize().ok();
    for relative in [Some(path), real].into_iter().flatten().filter_map(|path| store.root.below(&path)) {
        let found = by_place(store, &relative)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

fn by_place(store: &Store, relative: &Path) -> Result<Vec<Record>> {
    let place: PathBuf = store.root.absolute(relative);
    let is_shown = |record: &Record| match record.kind {
        ArtifactKind::Tree => place.starts_with(&record.entry.local_path),
        _ => place == record.entry.local_path,
    };
    match layout::classify(relative) {
        // On an overlay, where views are symlinks, an engine has the blob itself open.
        Thing::Blob(digest) => by_digest(store, &(digest..=digest)),
        Thing::ViewFolder(_) | Thing::InView => match records_with(store, &is_shown)? {
            // A lease keeps the view of an id that was renamed or removed; this finds the entries that have its content
            // now.
            none if none.is_empty() => records_of_view(store, relative),
            found => Ok(found),
        },
        Thing::Foreign => records_with(store, &is_shown),
        _ => Ok(Vec::new()),
    }
}

/// The entries of the content that a view's folder is named after.
fn records_of_view(store: &Store, relative: &Path) -> Result<Vec<Record>> {
    let digits = relative.ancestors().find_map(|above| match layout::classify(above) {
        Thing::ViewFolder(digits) => digits,
        _ => None,
    });
    let digests = digits.as_deref().and_then(digests_of);
    digests.map_or(Ok(Vec::new()), |digests| {
        records_with(store, &|record| record.entry.digest.is_some_and(|digest| digests.contains(&digest)))
    })
}
