//! SeaweedFS on loopback, until it is dropped: one server, or a cluster that stores every object twice. And boto3,
//! which puts things there.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

use crate::common::{Running, runs_all, skip, wait_until};

pub(crate) const KEY: &str = "AKTEST";
pub(crate) const SECRET: &str = "SKTESTSECRET";

/// Where `.ci/run` installs both.
const TOOLS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../hub-client/bin");

/// The beginning of every script: `s` talks to the server as the user who may do everything.
const PREAMBLE: &str = "import boto3, os, sys
from botocore.config import Config
a = sys.argv[2:]
s = boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1', aws_access_key_id='AKTEST',
    aws_secret_access_key='SKTESTSECRET', config=Config(s3={'addressing_style': 'path'}, retries={'total_max_attempts': 10}))
";

/// A client without a key may read the bucket `open`, and nothing else.
const USERS: &str = r#"{"identities": [
    {"name": "tests", "credentials": [{"accessKey": "AKTEST", "secretKey": "SKTESTSECRET"}], "actions": ["Admin"]},
    {"name": "anonymous", "actions": ["Read:open", "List:open"]}]}"#;

/// Each server has a second port for its own protocol, 10,000 above the first.
const FIRST_PORT: u16 = 12_000;
const PORTS: u16 = 10_000;

pub(crate) struct Seaweed {
    pub(crate) dir: TempDir,
    /// All ports; the last is the gateway's.
    ports: Vec<u16>,
    /// A cluster has the master, the volume servers, and the filer with its gateway.
    pub(crate) servers: Vec<Running>,
}

impl Seaweed {
    /// A single server. `None`, after printing the reason, if a tool is missing.
    pub(crate) fn single() -> Option<Self> {
        Seaweed::start(|weed, [master, volume, filer, s3]| {
            weed.run_gateway(
                "server",
                s3,
                &[
                    &weed.folder("dir", "data"),
                    &format!("-master.port={master}"),
                    &format!("-volume.port={volume}"),
                    "-filer",
                    &format!("-filer.port={filer}"),
                    "-master.volumeSizeLimitMB=64",
                    "-volume.max=100",
                    "-master.telemetry=false",
                ],
            );
        })
    }

    /// A master, three volume servers with each object on two of them, and a filer with the gateway. Any one of the
    /// volume servers, `servers` 1 to 3, may be ended.
    pub(crate) fn cluster() -> Option<Self> {
        Seaweed::start(|weed, [master, first, second, third, filer, s3]| {
            let own = weed.folder("mdir", "master");
            let port = format!("-port={master}");
            weed.run("master", &[&own, &port, "-defaultReplication=001", "-volumeSizeLimitMB=64", "-telemetry=false"]);
            let master = format!("-master=127.0.0.1:{master}");
            for (name, port) in [("first", first), ("second", second), ("third", third)] {
                weed.run("volume", &[&weed.folder("dir", name), &format!("-port={port}"), &master, "-max=100"]);
            }
            weed.run_gateway(
                "filer",
                s3,
                &[
                    &weed.folder("defaultStoreDir", "filer"),
                    &format!("-port={filer}"),
                    &master,
                    "-defaultReplicaPlacement=001",
                ],
            );
        })
    }

    /// The last port is the gateway's.
    fn start<const N: usize>(run: impl Fn(&mut Self, [u16; N])) -> Option<Self> {
        if !runs_all() {
            println!("left out without CATALOG_TEST_ALL: its servers take minutes to start");
            return None;
        }
        for tool in ["weed", "python"] {
            if !Path::new(TOOLS).join(tool).exists() {
                skip(&format!("{tool} is not in target/hub-client"));
                return None;
            }
        }
        // Another process could take a port between its choice and its use; then all ports are chosen again.
        for attempt in 1.. {
            let ports = [(); N].map(|()| free_port());
            let mut weed = Seaweed { dir: TempDir::new().unwrap(), ports: ports.to_vec(), servers: Vec::new() };
            fs::write(weed.users(), USERS).unwrap();
            run(&mut weed, ports);
            if weed.is_up() {
                weed.python("s.create_bucket(Bucket='bucket'); s.create_bucket(Bucket='open')", &[]);
                return Some(weed);
            }
            assert!(attempt < 3, "{}", fs::read_to_string(weed.dir.path().join("log")).unwrap());
        }
        None
    }

    /// Waits until the server accepts objects. `false` if a server has ended.
    fn is_up(&mut self) -> bool {
        let mut is_gone = false;
        wait_until("SeaweedFS listens", || {
            is_gone = self.servers.iter_mut().any(|server| server.0.try_wait().unwrap().is_some());
            is_gone || TcpStream::connect(("127.0.0.1", self.port())).is_ok()
        });
        // The gateway listens before objects can be stored.
        let probe = "s.create_bucket(Bucket='probe'); s.put_object(Bucket='probe', Key='probe', Body=b'x')";
        !is_gone && {
            wait_until("SeaweedFS takes objects", || {
                is_gone = self.servers.iter_mut().any(|server| server.0.try_wait().unwrap().is_some());
                is_gone || self.try_python(probe, &[]).status.success()
            });
            !is_gone
        }
    }

    /// Runs a server that includes the gateway.
    fn run_gateway(&mut self, what: &str, port: u16, args: &[&str]) {
        let (port, users) = (format!("-s3.port={port}"), format!("-s3.config={}", self.users()));
        let own = ["-s3", &port, &users, "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"];
        self.run(what, &[args, &own].concat());
    }

    fn run(&mut self, what: &str, args: &[&str]) {
        let log = File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = Command::new(Path::new(TOOLS).join("weed"));
        command.env_remove("AWS_CA_BUNDLE").env("HOME", self.dir.path()).current_dir(self.dir.path());
        command.arg(what).args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1"]).args(args).stdin(Stdio::null());
        self.servers.push(Running(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()));
    }

    /// `-option=FOLDER`, for a folder that this creates.
    fn folder(&self, option: &str, name: &str) -> String {
        let folder = self.dir.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        format!("-{option}={}", folder.display())
    }

    fn users(&self) -> String {
        self.dir.path().join("users.json").display().to_string()
    }

    fn port(&self) -> u16 {
        self.ports[self.ports.len() - 1]
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.host())
    }

    /// `127.0.0.1:PORT`, which is also its rule.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Runs a boto3 script: `s` is the client, `a` are these arguments. Returns its output.
    pub(crate) fn python(&self, script: &str, args: &[&str]) -> String {
        let output = self.try_python(script, args);
        assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn try_python(&self, script: &str, args: &[&str]) -> Output {
        let mut python = Command::new(Path::new(TOOLS).join("python"));
        python.env_clear().env("HOME", self.dir.path()).env("AWS_EC2_METADATA_DISABLED", "true");
        python.args(["-c", &format!("{PREAMBLE}{script}"), &self.endpoint()]).args(args).output().unwrap()
    }

    /// Puts an object with these bytes; `more` are further arguments in Python.
    pub(crate) fn put(&self, bucket: &str, key: &str, bytes: &[u8], more: &str) {
        let file = self.scratch(bytes);
        let script = format!("s.put_object(Bucket=a[0], Key=a[1], Body=open(a[2], 'rb'), {more})");
        self.python(&script, &[bucket, key, file.to_str().unwrap()]);
    }

    fn scratch(&self, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join("body");
        fs::write(&path, bytes).unwrap();
        path
    }
}

/// Removes the sockets that killed servers leave behind.
impl Drop for Seaweed {
    fn drop(&mut self) {
        self.servers.clear();
        let ports: Vec<String> =
            self.ports.iter().flat_map(|port| [*port, *port + 10_000]).map(|p| p.to_string()).collect();
        let is_own = |name: &str| {
            let name = name.strip_prefix("seaweedfs-").and_then(|name| name.strip_suffix(".sock"));
            name.is_some_and(|name| ports.iter().any(|port| name.ends_with(&format!("-{port}"))))
        };
        let left = fs::read_dir("/tmp").into_iter().flatten().flatten();
        for socket in left.filter(|entry| entry.file_name().to_str().is_some_and(is_own)) {
            let _ = fs::remove_file(socket.path());
        }
    }
}

fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two test programs do not start at the same port.
    let start = std::process::id().wrapping_mul(97) as u16;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let next = || FIRST_PORT + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
    std::iter::repeat_with(next).find(|port| is_free(*port) && is_free(*port + 10_000)).unwrap()
}
