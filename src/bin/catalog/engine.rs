//! Replaces this process with a program, such as an engine, that holds a lease.

use std::ffi::{OsStr, OsString};
#[cfg(unix)]
use std::path::Path;

use catalog_core::Lease;

use crate::failure::{Failure, Outcome};

/// The variable that holds the path of the model in the program's environment.
#[cfg(unix)]
const PATH_VARIABLE: &str = "CATALOG_MODEL";

/// Replaces this process with the program, which inherits the lease. Returns only if that fails.
#[cfg(unix)]
pub(crate) fn become_it(program: &OsStr, arguments: &[OsString], lease: Lease) -> Outcome {
    use std::os::unix::process::CommandExt as _;

    let lease = lease.into_inheritable()?;
    let path = lease.lease().local_path();
    let arguments = arguments.iter().map(|argument| with_path(argument, path));
    let error = std::process::Command::new(program).args(arguments).env(PATH_VARIABLE, path).exec();
    let words = format!("could not run {program:?}: {error}; the lease has ended");
    Err(match error.kind() {
        std::io::ErrorKind::NotFound => Failure::not_found(words),
        _ => Failure::failed(words),
    })
}

#[cfg(not(unix))]
pub(crate) fn become_it(program: &OsStr, _: &[OsString], _: Lease) -> Outcome {
    Err(Failure::failed(format!("could not run {program:?}: a program cannot inherit a lease on this system"))
        .with_hint("run `catalog lease` alongside it, and end that last"))
}

/// The argument, with each `{}` replaced by the path. Neither need be UTF-8.
#[cfg(unix)]
fn with_path(argument: &OsStr, path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

    let mut rest = argument.as_bytes();
    let mut filled = Vec::with_capacity(rest.len());
    while let Some((byte, after)) = rest.split_first() {
        match rest.strip_prefix(b"{}") {
            Some(after) => {
                filled.extend_from_slice(path.as_os_str().as_bytes());
                rest = after;
            }
            None => {
                filled.push(*byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(filled)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn the_path_stands_for_each_pair_of_braces() {
        let path = Path::new(OsStr::from_bytes(b"/m/{}\xff"));
        for (argument, filled) in [
            (&b"{}"[..], &b"/m/{}\xff"[..]),
            (b"--model={}", b"--model=/m/{}\xff"),
            (b"{}:{}", b"/m/{}\xff:/m/{}\xff"),
            (b"{ } } {", b"{ } } {"),
            (b"{{}}", b"{/m/{}\xff}"),
            (b"\xfe", b"\xfe"),
            (b"", b""),
        ] {
            assert_eq!(with_path(OsStr::from_bytes(argument), path).as_bytes(), filled);
        }
    }
}
