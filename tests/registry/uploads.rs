//! Uploads that break off, are killed, or go to a registry that lies.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use catalog_core::{Digest, Error, FsCatalog, OciOptions, PushOptions, PushReceipt, StageOptions};
use serde_json::Value;

use crate::common::{Host, noise, wait_until};
use crate::kills::{killed_after, kills_and_seed};
use crate::server::Registry;
use crate::wire::{Asked, Server, answer, send};
use crate::{catalog, reference};

/// As in the code: at most this much is sent again.
const PART_BYTES: u64 = 64 << 20;

/// Two parts and a bit.
const SIZE_BYTES: u64 = 2 * PART_BYTES + 5;

fn run(host: &Host, registry: &Registry, rate: &str) -> Child {
    let mut command = host.command();
    command.args(["push", "m", &registry.reference("acme/m:v1"), "--json", "--limit-rate", rate]);
    command.env("CATALOG_ALLOW_NET", registry.host());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

// Red when an upload is resumed somewhere other than where the registry stands: it then refuses the digest, or stores
// other bytes.
#[test]
fn a_push_that_is_killed_ends_right() {
    let Some(registry) = Registry::open() else { return };
    let (wanted, seed) = kills_and_seed();
    let (mut kills, mut pushes, mut taken_up) = (0, 0, 0);
    while kills < wanted {
        let host = Host::new();
        let bytes = noise(usize::try_from(SIZE_BYTES).unwrap(), seed + pushes);
        stage(&host, &bytes);
        for place in noise(10, seed ^ pushes) {
            kills +=
                u64::from(killed_after(Duration::from_millis(u64::from(place) * 2), run(&host, &registry, "400MB/s")));
        }
        let receipt = pushed(run(&host, &registry, "400MB/s"));
        taken_up += u64::from(receipt["skipped_bytes"].as_u64().unwrap() >= PART_BYTES);
        let stored = fs::read(registry.blob(&Digest::sha256_of(&bytes).to_hex())).unwrap();
        assert!(stored == bytes, "other bytes after a kill");
        pushes += 1;
        assert!(pushes <= wanted, "it was never killed in time");
    }
    println!("{kills} kills of {pushes} pushes; what {taken_up} had begun was there, or was gone on with");
}

fn stage(host: &Host, bytes: &[u8]) {
    host.file("m.gguf", bytes);
    host.catalog().stage(&host.path("m.gguf").into(), &StageOptions::default().with_id("m".to_owned())).unwrap();
}

fn pushed(push: Child) -> Value {
    let output = push.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

// Red when a forgotten upload is not restarted, or when a kept one is: `docker-registry` forgets an upload with bytes
// of a torn part, and keeps one that ends with a whole part.
#[test]
fn both_answers_of_a_registry_about_an_upload_that_was_killed() {
    let Some(registry) = Registry::open() else { return };
    for is_torn in [false, true] {
        let host = Host::new();
        let bytes = noise(usize::try_from(SIZE_BYTES).unwrap(), 7 + u64::from(is_torn));
        stage(&host, &bytes);
        let patches = |status: &str| registry.asked_by(&["PATCH"], status);
        let (parts, torn) = (patches(" 202 "), patches(" 500 "));
        let mut push = run(&host, &registry, "100MB/s");
        while patches(" 202 ") == parts {
            assert!(push.try_wait().unwrap().is_none(), "it has ended");
            sleep(Duration::from_millis(5));
        }
        sleep(Duration::from_millis(50)); // until the position is recorded
        push.kill().unwrap();
        push.wait().unwrap();
        wait_until("the registry is done with the part that was torn", || patches(" 500 ") > torn);
        let uploads = registry.dir.path().join("storage/docker/registry/v2/repositories/acme/m/_uploads");
        let upload = fs::read_dir(uploads).unwrap().next().unwrap().unwrap().path().join("data");
        let stored = fs::OpenOptions::new().write(true).open(upload).unwrap();
        stored.set_len(PART_BYTES + u64::from(is_torn)).unwrap();
        let receipt = pushed(run(&host, &registry, "400MB/s"));
        let sent = receipt["pushed_bytes"].as_u64().unwrap();
        assert_eq!(sent >= SIZE_BYTES, is_torn, "{receipt}");
        assert!(fs::read(registry.blob(&Digest::sha256_of(&bytes).to_hex())).unwrap() == bytes);
    }
}

/// A registry that has nothing and accepts everything, except where `lie` answers.
fn lying(lie: impl Fn(&Asked<'_>, &str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Server {
    Server::new(move |asked, stream| {
        let method = asked.head.split(' ').next().unwrap();
        read_body(asked, stream);
        let bytes = lie(asked, method).unwrap_or_else(|| match (method, asked.path().contains("/uploads/")) {
            ("POST", _) => answer("202 Accepted", "Location: /v2/a/blobs/uploads/1?_state=x\r\n", b""),
            ("PUT", _) => answer("201 Created", "", b""),
            ("PATCH", _) => {
                let range = asked.header("content-range").unwrap_or_default();
                let end = range.split_once('-').map_or("0", |(_, end)| end);
                answer("202 Accepted", &format!("Location: /v2/a/blobs/uploads/1\r\nRange: 0-{end}\r\n"), b"")
            }
            _ => answer("404 Not Found", "", b""),
        });
        send(stream, &bytes);
    })
}

fn read_body(asked: &Asked<'_>, stream: &mut TcpStream) {
    let length: u64 = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    if asked.header("expect").is_some() {
        send(stream, b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    let _ = std::io::copy(&mut stream.take(length), &mut std::io::sink());
}

/// A catalog with a model of this many bytes.
fn with_model(host: &Host, size_bytes: u64, rules: &[&str], options: OciOptions) -> FsCatalog {
    host.file("m.gguf", noise(usize::try_from(size_bytes).unwrap(), 3));
    let catalog = catalog(host, rules, options);
    catalog.stage(&host.path("m.gguf").into(), &StageOptions::default().with_id("m".to_owned())).unwrap();
    catalog
}

fn push(server: &Server, size_bytes: u64, rules: &[&str]) -> Result<PushReceipt, Error> {
    let host = Host::new();
    let options = OciOptions::default().with_login(&server.rule(), "user", "secret");
    let catalog = with_model(&host, size_bytes, &[rules, &[&server.rule()]].concat(), options);
    let target = reference(&format!("oci://127.0.0.1:{}/a", server.port));
    let result = catalog.push("m", &target, &PushOptions::default());
    assert_eq!(catalog.record("m").unwrap().unwrap().pushed.len(), usize::from(result.is_ok()));
    result
}

fn is_blob(asked: &Asked<'_>) -> bool {
    asked.path().contains("digest=")
}

// Each case is red when the answer is believed.
#[test]
fn answers_that_are_none() {
    for (problem, lie) in [
        ("the server says 202", ("PUT", "202 Accepted", "")),
        (
            "it has stored sha256:1ef0",
            (
                "PUT",
                "201 Created",
                "Docker-Content-Digest: sha256:1ef0bef1eb6c8ec311d53e18138501725116d829ab11914a811d72812a5253cd\r\n",
            ),
        ),
        ("the server says 400", ("PUT", "400 Bad Request", "")),
        ("the server says 201", ("POST", "201 Created", "")),
        ("it does not say where", ("POST", "202 Accepted", "")),
        ("is not a URL", ("POST", "202 Accepted", "Location: http://[\r\n")),
        ("is not supported", ("POST", "202 Accepted", "Location: file:///etc/passwd\r\n")),
        ("no rule allows http://169.254.169.254", ("POST", "202 Accepted", "Location: http://169.254.169.254/a\r\n")),
        ("no rule allows", ("POST", "307 Temporary Redirect", "Location: http://127.0.0.2:1/a\r\n")),
        ("the server says 302", ("POST", "302 Found", "Location: /v2/a/blobs/uploads/2\r\n")),
        ("the server says 500", ("POST", "500 Oh", "")),
    ] {
        let (of, status, headers) = lie;
        let server = lying(move |_, method| (method == of).then(|| answer(status, headers, b"")));
        let error = push(&server, 1000, &[]).unwrap_err();
        assert!(matches!(error, Error::Push { .. }) && error.to_string().contains(problem), "{problem}: {error}");
    }
    // A manifest that is not stored under its digest.
    let server = lying(|asked, method| (method == "PUT" && !is_blob(asked)).then(|| answer("202 Accepted", "", b"")));
    push(&server, 1000, &[]).unwrap_err();
}

// Red when a request that the registry directs to another server carries the login.
#[test]
fn a_login_stays_with_its_registry() {
    let elsewhere = lying(|_, _| None);
    let location = format!("Location: {}\r\n", elsewhere.url("/somewhere"));
    let server = lying(move |asked, method| match method {
        _ if asked.header("authorization").is_none() => {
            Some(answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"a\"\r\n", b""))
        }
        "POST" => Some(answer("202 Accepted", &location, b"")),
        _ => None,
    });
    push(&server, 1000, &[&elsewhere.rule()]).unwrap();
    let heads = elsewhere.heads();
    assert!(!heads.is_empty() && heads.iter().all(|head| !head.contains("authorization")), "{heads:?}");
    assert!(server.heads().iter().any(|head| head.contains("authorization: basic")));
}

// Red when a token that expires in the middle fails the push.
#[test]
fn a_login_that_is_asked_for_again_in_the_middle() {
    let asked_again = AtomicUsize::new(0);
    let server = lying(move |_, method| {
        let is_first = method == "PATCH" && asked_again.fetch_add(1, Ordering::SeqCst) == 0;
        is_first.then(|| answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"a\"\r\n", b""))
    });
    assert_eq!(push(&server, PART_BYTES + 1, &[]).unwrap().pushed_blobs, 2);
}

// Red when the 202 for a part is believed: some registries accept parts that do not fit. Red when the push never gives
// up on such a registry.
#[test]
fn a_part_that_was_taken_in_part() {
    let short = |is_always: bool| {
        let parts = AtomicUsize::new(0);
        let standing = Mutex::new(String::new());
        lying(move |_, method| match method {
            "PATCH" if is_always || parts.fetch_add(1, Ordering::SeqCst) == 0 => {
                *standing.lock().unwrap() = "Location: /v2/a/blobs/uploads/2\r\nRange: 0-9\r\n".into();
                Some(answer("202 Accepted", &standing.lock().unwrap(), b""))
            }
            "GET" => Some(answer("204 No Content", &standing.lock().unwrap(), b"")),
            _ => None,
        })
    };
    let once = short(false);
    push(&once, PART_BYTES + 1, &[]).unwrap();
    let ranges: Vec<String> = once
        .heads()
        .iter()
        .filter(|head| head.starts_with("PATCH"))
        .map(|head| head.lines().find_map(|line| line.strip_prefix("content-range: ")).unwrap().to_owned())
        .collect();
    let (end, part_end) = (PART_BYTES, 10 + PART_BYTES - 1);
    assert_eq!(ranges, [format!("0-{}", PART_BYTES - 1), format!("10-{}", end.min(part_end))]);
    let error = push(&short(true), PART_BYTES + 1, &[]).unwrap_err();
    assert!(error.is_unreachable() && error.to_string().contains("it has them up to 10"), "{error}");
}

// Red when a blob with the right name and the wrong size counts as there.
#[test]
fn a_blob_of_another_size_is_not_there() {
    let of_size = |size_bytes: u64| {
        lying(move |asked, method| {
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {size_bytes}\r\n\r\n");
            (method == "HEAD" && asked.path().contains("/blobs/")).then(|| head.into_bytes())
        })
    };
    assert_eq!(push(&of_size(1000), 1000, &[]).unwrap().pushed_blobs, 1, "the configuration");
    assert_eq!(push(&of_size(999), 1000, &[]).unwrap().pushed_blobs, 2);
}

// Red when a token is requested only for the repository that the challenge names.
#[test]
fn a_token_is_for_both_repositories() {
    let tokens = Server::new(|_: &Asked<'_>, stream| send(stream, &answer("200 OK", "", br#"{"token": "t"}"#)));
    let challenge =
        format!("WWW-Authenticate: Bearer realm=\"{}\",scope=\"repository:a:pull,push\"\r\n", tokens.url("/"));
    let server = lying(move |asked, method| match method {
        _ if asked.header("authorization").is_none() => Some(answer("401 Unauthorized", &challenge, b"")),
        "POST" if asked.path().contains("mount=") => Some(answer("201 Created", "", b"")),
        _ => None,
    });
    let host = Host::new();
    let catalog = with_model(&host, 1000, &[&server.rule(), &tokens.rule()], OciOptions::default());
    for name in ["b", "a"] {
        let target = reference(&format!("oci://127.0.0.1:{}/{name}", server.port));
        catalog.push("m", &target, &PushOptions::default()).unwrap();
    }
    let asked = tokens.heads();
    assert!(asked.iter().any(|head| head.contains("scope=repository%3Ab%3Apull")), "{asked:?}");
}
