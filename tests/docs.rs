//! Compares the documents with the code wherever that is possible, so that they cannot drift apart.
//!
//! Each test was seen to fail with one word of its page changed.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};

use catalog_core::{ArtifactKind, Digest, FindingKind, FsCatalog, LinkMode};
use tempfile::TempDir;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(repository().join(name)).unwrap()
}

/// The first fenced block in this language after `heading`, without its fences.
#[track_caller]
fn block(text: &str, heading: &str, language: &str) -> String {
    let (_, after) = text.split_once(heading).unwrap_or_else(|| panic!("{heading:?} is missing"));
    let (_, block) = after.split_once(&format!("```{language}\n")).unwrap_or_else(|| panic!("no block: {heading:?}"));
    block.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_format_page_draws_the_tree_of_the_code() {
    let layout = read("src/layout.rs");
    let head: String = layout.lines().map_while(|line| line.strip_prefix("//!")).fold(String::new(), |head, line| {
        let line = line.strip_prefix(' ').unwrap_or(line);
        head + line + "\n"
    });
    assert_eq!(block(&read("docs/format.md"), "## The tree", "text"), block(&head, "", "text"));
}

#[test]
fn the_shard_of_the_format_page_is_one() {
    let shard = block(&read("docs/format.md"), "## A shard", "json");
    let dir = TempDir::new().unwrap();
    let catalog = FsCatalog::new(dir.path()).unwrap();
    fs::write(dir.path().join("index/89.json"), &shard).unwrap();
    let records = catalog.records().unwrap();
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!((record.entry.id.as_str(), record.kind), ("tiny", ArtifactKind::File));
    assert_eq!((record.size_bytes, record.view), (122_688, Some(LinkMode::Hardlink)));
    assert_eq!(catalog.record("tiny").unwrap().as_ref(), Some(record), "the example is in the wrong shard");

    let log = catalog.check_log(None).unwrap();
    assert!(log.len() == 1 && log[0].count == 1 && log[0].problems.is_empty(), "{log:?}");

    // Every member of the example has its row, so that a new one is not forgotten.
    let page = read("docs/format.md");
    let stored: serde_json::Value = serde_json::from_str(&shard).unwrap();
    for member in stored["entries"]["tiny"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("\n| `{member}` | ")), "{member} is not described");
    }
    for member in stored["log"]["events"][0].as_object().unwrap().keys() {
        let is_described = |line: &str| line.starts_with("| `events[].") && line.contains(&format!("{member}`"));
        assert!(page.lines().any(is_described), "{member} is not described");
    }
}

#[cfg(unix)]
#[test]
fn a_record_has_the_members_of_the_format_page() {
    let dir = TempDir::new().unwrap();
    let fixture = repository().join("tests/fixtures/tiny-llama-q8_0.gguf");
    let options = catalog_core::StageOptions::default().with_id(Some("tiny".into()));
    let catalog = FsCatalog::new(dir.path()).unwrap();
    catalog.stage(&catalog_core::ModelRef::File { path: fixture }, &options).unwrap();
    let members = |shard: &str| -> [Vec<String>; 4] {
        let shard: serde_json::Value = serde_json::from_str(shard).unwrap();
        let log = &shard["log"];
        let all = [&shard, &shard["entries"]["tiny"], log, &log["events"][0]];
        all.map(|value| value.as_object().unwrap().keys().cloned().collect())
    };
    let written = fs::read_to_string(dir.path().join("index/89.json")).unwrap();
    assert_eq!(members(&written), members(&block(&read("docs/format.md"), "## A shard", "json")));
    assert_eq!(
        fs::read_to_string(dir.path().join("store.json")).unwrap(),
        block(&read("docs/format.md"), "## `store.json`", "json")
    );
}

#[test]
fn the_quota_of_the_format_page_is_what_is_written() {
    let dir = TempDir::new().unwrap();
    let catalog = FsCatalog::new(dir.path()).unwrap();
    catalog.change_config(|limits| limits.max_bytes = Some(200_000_000_000)).unwrap();
    let store = fs::read_to_string(dir.path().join("store.json")).unwrap();
    let quota = &store[store.find("\"quota\"").unwrap()..store.rfind('}').unwrap()];
    assert!(read("docs/format.md").contains(&format!("`{quota}`")), "{quota}");
}

#[test]
fn the_manifest_of_the_format_page_has_the_digest_that_it_says() {
    let page = read("docs/format.md");
    let manifest = block(&page, "## A manifest", "json");
    let digest = Digest::sha256_of(manifest.trim_end().as_bytes());
    assert!(page.contains(&format!("`{}`", digest.to_hex())), "{digest}");
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let config = block(&page, "`config` names", "json");
    let digest = Digest::sha256_of(config.trim().as_bytes());
    assert_eq!(manifest["config"]["digest"], digest.to_string());
    assert_eq!(manifest["config"]["size"], config.trim().len());
}

#[test]
fn the_readme_has_the_two_commands() {
    let commands = block(&read("README.md"), "<!-- .ci/run ", "sh");
    assert_eq!(commands, "cargo run --release -- stage tests/fixtures/tiny-llama-q8_0.gguf\ncargo test -- -q\n");
}

#[cfg(feature = "cli")]
#[test]
fn the_command_page_names_every_verb_and_exit_code() {
    let output = std::process::Command::new(assert_cmd::cargo::cargo_bin!("catalog")).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let page = read("docs/command.md");
    let part = |from: &str, to: &str| -> Vec<String> {
        let (_, part) = help.split_once(from).unwrap();
        part.split_once(to).unwrap().0.lines().map(|line| line.trim().to_owned()).collect()
    };
    let first_word = |line: &String| line.split_whitespace().next().map(str::to_owned);
    let is_verb = |line: &&str| line.starts_with("  ");
    let verbs = help.split_once("\nUsage: ").unwrap().1.split_once("\nOptions:\n").unwrap().0.lines();
    let verbs: Vec<String> = verbs.filter(is_verb).filter_map(|line| first_word(&line.to_owned())).collect();
    assert!(verbs.len() > 9, "{help}");
    for verb in verbs {
        assert!(page.contains(&format!("\n| `catalog {verb}")), "docs/command.md does not name `catalog {verb}`");
    }
    let codes: Vec<String> =
        part("\nExit codes:\n", "\nWith several").iter().map(|line| line.replacen("  ", " | ", 1)).collect();
    for code in codes {
        let (number, meaning) = code.split_once(" | ").unwrap();
        let first = meaning.split([':', ',']).next().unwrap();
        assert!(page.contains(&format!("\n| {number} | {first}")), "docs/command.md does not have exit code {code:?}");
    }
}

#[test]
fn the_recovery_page_has_every_finding_and_no_other() {
    let page = read("docs/recovery.md");
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    let mut documented = headings.clone();
    let mut kinds: Vec<&str> = FindingKind::ALL.iter().map(|kind| kind.as_str()).collect();
    documented.sort_unstable();
    kinds.sort_unstable();
    assert_eq!(documented, kinds);
    // A link to another section leads to an existing one.
    for target in page.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(headings.contains(&target), "docs/recovery.md links to {target}");
    }
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let mut pages = vec![PathBuf::from("README.md"), "CHANGELOG.md".into(), "CONTRIBUTING.md".into()];
    for entry in fs::read_dir(repository().join("docs")).unwrap() {
        pages.push(Path::new("docs").join(entry.unwrap().file_name()));
    }
    pages.retain(|page| page.extension().is_some_and(|ending| ending == "md")); // there are plots too
    for page in pages {
        let text = read(page.to_str().unwrap());
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap();
            if target.is_empty() || target.starts_with("https://") {
                continue;
            }
            let path = repository().join(page.parent().unwrap()).join(target);
            assert!(path.exists(), "{} links to {target}", page.display());
        }
    }
}

/// Every failure has its row, and every test and file that docs/testing.md names in one exists.
#[test]
fn the_failures_of_the_testing_page_have_their_tests() {
    let page = read("docs/testing.md");
    let (_, table) = page.split_once("## The failures, one by one").unwrap();
    let (table, _) = table.split_once("\n**The races**").unwrap();
    let mut code = String::new();
    for folder in ["src", "tests"] {
        for entry in walkdir::WalkDir::new(repository().join(folder)) {
            let entry = entry.unwrap();
            if entry.path().extension().is_some_and(|ending| ending == "rs") {
                code += &fs::read_to_string(entry.path()).unwrap();
            }
        }
    }
    let rows: Vec<&str> =
        table.lines().filter(|line| line.starts_with("| ") && !line.contains("---")).skip(1).collect();
    for (number, row) in rows.iter().enumerate() {
        assert!(row.starts_with(&format!("| {} | ", number + 1)), "{row}");
        let named: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test: {row}");
        for name in named {
            let is_there = if name.contains('/') {
                repository().join(name).exists()
            } else {
                code.contains(&format!("fn {name}("))
            };
            assert!(is_there, "docs/testing.md names {name}, which is not there");
        }
    }
    assert_eq!(rows.len(), 43);
}

/// docs/design.md has a row for each dependency, so that none comes in without a reason.
#[test]
fn every_dependency_has_its_reason() {
    let manifest = read("Cargo.toml");
    let page = read("docs/design.md");
    let (_, table) = page.split_once("## Dependencies").unwrap();
    let names: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_start_matches("| ").split(" |").next().unwrap())
        .collect();
    let mut is_dependencies = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_dependencies = line.ends_with("dependencies]");
        } else if is_dependencies && let Some((name, _)) = line.split_once(" = ") {
            let has_row = name == "catalog-core" || names.iter().any(|row| row.split(", ").any(|n| n == name));
            assert!(has_row, "docs/design.md has no reason for {name}");
        }
    }
}
