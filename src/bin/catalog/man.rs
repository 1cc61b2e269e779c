//! `catalog man`: the manual pages.

use std::fs;
use std::path::PathBuf;

use catalog_core::Error;
use clap::CommandFactory as _;

use crate::Cli;
use crate::app::App;
use crate::failure::{Failure, Outcome};

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
        match self.dir {
            Some(dir) => fs::create_dir_all(&dir)
                .and_then(|()| clap_mangen::generate_to(Cli::command(), &dir))
                .map_err(|source| Error::io("write the manual pages into", dir, source).into()),
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(Failure::Output)?;
                app.out.raw(&page);
                Ok(())
            }
        }
    }
}
