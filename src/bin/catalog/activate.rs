//! `catalog activate`: puts retired models back into service.

use catalog_core::LifecycleState;

use crate::app::App;
use crate::args::Models;
use crate::failure::Outcome;
use crate::lifecycle;

/// Put retired models back into service
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog activate llama2")]
pub(crate) struct Args {
    #[command(flatten)]
    targets: Models,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        lifecycle::set(app, &self.targets, LifecycleState::Active, "activated")
    }
}
