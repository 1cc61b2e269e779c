//! The command's network options and environment variables: each takes effect, and those for servers only if a server
//! is asked.

use std::fs;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use catalog_core::{ModelRef, Policy, Sources, StageOptions};
use serde_json::json;

use crate::common::{Host, files_below, noise, set_mode};
use crate::server::{FILES, Hub, host as host_of};
use crate::wire::{Server, answer, part, send};
use crate::{LARGE, LARGE_BYTES, quick};

const TAG: &str = "ETag: \"one\"\r\n";

/// Stages with these arguments and variables.
fn stage(host: &Host, reference: &str, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = host.command();
    command.args(["stage", reference]).args(args).envs(variables.iter().copied());
    command.output().unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server of one file of this size.
fn file(length: usize) -> Server {
    let bytes = noise(length, 7);
    Server::keeping(move |asked| part(asked, &bytes, TAG))
}

// Each test is red when `Net::apply` does not pass the option on.
#[test]
fn allow_net_is_heard_from_three_places() {
    let server = file(10);
    let (url, rule) = (server.url("/a"), server.rule());
    let host = Host::new();
    assert_eq!(code(&stage(&host, &url, &[], &[])), Some(6));
    assert_eq!(server.connections(), 0);
    assert_eq!(code(&stage(&host, &url, &["--allow-net", &rule], &[])), Some(0));
    let host = Host::new();
    assert_eq!(code(&stage(&host, &url, &[], &[("CATALOG_ALLOW_NET", &format!("hf,{rule}"))])), Some(0));
    let host = Host::new();
    let set = host.command().args(["config", "set", "allow_net", &rule]).output().unwrap();
    assert_eq!((code(&set), code(&stage(&host, &url, &[], &[]))), (Some(0), Some(0)));
}

#[test]
fn limit_rate() {
    let server = file(3_000_000);
    let began = Instant::now();
    let args = ["--allow-net", &server.rule(), "--limit-rate", "2MB/s"];
    assert_eq!(code(&stage(&Host::new(), &server.url("/a"), &args, &[])), Some(0));
    // A tenth of a second's worth arrives at once.
    assert!(began.elapsed() > Duration::from_millis(1300), "{:?}", began.elapsed());
}

#[test]
fn connections() {
    // Large enough for several connections. The first ones wait for each other, for a while.
    for wanted in [1, 3] {
        let (bytes, now, most) = (noise(33 << 20, 7), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        let server = Server::new(move |asked, stream| {
            let together = now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(together, Ordering::SeqCst);
            let until = Instant::now() + Duration::from_secs(20);
            while asked.number > 0 && most.load(Ordering::SeqCst) < wanted && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            let bytes = part(asked, &bytes, TAG);
            now.fetch_sub(1, Ordering::SeqCst);
            send(stream, &bytes);
        });
        let args = ["--allow-net", &server.rule(), "--connections", &wanted.to_string()];
        let output = stage(&Host::new(), &server.url("/a"), &args, &[]);
        assert_eq!(code(&output), Some(0), "{}", said(&output));
        assert_eq!(seen.load(Ordering::SeqCst), wanted);
    }
}

#[test]
fn timeout() {
    // The server answers after a while, unless the client has hung up by then.
    let server = Server::new(|asked, stream| {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = std::io::Read::read(stream, &mut [0]);
        send(stream, &part(asked, b"some bytes", TAG));
    });
    let args = ["--allow-net", &server.rule(), "--retries", "0", "--timeout", "1s"];
    let output = stage(&Host::new(), &server.url("/a"), &args, &[]);
    assert!(code(&output) == Some(7) && said(&output).contains("it took too long"), "{}", said(&output));
    // An invalid timeout is refused, not replaced by another one.
    for bad in ["0s", "2d", "30"] {
        assert_eq!(code(&stage(&Host::new(), &server.url("/a"), &["--timeout", bad], &[])), Some(2), "{bad}");
    }
}

#[test]
fn retries() {
    for retries in [0, 1] {
        let server = Server::new(|_, stream| send(stream, &answer("503 Busy", "Retry-After: 0\r\n", b"")));
        let args = ["--allow-net", &server.rule(), "--retries", &retries.to_string()];
        assert_eq!(code(&stage(&Host::new(), &server.url("/a"), &args, &[])), Some(7));
        assert_eq!(server.heads().len(), 1 + retries);
    }
}

#[test]
fn a_proxy() {
    for variable in ["https_proxy", "HTTPS_PROXY", "all_proxy"] {
        let proxy = Server::new(|_, stream| send(stream, &answer("403 No", "", b"")));
        let args = ["--allow-net", "models.example", "--retries", "0"];
        let output = stage(&Host::new(), "https://models.example/a", &args, &[(variable, &proxy.url("/"))]);
        assert!(code(&output) != Some(0), "{variable}");
        assert!(proxy.heads().iter().all(|head| head.starts_with("CONNECT models.example:443 ")), "{variable}");
        assert_eq!(proxy.heads().len(), 1, "{variable}: {}", said(&output));
    }
}

#[test]
fn include_and_exclude() {
    let Some(hub) = Hub::start(&[]) else { return };
    let allow = format!("{},{}", host_of(&hub.hub), host_of(&hub.cdn));
    for (args, files) in [
        (&["--exclude", "*.gguf"] as &[&str], FILES.len() - 1),
        (&["--include", "docs/", "--include", "*.gguf", "--exclude", "*.txt"], 2),
    ] {
        let variables = [("HF_ENDPOINT", hub.hub.as_str()), ("CATALOG_ALLOW_NET", &allow)];
        let output = stage(&Host::new(), "hf:acme/tiny", &[args, &["--json"]].concat(), &variables);
        let receipt: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(receipt["files"], files, "{args:?}");
    }
}

// Red when the settings for the Hub are read before the Hub is asked.
#[test]
fn what_is_wrong_about_the_hub_fails_the_hub_alone() {
    let server = file(10);
    let allow = format!("{},hf", server.rule());
    for (variable, value, what) in [
        ("HF_TOKEN", "a token", "HF_TOKEN"),
        ("HF_ENDPOINT", "no url", "HF_ENDPOINT"),
        ("HF_TOKEN_PATH", "/dev/zero", "/dev/zero"),
    ] {
        let variables = [(variable, value), ("CATALOG_ALLOW_NET", &allow)];
        let output = stage(&Host::new(), &server.url("/a"), &[], &variables);
        assert_eq!(code(&output), Some(0), "{variable}: {}", said(&output));
        let output = stage(&Host::new(), "hf:acme/tiny", &[], &variables);
        assert!(code(&output) != Some(0) && said(&output).contains(what), "{variable}: {}", said(&output));
    }
}

// Red when `repair` reads the settings for servers although the model never came from one.
#[test]
fn what_is_wrong_about_servers_does_not_fail_a_repair_from_here() {
    let host = Host::new();
    let bytes = noise(100_000, 7);
    let (path, good) = (host.file("a.gguf", &bytes), host.file("good.gguf", &bytes));
    assert_eq!(code(&stage(&host, path.to_str().unwrap(), &["--id", "a"], &[])), Some(0));
    let blob = crate::common::blob_path(&host.root(), &catalog_core::Digest::sha256_of(&bytes));
    for (variable, value) in [
        ("CATALOG_CA_FILE", "/none"),
        ("https_proxy", "ftp://127.0.0.1"),
        ("CATALOG_ALLOW_NET", "a/b"),
        ("CATALOG_NET_POLICY", "/none"),
        ("HF_TOKEN", "a token"),
    ] {
        set_mode(&blob, 0o644);
        fs::write(&blob, vec![0; bytes.len()]).unwrap();
        let mut command = host.command();
        command.args(["repair", "a", "--from"]).arg(&good).env(variable, value);
        let output = command.output().unwrap();
        assert_eq!(code(&output), Some(0), "{variable}: {}", said(&output));
        assert!(fs::read(&blob).unwrap() == bytes, "{variable}");
    }
}

// Red when the option is not passed on: the Hub is asked.
#[test]
fn offline() {
    let Some(hub) = Hub::start(&[]) else { return };
    let allow = format!("{},{}", host_of(&hub.hub), host_of(&hub.cdn));
    let variables = [("HF_ENDPOINT", hub.hub.as_str()), ("CATALOG_ALLOW_NET", &allow)];
    let host = Host::new();
    let reference = format!("hf:acme/tiny/{LARGE}");
    assert_eq!(code(&stage(&host, &reference, &["--offline"], &variables)), Some(7));
    assert_eq!(hub.counts(), (0, 0));
    hub.rule(&json!({"kind": "status", "times": 0}));
    assert_eq!(code(&stage(&host, &reference, &[], &variables)), Some(0));
    assert_eq!(hub.sent_by_cdn(), LARGE_BYTES as u64);
    hub.forget();
    assert_eq!(code(&stage(&host, &reference, &["--offline"], &variables)), Some(0));
    assert_eq!(hub.counts(), (0, 0));
}

// Red when a policy's demands on a file are not checked, or when a given digest does not count.
#[test]
fn a_policy_asks_for_small_files_and_for_digests() {
    let server = file(10);
    let digest = catalog_core::Digest::sha256_of(&noise(10, 7)).to_string();
    let of_the_machine = |text: &str, args: &[&str]| {
        let host = Host::new();
        let path = host.file("net.toml", text);
        let rule = server.rule();
        let args = [&["--allow-net", &*rule], args].concat();
        stage(&host, &server.url("/a"), &args, &[("CATALOG_NET_POLICY", path.to_str().unwrap())])
    };
    assert_eq!(code(&of_the_machine("max_file_bytes = 10", &[])), Some(0));
    let refused = of_the_machine("max_file_bytes = 9", &[]);
    assert_eq!(code(&refused), Some(6));
    assert!(said(&refused).contains("it has 10 bytes, and no file of more than 9"), "{refused:?}");
    let refused = of_the_machine("digest_required = true", &[]);
    assert_eq!(code(&refused), Some(6));
    assert!(said(&refused).contains("--digest"), "{refused:?}");
    assert_eq!(code(&of_the_machine("digest_required = true", &["--digest", &digest])), Some(0));
}

// Red when the digests that the Hub names do not count.
#[test]
fn the_hub_names_the_digest_of_each_file() {
    let Some(hub) = Hub::start(&[]) else { return };
    let catalog = |policy: Policy| {
        let host = Host::new();
        let sources = Sources::with_options(policy, quick()).unwrap().hf(hub.options());
        let tiny = ModelRef::parse("hf:acme/tiny").unwrap();
        host.catalog().with_sources(sources).stage(&tiny, &StageOptions::default())
    };
    catalog(hub.policy().with_digest_required()).unwrap();
    hub.forget();
    let error = catalog(hub.policy().with_max_file_bytes(LARGE_BYTES as u64 - 1)).unwrap_err();
    assert!(error.is_refused() && hub.counts().1 == 0, "{error}");
}

// Red when a signature is part of an id, or is stored anywhere else.
#[test]
fn what_signs_a_url_is_written_down_nowhere() {
    let server = file(9 << 20);
    let host = Host::new();
    let args = ["--allow-net", &server.rule(), "--json"];
    for (number, signature) in ["secret-1", "secret-2"].iter().enumerate() {
        let url = server.url(&format!("/a?versionId=3&X-Amz-Date=1&X-Amz-Signature={signature}"));
        let output = stage(&host, &url, &args, &[]);
        let receipt: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(receipt["id"], server.url("/a?versionId=3"));
        assert_eq!(receipt["mode"], ["fetch", "unchanged"][number], "{receipt}");
        let path = host.command().args(["path", &url]).output().unwrap();
        assert_eq!(code(&path), Some(0), "{path:?}");
    }
    let has_secret = |path: &std::path::PathBuf| fs::read(path).unwrap().windows(6).any(|bytes| bytes == b"secret");
    let files = files_below(&host.root());
    assert!(files.len() > 5);
    assert_eq!(files.into_iter().find(has_secret), None);
}
