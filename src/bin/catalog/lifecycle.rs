//! What `retire` and `activate` do.

use catalog_core::{CatalogStore as _, LifecycleState};
use serde::Serialize;

use crate::app::App;
use crate::args::Models;
use crate::failure::Outcome;
use crate::json::Line;

/// The JSON of `retire` and `activate`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Changed<'a> {
    /// The entry.
    id: &'a str,
    /// The state that it has now.
    lifecycle: LifecycleState,
}

/// Gives each model the state, and says so with `done`.
pub(crate) fn set(app: &mut App, targets: &Models, lifecycle: LifecycleState, done: &str) -> Outcome {
    let catalog = app.open_with_locks()?;
    targets.each(app, &catalog, |app, record| {
        let id = &record.entry.id;
        catalog.set_state(id, lifecycle)?;
        app.receipt(Line::Lifecycle(Changed { id, lifecycle }), |app| {
            format!("{done} {}", app.out.shown(id)).into_bytes()
        });
        Ok(())
    })
}
