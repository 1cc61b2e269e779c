//! A root that was copied or restored: no stamp matches, and its content is read in full once.

use std::collections::BTreeSet;
use std::process::Command;

use super::*;
use crate::common::{content_opened_by_path, has_tool, skip};

const SIZE: u64 = 2 * GROUP + 9;

/// Each way gives every file another inode; the first also turns hardlinks into separate files.
const WAYS: [&str; 3] = ["cp -r root copy", "cp -a root copy", "mkdir copy && tar -C root -cf - . | tar -C copy -xf -"];

fn copied(host: &Host, way: &str) -> PathBuf {
    let copy = host.path("copy");
    let done = Command::new("sh").args(["-c", way]).current_dir(host.dir.path()).status().unwrap();
    assert!(done.success(), "{way}");
    copy
}

fn run_on(root: &Path, host: &Host, words: &str) -> Ran {
    run(host, &[&["--root", root.to_str().unwrap()], &*words.split(' ').collect::<Vec<_>>()].concat())
}

// Red when `gc --check` reads nothing, or when it does not record the stamps of the views that it read: `path` then
// reads them.
#[test]
fn a_collection_can_read_a_copied_root_so_that_no_use_has_to() {
    if !has_tool("strace") || !has_tool("tar") {
        return skip("this needs strace and tar");
    }
    for way in WAYS {
        let host = Host::new();
        let catalog = catalog(&host);
        add(&host, &catalog, "m", &noise(1, SIZE));
        add_tree(&host, &catalog, "t", &[("x", &noise(2, SIZE)), ("sub/y", b"y")]);
        let root = copied(&host, way);

        let told = run_on(&root, &host, "gc --grace 0");
        assert_eq!((told.code, &*told.errors), (0, ""), "{way}: no content is read without --check");
        assert_eq!(run_on(&root, &host, "verify --quick --all").code, 1, "{way}");
        let told = run_on(&root, &host, "gc --grace 0 --check");
        assert_eq!(told.code, 0, "{way}: {}", told.errors);
        assert!(told.errors.contains("2 models were copied or changed"), "{way}: {}", told.errors);
        assert_eq!(run_on(&root, &host, "verify --quick --all").code, 0, "{way}");

        for id in ["m", "t"] {
            assert_eq!(content_opened_by_path(&root, id), BTreeSet::new(), "{way}, {id}");
        }
        let again = run_on(&root, &host, "gc --grace 0 --check");
        assert_eq!((again.code, &*again.errors), (0, ""), "{way}: it is read once");
    }
}

// Red when damage that was found is not reported: the copy would pass as good until an engine starts.
#[test]
fn a_collection_that_reads_tells_what_the_copy_has_damaged() {
    let host = Host::new();
    let catalog = catalog(&host);
    add(&host, &catalog, "good", &noise(1, SIZE));
    let flipped = add(&host, &catalog, "flipped", &noise(2, SIZE));
    let short = add(&host, &catalog, "short", &noise(3, SIZE));
    let root = copied(&host, WAYS[1]);
    edit(&blob_path(&root, &flipped), |file| flip(file, GROUP));
    edit(&blob_path(&root, &short), |file| file.set_len(GROUP).unwrap());

    let told = run_on(&root, &host, "gc --check");
    assert_eq!(told.code, 4, "{}", told.errors);
    for id in ["flipped", "short"] {
        assert!(told.errors.contains(&format!("{{\"type\":\"error\",\"id\":{id:?},")), "{}", told.errors);
        assert_eq!(run_on(&root, &host, &format!("path {id}")).code, 4);
    }
    assert_eq!(run_on(&root, &host, "path good").code, 0);
    let again = run_on(&root, &host, "gc --check");
    assert_eq!((again.code, &*again.errors), (0, ""), "what is known to be damaged is not read each time");
    assert_eq!(run_on(&root, &host, "gc --dry-run --check").code, 2);
}
