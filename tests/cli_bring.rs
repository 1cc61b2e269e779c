//! Staging models and naming them: ids from names, lists of checksums, second ids, and the root in use.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;

use catalog_core::Digest;
use serde_json::Value;

use common::typed::{done, failed, ids, stderr};
use common::*;

#[test]
fn ids_are_made_of_what_is_asked_for() {
    let host = Host::new();
    host.file("m/a.gguf", "a");
    host.file("m/b.gguf", "b");
    host.file("other/a.gguf", "c");
    done(&host, &["stage", "m/a.gguf", "m/b.gguf", "--id-from", "name"]);
    assert_eq!(ids(&host, &[]), ["a", "b"]);
    done(&host, &["stage", "m/a.gguf", "--id-from", "file"]);
    done(&host, &["stage", "m/a.gguf", "--id-from", "path"]);
    assert_eq!(ids(&host, &[]), ["a", "a.gguf", "b", "m/a.gguf"]);
    // Red when the second model replaces the first.
    let error = failed(&host, &["stage", "m/a.gguf", "other/a.gguf", "--id-from", "name"], 2);
    assert!(error.contains("m/a.gguf has the same id"), "{error}");
    failed(&host, &["stage", "m/a.gguf", "--id-from", "name", "--id", "x"], 2);
}

// Red when a file is staged that the list does not name, or names with another digest.
#[test]
fn a_list_of_checksums_is_kept() {
    let host = Host::new();
    host.file("m/a.gguf", "a");
    host.file("m/b.gguf", "b");
    host.file("m/c.gguf", "c");
    let line = |bytes: &str, name: &str| format!("{}  {name}\n", Digest::sha256_of(bytes.as_bytes()).to_hex());
    host.file("m/SHA256SUMS", line("a", "a.gguf") + &line("not b", "b.gguf"));

    let error =
        failed(&host, &["stage", "--sums", "m/SHA256SUMS", "m/a.gguf", "m/b.gguf", "m/c.gguf", "--id-from", "name"], 4);
    assert_eq!(error.lines().filter(|line| line.starts_with("error: ")).count(), 2, "{error}");
    assert!(error.contains("does not say what its digest is"), "{error}");
    assert_eq!(ids(&host, &[]), ["a"]);
    let shown: Value = serde_json::from_str(&done(&host, &["show", "a", "--json"])).unwrap();
    assert_eq!(shown["trust"], "verified");

    // Without a name, this stages every listed file. The output of `hash` is such a list.
    let hashed = done(&host, &["hash", "m/a.gguf", "m/c.gguf"]);
    host.file("sums", hashed);
    done(&host, &["stage", "--sums", "sums", "--id-from", "file"]);
    assert_eq!(ids(&host, &[]), ["a", "a.gguf", "c.gguf"]);

    host.file("no list", "these are words");
    failed(&host, &["stage", "--sums", "no list"], 2);
    // Red when a list that was cut off is taken for one that asks for nothing.
    host.file("empty", "# nothing\n");
    assert!(failed(&host, &["stage", "--sums", "empty"], 2).contains("it lists no file"));
    failed(&host, &["stage", "--sums", "missing"], 3);
    failed(&host, &["stage"], 2);
}

#[test]
fn a_model_gets_another_id_or_a_second_one() {
    let host = Host::new();
    host.file("a.gguf", "a");
    done(&host, &["stage", "a.gguf", "--id", "a"]);
    done(&host, &["pin", "a", "--as", "pool"]);
    assert_eq!(done(&host, &["rename", "a", "b"]), "renamed a to b\n");
    assert_eq!(done(&host, &["tag", "b", "production"]), "tagged b as production\n");
    assert_eq!(ids(&host, &[]), ["b", "production"]);
    let shown = done(&host, &["show", "b", "production", "--json"]);
    let shown: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shown[0]["digest"], shown[1]["digest"]);
    assert_eq!(shown[0]["source"]["reference"], shown[1]["source"]["reference"]);
    assert!(shown[0]["pins"]["pool"].is_object() && shown[1]["pins"] == serde_json::json!({}));
    failed(&host, &["path", "a"], 3);
    failed(&host, &["rename", "b", ""], 2);
    failed(&host, &["rename", "nothing", "c"], 3);
    host.file("c.gguf", "c");
    done(&host, &["stage", "c.gguf", "--id", "c"]);
    let error = failed(&host, &["rename", "b", "c"], 1);
    assert!(error.contains("\"c\""), "{error}");
    assert_eq!(ids(&host, &[]), ["b", "c", "production"]);
}

#[test]
fn the_root_is_told_with_its_reason() {
    let host = Host::new();
    let of = |args: &[&str], root: Option<&str>| {
        let mut command = host.command();
        match root {
            Some(root) => command.env("CATALOG_ROOT", root),
            None => command.env_remove("CATALOG_ROOT"),
        };
        let output = command.arg("root").args(args).output().unwrap();
        (String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output), output.status.code())
    };
    let there = host.path("there");
    let there = there.to_str().unwrap();
    let (root, why, code) = of(&[], Some(there));
    assert_eq!((root.trim_end(), code), (there, Some(0)));
    assert!(why.contains("CATALOG_ROOT") && why.contains("no catalog yet"), "{why}");
    assert!(!fs::exists(there).unwrap(), "nothing is made");
    let (root, why, _) = of(&["--root", "elsewhere"], Some(there));
    assert_eq!(root.trim_end(), host.path("elsewhere").to_str().unwrap());
    assert!(why.contains("--root says so"), "{why}");
    let (root, why, _) = of(&[], None);
    assert_eq!(root.trim_end(), host.path("home/.cache/models").to_str().unwrap());
    assert!(why.contains("default"), "{why}");
    let json: Value = serde_json::from_str(&of(&["--json"], Some(there)).0).unwrap();
    assert_eq!(json, serde_json::json!({"type": "root", "root": there, "from": "environment", "exists": false}));
}

#[test]
fn standard_input_is_staged_as_it_comes() {
    let host = Host::new();
    let stage = |args: &[&str], input: &str| {
        let mut command = assert_cmd::Command::from_std(host.command());
        command.args(args).write_stdin(input).output().unwrap()
    };
    let digest = Digest::sha256_of(b"weights").to_string();
    let output = stage(&["stage", "-", "--id", "x", "--digest", &digest, "--json"], "weights");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fs::read(done(&host, &["path", "x"]).trim_end()).unwrap(), b"weights");

    assert_eq!(stage(&["stage", "-", "--id", "y", "--digest", &digest], "others").status.code(), Some(4));
    for args in [&["stage", "-"] as &[&str], &["stage", "-", "a", "--id", "z"], &["stage", "-", "a"]] {
        assert_eq!(stage(args, "weights").status.code(), Some(2), "{args:?}");
    }
    host.file("sums", format!("{}  -\n", &digest[7..]));
    assert_eq!(stage(&["stage", "-", "--id", "z", "--sums", "sums"], "others").status.code(), Some(2));
    assert_eq!(ids(&host, &[]), ["x"]);
}

#[test]
fn a_directory_is_hashed_as_it_would_be_staged() {
    let host = Host::new();
    host.file("tree/config.json", "{}");
    host.file("tree/part/a.gguf", "a");
    host.file("b.gguf", "b");
    let staged: Value = serde_json::from_str(&done(&host, &["stage", "tree", "--id", "tree", "--json"])).unwrap();
    let hashed = done(&host, &["hash", "tree", "b.gguf"]);
    let expected =
        format!("{}  tree/\n{}  b.gguf\n", &staged["digest"].as_str().unwrap()[7..], Digest::sha256_of(b"b").to_hex());
    assert_eq!(hashed, expected);
    let json: Value = serde_json::from_str(&done(&host, &["hash", "tree", "--json"])).unwrap();
    assert_eq!((&json["type"], &json["digest"], &json["files"]), (&"tree_hash".into(), &staged["digest"], &2.into()));
    failed(&host, &["hash", "--blake3", "tree"], 2);
    failed(&host, &["hash", "missing"], 3);
}

// Red when the shell reads an id in a printed command as an option, or drops a blank at its beginning.
#[test]
fn the_command_of_a_receipt_works_for_odd_ids() {
    let host = Host::new();
    host.file("a.gguf", "a");
    for id in ["-x", "--help", " blank in front", "it's", "$HOME `x`", "--root=/"] {
        let receipt = done(&host, &["stage", "a.gguf", &format!("--id={id}")]);
        let line = receipt.lines().nth(1).unwrap().trim_start().split("  ->  ").next().unwrap().to_owned();
        let binary = host.command().get_program().to_str().unwrap().to_owned();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &line.replacen("catalog", &binary, 1)]).env("CATALOG_ROOT", host.root());
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{line}: {}", stderr(&output));
        let path = String::from_utf8(output.stdout).unwrap();
        assert_eq!(path, done(&host, &["path", "--", id]), "{line}");
    }
}

// Red when an error of a batch names only files of the store: a person then cannot tell which source it concerns.
#[test]
fn an_error_names_what_was_to_be_staged() {
    let host = Host::new();
    host.file("small.gguf", "a");
    host.file("large.gguf", vec![1; 3 << 20]);
    done(&host, &["config", "set", "max_bytes", "1MiB"]);
    let error = failed(&host, &["stage", "small.gguf", "large.gguf"], 9);
    for name in ["small", "large"] {
        assert!(error.contains(&format!("error: could not stage {name}.gguf: could not make room")), "{error}");
    }
}
