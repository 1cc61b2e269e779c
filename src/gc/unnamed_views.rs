//! Views that no entry names. A collection removes them, unless a lease holds them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::facts::ViewFacts;
use crate::blob::{self, LeaseBlock};
use crate::error::Result;
use crate::fs::{Kind, Meta};
use crate::layout::{self, Thing};
use crate::store::{Roots, Store};
use crate::threads::ready_for_rayon;

/// How many folders of `views/`, of which there is one for each entry, are in memory at a time.
const HOMES_AT_ONCE: usize = 4096;

/// Returns folders `views/<slug>/<40 hex>` that no record names, and folders `views/<slug>` without any view. Takes no
/// lock.
pub(super) fn unnamed_views(store: &Store, roots: &Roots) -> Result<Vec<PathBuf>> {
    ready_for_rayon();
    let in_one = |(slug, meta): (OsString, Meta)| {
        let home = Path::new(layout::VIEWS).join(slug);
        if meta.kind != Kind::Dir {
            return Ok(Vec::new()); // this crate did not create it
        }
        // A directory has two links plus one per subdirectory, so 3 means a single view; if a record owns it, there is
        // nothing to collect. On file systems that count differently, the directory is read.
        let has_only_its_own = meta.links == 3 && roots.needs_path(&home);
        if has_only_its_own { Ok(Vec::new()) } else { unnamed_views_in(store, &home, roots) }
    };
    let mut homes = store.root.each_entry(Path::new(layout::VIEWS))?;
    let mut stray = Vec::new();
    loop {
        let some: Vec<_> = homes.by_ref().take(HOMES_AT_ONCE).collect::<Result<_>>()?;
        if some.is_empty() {
            stray.sort_unstable();
            return Ok(stray);
        }
        let found: Result<Vec<Vec<PathBuf>>> = some.into_par_iter().map(in_one).collect();
        stray.extend(found?.into_iter().flatten());
    }
}

fn unnamed_views_in(store: &Store, home: &Path, roots: &Roots) -> Result<Vec<PathBuf>> {
    let names = match store.root.names(home) {
        Err(error) if error.is_permission_denied() => return Ok(Vec::new()),
        names => names?,
    };
    let empty = names.is_empty().then(|| home.to_path_buf());
    let folders = names.iter().map(|name| home.join(name)).chain(empty);
    Ok(folders.filter(|folder| !roots.needs_path(folder)).collect())
}

/// What a plan has to know about a view.
pub(super) fn view_facts(store: &Store, path: PathBuf) -> Result<ViewFacts> {
    let mtime_ns = store.root.meta(&path)?.map_or(0, |meta| meta.mtime_ns);
    let changed_ms = u64::try_from(mtime_ns / 1_000_000).unwrap_or(0);
    let is_leased = is_leased_view(store, &path)?;
    Ok(ViewFacts { path, changed_ms, is_leased })
}

fn is_leased_view(store: &Store, folder: &Path) -> Result<bool> {
    let Thing::ViewFolder(digits) = layout::classify(folder) else { return Ok(false) };
    for digest in blob::starting_with(&store.root, digits.as_deref())? {
        if matches!(blob::block_leases(&store.root, &digest)?, LeaseBlock::Leased) {
            return Ok(true);
        }
    }
    Ok(false)
}
