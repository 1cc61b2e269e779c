//! `docker-registry` on loopback, until it is dropped, and the tools that push to it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::common::{Running, has_tool, skip, wait_until};

/// Where `.ci/run` installs `oras`.
const PYTHON: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../hub-client/bin/python");

/// Pushes the files of its folder under their paths.
const PUSH: &str = "import sys, oras.client as o
o.OrasClient(insecure=True).push(target=sys.argv[1], files=sys.argv[2:], disable_path_validation=True)";

/// Pulls the files into a folder.
const PULL: &str = "import sys, oras.client as o
o.OrasClient(insecure=True).pull(target=sys.argv[1], outdir=sys.argv[2])";

pub(crate) struct Registry {
    pub(crate) dir: TempDir,
    port: u16,
    /// The port of the token server.
    token_port: Option<u16>,
    servers: Vec<Running>,
}

impl Registry {
    /// A registry that lets everybody do everything. `None`, after printing the reason, if a tool is missing.
    pub(crate) fn open() -> Option<Self> {
        Registry::start("", None, Vec::new(), TempDir::new().unwrap())
    }

    /// A registry that asks for a password.
    pub(crate) fn with_password() -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("htpasswd");
        // "secret", hashed with bcrypt.
        fs::write(&file, "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n").unwrap();
        let auth = format!("auth: {{htpasswd: {{realm: tests, path: {}}}}}", file.display());
        Registry::start(&auth, None, Vec::new(), dir)
    }

    /// A registry that asks for tokens: see `tests/servers/token.py`.
    pub(crate) fn with_tokens() -> Option<Self> {
        if !has_tool("openssl") || !has_tool("python3") {
            skip("this needs openssl and python3");
            return None;
        }
        let dir = TempDir::new().unwrap();
        let (key, certificate) = (dir.path().join("key.pem"), dir.path().join("certificate.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ]);
        openssl.args(["-subj", "/CN=tests", "-keyout"]).arg(&key).arg("-out").arg(&certificate);
        assert!(openssl.stderr(Stdio::null()).status().unwrap().success());
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/token.py");
        let mut python = Command::new("python3");
        python.arg(program).arg(&key).arg(&certificate).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut tokens = python.spawn().unwrap();
        let mut port = String::new();
        BufReader::new(tokens.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let auth = format!(
            "auth: {{token: {{realm: \"http://127.0.0.1:{}/token\", service: tests, issuer: tests, rootcertbundle: {}}}}}",
            port.trim(),
            certificate.display()
        );
        Registry::start(&auth, port.trim().parse().ok(), vec![Running(tokens)], dir)
    }

    fn start(auth: &str, token_port: Option<u16>, mut servers: Vec<Running>, dir: TempDir) -> Option<Self> {
        if !has_tool("docker-registry") {
            skip("this needs docker-registry");
            return None;
        }
        // Another process could take the port before the registry does; the registry then ends, and the test fails.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (configuration, storage) = (dir.path().join("registry.yml"), dir.path().join("storage"));
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n{auth}\n",
            storage.display()
        );
        fs::write(&configuration, text).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new("docker-registry");
        command.env_remove("AWS_CA_BUNDLE").arg("serve").arg(&configuration);
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).spawn().unwrap();
        servers.push(Running(child));
        wait_until("the registry listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(Registry { dir, port, token_port, servers })
    }

    pub(crate) fn stop(&mut self) {
        self.servers.clear();
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The rules for it and its token server.
    pub(crate) fn ports(&self) -> Vec<String> {
        [Some(self.port), self.token_port].into_iter().flatten().map(|port| format!("127.0.0.1:{port}")).collect()
    }

    pub(crate) fn reference(&self, name: &str) -> String {
        format!("oci://{}/{name}", self.host())
    }

    /// The number of requests so far with this text in their line.
    pub(crate) fn asked(&self, text: &str) -> usize {
        self.asked_by(&["GET", "HEAD"], text)
    }

    /// Its whole log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// The same for these methods.
    pub(crate) fn asked_by(&self, methods: &[&str], text: &str) -> usize {
        let log = self.log();
        let is_of = |line: &&str| methods.iter().any(|method| line.contains(&format!("\"{method} ")));
        log.lines().filter(is_of).filter(|line| line.contains(text)).count()
    }

    /// Pushes the files of a folder with oras. `false`, after printing the reason, if oras is missing.
    pub(crate) fn push(&self, name: &str, folder: &Path, files: &[&str]) -> bool {
        if !Path::new(PYTHON).exists() {
            skip("oras is not in target/hub-client");
            return false;
        }
        let mut python = Command::new(PYTHON);
        python.args(["-c", PUSH]).arg(format!("{}/{name}", self.host())).args(files).current_dir(folder);
        let output = python.env("HOME", self.dir.path()).env("NO_PROXY", "127.0.0.1").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        true
    }

    /// Pulls with oras. `None`, after printing the reason, if oras is missing.
    pub(crate) fn pull(&self, name: &str) -> Option<TempDir> {
        if !Path::new(PYTHON).exists() {
            skip("oras is not in target/hub-client");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let mut python = Command::new(PYTHON);
        python.args(["-c", PULL]).arg(format!("{}/{name}", self.host())).arg(folder.path());
        let output = python.env("HOME", self.dir.path()).env("NO_PROXY", "127.0.0.1").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Some(folder)
    }

    /// Copies a model from another registry with skopeo, as the user who may. `false`, after printing the reason, if
    /// skopeo is missing.
    pub(crate) fn copy(&self, from: &Registry, name: &str) -> bool {
        let [from, to] = [from, self].map(|registry| format!("docker://{}/{name}", registry.host()));
        let args = ["copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--dest-creds", "user:secret"];
        skopeo(&[&args[..], &[&from, &to]].concat()).is_some()
    }

    /// The blob with this digest, as the registry stores it on disk.
    pub(crate) fn blob(&self, digits: &str) -> PathBuf {
        let blobs = self.dir.path().join("storage/docker/registry/v2/blobs/sha256");
        blobs.join(&digits[..2]).join(digits).join("data")
    }
}

/// Runs skopeo. `None`, after printing the reason, if it is missing.
pub(crate) fn skopeo(args: &[&str]) -> Option<Output> {
    if !has_tool("skopeo") {
        skip("this needs skopeo");
        return None;
    }
    let output = Command::new("skopeo").args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(output)
}
