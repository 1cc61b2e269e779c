//! The crates that this one is built and tested with: from where, under which licences, and which are not wanted.
//!
//! Not checked: whether one of them has a known weakness. That takes a list from outside, which changes daily.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// None of them asks more of who distributes a binary than to name it.
const LICENCES: [&str; 10] = [
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// TLS is rustls on ring, so that neither OpenSSL nor cmake is needed for a build.
const UNWANTED: [&str; 5] = ["openssl-sys", "native-tls", "aws-lc-sys", "reqwest", "async-std"];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn cargo(arguments: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What is built on this host, with all features, also for tests. Of other platforms, the crates may not be there to look at.
fn packages() -> Vec<Value> {
    let about = cargo(&["-vV"]);
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata =
        cargo(&["metadata", "--locked", "--all-features", "--format-version", "1", "--filter-platform", host]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Whether an SPDX expression can be met by the licences above. A slash is how old crates write OR.
fn is_met(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any(&mut words);
    met && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>) -> bool {
    let mut met = all(words);
    while words.next_if_eq(&"OR").is_some() {
        met |= all(words);
    }
    met
}

fn all(words: &mut Words<'_>) -> bool {
    let mut met = one(words);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words);
    }
    met
}

fn one(words: &mut Words<'_>) -> bool {
    match words.next() {
        Some("(") => {
            let met = any(words);
            words.next_if_eq(&")").is_some() && met
        }
        Some(name) => {
            // An exception gives more than the licence does.
            if words.next_if_eq(&"WITH").is_some() {
                words.next();
            }
            LICENCES.contains(&name)
        }
        None => false,
    }
}

#[test]
fn expressions_are_read() {
    for met in ["MIT", "MIT/GPL-3.0", "GPL-3.0 OR (MIT AND ISC)", "Apache-2.0 WITH LLVM-exception", "(MIT)"] {
        assert!(is_met(met), "{met}");
    }
    for unmet in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "(MIT", "MIT ISC", "MIT AND"] {
        assert!(!is_met(unmet), "{unmet}");
    }
}

// Red without Unicode-3.0 in the list.
#[test]
fn licences_are_permissive() {
    let packages = packages();
    assert!(packages.len() > 150, "{}", packages.len());
    for package in packages {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_met(licence), "{} is under {licence:?}", package["name"]);
    }
}

// Red with a dependency from a repository.
#[test]
fn every_crate_is_from_the_registry() {
    for lock in ["Cargo.lock", "fuzz/Cargo.lock", "benches/peers/Cargo.lock"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(lock)).unwrap();
        for package in text.split("[[package]]").skip(1) {
            let field =
                |name: &str| package.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim_matches('"'));
            let name = field("name = ").unwrap();
            let is_ours = name.starts_with("catalog-");
            assert_eq!(field("source = "), (!is_ours).then_some(REGISTRY), "{lock}: {name}");
            assert!(is_ours || field("checksum = ").is_some(), "{lock}: {name} has no checksum");
        }
    }
}

// Red when `ureq` has its feature `native-tls`.
#[test]
fn no_unwanted_crate_comes_in() {
    let names: BTreeSet<String> =
        packages().iter().map(|package| package["name"].as_str().unwrap().to_owned()).collect();
    for unwanted in UNWANTED {
        assert!(!names.contains(unwanted), "{unwanted} is a dependency");
    }
    let built = cargo(&["tree", "--locked", "--all-features", "-e", "normal", "--prefix", "none"]);
    assert!(!built.lines().any(|line| line.starts_with("tokio v")), "an async runtime is for examples alone");
}
