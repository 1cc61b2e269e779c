//! The tour of README.md, run as it is written: each command prints the lines below it.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::*;

/// These need an engine, or one shell for several commands.
const NOT_RUN: [&str; 4] = ["llama-server", "coproc", "read -r", "exec {"];

/// Makes the files that a reader already has, and damages a model during the tour.
fn prepare(host: &Host, command: &str) {
    if command.contains("llama-with-card") {
        host.file("home/downloads/llama-with-card/README.md", "# A small llama\n");
        fs::copy(fixture(), host.path("home/downloads/llama-with-card/llama.gguf")).unwrap();
    }
    if command == "catalog verify big" {
        let backup = host.file("backup/big.gguf", vec![7; 60 << 20]);
        let receipt = stage(&host.catalog(), &backup, "big").unwrap();
        let blob = blob_path(&host.root(), &receipt.digest);
        set_mode(&blob, 0o644);
        let mut bytes = fs::read(&blob).unwrap();
        bytes[50 << 20] ^= 1;
        fs::write(&blob, bytes).unwrap();
        set_mode(&blob, 0o444);
    }
}

/// Replaces what differs from run to run: paths, the hash of an id that contains one, and the width of a table.
fn settled(line: &str, host: &Host) -> String {
    let line = line.replace(&*host.root().display().to_string(), "/srv/models");
    let line = line.replace(&*host.path("home").display().to_string(), "/home/you");
    let slug = host.path("home").display().to_string()[1..].replace('/', "-").to_lowercase();
    let line = line.replace(&slug, "home-you");
    let words = line.split_whitespace().map(|word| {
        let parts = word.split_inclusive(['/', ':', '-', '…']).map(|part| {
            let name = part.trim_end_matches(['/', ':', '-', '…', ',']);
            let is_hex = name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_hex { part.replace(name, "#") } else { part.to_owned() }
        });
        parts.collect::<String>()
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Red when a command prints something other than README.md says, or has another name.
#[test]
fn the_tour_prints_what_the_readme_says() {
    let host = Host::new();
    fs::create_dir_all(host.path("home/downloads")).unwrap();
    let binary = host.command().get_program().to_owned();
    let path = format!("{}:/usr/bin:/bin", Path::new(&binary).parent().unwrap().display());
    let mut run = 0;
    for (command, expected) in readme_commands("A tour") {
        if NOT_RUN.iter().any(|start| command.starts_with(start)) {
            continue;
        }
        prepare(&host, &command);
        let there = command.replace("/mnt/backup", &host.path("backup").display().to_string());
        let there = there.replace("/home/you", &host.path("home").display().to_string());
        let mut shell = Command::new("bash");
        // `du` prints its bars only on a terminal.
        let terminal = if command == "catalog du" { "script -qec 'catalog du' /dev/null" } else { &there };
        shell.args(["-c", &format!("{terminal} 2>&1")]);
        shell.env("PATH", &path).env("HOME", host.path("home")).env("CATALOG_ROOT", host.root());
        let output = shell.output().unwrap();
        // The bars below a blank line are as wide as the terminal; the output for a pin says when it ends.
        let is_compared = |line: &&str| !line.contains("until");
        let printed = String::from_utf8(output.stdout).unwrap();
        let printed: Vec<_> = printed
            .lines()
            .take_while(|line| !line.is_empty())
            .filter(is_compared)
            .map(|line| settled(line, &host))
            .collect();
        let expected = expected.iter().map(String::as_str).take_while(|line| !line.is_empty()).filter(is_compared);
        let expected: Vec<_> = expected.map(|line| settled(line, &host)).collect();
        assert_eq!(printed, expected, "$ {command}");
        run += 1;
    }
    assert!(run >= 15, "{run} commands were run");
}
