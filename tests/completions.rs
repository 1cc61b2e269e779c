//! Completions: what the command returns to a shell, and what bash, zsh and fish make of it in a terminal.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use common::*;

/// Ids that are difficult for a shell.
const IDS: [&str; 6] = ["tiny", "two words", "hf:org/model", "it's \"so\"", "wild*?[x]$HOME", "modèle"];

fn host() -> Host {
    let host = Host::new();
    let catalog = host.catalog();
    let file = host.file("model.gguf", b"bytes");
    for id in IDS {
        stage(&catalog, &file, id).unwrap();
    }
    catalog.pin("tiny", "pool-7", None).unwrap();
    host
}

fn path_of(host: &Host, id: &str) -> PathBuf {
    host.catalog().record(id).unwrap().unwrap().entry.local_path
}

/// What the command returns to bash: `line` is the typed text, `part` what bash regards as the last word.
fn asked(host: &Host, line: &str, part: &str) -> Vec<String> {
    let output = host.command().env("COMPLETE", "bash").args(["--", line, part]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect()
}

// Red when an argument that takes an id has no completer.
#[test]
fn every_verb_that_takes_an_id_completes_it() {
    let host = host();
    for verb in [
        "path", "lease", "list", "show", "rename", "tag", "retire", "activate", "remove", "verify", "repair", "push",
        "pin", "unpin",
    ] {
        assert_eq!(asked(&host, &format!("catalog {verb} ti"), "ti"), ["tiny"], "{verb}");
        assert_eq!(asked(&host, &format!("catalog {verb} ./mo"), "./mo"), ["./model.gguf"], "{verb}: a reference");
    }
    assert_eq!(asked(&host, "catalog verify tiny tw", "tw"), [r"two\ words"]);
    assert_eq!(asked(&host, "catalog stage mod", "mod"), ["model.gguf"]);
    assert_eq!(asked(&host, "catalog unpin tiny --as po", "po"), ["pool-7"]);
    assert_eq!(asked(&host, "catalog config get min", "min"), ["min_free"]);
    assert_eq!(asked(&host, "catalog compl", "compl"), ["completions"]);
    assert_eq!(asked(&host, "catalog verify --qu", "--qu"), ["--quick", "--quiet"]);
    // Each id has a line of its own.
    let ids = asked(&host, "catalog path ", "");
    for id in ["tiny", r"two\ words", "hf:org/model", r#"it\'s\ \"so\""#, r"wild\*\?\[x\]\$HOME", "modèle"] {
        assert!(ids.iter().any(|line| line == id), "{id}: {ids:?}");
    }
}

#[test]
fn the_root_is_that_of_the_line() {
    let (host, other) = (host(), Host::new());
    stage(&other.catalog(), &other.file("a", b"a"), "other").unwrap();
    let root = other.root();
    for line in [format!("catalog --root {} path ", root.display()), format!("catalog path --root={} ", root.display())]
    {
        let found = asked(&host, &line, "");
        assert!(found.contains(&"other".to_owned()) && !found.contains(&"tiny".to_owned()), "{line}: {found:?}");
    }
    let mut command = host.command();
    command.env("HOME", other.dir.path());
    let found = command.env("COMPLETE", "bash").args(["--", "catalog --root ~/root path o", "o"]).output().unwrap();
    assert_eq!(found.stdout, b"other\n");
}

// Red when an error of the catalog is printed, or a root is created.
#[test]
fn what_is_wrong_is_answered_with_nothing() {
    let host = Host::new();
    let silent = |command: &mut Command| {
        let output: Output = command.output().unwrap();
        assert!(output.stderr.is_empty() && output.status.code().is_some_and(|code| code < 2), "{output:?}");
        assert!(!host.root().exists(), "a root was made");
        output.stdout
    };
    assert_eq!(silent(host.command().env("COMPLETE", "bash").args(["--", "catalog path ti", "ti"])), b"");
    assert_eq!(silent(host.command().env("COMPLETE", "bash").args(["--", "", ""])), b"");
    assert_eq!(silent(host.command().env("COMPLETE", "no-shell").args(["--", "catalog"])), b"");
    let broken = OsStr::from_bytes(b"catalog path '\xff");
    assert_eq!(silent(host.command().env("COMPLETE", "bash").arg("--").arg(broken)), b"");
    let far = host.command().env("COMPLETE", "zsh").env("_CLAP_COMPLETE_INDEX", "99").args(["--", "catalog"]).output();
    assert!(far.unwrap().stderr.is_empty());
    for index in ["-1", "x", "18446744073709551615"] {
        silent(host.command().env("COMPLETE", "zsh").env("_CLAP_COMPLETE_INDEX", index).args(["--", "catalog", "p"]));
    }
    std::fs::create_dir(host.root()).unwrap();
    std::fs::write(host.root().join("store.json"), "{").unwrap();
    let broken = host.command().env("COMPLETE", "fish").args(["--", "catalog", "path", "t"]).output().unwrap();
    assert_eq!((broken.stdout, broken.stderr), (vec![], vec![]));

    let wrong = host.command().env("COMPLETE", "no-shell").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    let words = String::from_utf8(wrong.stderr).unwrap();
    assert!(words.starts_with("error: ") && words.contains("no-shell") && words.lines().count() == 1, "{words}");
    let empty = host.command().env("COMPLETE", "").arg("man").output().unwrap();
    assert!(empty.status.success(), "an empty value asks for nothing");
}

/// A shell in a terminal, as a person uses it.
struct Terminal {
    shell: Running,
    seen: Arc<Mutex<String>>,
}

impl Terminal {
    fn open(host: &Host, shell: &str) -> Terminal {
        let mut script = Command::new("script");
        script.args(["-qfc", shell, "/dev/null"]).current_dir(host.dir.path()).stdin(Stdio::piped());
        let bin = host.command().get_program().to_owned();
        let bin = PathBuf::from(bin).parent().unwrap().to_owned();
        let path = std::env::join_paths(
            [bin].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
        );
        script.env("PATH", path.unwrap()).env("TERM", "dumb").env("LC_ALL", "C.UTF-8");
        script.env("CATALOG_ROOT", host.root()).env("HOME", host.path("home")).env_remove("COMPLETE");
        let mut shell = Running(script.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let (seen, mut output) = (Arc::new(Mutex::new(String::new())), shell.0.stdout.take().unwrap());
        let kept = Arc::clone(&seen);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        Terminal { shell, seen }
    }

    fn type_in(&mut self, text: &str) {
        let keyboard = self.shell.0.stdin.as_mut().unwrap();
        keyboard.write_all(text.as_bytes()).unwrap();
        keyboard.flush().unwrap();
    }

    /// Types a line, and waits for what it prints.
    #[track_caller]
    fn run(&mut self, line: &str, prints: &str) {
        self.seen.lock().unwrap().clear();
        self.type_in(line);
        self.type_in("\r");
        let seen = Arc::clone(&self.seen);
        let began = std::time::Instant::now();
        while !seen.lock().unwrap().contains(prints) {
            let seen = seen.lock().unwrap().clone();
            assert!(began.elapsed().as_secs() < 30, "{line:?} does not print {prints:?}: {seen:?}");
            thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// Types the beginning of each id, a tab and a line break, and waits for the path of the model.
fn complete_in(shell: &str, start: &str, script: &str) {
    if !has_tool(shell) || !has_tool("script") {
        return skip(&format!("this needs {shell} and script"));
    }
    let host = host();
    let mut terminal = Terminal::open(&host, start);
    terminal.run("echo re''ady", "ready");
    terminal.run(&format!("{script}; echo the''re"), "there");
    for (typed, id) in [
        ("ti", "tiny"),
        ("tw", "two words"),
        ("'tw", "two words"),
        ("\"tw", "two words"),
        (r"two\ w", "two words"),
        ("h", "hf:org/model"),
        ("hf:", "hf:org/model"),
        ("hf:org/m", "hf:org/model"),
        ("'hf:o", "hf:org/model"),
        ("it", "it's \"so\""),
        ("wi", "wild*?[x]$HOME"),
        ("mod", "modèle"),
    ] {
        let path = path_of(&host, id);
        terminal.run(&format!("catalog path {typed}\t"), path.to_str().unwrap());
    }
    terminal.run("catalog --root=ro\t path tiny", path_of(&host, "tiny").to_str().unwrap());
    terminal.run("catalog unpin tiny --as po\t", "unpinned tiny");
}

// Red when bash gets the same candidates as clap's own script: bash splits words at a colon, and inserts candidates
// unquoted.
#[test]
fn bash_in_a_terminal() {
    complete_in("bash", "bash --norc -i", "source <(catalog completions bash)");
}

// Red when zsh's words are used as typed: those with a quote or a backslash then match no id.
#[test]
fn zsh_in_a_terminal() {
    let script = "autoload -U compinit && compinit -u -D; source <(catalog completions zsh)";
    complete_in("zsh", "zsh -f -i", script);
}

/// fish prints what it would offer, and quotes it itself.
// Red when fish's last word is used as typed.
#[test]
fn fish_offers_the_ids() {
    if !has_tool("fish") {
        return skip("this needs fish");
    }
    let host = host();
    let bin = PathBuf::from(host.command().get_program());
    let path = std::env::join_paths(
        [bin.parent().unwrap().to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    for (typed, id) in [
        ("ti", "tiny"),
        ("tw", "two words"),
        ("'tw", "two words"),
        (r"two\ w", "two words"),
        ("hf:org/m", "hf:org/model"),
        ("it", "it's \"so\""),
        ("wi", "wild*?[x]$HOME"),
        ("mod", "modèle"),
    ] {
        let mut fish = Command::new("fish");
        fish.args(["--no-config", "-c", "catalog completions fish | source; complete -C \"catalog path $LINE\""]);
        fish.env("LINE", typed).env("PATH", path.as_ref().unwrap()).env("LC_ALL", "C.UTF-8");
        fish.env("CATALOG_ROOT", host.root()).env("HOME", host.path("home")).current_dir(host.dir.path());
        let offered = String::from_utf8(run(fish).stdout).unwrap();
        let offered: Vec<String> =
            offered.lines().map(|line| line.split('\t').next().unwrap().replace('\\', "")).collect();
        assert_eq!(offered.iter().filter(|offer| *offer == id).count(), 1, "{typed}: {offered:?}");
    }
}
