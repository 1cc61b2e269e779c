//! A pool manager: it checks whether a model is ready, and keeps it here while an engine runs on it.
//!
//! `cargo run --example pool_manager -- ROOT MODEL`
//!
//! The model is an id, a path or a reference. With no arguments, the example uses the small model of this crate's tests
//! and a temporary directory.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use catalog_core::{Error, FsCatalog, GcPolicy, Key, ModelRef, OwnedMap, StageOptions};

/// An engine in this process. The map holds the lease, so the two cannot be separated by mistake.
struct Engine {
    weights: OwnedMap,
}

impl Engine {
    /// Looks the model up, checks that it is what was staged, and leases it. This also works on a read-only root.
    fn start(catalog: &FsCatalog, model: &str) -> catalog_core::Result<Self> {
        let lease = catalog.lease(Key::typed(model))?;
        // Another process, such as `llama-server -m`, opens `lease.local_path()` while this one holds the lease. A model
        // of several files has no bytes of its own: see `into_map_file`.
        Ok(Engine { weights: lease.into_map()? })
    }

    fn is_ready(&self) -> bool {
        self.weights.starts_with(b"GGUF")
    }
}

/// What a readiness probe reports for an error: whether to wait, to stage the model, or to call for help.
fn readiness(error: &Error) -> &'static str {
    match error {
        error if error.is_not_found() => "not staged",
        error if error.is_busy() => "busy, try again",
        error if error.is_corrupt() => "damaged, repair it or stage it again",
        _ => "failed",
    }
}

fn main() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().map_or_else(|| temporary.path().join("root"), PathBuf::from);
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama-q8_0.gguf");
    let model = arguments.next().unwrap_or_else(|| fixture.to_owned());
    let catalog = FsCatalog::new(root)?;

    let engine = match Engine::start(&catalog, &model) {
        Ok(engine) => engine,
        Err(error) => {
            println!("{}: {error}", readiness(&error));
            catalog.ensure(&ModelRef::parse(&model)?, &StageOptions::default())?;
            Engine::start(&catalog, &model)?
        }
    };
    ensure!(engine.is_ready(), "{model} is no GGUF file");
    println!("ready: {} bytes at {}", engine.weights.len(), engine.weights.lease().local_path().display());

    // A plan removes nothing, so this is safe on a real root: would a collection that needs all the room take the
    // model?
    let policy = GcPolicy::default().with_max_bytes(0).with_grace(Duration::ZERO);
    let id = engine.weights.lease().entry().id.clone();
    for kept in catalog.plan_gc(&policy)?.kept.iter().filter(|kept| kept.id == id) {
        println!("kept: {}", kept.reason);
    }
    drop(engine);
    for step in catalog.plan_gc(&policy)?.steps.iter().filter(|step| step.action.id() == Some(id.as_str())) {
        println!("now it may be taken: {}", step.reason);
    }
    Ok(())
}
