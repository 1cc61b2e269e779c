//! The help of the whole command: the verbs in groups, how to begin, and the exit codes.

use std::fmt::Write as _;

use clap::Command;

use crate::exit_codes;

const BEGIN: &str = "Begin with:
  catalog stage ./llama3-8b.gguf --id llama3
  llama-server -m \"$(catalog path llama3)\"";

/// The command with its help. Each group has a heading, which says what its verbs are for, and their names.
pub(crate) fn complete(command: Command, groups: &[(&str, &[&str])]) -> Command {
    let (short, long) = (in_brief(&command, groups), with_summaries(&command, groups));
    let header = command.get_styles().get_header();
    // clap's own template, with the groups in place of one long list of verbs.
    let template = format!(
        "{{about-with-newline}}
{{usage-heading}} {{usage}}

{{before-help}}{header}Options:{header:#}
{{options}}{{after-help}}"
    );
    command
        .help_template(template)
        .before_help(short)
        .before_long_help(long)
        .after_help(format!(
            "{BEGIN}

`catalog --help` says what each verb does, and lists the exit codes; `catalog help VERB` shows examples of a verb."
        ))
        .after_long_help(format!(
            "{BEGIN}
  catalog list

Exit codes:
{}{}

Data goes to standard output, everything else to standard error. With --json it is one object a line.
`catalog help VERB` shows examples of a verb.",
            exit_codes::table(),
            exit_codes::OF_SEVERAL
        ))
}

/// The verbs, one line for each group.
fn in_brief(command: &Command, groups: &[(&str, &[&str])]) -> String {
    let header = command.get_styles().get_header();
    let literal = command.get_styles().get_literal();
    let width = groups.iter().map(|(group, _)| group.len()).max().unwrap_or(0);
    let mut text = format!("{header}Verbs:{header:#}");
    for (group, verbs) in groups {
        let verbs: Vec<String> = verbs.iter().map(|verb| format!("{literal}{verb}{literal:#}")).collect();
        let _ = write!(text, "\n  {group:width$}  {}", verbs.join(", "));
    }
    text
}

/// The verbs, one line for each, with its summary.
fn with_summaries(command: &Command, groups: &[(&str, &[&str])]) -> String {
    let header = command.get_styles().get_header();
    let literal = command.get_styles().get_literal();
    let names = groups.iter().flat_map(|(_, verbs)| verbs.iter());
    let width = names.map(|verb| verb.len()).max().unwrap_or(0);
    let mut paragraphs = Vec::new();
    for (group, verbs) in groups {
        let mut paragraph = format!("{header}{group}:{header:#}");
        for verb in *verbs {
            let summary = command.find_subcommand(verb).and_then(Command::get_about);
            let summary = summary.map(ToString::to_string).unwrap_or_default();
            let space = " ".repeat(width - verb.len());
            let _ = write!(paragraph, "\n  {literal}{verb}{literal:#}{space}  {summary}");
        }
        paragraphs.push(paragraph);
    }
    paragraphs.join("\n\n")
}

#[cfg(test)]
mod tests {
    use crate::{GROUPS, command};

    // Red when a verb is missing from the help, is listed twice, or has a summary that is not its own.
    #[test]
    fn every_verb_is_in_one_group_with_its_summary() {
        let mut command = command();
        let help = command.render_long_help().to_string();
        let (_, help) = help.split_once("\nUsage: ").unwrap();
        let (help, _) = help.split_once("\nOptions:\n").unwrap();
        for (group, verbs) in GROUPS {
            assert_eq!(help.matches(&format!("\n{group}:\n")).count(), 1, "{group}");
            assert!(!verbs.is_empty(), "{group}");
        }
        let verbs = command.get_subcommands().filter(|verb| verb.get_name() != "help" && !verb.is_hide_set());
        let verbs: Vec<_> = verbs.map(|verb| (verb.get_name(), verb.get_about().unwrap().to_string())).collect();
        assert_eq!(GROUPS.iter().map(|(_, verbs)| verbs.len()).sum::<usize>(), verbs.len());
        for (verb, summary) in verbs {
            assert_eq!(GROUPS.iter().filter(|(_, verbs)| verbs.contains(&verb)).count(), 1, "{verb}");
            let lines: Vec<&str> = help.lines().filter(|line| line.split_whitespace().next() == Some(verb)).collect();
            let line = lines.iter().map(|line| line.trim_start()[verb.len()..].trim()).collect::<Vec<_>>();
            assert_eq!(line, [&*summary], "{verb}");
        }
    }

    #[test]
    fn the_short_help_fits_a_screen_and_names_every_verb() {
        let help = command().render_help().to_string();
        assert!(help.lines().count() <= 35, "{help}");
        for verb in GROUPS.iter().flat_map(|(_, verbs)| verbs.iter()) {
            assert!(help.contains(verb), "{verb}: {help}");
        }
    }
}
