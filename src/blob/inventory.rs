//! Lists the blobs in `blobs/` and in `trash/`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::digest::Digest;
use crate::error::Result;
use crate::fs::{Kind, Meta, Root};
use crate::layout::{self, Thing};
use crate::threads::ready_for_rayon;

/// All blobs in `trash/`, with the time when they were put there. If a blob is there twice, the later time counts.
pub(crate) fn trash(root: &Root) -> Result<BTreeMap<Digest, u64>> {
    let folder = Path::new(layout::TRASH);
    let trashed = |name: &OsString| match layout::classify_in(folder, name) {
        Thing::Trashed { digest, trashed_ms } => Some((digest, trashed_ms)),
        _ => None,
    };
    Ok(root.names(folder)?.iter().filter_map(trashed).collect())
}

/// Every blob in `blobs/`.
pub(crate) fn all(root: &Root) -> Result<Vec<Digest>> {
    all_that(root, &|_| true)
}

/// The blobs in `blobs/` that are wanted.
pub(crate) fn all_that(root: &Root, is_wanted: &(dyn Fn(&Digest) -> bool + Sync)) -> Result<Vec<Digest>> {
    let folders: Vec<PathBuf> = layout::fan_out_folders(layout::BLOBS).collect();
    ready_for_rayon();
    let in_one = |folder: &PathBuf| {
        let names = root.names(folder)?;
        Ok(names.iter().filter_map(|name| blob_in(folder, name)).filter(is_wanted).collect())
    };
    let all: Result<Vec<Vec<Digest>>> = folders.par_iter().map(in_one).collect();
    Ok(all?.into_iter().flatten().collect())
}

/// The blobs in `blobs/` whose names start with these digits, at least two; empty without digits.
pub(crate) fn starting_with(root: &Root, digits: Option<&str>) -> Result<Vec<Digest>> {
    let Some((digits, first)) = digits.and_then(|digits| Some((digits, digits.get(..2)?))) else {
        return Ok(Vec::new());
    };
    let mut folders = layout::fan_out_folders(layout::BLOBS);
    let Some(folder) = folders.find(|folder| folder.ends_with(first)) else { return Ok(Vec::new()) };
    let names = root.names(&folder)?;
    let theirs = names.iter().filter(|name| name.to_str().is_some_and(|name| name.starts_with(digits)));
    Ok(theirs.filter_map(|name| blob_in(&folder, name)).collect())
}

/// The blobs in `blobs/` with their metadata.
pub(crate) fn all_with_meta(root: &Root) -> Result<BTreeMap<Digest, Meta>> {
    let folders: Vec<PathBuf> = layout::fan_out_folders(layout::BLOBS).collect();
    ready_for_rayon();
    let all: Result<Vec<_>> = folders.par_iter().map(|folder| in_folder(root, folder)).collect();
    Ok(all?.into_iter().flatten().collect())
}

/// The blobs in one folder of `blobs/`, sorted.
pub(crate) fn in_folder(root: &Root, folder: &Path) -> Result<Vec<(Digest, Meta)>> {
    let files = root.entries(folder)?.into_iter().filter(|(_, meta)| meta.kind == Kind::File);
    Ok(files.filter_map(|(name, meta)| Some((blob_in(folder, &name)?, meta))).collect())
}

/// How many folders of blobs are listed for an estimate.
const SAMPLED: usize = 4;

/// About how many blobs there are. Digests fall evenly into the folders, so a few of them stand for all. Those that cannot be
/// listed count as empty.
pub(crate) fn estimate(root: &Root) -> u64 {
    let folders = layout::fan_out_folders(layout::BLOBS);
    let sampled = folders.take(SAMPLED).map(|folder| root.names(&folder).map_or(0, |names| names.len()));
    sampled.sum::<usize>() as u64 * (u64::from(u8::MAX) + 1) / SAMPLED as u64
}

/// The blobs of these sizes.
pub(crate) fn by_size(root: &Root, sizes: &BTreeSet<u64>) -> Result<Vec<Digest>> {
    let blobs = all_with_meta(root)?.into_iter();
    Ok(blobs.filter(|(_, meta)| sizes.contains(&meta.size_bytes)).map(|(digest, _)| digest).collect())
}

fn blob_in(folder: &Path, name: &OsStr) -> Option<Digest> {
    match layout::classify_in(folder, name) {
        Thing::Blob(digest) => Some(digest),
        _ => None,
    }
}
