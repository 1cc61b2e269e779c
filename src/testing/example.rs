//! A catalog for examples.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::catalog::FsCatalog;
use crate::model_ref::ModelRef;
use crate::stage::StageOptions;

/// Returns a catalog in a temporary folder, and the file that was staged in it as `llama3`; for examples.
///
/// # Panics
///
/// Panics if the temporary folder cannot be written.
#[doc(hidden)]
#[must_use]
#[allow(clippy::disallowed_methods)] // the file is not in a store
pub fn example() -> (TempDir, FsCatalog, PathBuf) {
    let dir = TempDir::new().expect("a temporary folder");
    let file = dir.path().join("llama3.gguf");
    std::fs::write(&file, "GGUF and weights").expect("a file in it");
    let catalog = FsCatalog::new(dir.path().join("root")).expect("a catalog in it");
    let options = StageOptions::default().with_id("llama3".to_owned());
    catalog.stage(&ModelRef::from(file.as_path()), &options).expect("the file is staged");
    (dir, catalog, file)
}
