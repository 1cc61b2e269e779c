//! `catalog push`, as a user types it.

use std::process::Output;

use catalog_core::CatalogStore as _;
use serde_json::Value;

use crate::common::{Host, entry, fixture};
use crate::server::Registry;

fn run(host: &Host, registry: &Registry, words: &str) -> Output {
    let mut command = host.command();
    command.args(words.replace("REGISTRY", &registry.host()).split(' ')).env("CATALOG_ALLOW_NET", registry.host());
    command.args(["--retries", "0"]).output().unwrap()
}

/// A host with the fixture under two ids.
fn host() -> Host {
    let host = Host::new();
    let path = fixture();
    for id in ["tiny", "hf:Org/Tiny@v1"] {
        let output = host.command().args(["stage", path.to_str().unwrap(), "--id", id]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    host
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

// Red when `--all` pushes a path that is only registered, when a dry run sends something, or when a JSON member is
// renamed.
#[test]
fn every_model_that_is_here() {
    let Some(registry) = Registry::open() else { return };
    let host = host();
    host.catalog().put(&entry("later", "models/later.gguf")).unwrap();
    let plan = lines(&run(&host, &registry, "push --all oci://REGISTRY/fleet/ --dry-run --json"));
    assert_eq!(registry.asked_by(&["POST", "PUT", "PATCH"], ""), 0);
    let keys: Vec<&str> = plan[0].as_object().unwrap().keys().map(String::as_str).collect();
    for key in ["id", "digest", "reference", "manifest", "pushed_bytes", "skipped_bytes", "requests", "dry_run"] {
        assert!(keys.contains(&key), "{keys:?}");
    }
    assert!(
        plan.iter().all(|line| line["dry_run"] == true && line["pushed_bytes"].as_u64() > Some(122_688)),
        "{plan:?}"
    );
    let pushed = lines(&run(&host, &registry, "push --all oci://REGISTRY/fleet/ --json"));
    let mut places: Vec<&str> = pushed.iter().map(|line| line["place"].as_str().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, [registry.reference("fleet/org/tiny"), registry.reference("fleet/tiny")]);
    // The second push needs none of the bytes that the first one sent.
    assert!(pushed[1]["pushed_bytes"].as_u64() < Some(1000), "{pushed:?}");
    let again = lines(&run(&host, &registry, "push tiny hf:Org/Tiny@v1 oci://REGISTRY/fleet/ --tag stable --json"));
    assert!(again.iter().all(|line| line["pushed_bytes"] == 0), "{again:?}");
}

// Red when one of them has another exit code, or when something is sent before the mistake is noticed.
#[test]
fn what_is_typed_wrong() {
    let Some(registry) = Registry::open() else { return };
    let host = host();
    let digest = "sha256:1ef0bef1eb6c8ec311d53e18138501725116d829ab11914a811d72812a5253cd";
    for (words, code, problem) in [
        ("push oci://REGISTRY/a", 2, "name the models before it"),
        ("push --all tiny oci://REGISTRY/a/", 2, "--all is every model"),
        ("push tiny oci://REGISTRY/a --offline", 2, "leave --offline out"),
        ("push tiny hf:org/repo", 2, "give a registry or a bucket"),
        ("push tiny oci://REGISTRY/a tiny", 2, "the target comes last"),
        ("push tiny oci://REGISTRY/A", 2, "cannot be that of a repository"),
        ("push tiny oci://REGISTRY/a --tag a/b", 2, "cannot be one in a registry"),
        (&format!("push tiny oci://REGISTRY/a@{digest}"), 2, "a version other than"),
        ("push tiny hf:Org/Tiny@v1 oci://REGISTRY/a", 2, "end in /"),
        ("push none oci://REGISTRY/a", 3, "none"),
        ("push tiny oci://127.0.0.1:1/a", 6, "--allow-net 127.0.0.1:1"),
        ("push tiny oci://127.0.0.1:1/a --allow-net 127.0.0.1:1", 7, "could not push \"tiny\""),
        ("push tiny s3://b", 6, "could not push \"tiny\""),
        ("push tiny s3://-b/x", 2, "bucket"),
        ("push tiny s3://b/x#a/", 2, "\"s3://b/x#a/\""),
        ("stage s3://b/x#a/", 2, "\"s3://b/x#a/\""),
    ] {
        let output = run(&host, &registry, words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words}: {error}");
        assert!(error.contains(problem), "{words}: {error}");
    }
    assert_eq!(registry.asked_by(&["POST", "PUT", "PATCH"], ""), 0);
}
