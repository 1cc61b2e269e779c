//! `catalog lease`: holds a model while somebody uses it.

use std::io::{self, IsTerminal as _};

use catalog_core::{Error, Key};

use crate::app::App;
use crate::args::{OneModel, Unchecked};
use crate::failure::Outcome;
use crate::path;

/// Hold a model until standard input ends, so that nothing takes it
///
/// Prints the path as `path` does, and then stays. While it runs, no `gc` takes the model and `remove` leaves its files
/// in place, also when its id is given new content. The lease belongs to the process: however it ends, the lease is over,
/// and there is nothing to clean up. It needs no right to write, so it works on a read-only root.
///
/// With standard input from /dev/null the lease is over at once. `catalog pin` keeps a model without a process.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog lease llama3                      # until Ctrl-D or Ctrl-C
  sleep 3600 | catalog lease llama3 &       # for an hour

In bash, for as long as an engine runs:
  coproc LEASE { catalog lease llama3; }
  read -r model <&\"${LEASE[0]}\"
  llama-server -m \"$model\"
  exec {LEASE[1]}>&-")]
pub(crate) struct Args {
    #[command(flatten)]
    target: OneModel,
    #[command(flatten)]
    unchecked: Unchecked,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let catalog = self.unchecked.apply(app.open_with_locks()?, app);
        let lease = catalog.lease(Key::typed(&self.target.model));
        let lease = self.target.found(lease, &catalog, app)?;
        path::print(app, lease.entry());
        // The parent process reads the path from a pipe, and begins when it is there.
        app.out.flush();
        if io::stdin().is_terminal() {
            app.note("it is leased until standard input ends; Ctrl-D ends it");
        }
        let ended = io::copy(&mut io::stdin().lock(), &mut io::sink());
        // A lease may last for weeks, and was noted as a use when it began.
        lease.touch();
        drop(lease);
        ended.map(drop).map_err(|error| Error::io("read", "standard input", error).into())
    }
}
