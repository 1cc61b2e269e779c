//! The tour of README.md, run as it is written, in one shell on a terminal: each command prints the lines below it.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::*;
use rstest::rstest;

/// Not run, because it needs the registry of crates.
const NOT_RUN: &str = "cargo install";

/// Printed before the output of each command.
const MARK: &str = "=== command ";

/// The directory that the tour works in.
const PLACE: &str = "/tmp/tour";

/// Replaces what differs from run to run: the place, hashes of ids, times, and the width of a column.
fn settled(line: &str, place: &str) -> String {
    let line = line.replace(place, PLACE);
    let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
    // Keys are made anew.
    let words = match words.split_once("key sha256:") {
        Some((before, after)) => format!("{before}key{}", after.get(12..).unwrap_or_default()),
        None => words,
    };
    // A command that takes a second or more also prints its duration.
    match words.rsplit_once(", ") {
        Some((rest, time)) if time.strip_suffix(" s").is_some_and(|time| time.parse::<f64>().is_ok()) => {
            rest.to_owned()
        }
        _ => words,
    }
}

/// What a person sees of a line on a terminal: a progress bar is drawn and erased before it.
fn seen(line: &str) -> &str {
    let line = line.trim_end_matches('\r');
    let line = line.rsplit("\x1b[2K").next().unwrap_or(line);
    line.rsplit('\r').next().unwrap_or(line)
}

/// Red when a command prints something other than README.md says, or has another name.
#[rstest]
#[case::tour("A tour", 25)]
#[case::trust("Trust", 10)]
fn the_commands_print_what_the_readme_says(#[case] heading: &str, #[case] at_least: usize) {
    let host = Host::new();
    let place = host.path("place").display().to_string();
    let commands = commands_of("README.md", heading);
    let commands: Vec<_> = commands.into_iter().filter(|(command, _)| !command.starts_with(NOT_RUN)).collect();
    assert!(commands.len() >= at_least, "{} commands", commands.len());

    let mut script = "stty rows 40 cols 150\n".to_owned();
    for (number, (command, _)) in commands.iter().enumerate() {
        script += &format!("echo '{MARK}{number}'\n{}\n", command.replace(PLACE, &place));
    }
    let script = host.file("tour.sh", script);
    let binary = host.command().get_program().to_owned();
    let path = format!("{}:/usr/bin:/bin", Path::new(&binary).parent().unwrap().display());
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &format!("bash {}", script.display()), "/dev/null"]);
    terminal.env("PATH", &path).env("HOME", host.path("home")).env("NO_COLOR", "1").env_remove("CATALOG_ROOT");
    let output = terminal.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();

    for (number, (command, expected)) in commands.iter().enumerate() {
        let (_, rest) =
            printed.split_once(&format!("{MARK}{number}\r\n")).unwrap_or_else(|| panic!("{command}: {printed}"));
        let lines = rest.split(MARK).next().unwrap().lines().map(seen);
        // The bars below a blank line are as wide as the terminal; the output for a pin says when it ends.
        let is_compared = |line: &&str| !line.contains("until");
        let lines = lines.take_while(|line| !line.is_empty()).filter(is_compared);
        let lines: Vec<String> = lines.map(|line| settled(line, &place)).collect();
        let expected = expected.iter().map(String::as_str).take_while(|line| !line.is_empty()).filter(is_compared);
        let expected: Vec<String> = expected.map(|line| settled(line, &place)).collect();
        assert_eq!(lines, expected, "$ {command}");
    }
    assert!(!fs::exists(&place).unwrap(), "the tour takes away what it has made");
}
