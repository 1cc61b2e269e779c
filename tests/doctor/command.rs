//! The command: its output and its exit codes.

use std::process::Output;

use serde_json::Value;

use super::*;

fn doctor(store: &Store, words: &[&str]) -> Output {
    store.host.command().arg("doctor").args(words).output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn plain() -> Store {
    let host = Host::new();
    let catalog = host.catalog().with_durability(Durability::Full);
    let store = Store { host, catalog };
    store.add("file", &big("file"));
    store
}

#[test]
fn a_sound_store_is_said_to_be_on_standard_error_alone() {
    let store = plain();
    let json = "{\"type\":\"note\",\"message\":\"nothing is wrong\"}\n";
    for (words, said) in [(&[] as &[&str], "note: nothing is wrong\n"), (&["--json"], json)] {
        let output = doctor(&store, words);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), said);
    }
    assert_eq!(doctor(&store, &["--quiet"]).stderr, b"");
}

#[test]
fn without_a_catalog_the_exit_code_is_three() {
    let host = Host::new();
    let output = host.command().arg("doctor").output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(!host.root().exists());
}

#[test]
fn a_finding_says_all_that_there_is_to_say() {
    let store = plain();
    let view = store.view("file");
    fs::remove_file(&view).unwrap();
    let output = doctor(&store, &["--json"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let [finding, summary] = lines(&output).try_into().unwrap();
    assert_eq!(finding["kind"], "view_missing");
    assert_eq!(finding["severity"], "error");
    assert_eq!(finding["path"], view.to_str().unwrap());
    assert_eq!(finding["id"], "file");
    assert_eq!(finding["remedy"], "repair");
    for member in ["what", "meaning", "advice"] {
        assert!(finding[member].as_str().unwrap().len() > 5, "{finding}");
    }
    assert_eq!(summary["type"], "doctor_summary");
    assert_eq!((&summary["errors"], &summary["repaired"]), (&1.into(), &0.into()));
    let text = String::from_utf8(doctor(&store, &[]).stdout).unwrap();
    assert!(text.starts_with(&format!("error view_missing: {} of file\n", view.display())), "{text}");
    for word in ["wrong: ", "means: ", "--repair: ", "1 error, 0 warnings, 0 notes"] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn repair_repairs_and_the_second_run_finds_nothing() {
    let store = plain();
    let shard = common::shard_path(&store.root(), "file");
    store.catalog.set_state("file", catalog_core::LifecycleState::Retired).unwrap();
    // One finding hides the other: the view is only missing once the shard is back.
    fs::write(&shard, "{").unwrap();
    let home = store.root().join("views").join(only_name(&store.root().join("views")));
    fs::remove_dir_all(&home).unwrap();
    assert_eq!(doctor(&store, &[]).status.code(), Some(4));
    let output = doctor(&store, &["--repair", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let repaired: Vec<Value> = lines(&output).into_iter().filter(|line| line["outcome"] == "repaired").collect();
    let kinds: Vec<&str> = repaired.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["shard_damaged", "view_missing"], "{output:?}");
    assert!(repaired.iter().all(|line| line["detail"].is_string()));
    let summary = lines(&output).pop().unwrap();
    assert_eq!(summary["repaired"], 2);
    let again = doctor(&store, &["--repair", "--json"]);
    assert_eq!(again.status.code(), Some(0));
    assert!(lines(&again).iter().all(|line| line["outcome"] != "repaired"), "{again:?}");
    assert!(store.catalog.resolve("file").is_ok());
}

fn only_name(folder: &Path) -> std::ffi::OsString {
    fs::read_dir(folder).unwrap().next().unwrap().unwrap().file_name()
}

#[test]
fn exit_codes_go_by_what_is_left() {
    let store = plain();
    // Something that gc removes is no reason to act.
    fs::create_dir(store.root().join("ingest/0123456789abcdef")).unwrap();
    assert_eq!(doctor(&store, &[]).status.code(), Some(0));
    // Something that an operator has to look at is.
    let strange = store.root().join("trash/strange");
    fs::write(&strange, "x").unwrap();
    assert_eq!(doctor(&store, &["--repair"]).status.code(), Some(1));
    fs::remove_file(&strange).unwrap();
    // Damage persists until it is repaired.
    spoil(&store.blob("file"), |bytes| bytes[0] ^= 1);
    assert_eq!(doctor(&store, &[]).status.code(), Some(1), "it is not known to be bad");
    assert_eq!(doctor(&store, &["--repair"]).status.code(), Some(4));
    let output = store.host.command().args(["repair", "file"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(doctor(&store, &[]).status.code(), Some(0));
}
