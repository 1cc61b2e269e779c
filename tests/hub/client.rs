//! The Hub's own client judges the Hub of these tests: it downloads the same repository from it.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::common::skip;
use crate::server::{FILES, Hub};
use crate::{Asker, content};

/// Where `.ci/run` installs the client.
const PYTHON: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../hub-client/bin/python");

const DOWNLOAD: &str =
    "import sys, huggingface_hub as h; print(h.snapshot_download('acme/tiny', local_dir=sys.argv[1]))";

#[test]
fn it_has_the_same_files() {
    if !Path::new(PYTHON).exists() {
        return skip("huggingface_hub is not in target/hub-client");
    }
    let Some(hub) = Hub::start(&["--page", "2"]) else { return };
    let dir = TempDir::new().unwrap();
    let to = dir.path().join("tiny");
    let output = Command::new(PYTHON)
        .args(["-c", DOWNLOAD])
        .arg(&to)
        .env_clear()
        .env("HF_HOME", dir.path().join("home"))
        .env("HF_ENDPOINT", &hub.hub)
        .env("NO_PROXY", "127.0.0.1,localhost")
        .env("HF_HUB_DISABLE_XET", "1")
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .env("HF_HUB_DISABLE_UPDATE_CHECK", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let asker = Asker::new(&hub);
    let listing = asker.resolve("hf:acme/tiny").unwrap();
    assert_eq!(listing.files.len(), FILES.len());
    for file in &listing.files {
        let theirs = fs::read(to.join(&file.path)).unwrap();
        assert_eq!(theirs, content(&file.path), "{}", file.path);
        assert_eq!(theirs, asker.read(file).unwrap(), "{}", file.path);
    }
}
