//! What `retire` and `activate` do.

use catalog_core::{CatalogStore as _, LifecycleState};
use serde::Serialize;

use crate::app::App;
use crate::args::{Models, find};
use crate::failure::Outcome;

#[derive(Serialize)]
struct Changed<'a> {
    id: &'a str,
    lifecycle: LifecycleState,
}

/// Gives each model the state, and says so with `done`.
pub(crate) fn set(app: &mut App, targets: &Models, lifecycle: LifecycleState, done: &str) -> Outcome {
    let catalog = app.open_with_locks()?;
    app.each(&targets.models, |app, model| {
        let id = find(&catalog, model)?.entry.id;
        catalog.set_state(&id, lifecycle)?;
        app.receipt(&Changed { id: &id, lifecycle }, |app| format!("{done} {}", app.out.shown(&id)).into_bytes());
        Ok(())
    })
}
