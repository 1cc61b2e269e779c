//! `hub.py`, until it is dropped.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

pub(crate) struct HubProcess {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub(crate) hub: String,
    /// The store that it sends to.
    pub(crate) cdn: String,
}

impl HubProcess {
    /// Starts it with the repositories in a folder.
    pub(crate) fn start(root: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/hub.py"))
            .arg("--root")
            .arg(root)
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
        HubProcess { child, hub: at("hub"), cdn: at("cdn") }
    }

    /// Host and port of the Hub and of its store.
    pub(crate) fn hosts(&self) -> [String; 2] {
        [&self.hub, &self.cdn].map(|url| url.strip_prefix("http://").unwrap().to_owned())
    }

    /// Forgets all requests so far.
    pub(crate) fn forget(&self) {
        self.control("DELETE", "/__log", "");
    }

    /// Every request since the last `forget`.
    pub(crate) fn log(&self) -> Vec<Value> {
        serde_json::from_str(&self.control("GET", "/__log", "")).unwrap()
    }

    pub(crate) fn control(&self, method: &str, path: &str, body: &str) -> String {
        let [hub, _] = self.hosts();
        let mut stream = TcpStream::connect(hub).unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

impl Drop for HubProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
