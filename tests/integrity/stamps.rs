//! Whatever is given out was checked: by its stamp, and in full if the stamp does not match.

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use catalog_core::{Check, Error, ModelRef};

use super::*;
use crate::common::mount::read_only_bind;
use crate::common::{listing, set_mtime};

const SIZE: u64 = 2 * GROUP + 9;

/// Runs `path` or `lease`; the lease ends at once here.
fn give_out(host: &Host, words: &[&str]) -> Ran {
    let output = host.command().arg("--json").args(words).stdin(Stdio::null()).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        objects: output.stdout.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect(),
        text: String::new(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

// Red when `note_good` records nothing: every later `path` would read everything again.
#[test]
fn what_was_only_touched_is_checked_once_and_given_out() {
    for verb in ["path", "lease"] {
        let host = Host::new();
        let catalog = catalog(&host);
        let bytes = noise(10, SIZE);
        let digest = add(&host, &catalog, "m", &bytes);
        set_mtime(&blob(&catalog, &digest), SystemTime::now());
        assert_eq!(run(&host, &["verify", "--quick", "m"]).code, 1);

        let given = give_out(&host, &[verb, "m"]);
        assert_eq!(given.code, 0, "{verb}: {}", given.errors);
        let path = given.object()["local_path"].as_str().unwrap();
        assert!(fs::read(path).unwrap() == bytes);
        assert_eq!(run(&host, &["verify", "--quick", "m"]).code, 0, "{verb}: its stamp is recorded");
    }
}

// Red when `ensure_intact` checks nothing, and when the entry is not marked (the second time, the view is missing).
#[test]
fn what_is_damaged_is_not_given_out() {
    for verb in ["path", "lease"] {
        let host = Host::new();
        let catalog = catalog(&host);
        let digest = add(&host, &catalog, "m", &noise(11, SIZE));
        edit(&blob(&catalog, &digest), |file| flip(file, GROUP));
        let view = view(&catalog, "m");
        for _ in 0..2 {
            let refused = give_out(&host, &[verb, "m"]);
            assert_eq!((refused.code, refused.objects.len()), (4, 0), "{verb}: {}", refused.errors);
            assert!(refused.errors.contains("damaged") && refused.errors.contains("repair"), "{}", refused.errors);
        }
        assert_eq!(quarantined(&catalog).len(), 1);
        assert!(!view.exists() && !blob(&catalog, &digest).exists());
    }
}

#[test]
fn unchecked_gives_out_what_is_there() {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add(&host, &catalog, "m", &noise(12, SIZE));
    edit(&blob(&catalog, &digest), |file| flip(file, GROUP));
    for verb in ["path", "lease"] {
        let given = give_out(&host, &[verb, "--unchecked", "m"]);
        assert_eq!(given.code, 0, "{verb}: {}", given.errors);
        assert_eq!(given.object()["local_path"], view(&catalog, "m").to_str().unwrap());
    }
    assert!(quarantined(&catalog).is_empty());
    let handle = catalog.clone().with_check(Check::Never);
    handle.resolve("m").unwrap();
    drop(handle.lease("m").unwrap());
}

#[test]
fn a_tree_is_given_out_when_every_file_is_as_it_was() {
    let host = Host::new();
    let catalog = catalog(&host);
    add_tree(&host, &catalog, "t", &[("a.bin", &noise(13, SIZE)), ("sub/b.json", b"{}"), ("sub/c.bin", b"same")]);
    let folder = view(&catalog, "t");
    set_mtime(&folder.join("sub/b.json"), SystemTime::now());
    assert_eq!(give_out(&host, &["path", "t"]).code, 0);
    edit(&folder.join("sub/b.json"), |file| flip(file, 1));
    let refused = give_out(&host, &["path", "t"]);
    assert_eq!(refused.code, 4, "{}", refused.errors);
    assert!(folder.join("a.bin").exists() && !folder.join("sub/b.json").exists());
}

#[test]
fn on_a_read_only_root_everything_is_checked_and_nothing_written() {
    let host = Host::new();
    let catalog = catalog(&host);
    let good = noise(14, SIZE);
    let digest = add(&host, &catalog, "good", &good);
    set_mtime(&blob(&catalog, &digest), SystemTime::now());
    let digest = add(&host, &catalog, "bad", &noise(15, SIZE));
    edit(&blob(&catalog, &digest), |file| flip(file, 5));
    add_tree(&host, &catalog, "tree", &[("a", b"1"), ("b", b"2")]);
    let Some(mounted) = read_only_bind(&host.root()) else { return };
    let root = mounted.path().to_str().unwrap();
    let before = listing(&host.root());

    let checked = run(&host, &["--root", root, "verify", "--all"]);
    let outcome = |id: &str| checked.objects.iter().find(|report| report["id"] == id).unwrap();
    assert_eq!(checked.code, 4, "{}", checked.errors);
    assert_eq!(outcome("good")["outcome"], "pass");
    assert_eq!(outcome("tree")["outcome"], "pass");
    assert_eq!((&outcome("bad")["outcome"], &outcome("bad")["quarantined"]), (&"fail".into(), &false.into()));
    assert_eq!(json_ranges(outcome("bad")), [0..GROUP]);
    for verb in ["path", "lease"] {
        let given = give_out(&host, &["--root", root, verb, "good"]);
        assert_eq!(given.code, 0, "{verb}: {}", given.errors);
        assert!(fs::read(given.object()["local_path"].as_str().unwrap()).unwrap() == good);
        assert_eq!(give_out(&host, &["--root", root, verb, "tree"]).code, 0);
        let refused = give_out(&host, &["--root", root, verb, "bad"]);
        assert_eq!(refused.code, 4, "{verb}: {}", refused.errors);
    }
    assert_eq!(listing(&host.root()), before);
}

// Red when `locate` returns a path because it exists, although the entry is known to be damaged: a damaged tree's
// folder exists.
#[test]
fn what_is_known_to_be_damaged_is_not_there_for_whoever_looks_it_up() {
    let host = Host::new();
    let catalog = catalog(&host);
    let tree = add_tree(&host, &catalog, "hf:org/repo", &[("a", b"1"), ("b", b"2")]);
    let model = ModelRef::parse("hf:org/repo").unwrap();
    assert_eq!(catalog.record("hf:org/repo").unwrap().unwrap().entry.digest, Some(tree));
    assert!(catalog.locate(&model).unwrap().is_some());
    edit(&view(&catalog, "hf:org/repo").join("a"), |file| flip(file, 0));
    assert!(fails(&check(&catalog, "hf:org/repo")));
    assert!(catalog.locate(&model).unwrap().is_none());
    assert!(catalog.resolve(&model).unwrap_err().is_corrupt());
    let not_held = catalog.stage(&model, &common::options("hf:org/repo")).unwrap_err();
    assert!(matches!(not_held, Error::NoFetcher { .. }), "{not_held}");
}

#[test]
fn a_write_after_the_check_does_not_fit_the_stamp() {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add(&host, &catalog, "m", &noise(16, SIZE));
    assert!(passes(&check(&catalog, "m")));
    sleep(Duration::from_millis(20));
    edit(&blob(&catalog, &digest), |file| flip(file, 0));
    assert!(catalog.resolve("m").unwrap_err().is_corrupt());
}

// Red when a check of many bytes, which the user did not ask for, says nothing.
#[test]
fn a_long_check_before_a_path_is_given_out_says_so() {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add(&host, &catalog, "m", &vec![7; 65 << 20]);
    for (flags, is_told) in [(&[][..], true), (&["--quiet"], false), (&["--unchecked"], false)] {
        crate::common::set_mtime(
            &blob(&catalog, &digest),
            crate::common::long_ago() + Duration::from_secs(flags.len() as u64),
        );
        let ran = run(&host, &[&["path", "m"], flags].concat());
        assert_eq!(ran.code, 0, "{}", ran.errors);
        assert_eq!(
            ran.errors.contains("m may have changed since its last check; reading 68.2 MB to check it now"),
            is_told,
            "{flags:?}: {}",
            ran.errors
        );
    }
}

// Red when `--unchecked` overrides known damage.
#[test]
fn what_is_known_to_be_damaged_is_not_given_out_unchecked() {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add(&host, &catalog, "m", b"bytes");
    rot(&blob(&catalog, &digest), |file| flip(file, 0));
    assert!(fails(&check(&catalog, "m")));
    assert_eq!(run(&host, &["path", "--unchecked", "m"]).code, 4);
}

// Red when a number without a unit is taken for bytes a second.
#[test]
fn a_rate_needs_its_unit() {
    let host = Host::new();
    let catalog = catalog(&host);
    add(&host, &catalog, "m", b"bytes");
    for (rate, code) in [("200", 2), ("200/s", 2), ("0MB/s", 2), ("200MB/s", 0), ("200MiB", 0), ("200B/s", 0)] {
        assert_eq!(run(&host, &["verify", "m", "--rate", rate]).code, code, "{rate}");
    }
}

/// A root that was copied and is now read-only, as in an image: no stamp matches, and none can be written.
// Red when a sealed root is checked like any other, or when a root that is not sealed, or is writable, is not checked.
#[test]
fn a_sealed_root_gives_out_by_size_while_it_is_read_only() {
    for is_sealed in [false, true] {
        let host = Host::new();
        let catalog = catalog(&host);
        let digest = add(&host, &catalog, "m", &noise(14, SIZE));
        if is_sealed {
            assert_eq!(run(&host, &["config", "set", "sealed", "true"]).code, 0);
        }
        let image = host.path("image");
        let copied = std::process::Command::new("cp").arg("-a").args([&host.root(), &image]).status().unwrap();
        assert!(copied.success());
        // Damage shows whether the bytes are read.
        let blob = image.join(blob(&catalog, &digest).strip_prefix(host.root()).unwrap());
        rot(&blob, |file| flip(file, GROUP));
        let Some(mounted) = read_only_bind(&image) else { return };
        let mut path = host.command();
        path.args(["--root".as_ref(), mounted.path().as_os_str()]).args(["path", "m"]);
        assert_eq!(path.output().unwrap().status.code(), Some(if is_sealed { 0 } else { 4 }), "{is_sealed}");
        let mut verify = host.command();
        verify.args(["--root".as_ref(), mounted.path().as_os_str()]).args(["verify", "m"]);
        assert_eq!(verify.output().unwrap().status.code(), Some(4), "verify reads");
        drop(mounted);
        // If the root is writable, it is checked, and the stamp is recorded.
        let code = |image: &Path| {
            let mut path = host.command();
            path.arg("--root").arg(image).args(["path", "m"]).output().unwrap().status.code()
        };
        assert_eq!(code(&image), Some(4));
    }
}
