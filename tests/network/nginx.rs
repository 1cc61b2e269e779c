//! nginx as the judge of what a good server sends.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use catalog_core::{Error, NetError, ReadAt as _};

use crate::common::{Host, Running, has_tool, noise, skip, wait_until};
use crate::{Told, client, read, reader, resolve};

pub(crate) struct Nginx {
    pub(crate) port: u16,
    pub(crate) host: Host,
    pub(crate) running: Running,
}

impl Nginx {
    /// Serves the folder `files` with these lines in its `server` block. Without nginx, prints that and returns `None`.
    pub(crate) fn start(host: Host, listen: &str, server: &str) -> Option<Self> {
        if !has_tool("nginx") {
            skip("this needs nginx");
            return None;
        }
        // Another process could take the port before nginx does; nginx then fails, and so does the test.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        fs::create_dir_all(host.path("files")).unwrap();
        let (dir, files) = (host.dir.path().display(), host.path("files"));
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {dir}/{name};"))
            .concat();
        let conf = format!(
            "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; {temporary}\n\
             server {{ listen 127.0.0.1:{port}{listen}; root {}; {server} }} }}\n",
            files.display()
        );
        fs::set_permissions(host.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(host.path("nginx.conf"), conf).unwrap();
        let mut command = Command::new("nginx");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg("-e").arg(host.path("error.log"));
        let mut running = Running(
            command.arg("-c").arg(host.path("nginx.conf")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
        );
        wait_until("nginx listens", || {
            let has_ended = running.0.try_wait().unwrap();
            assert!(has_ended.is_none(), "{}", fs::read_to_string(host.path("error.log")).unwrap_or_default());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(Nginx { port, host, running })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn rule(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

const PLACES: &str = "location /whole { max_ranges 0; }\n\
    location /sent { return 302 /a.gguf; }\n\
    location /denied { return 401; }\n\
    location /slow { limit_rate 100k; limit_rate_after 1k; }\n\
    location /dated { etag off; }\n\
    location /packed { gzip on; gzip_types *; }\n";

fn started() -> Option<Nginx> {
    let host = Host::new();
    for name in ["files/a.gguf", "files/whole/a.gguf", "files/slow/a.gguf", "files/dated/a.gguf", "files/packed/a.gguf"]
    {
        host.file(name, noise(1 << 20, 3));
    }
    Nginx::start(host, "", PLACES)
}

fn open(nginx: &Nginx, path: &str) -> Result<catalog_core::RemoteReader, Error> {
    reader(&client(&nginx.rule()), &nginx.url(path), &Told::default())
}

#[test]
fn parts_of_a_file() {
    let Some(nginx) = started() else { return };
    let content = noise(1 << 20, 3);
    for path in ["/a.gguf", "/whole/a.gguf", "/slow/a.gguf", "/dated/a.gguf", "/packed/a.gguf", "/sent"] {
        let reader = open(&nginx, path).unwrap();
        assert_eq!(reader.size_bytes(), 1 << 20, "{path}");
        assert!(reader.validator().is_some(), "{path}");
        for (offset, length) in [(0, 1), (1, 70_000), (70_001, 100_000), ((1 << 20) - 1, 1)] {
            let bytes = read(&reader, offset, length).unwrap();
            assert!(bytes == content[offset as usize..][..length], "{path} {offset}");
        }
    }
    // A server with parts can send them in any order and at the same time.
    let reader = open(&nginx, "/a.gguf").unwrap();
    std::thread::scope(|scope| {
        for k in (0..8_usize).rev() {
            let (reader, content) = (&reader, &content);
            scope.spawn(move || {
                let bytes = read(reader, (k as u64) << 17, 1 << 17).unwrap();
                assert!(bytes == content[k << 17..][..1 << 17], "{k}");
            });
        }
    });
}

// Red without If-Range, and without the check of the answer's validator.
#[test]
fn a_file_that_changes_is_noticed() {
    let Some(nginx) = started() else { return };
    for path in ["/a.gguf", "/dated/a.gguf", "/whole/a.gguf"] {
        let reader = open(&nginx, path).unwrap();
        read(&reader, 0, 1000).unwrap();
        // The same size, another time.
        fs::write(nginx.host.path(&format!("files{path}")), noise(1 << 20, 4)).unwrap();
        let again = match path {
            // The open stream delivers the old file to its end; only a new one can deliver the new file.
            "/whole/a.gguf" => read(&reader, 0, 1000),
            _ => read(&reader, 500_000, 1000),
        };
        let error = again.unwrap_err();
        assert!(matches!(error.net(), Some(NetError::Changed { .. })), "{path}: {error}");
    }
}

#[test]
fn what_is_not_there_or_not_for_us() {
    let Some(nginx) = started() else { return };
    let client = client(&nginx.rule());
    assert!(resolve(&client, &nginx.url("/none.gguf")).unwrap_err().is_not_found());
    assert!(resolve(&client, &nginx.url("/denied")).unwrap_err().is_denied());
    let head = client.head(&nginx.url("/a.gguf")).send(&()).unwrap();
    assert_eq!((head.status(), head.content_length()), (200, Some(1 << 20)));
}
