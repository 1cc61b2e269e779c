//! Which root is used, and what may be created there: roots from the environment, paths that mean nothing, directories
//! that belong to somebody else.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use catalog_core::{Error, FsCatalog};
use rstest::rstest;

use common::*;

/// The command in the host's directory, with these variables and a source `a.bin`.
fn command(host: &Host, variables: &[(&str, &str)], words: &[&str]) -> Command {
    host.file("a.bin", "weights");
    let mut command = catalog_command();
    command.current_dir(host.dir.path()).env_remove("CATALOG_ROOT").env("HOME", host.path("home"));
    command.envs(variables.iter().copied()).args(words);
    command
}

fn catalog(host: &Host, variables: &[(&str, &str)], words: &[&str]) -> Output {
    command(host, variables, words).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The names directly in the host's directory.
fn names(host: &Host) -> Vec<String> {
    let names = fs::read_dir(host.dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "a.bin").collect();
    names.sort();
    names
}

// Red when an empty variable counts as a root, or as an option without a value.
#[test]
fn a_variable_that_is_set_to_nothing_is_as_if_unset() {
    let host = Host::new();
    let variables = [("CATALOG_ROOT", ""), ("XDG_CACHE_HOME", "")];
    let staged = catalog(&host, &variables, &["stage", "a.bin", "--id", "a"]);
    assert!(staged.status.success(), "{}", stderr(&staged));
    assert!(host.path("home/.cache/models/store.json").exists());
    assert_eq!(names(&host), ["home"]);
    // An empty option is not ignored.
    let refused = catalog(&host, &variables, &["list", "--root", ""]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
}

// Red when the path is used as it is: a folder `~` is made in the current directory.
#[rstest]
#[case::the_home_itself("~")]
#[case::below_it("~/models")]
#[case::of_another_user("~llm/models")]
fn a_tilde_that_no_shell_has_replaced_is_an_error_that_says_so(#[case] root: &str) {
    let host = Host::new();
    for (variables, words) in [
        (&[("CATALOG_ROOT", root)][..], &["stage", "a.bin"][..]),
        (&[], &["stage", "a.bin", "--root", root]),
        (&[], &["list", "--root", root]),
    ] {
        let refused = catalog(&host, variables, words);
        assert_eq!(refused.status.code(), Some(1), "{words:?}");
        assert!(stderr(&refused).contains("only a shell replaces ~"), "{}", stderr(&refused));
        assert!(names(&host).is_empty(), "{:?}", names(&host));
    }
    assert!(matches!(FsCatalog::new(root), Err(Error::InvalidRoot { .. })));
    let meant = catalog(&host, &[], &["stage", "a.bin", "--root", &format!("./{root}")]);
    assert!(meant.status.success(), "{}", stderr(&meant));
}

// Red when the current directory is taken for a home: the root would be `.cache/models` in it.
#[test]
fn without_a_home_there_is_no_default_root() {
    if !is_root() || !has_tool("setpriv") {
        return skip("to be a user without an entry needs root and setpriv");
    }
    let host = Host::new();
    set_mode(host.dir.path(), 0o777);
    // The build directory may be below a home that other users cannot enter.
    let program = host.path("catalog");
    fs::copy(assert_cmd::cargo::cargo_bin!("catalog"), &program).unwrap();
    host.file("a.bin", "weights");
    let mut unknown = Command::new("setpriv");
    unknown.args(["--reuid=54321", "--regid=54321", "--clear-groups"]).arg(&program);
    unknown.current_dir(host.dir.path()).env_clear().args(["stage", "a.bin"]);
    let refused = unknown.output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("no home directory is known"), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("CATALOG_ROOT"), "{}", stderr(&refused));
    assert_eq!(names(&host), ["catalog"]);
}

// Red when the error only repeats what mkdir says about the symlink: "File exists".
#[test]
fn a_symlink_that_leads_nowhere_is_named() {
    let host = Host::new();
    symlink(host.path("disk that is not mounted"), host.path("link")).unwrap();
    for root in ["link", "link/models"] {
        for words in [&["stage", "a.bin", "--root", root][..], &["list", "--root", root]] {
            let refused = catalog(&host, &[], words);
            assert_eq!(refused.status.code(), Some(1), "{words:?}");
            let said = r#"could not use "link" as the catalog's root: it is a symlink that leads nowhere"#;
            assert!(stderr(&refused).contains(said), "{words:?}: {}", stderr(&refused));
        }
    }
    assert_eq!(names(&host), ["link"]);
    fs::create_dir(host.path("disk that is not mounted")).unwrap();
    assert!(catalog(&host, &[], &["stage", "a.bin", "--root", "link/models"]).status.success());
    assert!(host.path("disk that is not mounted/models/store.json").exists());
}

// Red when a catalog is made silently, or when each use of it is announced.
#[test]
fn a_new_catalog_is_named_by_its_absolute_path() {
    let host = Host::new();
    let here = host.dir.path().canonicalize().unwrap();
    let note = |root: &str| format!("note: made a new catalog at {}\n", here.join(root).display());
    let stage = |words: &[&str]| catalog(&host, &[], &[&["stage", "a.bin"], words].concat());
    assert_eq!(stderr(&stage(&["--root", "one"])), note("one"));
    assert_eq!(stderr(&stage(&["--root", "one"])), "");
    let json = note("two/three").replace("note: ", "{\"type\":\"note\",\"message\":\"").replace('\n', "\"}\n");
    assert_eq!(stderr(&stage(&["--root", "./two/three", "--json"])), json);
    assert_eq!(stderr(&stage(&["--root", "four", "--quiet"])), "");
    assert_eq!(stderr(&catalog(&host, &[], &["config", "set", "max_bytes", "1GB", "--root", "five"])), note("five"));
    assert!(!FsCatalog::new(host.path("five")).unwrap().is_new());
}

// Red when the contents of a directory are no obstacle: thirteen folders in somebody's home.
#[test]
fn a_directory_of_somebody_else_is_taken_on_request_alone() {
    let host = Host::new();
    host.file("mine/notes.txt", "mine");
    let before = listing(&host.path("mine"));
    for words in [&["stage", "a.bin", "--root", "mine"][..], &["config", "set", "max_bytes", "1GB", "--root", "mine"]] {
        let refused = catalog(&host, &[], words);
        assert_eq!(refused.status.code(), Some(1), "{words:?}");
        let error = stderr(&refused);
        assert!(error.contains("contains other things, such as \"notes.txt\"") && error.contains("--init"), "{error}");
        assert_eq!(listing(&host.path("mine")), before, "{words:?}");
    }
    assert!(matches!(FsCatalog::new(host.path("mine")), Err(Error::RootNotEmpty { .. })));

    let taken = catalog(&host, &[], &["stage", "a.bin", "--root", "mine", "--init"]);
    assert!(taken.status.success(), "{}", stderr(&taken));
    // The directory is a catalog from now on.
    assert!(catalog(&host, &[], &["stage", "a.bin", "--root", "mine"]).status.success());
    assert_eq!(fs::read(host.path("mine/notes.txt")).unwrap(), b"mine");
}

// Red when files of the file system, or of a killed process, count as somebody else's.
#[test]
fn a_new_disk_and_a_catalog_that_was_not_finished_are_no_hindrance() {
    let host = Host::new();
    fs::create_dir_all(host.path("disk/lost+found")).unwrap();
    assert!(FsCatalog::new(host.path("disk")).unwrap().is_new());

    // Killed before `store.json` had its name; everything else is there.
    fs::rename(host.path("disk/store.json"), host.path("disk/.0123456789abcdef.tmp")).unwrap();
    assert!(FsCatalog::new(host.path("disk")).unwrap().is_new());
    assert_readable_after_staging(&host.path("disk"), &host);
}

fn assert_readable_after_staging(root: &Path, host: &Host) {
    let catalog = FsCatalog::new(root).unwrap();
    stage(&catalog, &host.file("a.bin", "weights"), "a").unwrap();
    assert_readable(&catalog, "a", b"weights");
}
