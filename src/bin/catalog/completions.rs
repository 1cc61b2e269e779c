//! `catalog completions`: the script with which a shell asks this command how a line can continue.

use clap::ValueEnum as _;
use clap_complete::Shell;

use crate::app::App;
use crate::complete;
use crate::failure::{Failure, Outcome};

/// Print the completion script of a shell
///
/// The script completes verbs and options, and the ids, pins and keys of the catalog that --root in the line or
/// CATALOG_ROOT names. It asks this command each time, so it need not change when models come and go. Make a new one
/// for each version.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog completions bash > ~/.local/share/bash-completion/completions/catalog
  catalog completions zsh > \"${fpath[1]}/_catalog\"
  catalog completions fish > ~/.config/fish/completions/catalog.fish
  source <(COMPLETE=bash catalog)           # in ~/.bashrc, without a file")]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let name = self.shell.to_possible_value();
        let script = complete::script(name.as_ref().map_or("", |name| name.get_name())).map_err(Failure::Output)?;
        app.out.raw(&script);
        Ok(())
    }
}
