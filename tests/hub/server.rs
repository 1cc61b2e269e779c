//! Runs `tests/servers/hub.py` with a repository of its own until it is dropped.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use catalog_core::{HfOptions, Policy};
use serde_json::Value;
use tempfile::TempDir;

use crate::{LARGE, SMALL, TOKEN, common, content, policy};

pub(crate) struct Hub {
    _dir: TempDir,
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub(crate) hub: String,
    pub(crate) cdn: String,
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
        let mut child = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/hub.py"))
            .arg("--root")
            .arg(dir.path())
            .args(["--token", TOKEN])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let at = |name: &str| ready[name].as_str().unwrap().to_owned();
        Some(Hub { _dir: dir, child, hub: at("hub"), cdn: at("cdn") })
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

    /// Forgets all requests so far.
    pub(crate) fn forget(&self) {
        self.control("DELETE", "/__log", "");
    }

    /// Every request since the last `forget`.
    pub(crate) fn log(&self) -> Vec<Value> {
        serde_json::from_str(&self.control("GET", "/__log", "")).unwrap()
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

    fn control(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(host(&self.hub)).unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn host(url: &str) -> &str {
    url.strip_prefix("http://").unwrap()
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}
