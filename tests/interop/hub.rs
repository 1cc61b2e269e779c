//! Runs `tests/servers/hub.py` with the small real models until it is dropped.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::common::{fixture, run};
use crate::venv;

pub(crate) struct Hub {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub(crate) hub: String,
    pub(crate) cdn: String,
}

/// Below the folder of this file.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/stores").join(name)
}

/// The folder that `stores/mkmodels.py` fills. It is made once, and kept for the next run.
pub(crate) fn models() -> Option<&'static Path> {
    static MODELS: OnceLock<Option<PathBuf>> = OnceLock::new();
    MODELS.get_or_init(make_models).as_deref()
}

fn make_models() -> Option<PathBuf> {
    let bin = venv::tools()?;
    let text = fs::read(script("mkmodels.py")).unwrap();
    let of_this_script = blake3::hash(&text).to_hex();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("interop-models-{}", &of_this_script[..8]));
    if !folder.exists() {
        let making = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut make = Command::new(bin.join("python"));
        make.arg(script("mkmodels.py")).arg(making.path().join("models")).arg(fixture());
        run(make);
        // Another process may have been faster.
        let _ = fs::rename(making.path().join("models"), &folder);
    }
    Some(folder)
}

impl Hub {
    /// `None`, after printing the reason, if the tools that make the models are not installed.
    pub(crate) fn start() -> Option<Hub> {
        let models = models()?;
        let mut child = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/hub.py"))
            .arg("--root")
            .arg(models)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let at = |name: &str| ready[name].as_str().unwrap().to_owned();
        Some(Hub { child, hub: at("hub"), cdn: at("cdn") })
    }

    /// What `--allow-net` needs to reach it.
    pub(crate) fn rules(&self) -> String {
        let host = |url: &str| url.strip_prefix("http://").unwrap().to_owned();
        format!("{},{}", host(&self.hub), host(&self.cdn))
    }

    /// Forgets all requests so far.
    pub(crate) fn forget(&self) {
        self.control("DELETE");
    }

    /// The bytes of files that it has sent since the last `forget`. Lists, redirects and answers to HEAD do not count.
    pub(crate) fn content_bytes(&self) -> u64 {
        let log: Vec<Value> = serde_json::from_str(&self.control("GET")).unwrap();
        let is_content = |asked: &&Value| {
            let has_body = [200, 206].contains(&asked["status"].as_u64().unwrap());
            let path = asked["path"].as_str().unwrap();
            has_body && (asked["origin"] == "cdn" || path.contains("/resolve"))
        };
        log.iter().filter(is_content).map(|asked| asked["sent"].as_u64().unwrap()).sum()
    }

    fn control(&self, method: &str) -> String {
        let mut stream = TcpStream::connect(self.hub.strip_prefix("http://").unwrap()).unwrap();
        write!(stream, "{method} /__log HTTP/1.0\r\nContent-Length: 0\r\n\r\n").unwrap();
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
