//! `catalog man`: the manual pages.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use catalog_core::Error;

use crate::app::App;
use crate::failure::{Failure, Outcome};
use crate::man_page;

/// Print the manual page, or write one for each verb
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog man | man -l -
  catalog man --dir /usr/local/share/man/man1")]
pub(crate) struct Args {
    /// Write all pages into this directory, which is made when it is not there
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let command = man_page::whole();
        match self.dir {
            Some(dir) => {
                write_all(&command, &dir).map_err(|source| Error::io("write the manual pages into", dir, source).into())
            }
            None => {
                let page = man_page::of(&command).map_err(Failure::Output)?;
                app.out.raw(&page);
                Ok(())
            }
        }
    }
}

/// A page for the command, one for each verb, and one for each that a verb has below it.
fn write_all(command: &clap::Command, dir: &Path) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut left = vec![command];
    while let Some(command) = left.pop() {
        let mut file = fs::File::create(dir.join(man_page::file_name(command)))?;
        file.write_all(&man_page::of(command)?)?;
        left.extend(command.get_subcommands().filter(|verb| !verb.is_hide_set()));
    }
    Ok(())
}
