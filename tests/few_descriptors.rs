//! Processes that may open few files: a batch, a tree and the verbs that look at many files stay within that limit. The
//! command raises its limit if it may.
//!
//! Red when an update holds the locks of all shards at once, when `streams_within` returns 256 whatever the limit, when
//! a batch claims all references at once, when a collection blocks 200 leases at once, and when the command does not
//! raise its limit.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::process::{Command, Stdio};

use catalog_core::CatalogStore as _;
use common::*;

/// The command on this host, with a limit as `prlimit` takes it.
fn limited(host: &Host, nofile: &str, words: &[&str]) -> Command {
    let command = host.command();
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--nofile={nofile}")).arg(command.get_program()).args(words).current_dir(host.dir.path());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited
}

#[test]
fn what_has_many_files_lives_within_a_few_descriptors() {
    if !has_tool("prlimit") || !has_tool("strace") {
        return skip("this needs prlimit and strace");
    }
    let host = Host::new();
    let paths: Vec<String> = (0..300).map(|number| format!("tree/{number}")).collect();
    for (number, path) in paths.iter().enumerate() {
        host.file(path, vec![number as u8; 10_000 + number]);
    }
    // From 16 MiB on, each file has a lock file of its own while it is staged.
    let large: Vec<String> = (0..45).map(|number| format!("large {number}")).collect();
    for (number, path) in large.iter().enumerate() {
        fs::File::create(host.path(path)).unwrap().set_len((16 << 20) + number as u64).unwrap();
    }
    let large: Vec<&str> = large.iter().map(String::as_str).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    for words in [
        &[&["stage"], &paths[..]].concat()[..],
        &[&["stage", "--mode", "move"], &large[..]].concat(),
        &["stage", "tree", "--id", "tree"],
        &["stage", "tree", "--id", "copy", "--mode", "copy"],
        &[&["hash"], &paths[..]].concat(),
        &["verify", "--all"],
        &["list"],
        &["du"],
        &["doctor"],
        &["lease", "tree"],
        &["gc", "--grace", "0"],
        &["gc", "--grace", "0", "--max-bytes", "0"],
    ] {
        let limited = limited(&host, "48:48", words);
        let mut traced = Command::new("strace");
        traced.args(["-f", "--seccomp-bpf", "-qq", "-e", "trace=openat,openat2,dup,fcntl", "-o"]).arg(host.path("log"));
        traced.arg(limited.get_program()).args(limited.get_args()).current_dir(host.dir.path());
        traced.envs(limited.get_envs().filter_map(|(name, value)| Some((name, value?))));
        // Several streams on each thread, even in a build without optimisation.
        traced.env("CATALOG_HASH_KERNEL", "avx512");
        run(traced);
        // The fallbacks for EMFILE should not be needed.
        let log = fs::read_to_string(host.path("log")).unwrap();
        let refused = log.lines().find(|line| line.contains("EMFILE"));
        assert_eq!(refused, None, "{words:?}");
    }
    assert!(host.catalog().list().unwrap().is_empty());
    assert_no_debris(&host.root());
}

#[test]
fn a_limit_that_may_be_raised_is_raised() {
    if !has_tool("prlimit") {
        return skip("this needs prlimit");
    }
    let host = Host::new();
    stage(&host.catalog(), &host.file("a", "a"), "a").unwrap();
    let held = hold_shard(&host.root(), "b");
    let mut waits = limited(&host, "48:4096", &["stage", "a", "--id", "b"]);
    let mut waiting = Running(waits.stdout(Stdio::null()).spawn().unwrap());
    wait_until("its limit is raised", || {
        let limits = fs::read_to_string(format!("/proc/{}/limits", waiting.0.id())).unwrap_or_default();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
        line.split_whitespace().nth(3) == Some("4096") || waiting.0.try_wait().unwrap().is_some()
    });
    assert!(waiting.0.try_wait().unwrap().is_none(), "it has ended with the limit that it was given");
    drop(held);
    assert!(waiting.0.wait().unwrap().success());
}

// Red when every change of the index counts open descriptors: each put would list `/proc/self/fd`.
#[test]
fn a_change_of_one_shard_does_not_count_descriptors() {
    if !has_tool("strace") {
        return skip("this needs strace");
    }
    let host = Host::new();
    stage(&host.catalog(), &host.file("a", "a"), "a").unwrap();
    let log = host.path("log");
    let mut pin = Command::new("strace");
    pin.args(["-f", "-qq", "-e", "trace=open,openat", "-o"])
        .arg(&log)
        .arg(host.command().get_program())
        .args(["pin", "a"]);
    pin.env("CATALOG_ROOT", host.root()).env("HOME", host.path("home"));
    run(pin);
    let opened = fs::read_to_string(&log).unwrap();
    assert!(opened.contains("openat") && !opened.contains("\"/proc/self/fd\""), "{opened}");
}
