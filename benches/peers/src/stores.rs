//! The two stores with the same small files in both, and the names of their operations.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use catalog_core::{CatalogEntry, Durability, FsCatalog, LifecycleState};

/// The size of each file: small, so that the work around the bytes is measured.
pub(crate) const SIZE_BYTES: usize = 1000;

pub(crate) struct Stores {
    folder: PathBuf,
    pub(crate) catalog: FsCatalog,
    pub(crate) cache: PathBuf,
}

/// How long each store took to ingest all files.
pub(crate) struct Filled {
    pub(crate) catalog_seconds: f64,
    pub(crate) cacache_seconds: f64,
}

impl Stores {
    /// Both stores with `count` files, each filled in its fastest way: the catalog in one durable call, cacache file by
    /// file with one sync of the file system.
    pub(crate) fn filled(folder: &Path, count: usize) -> (Stores, Filled) {
        std::fs::create_dir_all(folder.join("sources")).unwrap();
        let catalog = FsCatalog::new(folder.join("catalog")).unwrap();
        let stores = Stores { folder: folder.to_owned(), catalog, cache: folder.join("cacache") };
        let entries: Vec<CatalogEntry> = (0..count).map(|number| stores.source(number)).collect();
        sync_file_system(folder);
        let start = Instant::now();
        stores.catalog.put_many(&entries).unwrap();
        let catalog_seconds = start.elapsed().as_secs_f64();
        let start = Instant::now();
        for entry in &entries {
            stores.cacache_put(entry);
        }
        sync_file_system(folder);
        let cacache_seconds = start.elapsed().as_secs_f64();
        (stores, Filled { catalog_seconds, cacache_seconds })
    }

    /// Makes a file with the content of this number only, and the entry that puts it.
    pub(crate) fn source(&self, number: usize) -> CatalogEntry {
        let local_path = self.folder.join(format!("sources/model-{number:06}.gguf"));
        let text = format!("{number:08} ").repeat(SIZE_BYTES.div_ceil(9));
        std::fs::write(&local_path, &text.as_bytes()[..SIZE_BYTES]).unwrap();
        CatalogEntry {
            id: id(number),
            local_path,
            lifecycle: LifecycleState::Active,
            digest: None,
            last_verified_ms: None,
        }
    }

    pub(crate) fn relaxed(&self) -> FsCatalog {
        self.catalog.clone().with_durability(Durability::Relaxed)
    }

    /// cacache takes bytes, so they are read first; the catalog reads them itself.
    pub(crate) fn cacache_put(&self, entry: &CatalogEntry) {
        let bytes = std::fs::read(&entry.local_path).unwrap();
        cacache::write_sync(&self.cache, &entry.id, bytes).unwrap();
    }

    pub(crate) fn sync(&self) {
        sync_file_system(&self.folder);
    }
}

/// Writes files into a cache of cacache, and then everything to the disk: cacache syncs nothing by itself.
pub(crate) fn write_and_sync(cache: &Path, files: &[String]) {
    for file in files {
        cacache::write_sync(cache, file, std::fs::read(file).unwrap()).unwrap();
    }
    sync_file_system(cache);
}

/// The id of an entry, and its key in cacache.
pub(crate) fn id(number: usize) -> String {
    format!("hf:org/repo/model-{number:06}.gguf")
}

fn sync_file_system(folder: &Path) {
    rustix::fs::syncfs(File::open(folder).unwrap()).unwrap();
}
