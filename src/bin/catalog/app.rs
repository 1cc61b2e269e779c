//! What every verb has at hand: the global options, the catalog, and the two output streams.

use std::env;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use catalog_core::{FsCatalog, default_model_cache_dir};

use crate::NAME;
use crate::args::Init;
use crate::failure::{Exit, Failure, Outcome, tell};
use crate::json::Line;
use crate::log::{self, LogFormat};
use crate::output::Output;
use crate::root::From;
use crate::stderr;
use crate::table::{self, Column};
use crate::text::shell_word;

const ROOT_VARIABLE: &str = "CATALOG_ROOT";

/// The options that every verb takes, before or after its name.
#[derive(clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where the catalog is [env: CATALOG_ROOT] [default: models in the user's cache directory, ~/.cache/models]
    // Not clap's `env`: it takes a variable that is set to nothing for a missing value.
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long, global = true)]
    json: bool,
    /// Print neither receipts, notes nor progress; of `list`, only the ids
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Show the messages of the library: -v info, -vv debug; then there is no bar [env: RUST_LOG]
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// The format of the messages that -v and RUST_LOG ask for: text or json [default: text, or json with --json]
    #[arg(long, global = true, value_enum, value_name = "FORMAT", hide_possible_values = true)]
    log_format: Option<LogFormat>,
    /// How progress is shown: auto (a bar on a terminal), json (an object a second on standard error) or none
    #[arg(long, global = true, value_enum, value_name = "HOW", default_value_t, hide_possible_values = true)]
    progress: ProgressMode,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum ProgressMode {
    /// A bar on a terminal
    #[default]
    Auto,
    /// An object a second on standard error
    Json,
    /// Not at all
    None,
}

/// The given root, that of the environment, or the default one; and which of them it is.
pub(crate) fn root(given: Option<PathBuf>) -> (PathBuf, From) {
    let from_environment = || env::var_os(ROOT_VARIABLE).filter(|root| !root.is_empty()).map(PathBuf::from);
    let given = given.map(|root| (root, From::Option));
    let chosen = given.or_else(|| Some((from_environment()?, From::Environment)));
    chosen.unwrap_or_else(|| (default_model_cache_dir(), From::Default))
}

/// One run of the command.
pub(crate) struct App {
    global: Global,
    pub(crate) out: Output,
}

impl App {
    pub(crate) fn new(global: Global) -> Self {
        if global.json {
            stderr::use_json();
        }
        let by_default = if global.json { LogFormat::Json } else { LogFormat::Text };
        log::start(global.verbose, global.log_format.unwrap_or(by_default));
        App { global, out: Output::stdout() }
    }

    pub(crate) fn json(&self) -> bool {
        self.global.json
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.root_and_why().0
    }

    /// The root, and what decided on it.
    pub(crate) fn root_and_why(&self) -> (PathBuf, From) {
        root(self.global.root.clone())
    }

    /// Opens the existing catalog. Never makes one.
    pub(crate) fn open(&self) -> catalog_core::Result<FsCatalog> {
        FsCatalog::open(self.root())
    }

    /// Opens the existing catalog for a verb that relies on file locks.
    pub(crate) fn open_with_locks(&self) -> catalog_core::Result<FsCatalog> {
        self.open().inspect(|catalog| self.note_missing_locks(catalog))
    }

    /// Opens the catalog for a verb that changes it, and makes it if there is none.
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
                "file locks do nothing on the file system of {}: processes may do the same work twice, a lease protects \
                 nothing, and nothing is collected; locks work on a local file system",
                catalog.root().display()
            ));
        }
    }

    /// For a verb that looks at everything: what it could not read, and what follows.
    pub(crate) fn note_unreadable(&self, root: &Path, folders: &[PathBuf], consequence: &str) {
        for folder in folders {
            let folder = root.join(folder);
            self.note(&format!("{} belongs to another user and cannot be read; {consequence}", folder.display()));
        }
    }

    /// Prints a table, as wide as the terminal at most. `cut` is the column whose texts can lose their middle.
    pub(crate) fn table(&mut self, columns: &[Column], rows: &[Vec<String>], cut: usize) {
        self.long_table(columns, rows.iter().cloned(), cut);
    }

    /// The same for rows that are made when they are printed. Each is made twice.
    pub(crate) fn long_table(
        &mut self,
        columns: &[Column],
        rows: impl Iterator<Item = Vec<String>> + Clone,
        cut: usize,
    ) {
        let width = if self.out.is_terminal() { table::terminal_width() } else { None };
        for line in table::lines(columns, rows, cut, width) {
            self.out.line(line);
        }
    }

    /// For a verb that asks for room.
    pub(crate) fn note_unknown_room(&self, catalog: &FsCatalog) {
        if catalog.free_bytes().is_none() {
            self.note(&format!(
                "the file system of {} does not report its free space: min_free has no effect there, and a full disk shows only \
                 when something is written; max_bytes limits what the store holds",
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

    /// Whether a person watches and would like to see how far long work is.
    pub(crate) fn wants_progress(&self) -> bool {
        let Global { json, quiet, verbose, progress, .. } = &self.global;
        *progress == ProgressMode::Auto && !json && !quiet && *verbose == 0 && io::stderr().is_terminal()
    }

    /// Whether a program wants to know how far long work is.
    pub(crate) fn wants_progress_lines(&self) -> bool {
        self.global.progress == ProgressMode::Json
    }

    /// Whether `-v` asks for more than failures and sums.
    pub(crate) fn is_verbose(&self) -> bool {
        self.global.verbose > 0
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.global.quiet
    }

    pub(crate) fn wants_notes(&self) -> bool {
        !self.global.quiet
    }

    /// Prints a note on standard error: something that is good to know and not an error.
    pub(crate) fn note(&self, text: &str) {
        if self.wants_notes() {
            stderr::note(text);
        }
    }

    /// Prints what was done: an object with `--json`, otherwise words, and nothing with `--quiet`.
    pub(crate) fn receipt(&mut self, line: Line<'_>, words: impl FnOnce(&App) -> Vec<u8>) {
        if self.global.json {
            self.out.json(&line);
        } else if !self.global.quiet {
            let words = words(self);
            self.out.line(words);
        }
    }

    /// Does `work` for each item, reports each failure as it happens, and returns the exit code of the first. Each
    /// item comes with the argument that it belongs to.
    pub(crate) fn each<N: AsRef<str>, T>(
        &mut self,
        items: impl IntoIterator<Item = (N, T)>,
        mut work: impl FnMut(&mut App, T) -> Outcome,
    ) -> Outcome {
        let mut first = None;
        for (about, item) in items {
            let outcome = work(self, item);
            // A person sees what was done at once, and before the error that follows it.
            self.out.flush();
            if let Err(failure) = outcome {
                first.get_or_insert(self.tell(Some(about.as_ref()), &failure));
            }
        }
        first.map_or(Ok(()), |exit| Err(Failure::Told(exit)))
    }

    /// Reports a failure. Its hint names the root that is in use. `about` is the argument that failed.
    pub(crate) fn tell(&self, about: Option<&str>, failure: &Failure) -> Exit {
        tell(failure, about, &self.command())
    }

    /// Ends the run.
    pub(crate) fn finish(self, outcome: Outcome) -> Exit {
        let command = self.command();
        let ends = [outcome, self.out.finish().map_err(Failure::Output)];
        let exits = ends.map(|end| end.err().map(|failure| tell(&failure, None, &command)));
        exits.into_iter().flatten().next().unwrap_or(Exit::Done)
    }
}
