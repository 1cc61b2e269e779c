//! `catalog path`: where a model is, for an engine to open.

use std::borrow::Cow;

use catalog_core::LifecycleState;
use serde::Serialize;

use crate::app::App;
use crate::args::OneModel;
use crate::failure::Outcome;
use crate::text::shell_word;

/// Print the path of a model, and nothing else
///
/// The path is printed as the bytes that it is, with a line break. It is checked to be there; whether its content is
/// intact is not.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  llama-server -m \"$(catalog path llama3)\"
  catalog path ./llama3-8b.gguf")]
pub(crate) struct Args {
    #[command(flatten)]
    target: OneModel,
}

#[derive(Serialize)]
struct Resolved<'a> {
    id: &'a str,
    local_path: Cow<'a, str>,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let entry = app.open()?.resolve(&self.target.model)?.entry;
        if entry.lifecycle == LifecycleState::Retired {
            let (command, id) = (app.command(), shell_word(&entry.id));
            app.note(&format!("{} is retired; `{command} activate {id}` takes that back", entry.id));
        }
        if app.json() {
            app.out.json(&Resolved { id: &entry.id, local_path: entry.local_path.to_string_lossy() });
        } else {
            app.out.line(entry.local_path.as_os_str().as_encoded_bytes());
        }
        Ok(())
    }
}
