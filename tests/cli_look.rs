//! `list`, `show`, `remove` and `verify` as a person uses them: patterns, digests, filters, orders, and near misses.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use common::typed::{catalog, done, failed, ids, stderr};
use common::*;

/// Four models: two of one organisation, one large, and a second id for the bytes of the first.
fn models() -> Host {
    let host = Host::new();
    for (id, bytes) in
        [("hf:org/a", vec![1; 10]), ("hf:org/b", vec![2; 3000]), ("large", vec![3; 200_000]), ("same", vec![1; 10])]
    {
        let file = host.file("model.gguf", bytes);
        done(&host, &["stage", file.to_str().unwrap(), "--id", id]);
    }
    host
}

fn digest(host: &Host, id: &str) -> String {
    let shown: Value = serde_json::from_str(&done(host, &["show", id, "--json"])).unwrap();
    shown["digest"].as_str().unwrap().to_owned()
}

#[test]
fn a_list_is_chosen_sorted_and_cut() {
    let host = models();
    done(&host, &["retire", "large"]);
    done(&host, &["pin", "same"]);
    for (args, expected) in [
        (&["--sort", "size"] as &[&str], ["large", "hf:org/b", "hf:org/a", "same"].as_slice()),
        (&["--sort", "size", "--reverse", "--limit", "1"], &["same"]),
        (&["hf:*"], &["hf:org/a", "hf:org/b"]),
        (&["same", "hf:org/?", "same"], &["hf:org/a", "hf:org/b", "same"]),
        (&["--filter", "size>1kB"], &["hf:org/b", "large"]),
        (&["--filter", "size>1kB", "--filter", "state=active"], &["hf:org/b"]),
        (&["--filter", "pinned=true"], &["same"]),
        (&["--state", "retired"], &["large"]),
        (&["--unused-for", "1h"], &[]),
        (&["--unused-for", "0"], &["hf:org/a", "hf:org/b", "large", "same"]),
    ] {
        assert_eq!(ids(&host, args), expected, "{args:?}");
    }
    let output = catalog(&host, &["list", "--filter", "size"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("'size>1GB'"), "{}", stderr(&output));
    assert_eq!(done(&host, &["ls"]), done(&host, &["list"]));
}

#[test]
fn a_long_list_says_what_removing_would_free() {
    let host = models();
    let lines = done(&host, &["list", "--long", "--json"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let exclusive = |id: &str| lines.iter().find(|line| line["id"] == id).unwrap()["exclusive_bytes"].as_u64();
    assert_eq!(exclusive("same"), Some(0), "hf:org/a has the same bytes");
    assert!(exclusive("large").unwrap() >= 200_000);
    // The object is the one that `show` prints, plus these keys.
    let mut long = lines.iter().find(|line| line["id"] == "large").unwrap().clone();
    let shown: Value = serde_json::from_str(&done(&host, &["show", "large", "--json"])).unwrap();
    long.as_object_mut().unwrap().remove("exclusive_bytes").unwrap();
    assert_eq!(long.as_object_mut().unwrap().remove("leases").unwrap(), 0);
    // Red when `--long` does not count the processes that hold a model.
    let lease = host.catalog().lease("large").unwrap();
    let held: Value = serde_json::from_str(&done(&host, &["list", "large", "--long", "--json"])).unwrap();
    assert_eq!(held["leases"], 1);
    drop(lease);
    assert_eq!(long, shown);
}

#[test]
fn a_model_is_found_by_whatever_names_it() {
    let host = models();
    let digest = digest(&host, "large");
    let path = done(&host, &["path", "large"]);
    let path = path.trim_end();
    let blob = host.root().join("blobs/sha256").join(&digest[7..9]).join(&digest[7..]);
    for name in ["large", &digest, &digest[7..], &digest[7..15], &digest[..15], path, blob.to_str().unwrap()] {
        assert_eq!(done(&host, &["path", name]).trim_end(), path, "{name}");
        assert!(
            done(&host, &["show", name]).lines().any(|line| line.split_whitespace().eq(["id:", "large"])),
            "{name}"
        );
    }
    // Two entries have these bytes, so `show` prints both, and `path` cannot choose one.
    let both = self::digest(&host, "same");
    assert_eq!(done(&host, &["show", &both, "--json"]).lines().count(), 2);
    let output = catalog(&host, &["path", &both]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("hf:org/a") && stderr(&output).contains("same"), "{}", stderr(&output));
}

#[test]
fn a_near_miss_is_told_what_may_be_meant() {
    let host = models();
    for (verb, typed) in
        [("path", "lrage"), ("show", "Large"), ("remove", "larg"), ("pin", "large1"), ("verify", "lagre")]
    {
        let output = catalog(&host, &[verb, typed]);
        assert_eq!(output.status.code(), Some(3), "{verb}");
        assert!(stderr(&output).contains("; did you mean large? "), "{verb} {typed}: {}", stderr(&output));
    }
    let far = stderr(&catalog(&host, &["path", "zzz"]));
    assert!(!far.contains("did you mean"), "{far}");
    for (typed, meant) in
        [("add", "stage"), ("pull", "stage"), ("import", "stage"), ("download", "stage"), ("delete", "remove")]
    {
        let output = catalog(&host, &[typed, "x"]);
        assert_eq!(output.status.code(), Some(2), "{typed}");
        assert!(stderr(&output).contains(&format!("'{meant}'")), "{typed}: {}", stderr(&output));
    }
}

// Red when a pattern removes several models without `--yes`: the person did not type their ids.
#[test]
fn a_pattern_removes_several_only_when_that_is_agreed() {
    let host = models();
    let output = catalog(&host, &["remove", "hf:org/*"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("stands for 2 models") && stderr(&output).contains("--yes"),
        "{}",
        stderr(&output)
    );
    assert_eq!(ids(&host, &[]).len(), 4);

    let planned = done(&host, &["remove", "-n", "hf:org/*"]);
    assert_eq!(planned.matches("would remove hf:org/").count(), 2, "{planned}");
    assert_eq!(ids(&host, &[]).len(), 4);

    // Only one model has this digest.
    done(&host, &["remove", &digest(&host, "large")[7..17]]);
    done(&host, &["rm", "--yes", "hf:org/*"]);
    assert_eq!(ids(&host, &[]), ["same"]);
    done(&host, &["remove", "same"]);
}

// Red when the question is not asked, or when anything but a yes counts as one.
#[test]
fn a_person_is_asked_before_several_go() {
    let host = models();
    let binary = host.command().get_program().to_owned();
    let remove = |answer: &str| {
        let line =
            format!("printf '{answer}' | script -qec '{} remove same large' /dev/null", Path::new(&binary).display());
        let mut shell = Command::new("bash");
        String::from_utf8(shell.args(["-c", &line]).env("CATALOG_ROOT", host.root()).output().unwrap().stdout).unwrap()
    };
    for no in ["n\\n", "\\n", "\\004", "what\\n"] {
        let said = remove(no);
        assert!(said.contains("remove these 2 models? [y/N]"), "{said}");
        assert_eq!(ids(&host, &[]).len(), 4, "{no:?}: {said}");
    }
    remove("y\\n");
    assert_eq!(ids(&host, &[]), ["hf:org/a", "hf:org/b"]);
}

// Red when a line of a table is wrapped, or when a bar is wider than the terminal.
#[test]
fn each_model_is_one_line_on_a_narrow_terminal() {
    let host = models();
    let long = format!("hf:organisation/{}", "x".repeat(100));
    let file = host.file("model.gguf", vec![5; 70 << 20]);
    done(&host, &["stage", file.to_str().unwrap(), "--id", &long]);
    let binary = Path::new(host.command().get_program()).parent().unwrap().display().to_string();
    let on_terminal = |columns: usize, line: &str| {
        let line = format!("stty rows 40 cols {columns}; PATH={binary}:$PATH; {line}");
        let mut shell = Command::new("script");
        shell.args(["-qec", &format!("bash -c \"{line}\""), "/dev/null"]).env("CATALOG_ROOT", host.root());
        let output = shell.env("NO_COLOR", "1").output().unwrap();
        String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n")
    };
    for columns in [60, 40] {
        for verb in ["list", "list --long", "du"] {
            let shown = on_terminal(columns, &format!("catalog {verb}"));
            let wide: Vec<_> = shown.lines().filter(|line| line.chars().count() > columns).collect();
            assert!(wide.is_empty(), "{verb} at {columns}: {wide:?}");
            assert_eq!(shown.lines().filter(|line| line.contains("hf:organ")).count(), 1, "{verb}: {shown}");
        }
    }
    // A bar that takes a few seconds is redrawn on one line, with the name of the file that is read.
    let bar = on_terminal(40, &format!("catalog verify {long} --rate 40MB/s"));
    let drawn: Vec<_> =
        bar.split("\x1b[2K").flat_map(|part| part.split(['\r', '\n'])).filter(|part| part.contains('%')).collect();
    assert!(!drawn.is_empty() && drawn.iter().all(|part| part.trim_end().chars().count() <= 40), "{drawn:?}");
    assert!(drawn.iter().all(|part| part.contains("xxx")), "{drawn:?}");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let host = models();
    let missing = |variables: &[(&str, &str)]| {
        stderr(&host.command().args(["path", "zzz"]).envs(variables.iter().copied()).output().unwrap())
    };
    assert!(!missing(&[]).contains('\x1b'), "no terminal");
    let forced = missing(&[("CLICOLOR_FORCE", "1")]);
    assert!(forced.starts_with("\x1b[1m\x1b[31merror:\x1b[0m "), "{forced:?}");
    assert!(!missing(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).contains('\x1b'));
}

#[test]
fn verifying_everything_tells_what_is_wrong_and_how_much_is_right() {
    let host = models();
    let output = catalog(&host, &["verify", "--all"]);
    assert!(output.status.success() && output.stdout.is_empty());
    assert!(stderr(&output).contains("4 intact; "), "{}", stderr(&output));
    assert_eq!(done(&host, &["verify", "--all", "-v"]).lines().filter(|line| line.starts_with("pass  ")).count(), 4);
    assert_eq!(done(&host, &["verify", "hf:*"]).lines().count(), 2);
    let none = catalog(&host, &["verify"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("--all"), "{}", stderr(&none));
}

// Red when a bill of materials depends on the clock, or a time that makes no sense is taken.
#[test]
fn the_time_of_a_bill_of_materials() {
    let host = Host::new();
    let file = fixture();
    assert!(host.command().args(["stage", file.to_str().unwrap(), "--id", "m"]).output().unwrap().status.success());
    let bom = |words: &[&str], epoch: &str| {
        host.command().env("SOURCE_DATE_EPOCH", epoch).args(["bom", "m"]).args(words).output().unwrap()
    };
    let text = |words: &[&str], epoch: &str| String::from_utf8(bom(words, epoch).stdout).unwrap();
    assert!(!text(&[], "").contains("timestamp") && text(&["--timestamp"], "").contains("\"timestamp\": \"20"));
    assert_eq!(text(&[], ""), text(&[], ""));
    for words in [&[][..], &["--timestamp"]] {
        assert!(text(words, "951782400").contains("\"timestamp\": \"2000-02-29T00:00:00Z\""));
    }
    assert_eq!(bom(&[], "yesterday").status.code(), Some(2));
    assert_eq!(bom(&["-o", host.root().join("m.json").to_str().unwrap()], "").status.code(), Some(2));
    assert_eq!(host.command().args(["bom", "absent"]).output().unwrap().status.code(), Some(3));
}

#[test]
fn documents_of_a_model() {
    let host = Host::new();
    let file = fixture();
    done(&host, &["stage", file.to_str().unwrap(), "--id", "m"]);
    host.file("bom.json", "{}");
    host.file("other/bom.json", "{ }");
    assert!(done(&host, &["attach", "m", "bom.json", "--type", "sbom"]).contains("attached bom.json to m (sbom)"));
    assert!(failed(&host, &["attach", "m", "other/bom.json"], 1).contains("--replace replaces it"));
    done(&host, &["attach", "m", "other/bom.json", "--name", "b"]);
    let listed = done(&host, &["attach", "m", "--list"]);
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    assert_eq!(rows, [["NAME", "TYPE"], ["b", "doc"], ["bom.json", "sbom"]]);
    assert_eq!(done(&host, &["attach", "m", "--get", "b"]), "{ }");
    assert!(done(&host, &["show", "m"]).contains("bom.json (sbom), sha256:"));
    done(&host, &["detach", "m", "b"]);
    for words in [&["detach", "m", "b"][..], &["attach", "m", "--get", "b"], &["attach", "m", "absent"]] {
        failed(&host, words, 3);
    }
    for words in
        [&["attach", "m"][..], &["attach", "m", "bom.json", "--list"], &["attach", "m", "bom.json", "--type", "x"]]
    {
        failed(&host, words, 2);
    }
}

// Red when a file of a model is not found by its path in it, or a bad key or signature ends with another code.
#[test]
fn files_of_a_model_and_its_signature() {
    let host = Host::new();
    fs::create_dir(host.path("tree")).unwrap();
    fs::copy(fixture(), host.path("tree/model.gguf")).unwrap();
    host.file("tree/notes.txt", "notes");
    let tree = host.path("tree");
    let run = |words: &[&str]| host.command().args(words).output().unwrap();
    let code = |words: &[&str]| run(words).status.code();
    assert_eq!(code(&["stage", tree.to_str().unwrap(), "--id", "tree", "--require-complete"]), Some(0));
    for (words, ending) in [
        (&["path", "tree", "--file", "notes.txt"][..], "/tree/notes.txt\n"),
        (&["path", "tree", "--entry"], "/tree/model.gguf\n"),
        (&["path", "tree"], "/tree\n"),
    ] {
        let said = String::from_utf8(run(words).stdout).unwrap();
        assert!(said.ends_with(ending), "{words:?}: {said}");
    }
    assert_eq!(code(&["path", "tree", "--file", "absent"]), Some(3));
    host.file("bad.pem", "no key");
    assert_eq!(code(&["sign", "tree", "--key", "bad.pem", "-o", "tree.sig"]), Some(2));
    assert_eq!(code(&["sign", "tree", "--key", "absent.pem", "-o", "tree.sig"]), Some(3));
    for signer in [&["--key", "bad.pem"][..], &["--cert", "bad.pem"], &[], &["--key", "bad.pem", "--cert", "bad.pem"]] {
        assert_eq!(code(&[&["verify-signature", "tree"], signer].concat()), Some(2), "{signer:?}");
    }
    assert_eq!(code(&["verify-signature", "tree", "--cert", "absent.pem"]), Some(3));
    assert!(!host.path("tree.sig").exists());
}

#[test]
fn the_log_of_a_model_is_shown_and_verified() {
    let host = Host::new();
    let code = |words: &[&str]| host.command().args(words).output().unwrap().status.code();
    let said = |words: &[&str]| String::from_utf8(host.command().args(words).output().unwrap().stdout).unwrap();
    let file = host.file("m.bin", "model");
    assert_eq!(code(&["stage", file.to_str().unwrap(), "--id", "m"]), Some(0));
    let short = catalog_core::Digest::sha256_of(b"model").to_string();
    assert!(said(&["log", &short[..15]]).contains("staged"));
    assert_eq!(code(&["remove", "m"]), Some(0));
    let log = said(&["log", "m"]);
    assert_eq!(log.lines().count(), 3, "{log}");
    assert!(log.contains("removed") && log.contains(&format!("file:{}", file.display())), "{log}");
    assert_eq!(said(&["log"]), log);
    assert_eq!(code(&["log", "absent"]), Some(3));
    assert_eq!(said(&["log", "--verify"]), "good  2 events in 1 chain\n");
    let shard = common::shard_path(&host.root(), "m");
    let text = fs::read_to_string(&shard).unwrap();
    fs::write(&shard, text.replace("\"what\":\"removed\"", "\"what\":\"verified\"")).unwrap();
    assert_eq!(code(&["log", "--verify"]), Some(4));
    assert_eq!(code(&["log", "m", "--verify"]), Some(4));
    assert_eq!(code(&["log", "of another chain", "--verify"]), Some(0));
    assert!(said(&["log", "--verify"]).starts_with("broken  "));
}
