//! `catalog completions`: a shell's completion script.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::Cli;
use crate::app::App;
use crate::failure::Outcome;

/// Print the completion script of a shell
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog completions bash > /etc/bash_completion.d/catalog
  catalog completions fish > ~/.config/fish/completions/catalog.fish")]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "catalog", &mut script);
        app.out.raw(&script);
        Ok(())
    }
}
