//! `catalog detach`: takes documents away from models.

use catalog_core::Key;
use serde::Serialize;

use crate::app::App;
use crate::args::OneModel;
use crate::attach::no_document;
use crate::failure::Outcome;
use crate::json::Line;

/// Take a document away from a model
///
/// Frees its bytes, if nothing else needs them.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog detach llama3 llama3.cdx.json")]
pub(crate) struct Args {
    #[command(flatten)]
    target: OneModel,
    /// The document's name, as `attach --list` shows it
    #[arg(value_name = "NAME")]
    name: String,
}

/// A document that is no longer there.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Detached<'a> {
    /// The model, as it was given.
    model: &'a str,
    /// The document's name.
    name: &'a str,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let catalog = app.open_with_locks()?;
        let (model, name) = (&self.target.model, &self.name);
        if !self.target.found(catalog.detach(Key::typed(model), name), &catalog, app)? {
            return Err(no_document(app, model, name));
        }
        app.receipt(Line::Detached(Detached { model, name }), |app| {
            format!("detached {} from {}", app.out.shown(name), app.out.shown(model)).into_bytes()
        });
        Ok(())
    }
}
