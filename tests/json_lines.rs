//! An independent validator checks every line of `--json` against docs/json.schema.json; and tests of standard error.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use common::*;

const PYTHON: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../hub-client/bin/python");

const VALIDATE: &str = "
import json, sys
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
# A key that the schema does not name is an error here; readers are asked to leave it alone.
schema['unevaluatedProperties'] = False
validator = Draft202012Validator(schema)
for line in sys.stdin:
    for error in validator.iter_errors(json.loads(line)):
        print(line.strip(), '\\n ', error.message)
";

/// Runs the verbs of a model's life with `--json`, and returns all their lines.
fn lines_of_a_life(host: &Host) -> Vec<String> {
    host.file("a.gguf", "a");
    host.file("tree/config.json", "{}");
    host.file("tree/a.gguf", vec![1; 3 << 20]);
    host.file("lm/acme/tiny/a.gguf", "GGUF");
    host.file("lm/acme/tiny/b.gguf.part", "half");
    let verbs = [
        "stage a.gguf --id a",
        "stage tree --id t",
        "stage missing ftp://x",
        "path a",
        "path t",
        "list --long",
        "show a t",
        "tag a b",
        "rename b c",
        "pin a --for 2h",
        "unpin a",
        "retire c",
        "activate c",
        "verify a t",
        "du",
        "leases",
        "root",
        "adopt lmstudio lm --dry-run --dedupe",
        "adopt lmstudio lm",
        "adopt nothing",
        "export a --as dir --to out",
        "export --list",
        "export --sync",
        "export --remove a",
        "config set max_bytes 1GB",
        "config get",
        "config unset max_bytes",
        "hash a.gguf tree",
        "partials",
        "gc --dry-run --max-bytes 0 --grace 0",
        "gc",
        "doctor",
        "remove a -n",
        "remove a",
        "remove missing",
        "log",
        "log a",
        "log missing",
        "log --verify",
        "verify",
        "push t oci://127.0.0.1:1/x --retries 0",
        "login 127.0.0.1:1 -u me",
        "logout 127.0.0.1:1",
        "repair t",
        "nonsense",
        "gc --max-bytes 0 --grace 0",
    ];
    let mut lines = Vec::new();
    for verb in verbs {
        let output = run(host, &["--json"], verb);
        for text in [output.stdout, output.stderr] {
            lines.extend(String::from_utf8(text).unwrap().lines().map(str::to_owned));
        }
        if verb == "verify a t" {
            damage(host);
            let output = run(host, &["--json"], "verify t");
            assert_eq!(output.status.code(), Some(4));
            lines.extend(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned));
            lines
                .extend(String::from_utf8(run(host, &["--json"], "doctor").stdout).unwrap().lines().map(str::to_owned));
        }
    }
    lines
}

/// Flips a byte of the large file of the tree.
fn damage(host: &Host) {
    let files = files_below(&host.root().join("blobs/sha256"));
    let large = files.iter().find(|file| fs::metadata(file).unwrap().len() == 3 << 20).unwrap();
    set_mode(large, 0o644);
    let mut bytes = fs::read(large).unwrap();
    bytes[2 << 20] ^= 1;
    fs::write(large, bytes).unwrap();
    set_mode(large, 0o444);
}

fn run(host: &Host, first: &[&str], verb: &str) -> Output {
    host.command().args(first).args(verb.split(' ')).stdin(Stdio::null()).output().unwrap()
}

// Red when a verb prints a key that its type does not have, or something that is not an object.
#[test]
fn every_line_is_what_the_schema_says() {
    let lines = lines_of_a_life(&Host::new());
    let kinds: BTreeSet<String> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].as_str().unwrap().to_owned())
        .collect();
    let wanted = "staged path model removed verified gc_step gc_summary usage finding error note \
                  adopted adopt_plan skipped adopt_summary exported export export_removed log_event log_chain";
    for kind in wanted.split_whitespace() {
        assert!(kinds.contains(kind), "{kinds:?} have no {kind}");
    }
    let has_validator =
        Command::new(PYTHON).args(["-c", "import jsonschema"]).output().is_ok_and(|it| it.status.success());
    if !has_validator {
        return skip("jsonschema is not in target/hub-client");
    }
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.schema.json");
    let mut python = Command::new(PYTHON);
    let mut python =
        python.args(["-c", VALIDATE, schema]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

#[test]
fn messages_of_the_library_are_shown_when_they_are_asked_for() {
    let host = Host::new();
    host.file("a.gguf", "a");
    run(&host, &[], "stage a.gguf --id a");
    let stderr = |first: &[&str], log: &str| {
        let mut command = host.command();
        let output = command.args(first).args(["verify", "a"]).env("RUST_LOG", log).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(stderr(&[], ""), "");
    assert_eq!(stderr(&["-v"], ""), "");
    assert!(stderr(&["-vv"], "").contains("DEBUG verify{entries=1}: verified id=a"));
    assert!(stderr(&[], "catalog_core=debug").contains("verified id=a"));
    assert_eq!(stderr(&[], "catalog_core=warn"), "");
    let json: Value =
        serde_json::from_str(stderr(&["-vv", "--log-format", "json"], "").lines().next().unwrap()).unwrap();
    assert_eq!((&json["fields"]["message"], &json["fields"]["id"]), (&"verified".into(), &"a".into()));
    // Red when `--json` leaves lines of text among the objects.
    let with_json = stderr(&["--json", "-vv"], "");
    assert!(with_json.lines().count() > 0 && with_json.lines().all(|line| line.starts_with('{')), "{with_json}");
    let wrong = stderr(&[], "catalog_core=loud");
    assert!(wrong.starts_with("note: could not read RUST_LOG"), "{wrong}");
}

// Red when nothing is printed for a program that draws its own bar, or more than one line a second.
#[test]
fn progress_is_an_object_a_second() {
    let host = Host::new();
    // At this rate, the check takes more than two seconds on any disk.
    let file = host.file("a.gguf", vec![7; 40 << 20]);
    run(&host, &[], &format!("stage {} --id a", file.display()));
    let begun = std::time::Instant::now();
    let output = run(&host, &["--progress", "json"], "verify a --rate 16MiB/s");
    let most = begun.elapsed().as_secs() as usize + 2;
    let lines: Vec<Value> =
        String::from_utf8(output.stderr).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!((2..=most).contains(&lines.len()), "{most}: {lines:?}");
    let done: Vec<u64> = lines.iter().map(|line| line["bytes_done"].as_u64().unwrap()).collect();
    assert!(done.is_sorted() && lines.iter().all(|line| line["type"] == "progress"), "{lines:?}");
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["state"], &last["bytes_done"], &last["bytes_total"]),
        (&"finished".into(), &(40 << 20).into(), &(40 << 20).into())
    );
    assert_eq!(String::from_utf8(run(&host, &["--progress", "none"], "verify a").stderr).unwrap(), "");
}
