//! The `catalog` command: the library's verbs for people and scripts, over the public API only.

mod activate;
mod adopt;
mod advice;
mod amount;
mod app;
mod args;
mod attach;
mod bom;
mod complete;
mod completions;
mod config;
mod config_key;
mod detach;
mod doctor;
mod du;
mod engine;
mod exit_codes;
mod export;
mod facts;
mod failure;
mod filter;
mod gc;
mod hash;
mod help;
mod history;
mod human;
mod id_from;
mod interrupt;
mod json;
mod lease;
mod leases;
mod lifecycle;
mod list;
mod log;
mod login;
mod logout;
mod man;
mod man_page;
mod net;
mod output;
mod partials;
mod path;
mod pin;
mod pins;
mod policy;
mod progress;
mod progress_lines;
mod push;
mod remove;
mod rename;
mod repair;
mod report;
mod retire;
mod root;
mod show;
mod sign;
mod signer;
mod stage;
mod stderr;
mod sums;
mod table;
mod tag;
mod text;
mod unpin;
mod usage;
mod verify;
mod verify_signature;
mod write_file;

use std::process::ExitCode;

use clap::{Args as _, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::app::{App, Global};
use crate::failure::Outcome;

/// The models of this host: stored once, found by name, known to be intact
///
/// `catalog` keeps model files (GGUF files, safetensors directories) in a content-addressable store: the same bytes are
/// kept once, under however many names, and each name leads to a read-only file that an engine can open.
#[derive(Parser)]
#[command(name = "catalog", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// How the command is called where no root is known.
const NAME: &str = "catalog";

/// The name of a verb: that of its file, unless it has another one.
macro_rules! name {
    ($file:ident) => {
        stringify!($file)
    };
    ($file:ident $name:literal) => {
        $name
    };
}

/// Each verb is a file with the struct `Args`, whose doc comment is the verb's help, and its `run`. The verbs stand
/// in the groups, and in the order, that the help has them in.
macro_rules! verbs {
    ($($group:literal { $($variant:ident => $file:ident $($name:literal)?,)* })*) => {
        #[derive(Subcommand)]
        enum Verb {
            $($($variant($file::Args),)*)*
        }

        impl Verb {
            fn run(self, app: &mut App) -> Outcome {
                match self {
                    $($(Verb::$variant(args) => args.run(app),)*)*
                }
            }
        }

        /// The command without its help, and with all verbs, of which clap fills in only the one that is called.
        fn brief_command() -> clap::Command {
            let command = Global::augment_args(clap::Command::new(NAME)).subcommand_required(true);
            command$($(.subcommand(clap::Command::new(name!($file $($name)?)).defer($file::Args::augment_args)))*)*
        }

        /// What the verbs of a group are for, and their names.
        const GROUPS: &[(&str, &[&str])] = &[$(($group, &[$(name!($file $($name)?),)*]),)*];
    };
}

verbs! {
    "Bring in" {
        Stage => stage,
        Adopt => adopt,
        Partials => partials,
    }
    "Use" {
        Path => path,
        Lease => lease,
    }
    "Look" {
        List => list,
        Show => show,
        Leases => leases,
        Du => du,
        Report => report,
        Root => root,
    }
    "Keep and free" {
        Pin => pin,
        Unpin => unpin,
        Retire => retire,
        Activate => activate,
        Rename => rename,
        Tag => tag,
        Remove => remove,
        Gc => gc,
        Config => config,
    }
    "Check and repair" {
        Verify => verify,
        Repair => repair,
        Doctor => doctor,
        Hash => hash,
    }
    "Trust" {
        Sign => sign,
        VerifySignature => verify_signature "verify-signature",
        Log => history "log",
        Bom => bom,
        Attach => attach,
        Detach => detach,
        Policy => policy,
    }
    "Share" {
        Push => push,
        Export => export,
        Login => login,
        Logout => logout,
    }
    "Shell" {
        Completions => completions,
        Man => man,
    }
}

/// The command as it is called, with its help.
fn command() -> clap::Command {
    help::complete(Cli::command(), GROUPS)
}

/// Parses the arguments. Describing every option of every verb to clap takes longer than most verbs do, so the whole
/// command is only made for those arguments that need it: for a help, or an error.
fn parse() -> Result<Cli, clap::Error> {
    let parse = |command: clap::Command| Cli::from_arg_matches(&command.try_get_matches()?);
    parse(brief_command()).or_else(|_| parse(command()))
}

fn main() -> ExitCode {
    if let Some(exit) = complete::answer() {
        return exit.into();
    }
    let exit = match parse() {
        Ok(Cli { global, verb }) => {
            // A program that this process becomes would inherit it, and may not expect descriptors with high numbers.
            if !matches!(&verb, Verb::Lease(args) if args.becomes_another()) {
                catalog_core::raise_descriptor_limit();
            }
            interrupt::survive_file_size_limit();
            let mut app = App::new(global);
            let outcome = verb.run(&mut app);
            app.finish(outcome)
        }
        Err(answer) => usage::print(usage::with_tip(answer)),
    };
    exit.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        command().debug_assert();
    }

    // Red when a verb is missing there, or has other arguments: it would be parsed, but not as its help says.
    #[test]
    fn the_brief_command_parses_the_same() {
        let described = |mut command: clap::Command| {
            command.build();
            let arguments = |verb: &clap::Command| -> Vec<String> {
                let arguments = verb.get_arguments().filter(|argument| argument.get_id() != "version");
                let mut arguments: Vec<_> =
                    arguments.map(|one| format!("{one} {} {:?}", one.get_id(), one.get_action())).collect();
                arguments.sort();
                arguments
            };
            let verbs = command.get_subcommands().filter(|verb| verb.get_name() != "help");
            let verbs: Vec<_> = verbs.map(|verb| (verb.get_name().to_owned(), arguments(verb))).collect();
            (arguments(&command), verbs)
        };
        let (whole, brief) = (described(command()), described(brief_command()));
        assert_eq!(whole, brief);
    }

    #[test]
    fn every_verb_has_a_summary_and_examples() {
        for verb in Cli::command().get_subcommands() {
            let summary = verb.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!summary.is_empty() && !summary.contains('\n'), "{}: {summary:?}", verb.get_name());
            let examples = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.contains(&format!("catalog {}", verb.get_name())), "{}: {examples:?}", verb.get_name());
        }
    }

    #[test]
    fn global_options_go_before_and_after_the_verb() {
        for line in ["catalog --root /r --json -q list", "catalog list --root /r --json --quiet"] {
            let Cli { global, .. } = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(App::new(global).root(), std::path::Path::new("/r"), "{line}");
        }
    }
}
