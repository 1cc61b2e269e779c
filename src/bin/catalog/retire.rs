//! `catalog retire`: takes models out of service, and keeps them.

use catalog_core::LifecycleState;

use crate::app::App;
use crate::args::Models;
use crate::failure::Outcome;
use crate::lifecycle;

/// Take models out of service, and keep them
///
/// A retired model still resolves. It is the first to go when room is short.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog retire llama2
  catalog list --state retired")]
pub(crate) struct Args {
    #[command(flatten)]
    targets: Models,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        lifecycle::set(app, &self.targets, LifecycleState::Retired, "retired")
    }
}
