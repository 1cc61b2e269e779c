//! A provisioner: it brings models into a catalog and says where they are.
//!
//! `cargo run --example provisioner -- ROOT MODEL…`
//!
//! A model is a path or a reference. With no arguments, the example stages the small model of this crate's tests into a
//! temporary directory, twice.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use catalog_core::{Event, FsCatalog, ModelRef, StageOptions};

fn main() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().map_or_else(|| temporary.path().join("root"), PathBuf::from);
    let mut models: Vec<String> = arguments.collect();
    if models.is_empty() {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama-q8_0.gguf");
        models = vec![model.to_owned(), model.to_owned()];
    }

    // Any number of processes may do this on one root at the same time.
    let catalog = FsCatalog::new(root)?;
    let mut items = Vec::new();
    for (number, model) in models.iter().enumerate() {
        // Without this, the id of a model is the reference's own string.
        let options = StageOptions::default().with_id(format!("model-{number}")).with_observer(tell);
        items.push((ModelRef::parse(model)?, options));
    }

    // Models that are staged together are hashed in parallel and made durable together. If one fails, the others still
    // succeed.
    let mut failed = 0;
    for staged in catalog.stage_many(&items) {
        match staged {
            // The model is durable now: it survives the end of this process, and a power cut.
            Ok(receipt) => {
                let new = receipt.stored_bytes;
                println!("{}: {} bytes, {new} of them new, {}", receipt.id, receipt.size_bytes, receipt.digest);
                println!("  {}", receipt.local_path.display());
            }
            Err(error) => {
                failed += 1;
                // The error says what was being done, to what, and why it failed; the hint says what to do next.
                eprintln!("{error}");
                if let Some(hint) = error.hint() {
                    eprintln!("  {hint}");
                }
            }
        }
    }
    ensure!(failed == 0, "{failed} of {} models could not be staged", items.len());
    Ok(())
}

/// Called from worker threads, and often: a real provisioner only adds up the bytes here.
fn tell(event: &Event<'_>) {
    if let Event::Started { what, bytes_total, .. } = event {
        eprintln!("reading {what}, {bytes_total} bytes");
    }
}
