//! A push sends what is stored: other tools read it, and nothing is sent twice.

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use catalog_core::{Digest, Error, FsCatalog, GcPolicy, OciOptions, PushOptions, StageOptions};

use crate::common::{Host, noise};
use crate::server::{Registry, skopeo};
use crate::{catalog, reference};

/// More than one request may carry.
const LARGE_BYTES: usize = (65 << 20) + 7;

/// A catalog with a tree in which some files have the same bytes, and a single file that the tree also contains.
fn filled(host: &Host, rules: &[&str], options: OciOptions) -> FsCatalog {
    let large = noise(LARGE_BYTES, 1);
    for (name, bytes) in [
        ("tree/a.safetensors", large.clone()),
        ("tree/sub/b.json", noise(300, 2)),
        ("tree/sub/same.json", noise(300, 2)),
        ("tree/empty", Vec::new()),
        ("one.gguf", large),
    ] {
        host.file(name, bytes);
    }
    let catalog = catalog(host, rules, options);
    for (path, id) in [("tree", "tree"), ("one.gguf", "one")] {
        let options = StageOptions::default().with_id(id.to_owned());
        catalog.stage(&host.path(path).into(), &options).unwrap();
    }
    catalog
}

fn nobody() -> OciOptions {
    OciOptions::default()
}

// Red when a push makes a new manifest instead of sending the stored one, when it leaves out the configuration, when it
// sends a blob that is there, or when a file without a name of its own at the registry has none here either.
#[test]
fn others_read_what_was_pushed() {
    let Some(registry) = Registry::open() else { return };
    let host = Host::new();
    let catalog = filled(&host, &[&registry.host()], nobody());
    let target = reference(&registry.reference("acme/tree:v1"));
    let options = PushOptions::default().with_tags(["stable".to_owned()]);
    let plan = catalog.push("tree", &target, &options.clone().with_dry_run(true)).unwrap();
    assert_eq!(registry.asked_by(&["POST", "PUT", "PATCH"], ""), 0, "a dry run sends nothing");
    let pushed = catalog.push("tree", &target, &options).unwrap();
    assert_eq!((plan.pushed_bytes, plan.pushed_blobs), (pushed.pushed_bytes, 4), "three files and the configuration");
    let tree = catalog.record("tree").unwrap().unwrap();
    assert_eq!(Some(pushed.manifest), tree.entry.digest);
    assert_eq!(tree.pushed.keys().collect::<Vec<_>>(), [&registry.reference("acme/tree")]);

    // Each of its names refers to it; few requests show that, and nothing is sent again.
    let again = catalog.push("tree", &target, &options).unwrap();
    assert_eq!((again.pushed_bytes, again.requests), (0, 3));
    assert_eq!(again.skipped_bytes, pushed.pushed_bytes);
    for tag in ["v1", "stable"] {
        let place = format!("docker://{}/acme/tree:{tag}", registry.host());
        let Some(raw) = skopeo(&["inspect", "--raw", "--tls-verify=false", &place]) else { return };
        assert_eq!(Digest::sha256_of(&raw.stdout), pushed.manifest);
    }
    let layout = format!("oci:{}:v1", host.path("layout").display());
    skopeo(&["copy", "--src-tls-verify=false", &format!("docker://{}/acme/tree:v1", registry.host()), &layout]);
    let blob = |digest: &Digest| fs::read(host.path("layout/blobs/sha256").join(digest.to_hex())).unwrap();
    assert!(blob(&Digest::sha256_of(&noise(LARGE_BYTES, 1))) == noise(LARGE_BYTES, 1));
    if let Some(folder) = registry.pull("acme/tree:v1") {
        for name in ["a.safetensors", "sub/b.json", "sub/same.json", "empty"] {
            assert!(
                fs::read(folder.path().join(name)).unwrap() == fs::read(host.path("tree").join(name)).unwrap(),
                "{name}"
            );
        }
    }

    // Another host gets the same digests.
    let other = Host::new();
    let other = crate::catalog(&other, &[&registry.host()], nobody());
    let staged = other.stage(&reference(&pushed.reference), &StageOptions::default()).unwrap();
    assert_eq!(Some(staged.digest), tree.entry.digest);
    let one = catalog.push("one", &reference(&registry.reference("acme/one")), &PushOptions::default()).unwrap();
    let staged = other.stage(&reference(&one.reference), &StageOptions::default()).unwrap();
    assert_eq!((staged.digest, staged.fetched_bytes), (one.digest, 0), "its bytes came with the tree");
    assert_eq!(staged.local_path.file_name().unwrap(), "one.gguf");
}

// Red when a blob from another repository of the registry is sent again, or when the token is for one repository only:
// the registry then does not mount the blob.
#[test]
fn what_another_repository_has_is_not_sent() {
    let Some(registry) = Registry::with_tokens() else { return };
    let host = Host::new();
    let login = |password: &str| OciOptions::default().with_login(&registry.host(), "user", password);
    let ports = registry.ports();
    let rules: Vec<&str> = ports.iter().map(String::as_str).collect();
    let catalog = filled(&host, &rules, login("secret"));
    let push = |catalog: &FsCatalog, id: &str, name: &str| {
        catalog.push(id, &reference(&registry.reference(name)), &PushOptions::default())
    };
    push(&catalog, "tree", "private/tree").unwrap();
    let one = push(&catalog, "one", "private/one").unwrap();
    assert_eq!((one.pushed_blobs, one.skipped_bytes), (1, LARGE_BYTES as u64), "its configuration");
    // Nobody else may push, and no error reveals the login.
    let error = push(&crate::catalog(&host, &rules, login("wrong")), "tree", "private/other").unwrap_err();
    assert!(error.is_denied() && !error.to_string().contains("wrong"), "{error}");
    let error = push(&crate::catalog(&host, &rules, nobody()), "tree", "public/other").unwrap_err();
    assert!(error.is_denied(), "{error}");
    let error = push(&crate::catalog(&host, &rules[..1], login("secret")), "tree", "private/other").unwrap_err();
    assert!(error.is_refused(), "{error}");
}

#[test]
fn a_registry_that_asks_for_a_password() {
    let Some(registry) = Registry::with_password() else { return };
    let host = Host::new();
    let options = OciOptions::default().with_login(&registry.host(), "user", "secret");
    let catalog = filled(&host, &[&registry.host()], options);
    catalog.push("tree", &reference(&registry.reference("a")), &PushOptions::default()).unwrap();
}

// Red when the second of two models gets the name of the first.
#[test]
fn several_models_get_a_repository_each() {
    let Some(registry) = Registry::open() else { return };
    let host = Host::new();
    let catalog = filled(&host, &[&registry.host()], nobody());
    let stage = |path: &str, id: &str| {
        catalog.stage(&host.path(path).into(), &StageOptions::default().with_id(id.to_owned())).unwrap()
    };
    stage("tree/sub/b.json", "Tree");
    let below = |target: &str, ids: &[&str]| {
        let mut results = Vec::new();
        let target = reference(&registry.reference(target));
        catalog.push_many(ids, &target, &PushOptions::default(), &mut |result| results.push(result)).unwrap();
        results
    };
    let results = below("fleet/", &["tree", "Tree", "one", "none"]);
    let [Ok(tree), Err(Error::NotPushable { .. }), Ok(one), Err(Error::NotFound { .. })] = &results[..] else {
        panic!("{results:?}");
    };
    assert_eq!(tree.place, registry.reference("fleet/tree"));
    assert_eq!(one.place, registry.reference("fleet/one"));
    assert!(below("fleet", &["tree", "one"]).iter().all(|result| result.as_ref().is_err_and(Error::is_invalid_input)));
}

// Red when a push is not recorded, when its record outlives a change of the content, or when pushed content is not
// evicted first.
#[test]
fn what_can_be_had_again_is_evicted_first() {
    let Some(registry) = Registry::open() else { return };
    let host = Host::new();
    let catalog = catalog(&host, &[&registry.host()], nobody());
    let stage = |id: &str, seed: u64| {
        host.file(id, noise(1 << 20, seed));
        catalog.stage(&host.path(id).into(), &StageOptions::default().with_id(id.to_owned())).unwrap();
    };
    let policy = GcPolicy::default().with_grace(Duration::ZERO).with_max_bytes(3 << 19);
    let evicted = |policy: &GcPolicy| {
        let plan = catalog.plan_gc(policy).unwrap();
        plan.steps.iter().filter_map(|step| step.action.id().map(str::to_owned)).collect::<Vec<_>>()
    };
    stage("a", 1);
    sleep(Duration::from_millis(5));
    stage("b", 2);
    catalog.push("b", &reference(&registry.reference("acme/b")), &PushOptions::default()).unwrap();
    assert_eq!(evicted(&policy), ["a"], "the least recently used");
    assert_eq!(evicted(&policy.clone().with_pushed_first(true)), ["b"]);
    stage("b", 3);
    assert_eq!(evicted(&policy.with_pushed_first(true)), ["a"], "nobody else has what b is now");
}

// Red when both send it: the second process has to wait, and then finds it there.
#[test]
fn two_processes_that_push_the_same_send_it_once() {
    let Some(registry) = Registry::open() else { return };
    let host = Host::new();
    filled(&host, &[], nobody());
    let push = || {
        let mut command = host.command();
        command.args(["push", "tree", &registry.reference("acme/tree"), "--json", "--limit-rate", "60MB/s"]);
        command.env("CATALOG_ALLOW_NET", registry.host()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let pushes = [push(), push()].map(|push| push.wait_with_output().unwrap());
    let sent: u64 = pushes
        .iter()
        .map(|output| {
            assert!(output.status.success(), "{output:?}");
            let receipt: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            receipt["pushed_bytes"].as_u64().unwrap()
        })
        .sum();
    assert!(sent < 2 * LARGE_BYTES as u64 && sent >= LARGE_BYTES as u64, "{sent}");
    assert_eq!(registry.asked_by(&["PATCH"], ""), 2, "the two parts of the large blob");
}

// Red when a push leaves out the hashes of each MiB, when a fetch does not find them, or when a wrong part is only
// noticed at the end: everything would then be fetched again.
#[test]
fn what_each_part_is_goes_with_a_push() {
    let Some(registry) = Registry::open() else { return };
    let host = Host::new();
    let catalog = filled(&host, &[&registry.host()], nobody());
    let one = catalog.push("one", &reference(&registry.reference("acme/one")), &PushOptions::default()).unwrap();
    let blob = registry.blob(&one.digest.to_hex());
    let mut stored = fs::read(&blob).unwrap();
    stored[9 << 20] ^= 1;
    fs::write(&blob, &stored).unwrap();
    let other = Host::new();
    let fetching = crate::catalog(&other, &[&registry.host()], nobody());
    let counts = || registry.asked_by(&["GET"], &format!("/blobs/{}", one.digest));
    let error = fetching.stage(&reference(&one.reference), &StageOptions::default()).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    let (segments, again) = (LARGE_BYTES.div_ceil(8 << 20), 5);
    assert_eq!(counts(), segments + again, "the one MiB twice more, and once more with two when the whole is wrong");
    // The list of referrers follows the specification, so that other tools find it too.
    let list = format!("docker://{}/acme/one:{}", registry.host(), one.manifest.to_string().replace(':', "-"));
    let Some(raw) = skopeo(&["inspect", "--raw", "--tls-verify=false", &list]) else { return };
    let list: serde_json::Value = serde_json::from_slice(&raw.stdout).unwrap();
    assert_eq!(list["manifests"][0]["artifactType"], "application/vnd.catalog-core.outboards.v1");
    // Correct bytes are fetched once.
    stored[9 << 20] ^= 1;
    fs::write(&blob, &stored).unwrap();
    let before = counts();
    fetching.stage(&reference(&one.reference), &StageOptions::default()).unwrap();
    assert_eq!(counts(), before + segments);
}
