//! Processes that cannot start a thread: everything works on the only thread they have.
//!
//! A user at the limit of processes (`ulimit -u`), or a container at its own, gets EAGAIN for each `clone`. The
//! standard library's `scope.spawn` and rayon then panic.
//!
//! Red when `threads::spawn` panics as `scope.spawn` does (stage, verify, hash), or when `ready_for_rayon` does nothing
//! (stage, list, gc, doctor).
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::os::unix::fs::chown;
use std::process::{Command, Output};

use common::{Host, NOBODY, as_nobody, has_tool, set_mode, skip};
use rstest::rstest;

/// Runs a command as that user, with at most this many threads.
fn limited(words: &[&str], threads: u32, command: &Command) -> Output {
    let mut limited = Command::new(words[0]);
    limited
        .args(&words[1..])
        .args(["prlimit", &format!("--nproc={threads}")])
        .arg(command.get_program())
        .args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.output().unwrap()
}

#[rstest]
#[case::none_but_its_own(1)]
#[case::one_more(2)] // rayon wants one for each core, or none
fn with_few_threads_every_verb_does_its_work(#[case] threads: u32) {
    let Some(words) = as_nobody() else { return };
    if !has_tool("prlimit") {
        return skip("this needs prlimit");
    }
    let mut forks = Command::new("sh");
    forks.args(["-c", "true & wait $!"]);
    assert!(!limited(&words, 1, &forks).status.success(), "the limit does not hold");

    let host = Host::new();
    set_mode(host.dir.path(), 0o755);
    fs::create_dir(host.root()).unwrap();
    chown(host.root(), Some(NOBODY), Some(NOBODY)).unwrap();
    // With two threads, it is hashed on both, and synced while it is written.
    let large = host.file("large.gguf", (0..20 << 20).map(|i: u32| (i % 251) as u8).collect::<Vec<u8>>());
    // A batch uses streams and rayon.
    for number in 0..40 {
        host.file(&format!("tree/{number}.gguf"), vec![number as u8; 100_000]);
    }
    let (large, tree) = (large.to_str().unwrap().to_owned(), host.path("tree").to_str().unwrap().to_owned());
    let one = host.path("tree/1.gguf").to_str().unwrap().to_owned();
    let two = host.path("tree/2.gguf").to_str().unwrap().to_owned();
    for args in [
        &["stage", &large, "--id", "large"] as &[&str],
        &["stage", &tree, "--id", "tree"],
        &["stage", &one, &two],
        &["list"],
        &["path", "tree"],
        &["verify", "--all"],
        &["verify", "--all", "--sha256"],
        &["verify", "--all", "--quick"],
        &["du"],
        &["doctor"],
        &["hash", &large, &one, &two],
        &["hash", "--blake3", &large],
        &["hash", "--blake3", &one, &two],
        &["repair", "large", "--from", &large],
        &["remove", "large"],
        &["gc", "--grace", "0"],
        &["gc", "--grace", "0", "--max-bytes", "0"],
    ] {
        let mut command = host.command();
        command.args(args);
        let output = limited(&words, threads, &command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("panicked"), "{args:?}: {}: {said}", output.status);
    }
    assert!(host.catalog().records().unwrap().is_empty());
}
