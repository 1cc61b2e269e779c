//! The programs in `examples/`, run as a reader runs them: `cargo test` builds them along with this test.
#![cfg(all(feature = "net", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::*;
use serde_json::{Value, json};

fn example(name: &str) -> Command {
    let this = std::env::current_exe().unwrap();
    let program = this.parent().unwrap().parent().unwrap().join("examples").join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).with_extension("rs");
    let changed = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let is_built = changed(&program) >= changed(&source);
    assert!(is_built, "`cargo test --test examples` does not build the examples; `cargo build --examples` does");
    let mut command = Command::new(program);
    command.env_remove("CATALOG_ROOT");
    command
}

/// Runs a command that has to succeed, and returns the lines of its standard output.
fn lines_of(command: &mut Command) -> Vec<String> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_provisioner_stages_what_it_is_given() {
    let host = Host::new();
    let (one, other) = (host.file("one.gguf", "GGUF one"), host.file("other.gguf", "GGUF other"));
    let lines = lines_of(example("provisioner").arg(host.root()).args([&one, &other, &one]));
    let catalog = host.catalog();
    for (id, content) in [("model-0", "GGUF one"), ("model-1", "GGUF other"), ("model-2", "GGUF one")] {
        assert_readable(&catalog, id, content.as_bytes());
        let path = catalog.resolve(id).unwrap().entry.local_path;
        assert!(lines.contains(&format!("  {}", path.display())), "{lines:?}");
    }
    assert!(lines[0].starts_with("model-0: 8 bytes, 8 of them new, sha256:"), "{lines:?}");
    assert!(lines[4].starts_with("model-2: 8 bytes, 0 of them new, sha256:"), "{lines:?}");
}

#[test]
fn the_provisioner_fails_for_one_and_stages_the_rest() {
    let host = Host::new();
    let (missing, good) = (host.path("missing.gguf"), host.file("good.gguf", "GGUF"));
    let output = example("provisioner").arg(host.root()).args([&missing, &good]).output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("missing.gguf") && told.contains("1 of 2 models could not be staged"), "{told}");
    assert_readable(&host.catalog(), "model-1", b"GGUF");
}

#[test]
fn the_pool_manager_keeps_what_it_runs() {
    let host = Host::new();
    let file = host.file("llama3.gguf", "GGUF and weights");
    let lines = lines_of(example("pool_manager").arg(host.root()).arg(&file));
    assert!(lines[0].starts_with("not staged: "), "{lines:?}");
    assert!(lines[1].starts_with("ready: 16 bytes at "), "{lines:?}");
    assert_eq!(
        lines[2..4],
        ["kept: a live process leases it", "now it may be taken: least recently used, and room is needed"]
    );
    // The example only planned a collection, so the model is still here, and ready at once.
    let lines = lines_of(example("pool_manager").arg(host.root()).arg(&file));
    assert!(lines[0].starts_with("ready: 16 bytes at "), "{lines:?}");
}

#[test]
fn they_run_without_arguments() {
    let provisioned = lines_of(&mut example("provisioner"));
    assert!(provisioned[2].starts_with("model-1: 122688 bytes, 0 of them new, "), "{provisioned:?}");
    let managed = lines_of(&mut example("pool_manager"));
    assert!(managed[1].starts_with("ready: 122688 bytes at "), "{managed:?}");
    let service = Service::start(&mut example("http_service"));
    assert_eq!(service.ask("GET", "", None), (200, "[]".to_owned()));
}

/// A process that serves a catalog until this is dropped.
struct Service {
    process: Child,
    models: String,
}

impl Service {
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut models = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut models).unwrap();
        assert!(models.starts_with("http://127.0.0.1:"), "{models:?}");
        Service { process, models: models.trim_end().to_owned() }
    }

    /// The status and the body of the response.
    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
        let agent =
            ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build());
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.models));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let mut response = agent.run(request.body(body).unwrap()).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    fn entry(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, None);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn the_http_service_creates_reads_updates_and_deletes() {
    let host = Host::new();
    let file = host.file("llama3.gguf", "GGUF and weights");
    let service = Service::start(example("http_service").arg(host.root()));
    let digest = catalog_core::Digest::sha256_of(b"GGUF and weights").to_string();

    let new = json!({ "local_path": file, "digest": digest });
    assert_eq!(service.ask("PUT", "/hf%3Aacme%2Fllama3", Some(new)).0, 204);
    assert_eq!(host.catalog().resolve("hf:acme/llama3").unwrap().entry.digest.unwrap().to_string(), digest);
    let entry = service.entry("/hf%3Aacme%2Fllama3");
    assert_eq!((&entry["id"], &entry["lifecycle"]), (&json!("hf:acme/llama3"), &json!("active")));
    assert_eq!(std::fs::read(Path::new(entry["local_path"].as_str().unwrap())).unwrap(), b"GGUF and weights");

    assert_eq!(service.ask("PUT", "/hf%3Aacme%2Fllama3/state", Some(json!("retired"))).0, 204);
    assert_eq!(service.entry(""), json!([service.entry("/hf%3Aacme%2Fllama3")]));
    assert_eq!(service.entry("")[0]["lifecycle"], "retired");

    assert_eq!(service.ask("DELETE", "/hf%3Aacme%2Fllama3", None).0, 204);
    assert_eq!(service.ask("DELETE", "/hf%3Aacme%2Fllama3", None).0, 404);
    assert_eq!(service.entry(""), json!([]));
}

#[test]
fn the_http_service_says_what_is_wrong() {
    let host = Host::new();
    let file = host.file("llama3.gguf", "GGUF and weights");
    let service = Service::start(example("http_service").arg(host.root()));
    assert_eq!(service.ask("GET", "/none", None).0, 404);
    assert_eq!(service.ask("PUT", "/none/state", Some(json!("retired"))).0, 404);
    assert_eq!(service.ask("PUT", "/a%00b", Some(json!({ "local_path": file }))).0, 400);
    let other = catalog_core::Digest::sha256_of(b"something else");
    let (status, body) = service.ask("PUT", "/a", Some(json!({ "local_path": file, "digest": other })));
    assert_eq!(status, 409);
    assert!(body.contains(&other.to_string()), "{body}");
    assert_eq!(service.entry(""), json!([]));
    // A model that another process staged and pinned stays.
    stage(&host.catalog(), &file, "pinned").unwrap();
    host.catalog().pin("pinned", "pool-7", None).unwrap();
    assert_eq!(service.ask("DELETE", "/pinned", None).0, 409);
    assert_readable(&host.catalog(), "pinned", b"GGUF and weights");
}
