//! Runs the command as a person types it.

use std::process::Output;

use super::Host;

pub(crate) fn catalog(host: &Host, args: &[&str]) -> Output {
    host.command().args(args).output().unwrap()
}

/// Runs a command that has to succeed, and returns its standard output.
#[track_caller]
pub(crate) fn done(host: &Host, args: &[&str]) -> String {
    let output = catalog(host, args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that has to fail with this exit code, and returns its standard error.
#[track_caller]
pub(crate) fn failed(host: &Host, args: &[&str], code: i32) -> String {
    let output = catalog(host, args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
    stderr(&output)
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The ids that `list` prints with these arguments.
pub(crate) fn ids(host: &Host, args: &[&str]) -> Vec<String> {
    done(host, &[&["list", "-q"], args].concat()).lines().map(str::to_owned).collect()
}
