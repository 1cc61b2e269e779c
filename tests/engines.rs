//! Engines that hold a model: `catalog lease ID -- CMD`, and leases that a daemon's children inherit.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use catalog_core::{CatalogStore as _, Digest, FsCatalog, GcPolicy, GcReason, LifecycleState};
use common::*;

/// A host with one model, `m`.
fn host() -> Host {
    let host = Host::new();
    stage(&host.catalog(), &host.file("m.gguf", b"bytes"), "m").unwrap();
    host
}

fn room_for_none() -> GcPolicy {
    GcPolicy::default().with_grace(Duration::ZERO).with_max_bytes(Some(0))
}

/// A collection that may keep nothing keeps `m`, because of a lease and not only because a process has it open.
#[track_caller]
fn assert_kept(host: &Host) {
    let plan = host.catalog().plan_gc(&room_for_none()).unwrap();
    assert_eq!(plan.kept.iter().map(|kept| &kept.reason).collect::<Vec<_>>(), [&GcReason::Leased]);
    assert_eq!(host.catalog().gc(&room_for_none()).unwrap().entries, 0);
}

fn lease(host: &Host, words: &[&str]) -> Command {
    let mut command = host.command();
    command.arg("lease").args(words).stdin(Stdio::null());
    command
}

fn output(host: &Host, words: &[&str]) -> Output {
    lease(host, words).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Starts a command that holds `m`, and returns it with the first line that it prints.
fn start(host: &Host, words: &[&str]) -> (Running, String) {
    let mut child = Running(lease(host, words).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim_end().to_owned())
}

/// A process that is not a child of the test, killed at its end.
struct Stray(String);

impl Stray {
    fn is_there(&self) -> bool {
        Path::new("/proc").join(&self.0).exists()
    }

    fn kill(&self) {
        Command::new("kill").args(["-KILL", &self.0]).status().unwrap();
        wait_until("it has ended", || fs::read(Path::new("/proc").join(&self.0).join("fd/0")).is_err());
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.0]).stderr(Stdio::null()).status();
    }
}

// Red when `Lock::inheritable` leaves FD_CLOEXEC as it is: the model is then collected under the engine.
#[test]
fn what_a_command_holds_is_kept_as_long_as_it_runs() {
    let host = host();
    let (mut engine, line) = start(&host, &["m", "--", "sh", "-c", "echo $$ \"$CATALOG_MODEL\"; exec sleep 1000"]);
    let path = host.catalog().locate(&catalog_core::ModelRef::from(host.path("m.gguf"))).unwrap();
    assert!(path.is_none(), "it has an id of its own");
    let path = host.catalog().record("m").unwrap().unwrap().entry.local_path;
    assert_eq!(line, format!("{} {}", engine.0.id(), path.display()), "the command is the process that was started");
    assert_kept(&host);
    assert_eq!(host.catalog().remove("m").unwrap().unwrap().kept.len(), 1);
    assert_eq!(fs::read(&path).unwrap(), b"bytes");

    engine.0.kill().unwrap();
    assert_eq!(engine.0.wait().unwrap().signal(), Some(9));
    drop(host.catalog().gc(&GcPolicy::default().with_grace(Duration::ZERO)).unwrap());
    assert!(!path.exists() && blobs(&host.root()).is_empty());
}

// Red for the same reason.
#[test]
fn what_a_command_has_started_keeps_the_model_when_it_was_killed() {
    let host = host();
    let script = "sleep 1000 >/dev/null & echo $!; wait";
    let (mut parent, child) = start(&host, &["m", "--", "sh", "-c", script]);
    let child = Stray(child);
    parent.0.kill().unwrap();
    parent.0.wait().unwrap();
    assert!(child.is_there());
    assert_kept(&host);
    let mut removed = host.command();
    let removed = removed.args(["remove", "m", "--json"]).output().unwrap();
    assert!(text(&removed.stdout).contains("leases it"), "{removed:?}");
    assert_eq!(blobs(&host.root()).len(), 1);

    child.kill();
    drop(host.catalog().gc(&GcPolicy::default().with_grace(Duration::ZERO)).unwrap());
    assert!(blobs(&host.root()).is_empty());
}

#[test]
fn a_command_is_given_the_path_and_prints_alone() {
    let host = host();
    let path = host.catalog().record("m").unwrap().unwrap().entry.local_path;
    let path = path.to_str().unwrap();
    let words = ["m", "--json", "--", "printf", "%s\n", "{}", "--model={}", "{}:{}", "{", "--json"];
    let ran = output(&host, &words);
    let expected = format!("{path}\n--model={path}\n{path}:{path}\n{{\n--json\n");
    assert_eq!((text(&ran.stdout), text(&ran.stderr)), (&*expected, ""));
    let ran = output(&host, &["m", "--", "printenv", "CATALOG_MODEL"]);
    assert_eq!((text(&ran.stdout), text(&ran.stderr)), (&*format!("{path}\n"), ""));

    host.catalog().set_state("m", LifecycleState::Retired).unwrap();
    let ran = output(&host, &["m", "--", "cat", "{}"]);
    assert_eq!(text(&ran.stdout), "bytes");
    assert!(text(&ran.stderr).contains("m is retired"), "{ran:?}");
    assert_eq!(text(&output(&host, &["m"]).stdout), format!("{path}\n"), "without a command all is as it was");
    assert_eq!(text(&output(&host, &["m", "--"]).stdout), format!("{path}\n"), "nothing after -- is no command");
}

#[test]
fn the_exit_code_is_the_commands() {
    let host = host();
    for code in [0, 1, 3, 42, 255] {
        assert_eq!(output(&host, &["m", "--", "sh", "-c", &format!("exit {code}")]).status.code(), Some(code));
    }
    let killed = output(&host, &["m", "--", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(killed.status.signal(), Some(15));

    let absent = output(&host, &["m", "--", "./no-such-engine", "{}"]);
    assert_eq!((absent.status.code(), text(&absent.stdout)), (Some(3), ""));
    assert!(text(&absent.stderr).starts_with("error: could not run \"./no-such-engine\": No such file"), "{absent:?}");
    let no_program = host.file("text", "no program");
    fs::set_permissions(&no_program, fs::Permissions::from_mode(0o644)).unwrap();
    let no_program = output(&host, &["m", "--", no_program.to_str().unwrap()]);
    assert_eq!(no_program.status.code(), Some(1), "{no_program:?}");
    assert!(text(&no_program.stderr).contains("Permission denied"), "{no_program:?}");
    assert_eq!(output(&host, &["absent", "--", "true"]).status.code(), Some(3));
    assert_eq!(output(&host, &["m", "true"]).status.code(), Some(2), "without -- it is no command");
    assert_eq!(host.catalog().gc(&room_for_none()).unwrap().entries, 1, "none of them holds it any more");
}

/// A program that uses `select` fails at the first descriptor with a number above 1023.
// Red when main also raises the limit before this process is replaced with another program.
#[test]
fn a_command_has_the_limits_and_signals_of_the_shell() {
    const LOOK: &str = r#"ulimit -Sn; sed -nE "s/^Sig(Ign|Cgt):\t.*(........)/\2/p" /proc/self/status"#;
    let host = host();
    let seen = |through: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -Sn 256; exec {through} sh -c '{LOOK}'")]).env("CATALOG_ROOT", host.root());
        let seen = shell.arg(host.command().get_program()).output().unwrap();
        let mut lines = text(&seen.stdout).lines().map(ToOwned::to_owned);
        let limit = lines.next().unwrap();
        // Signals above 31 belong to the C library.
        let signals = lines.map(|mask| u32::from_str_radix(&mask, 16).unwrap() & 0x7fff_ffff).collect::<Vec<_>>();
        assert_eq!(signals.len(), 2, "{seen:?}");
        (limit, signals)
    };
    let leased = seen("\"$0\" lease m --");
    assert_eq!((&*leased.0, &leased), ("256", &seen("env")));
}

/// The use is noted when it begins, because this process is no longer there to note it at the end.
#[test]
fn the_use_is_noted() {
    let host = host();
    edit_shard(&host.root(), "m", |entries| {
        entries["m"].as_object_mut().unwrap().remove("last_used_ms");
    });
    assert!(host.catalog().record("m").unwrap().unwrap().last_used_ms.is_none());
    assert!(output(&host, &["m", "--", "true"]).status.success());
    assert!(host.catalog().record("m").unwrap().unwrap().last_used_ms.is_some());
}

fn sleep() -> Running {
    let mut sleep = Command::new("sleep");
    Running(sleep.arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// Waits, because a child has a copy of every descriptor until it executes its program.
fn assert_collected_soon(catalog: &FsCatalog) {
    wait_until("the model is collected", || catalog.gc(&room_for_none()).unwrap().entries == 1);
}

// Red when `Lock::inheritable` leaves FD_CLOEXEC as it is, and when `Lock` unlocks what others have inherited.
#[test]
fn an_engine_that_inherits_a_lease_keeps_it_when_the_daemon_drops_its_own() {
    const ME: &str = "an_engine_that_inherits_a_lease_keeps_it_when_the_daemon_drops_its_own";
    // This needs a process of its own: the programs that other tests start would inherit the lease too.
    if !is_child(ME) {
        return drop(run(child_test(&[], ME)));
    }
    let host = host();
    let catalog = host.catalog();
    let before = sleep();
    let lease = catalog.lease("m").unwrap();
    let clone = lease.clone();
    let lease = lease.into_inheritable().unwrap();
    assert_eq!(fs::read(lease.lease().local_path()).unwrap(), b"bytes");
    let mut engine = sleep();
    let lease = lease.into_lease();
    let after = sleep();
    drop((lease, clone));
    assert_kept(&host);

    engine.0.kill().unwrap();
    engine.0.wait().unwrap();
    assert_collected_soon(&catalog);
    drop((before, after)); // neither inherited the lease
}

// Red when `into_lease` leaves the inheritable descriptor open.
#[test]
fn the_daemon_keeps_its_lease_when_the_engine_has_ended() {
    const ME: &str = "the_daemon_keeps_its_lease_when_the_engine_has_ended";
    if !is_child(ME) {
        return drop(run(child_test(&[], ME)));
    }
    let host = host();
    let lease = host.catalog().lease("m").unwrap().into_inheritable().unwrap();
    drop(sleep());
    assert_kept(&host);
    let lease = lease.into_lease();
    let after = sleep();
    assert_kept(&host);
    drop(lease);
    assert_collected_soon(&host.catalog());
    drop(after);
}

/// What `catalog leases` prints in JSON: id, process and command.
fn leases(host: &Host) -> Vec<(Option<String>, Option<u64>, Option<String>)> {
    let mut leases = host.command();
    leases.args(["leases", "--json"]);
    let said = run(leases);
    let lines = text(&said.stdout).lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let word = |value: &serde_json::Value| value.as_str().map(ToOwned::to_owned);
    let lines = lines.map(|line| {
        assert_eq!(line["digest"], Digest::sha256_of(b"bytes").to_string());
        (word(&line["id"]), line["pid"].as_u64(), word(&line["command"]))
    });
    lines.collect()
}

fn one(id: &str, pid: u32, command: &str) -> (Option<String>, Option<u64>, Option<String>) {
    (Some(id.into()), Some(pid.into()), Some(command.into()))
}

// Red when `sharers` reports the process that took the lock as its holder: that process has ended.
#[test]
fn who_holds_what_is_told() {
    let host = host();
    assert_eq!(leases(&host), []);
    let mut table = host.command();
    let said = run_with(table.arg("leases"));
    assert_eq!((text(&said.stdout), text(&said.stderr)), ("", "note: no model is leased\n"));

    let (mut shell, child) = start(&host, &["m", "--", "sh", "-c", "sleep 1000 >/dev/null & echo $!; wait"]);
    let child = Stray(child);
    let number: u32 = child.0.parse().unwrap();
    let of_shell = "sh -c sleep 1000 >/dev/null & echo $!; wait";
    let mut both = [one("m", shell.0.id(), of_shell), one("m", number, "sleep 1000")];
    both.sort();
    assert_eq!(leases(&host), both);
    shell.0.kill().unwrap();
    shell.0.wait().unwrap();
    assert_eq!(leases(&host), [one("m", number, "sleep 1000")]);
    stage(&host.catalog(), &host.path("m.gguf"), "the same").unwrap();
    let same = [one("m", number, "sleep 1000"), one("the same", number, "sleep 1000")];
    assert_eq!(leases(&host), same, "the lease is on content");
    let mut table = host.command();
    let said = run_with(table.arg("leases"));
    let expected = format!("ID        PID{}COMMAND\n", " ".repeat(child.0.len().max(3) - 1));
    assert!(text(&said.stdout).starts_with(&expected), "{said:?}");
    assert!(text(&said.stdout).contains(&format!("\nthe same  {number}  sleep 1000\n")), "{said:?}");
    for id in ["m", "the same"] {
        host.catalog().remove(id).unwrap().unwrap();
    }
    assert_eq!(leases(&host), [(None, Some(number.into()), Some("sleep 1000".into()))]);
    child.kill();
    assert_eq!(leases(&host), []);
}

// Red when `holders` reports a process that only has the blob open, or has an exclusive lock on it.
#[test]
fn who_has_a_model_open_or_takes_it_away_leases_nothing() {
    let host = host();
    let catalog = host.catalog();
    let blob = blob_path(&host.root(), &Digest::sha256_of(b"bytes"));
    let open = File::open(&blob).unwrap();
    assert_eq!(catalog.leases().unwrap(), []);
    open.lock().unwrap(); // as a sweep does
    assert_eq!(catalog.leases().unwrap(), []);
    open.unlock().unwrap();
    open.lock_shared().unwrap();
    let holders = catalog.leases().unwrap();
    assert_eq!((holders.len(), holders[0].pid), (1, Some(std::process::id())));
}

// Red when `is_leased_by_one_unseen` is not called: the lease of an invisible process is then not listed at all.
#[test]
fn a_lease_of_a_process_that_cannot_be_seen_is_told() {
    if !Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).status().is_ok_and(|s| s.success()) {
        return skip("this needs the right to make a pid namespace");
    }
    let host = host();
    let (mut engine, _) = start(&host, &["m", "--", "sh", "-c", "echo; exec sleep 1000"]);
    let command = host.command();
    let look = |words: &[&str]| {
        let mut apart = Command::new("unshare");
        apart.args(["--pid", "--fork", "--mount-proc"]).arg(command.get_program()).args(words);
        run_with(apart.env("CATALOG_ROOT", host.root()).env("HOME", host.path("home")))
    };
    let said: serde_json::Value = serde_json::from_slice(&look(&["leases", "--json"]).stdout).unwrap();
    let digest = Digest::sha256_of(b"bytes").to_string();
    let expected = serde_json::json!({ "type": "lease", "id": "m", "pid": null, "command": null, "digest": digest });
    assert_eq!(said, expected);
    let said = look(&["leases"]);
    assert_eq!(text(&said.stdout), "ID  PID  COMMAND\nm   -    who holds it is not known\n");
    engine.0.kill().unwrap();
    engine.0.wait().unwrap();
    assert_eq!(look(&["leases", "--json"]).stdout, b"");
}

/// Only root may read the other process's descriptors, but the list of all locks names it, because it took the lease.
// Red when `sharers` reads only descriptors.
#[test]
fn a_user_is_told_which_process_of_another_has_taken_a_lease() {
    let Some(nobody) = as_nobody() else { return };
    let host = host();
    set_mode(host.dir.path(), 0o755);
    let (engine, _) = start(&host, &["m", "--", "sh", "-c", "echo; exec sleep 1000"]);
    let (program, before) = nobody.split_first().unwrap();
    let command = host.command();
    let mut leases = Command::new(program);
    leases.args(before).arg(command.get_program()).args(["leases", "--json"]);
    let said = run_with(leases.env("CATALOG_ROOT", host.root()).env("HOME", host.path("home")));
    let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((&said["pid"], &said["command"]), (&engine.0.id().into(), &"sleep 1000".into()));
}

fn run_with(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}
