//! What every verb has at hand: the global options, the catalog, and the two output streams.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use catalog_core::{FsCatalog, default_model_cache_dir};
use serde::Serialize;

use crate::NAME;
use crate::args::Init;
use crate::failure::{Exit, Failure, Outcome, tell};
use crate::output::Output;
use crate::text::{shell_word, visible};

const ROOT_VARIABLE: &str = "CATALOG_ROOT";

/// The options that every verb takes, before or after its name.
#[derive(clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where the catalog is [env: CATALOG_ROOT] [default: models in the user's cache directory, ~/.cache/models]
    // Not clap's `env`, to which a variable that is set to nothing is a value that is missing.
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long, global = true)]
    json: bool,
    /// Print neither receipts, notes nor progress
    #[arg(short, long, global = true)]
    quiet: bool,
}

/// One run of the command.
pub(crate) struct App {
    global: Global,
    pub(crate) out: Output,
}

impl App {
    pub(crate) fn new(global: Global) -> Self {
        App { global, out: Output::stdout() }
    }

    pub(crate) fn json(&self) -> bool {
        self.global.json
    }

    pub(crate) fn root(&self) -> PathBuf {
        let from_environment = || env::var_os(ROOT_VARIABLE).filter(|root| !root.is_empty()).map(PathBuf::from);
        self.global.root.clone().or_else(from_environment).unwrap_or_else(default_model_cache_dir)
    }

    /// The catalog that is there. Never makes one.
    pub(crate) fn open(&self) -> catalog_core::Result<FsCatalog> {
        FsCatalog::open(self.root())
    }

    /// The catalog that is there, for a verb that relies on file locks.
    pub(crate) fn open_with_locks(&self) -> catalog_core::Result<FsCatalog> {
        self.open().inspect(|catalog| self.note_missing_locks(catalog))
    }

    /// The catalog, made when there is none, for a verb that changes it.
    pub(crate) fn open_or_create(&self, init: Init) -> catalog_core::Result<FsCatalog> {
        let catalog = init.open(&self.root())?;
        if catalog.is_new() {
            self.note(&format!("made a new catalog at {}", catalog.root().display()));
        }
        self.note_missing_locks(&catalog);
        Ok(catalog)
    }

    fn note_missing_locks(&self, catalog: &FsCatalog) {
        if !catalog.locks_work() {
            self.note(&format!(
                "file locks do nothing on the file system of {}: processes that work on it at the same time may do work \
                 twice, a lease protects nothing, and nothing is collected; a local file system has locks that work",
                catalog.root().display()
            ));
        }
    }

    /// For a verb that asks for room.
    pub(crate) fn note_unknown_room(&self, catalog: &FsCatalog) {
        if catalog.free_bytes().is_none() {
            self.note(&format!(
                "the file system of {} does not tell how much room it has: min_free keeps nothing free there, and a full \
                 disk is noticed only when it is written to; max_bytes limits what the store holds",
                catalog.root().display()
            ));
        }
    }

    /// How to call this command again for the same root.
    pub(crate) fn command(&self) -> String {
        match &self.global.root {
            Some(root) if env::var_os(ROOT_VARIABLE).as_deref() != Some(root.as_os_str()) => {
                format!("{NAME} --root {}", shell_word(&root.to_string_lossy()))
            }
            _ => NAME.to_owned(),
        }
    }

    /// Whether somebody watches who would like to see how far long work has come.
    pub(crate) fn wants_progress(&self) -> bool {
        !self.global.json && !self.global.quiet && io::stderr().is_terminal()
    }

    pub(crate) fn wants_notes(&self) -> bool {
        !self.global.quiet
    }

    /// Says on standard error something that is good to know and no error.
    pub(crate) fn note(&self, text: &str) {
        if self.wants_notes() {
            note(text);
        }
    }

    /// Prints what was done: the object with `--json`, else the words, unless `--quiet`.
    pub(crate) fn receipt(&mut self, object: &impl Serialize, words: impl FnOnce(&App) -> Vec<u8>) {
        if self.global.json {
            self.out.json(object);
        } else if !self.global.quiet {
            let words = words(self);
            self.out.line(words);
        }
    }

    /// Does `work` for each item, tells of each failure as it comes, and ends with the exit code of the first.
    pub(crate) fn each<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut work: impl FnMut(&mut App, T) -> Outcome,
    ) -> Outcome {
        let mut first = None;
        for item in items {
            let outcome = work(self, item);
            // What was done is seen at once, and before the error that follows it.
            self.out.flush();
            if let Err(failure) = outcome {
                first.get_or_insert(self.tell(&failure));
            }
        }
        first.map_or(Ok(()), |exit| Err(Failure::Told(exit)))
    }

    /// Tells of a failure, and says what to do in terms of the root that is in use.
    pub(crate) fn tell(&self, failure: &Failure) -> Exit {
        tell(failure, &self.command())
    }

    /// Ends the run.
    pub(crate) fn finish(self, outcome: Outcome) -> Exit {
        let command = self.command();
        let ends = [outcome, self.out.finish().map_err(Failure::Output)];
        let exits = ends.map(|end| end.err().map(|failure| tell(&failure, &command)));
        exits.into_iter().flatten().next().unwrap_or(Exit::Done)
    }
}

/// For code that has no [`App`] at hand, such as another thread.
pub(crate) fn note(text: &str) {
    // Nobody is left to be told when standard error itself cannot be written.
    let _ = writeln!(io::stderr(), "note: {}", visible(text));
}
