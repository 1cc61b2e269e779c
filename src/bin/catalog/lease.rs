//! `catalog lease`: holds a model while a program uses it.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};

use catalog_core::{Error, Key, Lease};

use crate::app::App;
use crate::args::{OneModel, Unchecked};
use crate::failure::Outcome;
use crate::{engine, path};

/// Hold a model while a command runs, or until standard input ends
///
/// With a command, this process becomes that command: it keeps the process id, so signals reach the command, and the
/// exit code is the command's. The model is held until the command and everything that it started have ended, however
/// they end. `{}` in an argument is the path of the model, and so is the variable CATALOG_MODEL. Nothing is printed.
/// If there is no such command, the exit code is 3.
///
/// Without a command, it prints the path as `path` does and holds the model until standard input ends. If standard
/// input is /dev/null, the lease ends at once.
///
/// While a model is held, `gc` does not take it, and `remove` leaves its files in place, even if its id is given new
/// content. The lease belongs to the process: it ends when the process ends, and there is nothing to clean up. It
/// needs no write permission, so it works on a read-only root. `catalog leases` shows which process holds what;
/// `catalog pin` keeps a model without a process.
#[derive(clap::Args)]
#[command(override_usage = "catalog lease [OPTIONS] <ID|REF> [-- <CMD> [ARGS]...]")]
#[command(after_help = "Examples:
  catalog lease llama3 -- llama-server -m {} --port 8080
  catalog lease llama3 -- sh -c 'exec vllm serve \"$CATALOG_MODEL\"'
  catalog lease llama3                      # until Ctrl-D or Ctrl-C
  sleep 3600 | catalog lease llama3 &       # for an hour

In a systemd unit:
  [Service]
  Environment=CATALOG_ROOT=/var/lib/models
  ExecStart=/usr/bin/catalog lease llama3 -- /usr/bin/llama-server -m {}

As the entry point of a container image, which `docker run IMAGE --port 8080` adds arguments to:
  ENTRYPOINT [\"catalog\", \"lease\", \"llama3\", \"--\", \"llama-server\", \"-m\", \"{}\"]")]
pub(crate) struct Args {
    #[command(flatten)]
    target: OneModel,
    #[command(flatten)]
    unchecked: Unchecked,
    /// What to run while the model is held, and its arguments, in which `{}` is the path
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Args {
    /// Whether another program takes this process over, with all that it inherits.
    pub(crate) fn becomes_another(&self) -> bool {
        !self.command.is_empty()
    }

    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let catalog = self.unchecked.apply(app.open_with_locks()?, app);
        let lease = catalog.lease(Key::typed(&self.target.model));
        let lease = self.target.found(lease, &catalog, app)?;
        path::note_if_retired(app, lease.entry());
        match self.command.split_first() {
            Some((program, arguments)) => engine::become_it(program, arguments, lease),
            None => hold(app, lease),
        }
    }
}

/// Prints the path, and holds the model until standard input ends.
fn hold(app: &mut App, lease: Lease) -> Outcome {
    path::print(app, lease.entry());
    // The parent process reads the path from a pipe, and begins when it is there.
    app.out.flush();
    if io::stdin().is_terminal() {
        app.note("leased until standard input ends; Ctrl-D ends it");
    }
    let ended = io::copy(&mut io::stdin().lock(), &mut io::sink());
    // A lease may last for weeks, and was noted as a use when it began.
    lease.touch();
    drop(lease);
    ended.map(drop).map_err(|error| Error::io("read", "standard input", error).into())
}
