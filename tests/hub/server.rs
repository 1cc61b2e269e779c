//! Runs `tests/servers/hub.py` with a repository of its own until it is dropped.

use std::ops::Deref;
use std::path::Path;

use catalog_core::{HfOptions, Policy};
use serde_json::Value;
use tempfile::TempDir;

use crate::hub_process::HubProcess;
use crate::{LARGE, SMALL, TOKEN, common, content, policy};

pub(crate) struct Hub {
    _dir: TempDir,
    process: HubProcess,
}

/// Every file of `acme/tiny`.
pub(crate) const FILES: [&str; 4] = [SMALL, "docs/a b?#%.md", "docs/read me.txt", LARGE];

impl Hub {
    /// Starts it with `acme/tiny`, and `acme/tiny@v1`, which has one file. Without Python, prints that and returns
    /// `None`.
    pub(crate) fn start(arguments: &[&str]) -> Option<Hub> {
        Hub::start_with(arguments, &[])
    }

    /// The same with additional files, `<org>/<repository>/<path>`.
    pub(crate) fn start_with(arguments: &[&str], more: &[(&str, &[u8])]) -> Option<Hub> {
        if !common::has_tool("python3") {
            common::skip("there is no python3");
            return None;
        }
        let dir = TempDir::new().unwrap();
        for path in FILES {
            write(&dir.path().join("acme/tiny").join(path), &content(path));
        }
        write(&dir.path().join("acme/tiny@v1/old.txt"), &content("old.txt"));
        for (path, bytes) in more {
            write(&dir.path().join(path), bytes);
        }
        let process = HubProcess::start(dir.path(), &[&["--token", TOKEN], arguments].concat());
        Some(Hub { _dir: dir, process })
    }

    /// Allows the Hub and its store, and nothing else.
    pub(crate) fn policy(&self) -> Policy {
        policy(&[host(&self.hub), host(&self.cdn)])
    }

    /// Options without a token.
    pub(crate) fn options(&self) -> HfOptions {
        HfOptions::default().with_endpoint(&self.hub).unwrap()
    }

    /// Sets what it does from now on; the head of `hub.py` describes the rules.
    pub(crate) fn rule(&self, rule: &Value) {
        self.control("DELETE", "/__rules", "");
        self.control("DELETE", "/__log", "");
        self.control("POST", "/__rules", &rule.to_string());
    }

    /// The number of requests to the Hub and to its store.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let log = self.log();
        let at = |origin: &str| log.iter().filter(|asked| asked["origin"] == origin).count();
        (at("hub"), at("cdn"))
    }

    /// The number of body bytes that the store has sent.
    pub(crate) fn sent_by_cdn(&self) -> u64 {
        let log = self.log();
        log.iter().filter(|asked| asked["origin"] == "cdn").filter_map(|asked| asked["sent"].as_u64()).sum()
    }
}

impl Deref for Hub {
    type Target = HubProcess;

    fn deref(&self) -> &HubProcess {
        &self.process
    }
}

pub(crate) fn host(url: &str) -> &str {
    url.strip_prefix("http://").unwrap()
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}
