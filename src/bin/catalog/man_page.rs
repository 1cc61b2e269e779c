//! One manual page: what clap knows about a command, and the other sections of a manual page.

use std::fmt::Write as _;
use std::io;

use clap::Command;
use clap_mangen::Man;

use crate::exit_codes;

/// The variables that the command reads. docs/network.md has all variables for servers and logins.
const ENVIRONMENT: [(&str, &str); 9] = [
    ("CATALOG_ROOT", "The root of the catalog, unless --root is given. An empty value counts as unset."),
    (
        "XDG_CACHE_HOME",
        "If it is set and absolute, the default root is $XDG_CACHE_HOME/models and not ~/.cache/models.",
    ),
    ("CATALOG_ALLOW_NET", "Rules like those of --allow-net, with commas between them."),
    ("CATALOG_NET_POLICY", "A second file of rules beside the machine's own. Both can only take away."),
    ("CATALOG_CA_FILE", "The authorities that are trusted instead of the system's, as PEM."),
    ("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY", "Proxies, and the hosts that are asked without one."),
    ("HF_TOKEN, HF_TOKEN_PATH, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE", "As for the Hugging Face Hub's own tools."),
    ("REGISTRY_AUTH_FILE, DOCKER_CONFIG", "Where logins of registries are kept, as for skopeo, podman and docker."),
    ("CATALOG_MODEL", "Set by catalog lease for the command that it runs: the path of the model."),
];

/// The places that a user should know. docs/format.md has each file of a root.
const FILES: [(&str, &str); 6] = [
    ("~/.cache/models", "The default root."),
    ("ROOT/views/", "What catalog path prints paths of: read-only files, for engines to open."),
    ("ROOT/blobs/", "The bytes, each content once, under its SHA-256."),
    ("ROOT/partials/", "What interrupted copies and fetches have brought; catalog partials lists it."),
    (
        "ROOT/quarantine/",
        "Damaged content and files that were in the way. Only catalog gc --quarantine-after removes it.",
    ),
    ("/etc/catalog/net.toml", "The machine's own rules for servers, which hold for everybody and can only take away."),
];

/// The file name of the page, such as `catalog-stage.1`.
pub(crate) fn file_name(command: &Command) -> String {
    Man::new(command.clone()).get_filename()
}

/// The command, built for its pages. They list the verbs themselves, so this drops the list from the help.
pub(crate) fn whole() -> Command {
    let list = clap::builder::Resettable::Reset;
    let command = crate::command().before_help(list.clone()).before_long_help(list);
    let mut command = command.disable_help_subcommand(true);
    command.build();
    command
}

/// The page of the whole command, or of a verb.
pub(crate) fn of(command: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone()).source(concat!("catalog ", env!("CARGO_PKG_VERSION"))).manual("catalog");
    let is_whole = command.get_version().is_some();
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(examples) = command.get_after_help() {
        page.extend(preformatted("EXAMPLES", &examples.to_string()).into_bytes());
    }
    if is_whole {
        page.extend(list("ENVIRONMENT", &ENVIRONMENT.map(|(name, meaning)| (name.to_owned(), meaning))).into_bytes());
        page.extend(list("FILES", &FILES.map(|(name, meaning)| (name.to_owned(), meaning))).into_bytes());
    }
    let codes = exit_codes::ALL.map(|(exit, meaning)| (format!("{} ({})", exit as u8, exit.word()), meaning));
    page.extend(list("EXIT STATUS", &codes).into_bytes());
    page.extend(format!(".PP\n{}\n", escaped(exit_codes::OF_SEVERAL)).into_bytes());
    if is_whole {
        man.render_version_section(&mut page)?;
    }
    Ok(page)
}

/// A section of names, each with its meaning.
fn list(title: &str, items: &[(String, &str)]) -> String {
    let mut section = format!(".SH \"{title}\"\n");
    for (name, meaning) in items {
        let _ = write!(section, ".TP\n\\fB{}\\fR\n{}\n", escaped(name), escaped(meaning));
    }
    section
}

/// A section whose lines are kept as they are.
fn preformatted(title: &str, text: &str) -> String {
    let lines: Vec<String> = text.trim_end().lines().filter(|line| *line != "Examples:").map(escaped).collect();
    format!(".SH \"{title}\"\n.nf\n{}\n.fi\n", lines.join("\n"))
}

/// The line, escaped so that no character has a meaning to the formatter.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    if line.starts_with('.') { format!("\\&{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when a page lacks a section, or the section lacks an exit code.
    #[test]
    fn every_page_has_the_exit_codes_and_the_first_one_what_it_reads() {
        let command = whole();
        let page = String::from_utf8(of(&command).unwrap()).unwrap();
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "ENVIRONMENT", "FILES", "\"EXIT STATUS\"", "VERSION"] {
            let title = format!(".SH {section}\n");
            assert!(
                page.contains(&title) || page.contains(&title.replace(section, &format!("\"{section}\""))),
                "{page}"
            );
        }
        let verbs: Vec<_> = command.get_subcommands().collect();
        assert!(verbs.len() > 20);
        for verb in verbs {
            let page = String::from_utf8(of(verb).unwrap()).unwrap();
            assert!(page.contains(".SH \"EXAMPLES\"\n.nf\n  "), "{page}");
            let (_, codes) = page.split_once(".SH \"EXIT STATUS\"\n").unwrap();
            assert_eq!(codes.matches(".TP\n").count(), exit_codes::ALL.len(), "{page}");
            assert_eq!(file_name(verb), format!("catalog-{}.1", verb.get_name()));
        }
    }

    #[test]
    fn what_a_formatter_would_obey_is_escaped() {
        assert_eq!(escaped(".it's a\\b `c` --d"), "\\&.it\\(aqs a\\eb \\(gac\\(ga \\-\\-d");
    }
}
