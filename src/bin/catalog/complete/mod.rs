//! Answers a shell that asks how a command line can continue: verbs, options, and the ids in the catalog.
//!
//! The shell calls this command with `COMPLETE` set to its own name, and the typed words after `--`. If anything is
//! wrong, such as a missing catalog, the answer is empty: an error message would end up in the prompt.

mod candidates;
mod line;
mod shells;

pub(crate) use candidates::{models, partials, pins, references};

use std::env;
use std::io::Write as _;

use clap_complete::CompleteEnv;
use clap_complete::env::{Elvish, EnvCompleter, Fish, Powershell, Shells};

use crate::failure::{Exit, Failure, tell};
use crate::{NAME, command};
use shells::{Bash, Unquoting, Zsh};

/// The variable that says which shell asks.
const VARIABLE: &str = "COMPLETE";

const FISH: Unquoting<Fish> = Unquoting(Fish);
const SHELLS: [&dyn EnvCompleter; 5] = [&Bash, &Elvish, &FISH, &Powershell, &Zsh];

/// Answers a shell, or prints the script that a shell calls this command with. Returns `None` if no shell has called
/// it.
pub(crate) fn answer() -> Option<Exit> {
    let directory = env::current_dir().ok();
    let asked = CompleteEnv::with_factory(command).shells(Shells(&SHELLS));
    match asked.try_complete(env::args_os(), directory.as_deref()) {
        Ok(false) => None,
        Ok(true) => Some(Exit::Done),
        // The words follow `--`; without them, a person asks for the script.
        Err(_) if env::args_os().any(|word| word == "--") => Some(Exit::Failed),
        Err(error) => Some(tell(&Failure::usage(error.to_string().trim_end()), None, NAME)),
    }
}

/// The completion script of the shell with this name. It finds this command by its name.
pub(crate) fn script(shell: &str) -> std::io::Result<Vec<u8>> {
    let mut script = Vec::new();
    if let Some(shell) = Shells(&SHELLS).completer(shell) {
        shell.write_registration(VARIABLE, NAME, NAME, NAME, &mut script)?;
    }
    script.flush()?;
    Ok(script)
}

#[cfg(test)]
mod tests {
    use clap_complete::ArgValueCompleter;

    // Red when a verb is added without completion for its ids.
    #[test]
    fn every_argument_that_is_an_id_is_completed() {
        let command = crate::command();
        let mut count = 0;
        for verb in command.get_subcommands() {
            for argument in verb.get_positionals() {
                let names = argument.get_value_names().unwrap_or_default();
                if names.iter().any(|name| name.starts_with("ID")) {
                    assert!(argument.get::<ArgValueCompleter>().is_some(), "{}: {names:?}", verb.get_name());
                    count += 1;
                }
            }
        }
        assert!(count > 9, "{count}");
    }
}
