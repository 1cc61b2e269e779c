//! Mirrors of registries: another `docker-registry` with a copy, and servers that record their requests.

use std::fs;
use std::sync::{Arc, Mutex};

use catalog_core::{
    Digest, Event, FsCatalog, OciOptions, Policy, PushOptions, Sources, StageOptions, StageReceipt, UsedMode,
};
use serde_json::Value;
use walkdir::WalkDir;

use crate::access::filled;
use crate::common::{Host, noise};
use crate::server::Registry;
use crate::wire::{Asked, Server, answer, send};
use crate::{quick, reference};

const NAMES: [&str; 2] = ["a.gguf", "b.gguf"];

/// A registry with `acme/tiny:v1`, and another one with a copy.
fn two() -> Option<(Registry, Registry)> {
    let (origin, mirror) = (Registry::open()?, Registry::open()?);
    let host = files(3);
    let pushed = origin.push("acme/tiny:v1", host.dir.path(), &NAMES);
    (pushed && mirror.copy(&origin, "acme/tiny:v1")).then_some((origin, mirror))
}

fn files(seed: u64) -> Host {
    let host = Host::new();
    host.file("a.gguf", noise(9 << 20, seed));
    host.file("b.gguf", noise(70_000, seed + 1));
    host
}

/// A catalog that also asks the mirrors of this registry.
fn catalog(host: &Host, rules: &[String], origin: &str, mirrors: &[String], options: OciOptions) -> FsCatalog {
    let policy = rules.iter().fold(Policy::default(), |policy, rule| policy.allow(rule).unwrap());
    let sources = Sources::with_options(policy, quick()).unwrap().oci(options);
    host.catalog().with_sources(sources.with_mirrors(origin, mirrors).unwrap())
}

fn url(registry: &Registry) -> String {
    format!("http://{}", registry.host())
}

fn assert_whole(receipt: &StageReceipt) {
    let host = files(3);
    for name in NAMES {
        assert!(fs::read(receipt.local_path.join(name)).unwrap() == fs::read(host.path(name)).unwrap(), "{name}");
    }
}

/// How many requests from this program have this text in their path.
fn asked(registry: &Registry, text: &str) -> usize {
    let log = fs::read_to_string(registry.dir.path().join("log")).unwrap();
    let requests = log.lines().filter(|line| line.contains("\"GET ") || line.contains("\"HEAD "));
    requests.filter(|line| line.contains("\"catalog-core/") && line.contains(text)).count()
}

fn named_by(catalog: &FsCatalog, receipt: &StageReceipt) -> Option<String> {
    catalog.record(&receipt.id).unwrap().unwrap().source.unwrap().named_by
}

// Red when the origin is asked for what a mirror has, when the mirror does not learn which registry is meant, or when
// the loss of the origin fails a fetch by digest, or by a tag that only the mirror can resolve.
#[test]
fn what_the_mirror_has_comes_from_there() {
    let Some((mut origin, mirror)) = two() else { return };
    let (at, rules) = (origin.host(), [origin.host(), mirror.host()]);
    let tag = reference(&origin.reference("acme/tiny:v1"));
    let stage = |host: &Host, text: &str| {
        let catalog = catalog(host, &rules, &at, &[url(&mirror)], OciOptions::default());
        let receipt = catalog.stage(&reference(text), &StageOptions::default()).unwrap();
        assert_whole(&receipt);
        (named_by(&catalog, &receipt), catalog.record(&receipt.id).unwrap().unwrap().source.unwrap().pinned.unwrap())
    };
    let host = Host::new();
    let (by, pinned) = stage(&host, &tag.to_string());
    assert_eq!(by, Some(origin.host()));
    // The registry itself has resolved the tag.
    assert_eq!((asked(&origin, "/blobs/"), asked(&origin, "/manifests/v1")), (0, 1));
    assert_eq!(asked(&mirror, "/manifests/"), 0);
    let ns = format!("ns={}", origin.host().replace(':', "%3A"));
    assert!(asked(&mirror, "/blobs/") > 2 && asked(&mirror, "/blobs/") == asked(&mirror, &ns), "{ns}");
    let digest = origin.reference(&format!("acme/tiny@{pinned}"));
    stage(&Host::new(), &digest);
    // Only the hashes of each MiB are requested from the registry.
    let of_the_model = [format!("/manifests/{pinned}"), "/blobs/".into()];
    assert_eq!(of_the_model.map(|text| asked(&origin, &text)), [0, 0]);

    origin.stop();
    let (by, _) = stage(&Host::new(), &digest);
    assert_eq!(by, Some(origin.host()), "the digest is of the reference");
    let (by, again) = stage(&Host::new(), &tag.to_string());
    assert_eq!((by.as_deref(), again), (Some("127.0.0.1"), pinned));
    // What is here is not requested from a mirror.
    let before = asked(&mirror, "");
    let catalog = catalog(&host, &rules, &at, &[url(&mirror)], OciOptions::default());
    assert_eq!(catalog.stage(&tag, &StageOptions::default()).unwrap().mode, UsedMode::Unchanged);
    assert_eq!(asked(&mirror, ""), before);
}

// Red when a manifest with another digest, or a blob with a wrong byte, is believed; and when the origin is not asked
// instead.
#[test]
fn a_mirror_with_a_wrong_byte() {
    let Some((origin, mirror)) = two() else { return };
    let change = |digits: &str| {
        let path = mirror.blob(digits);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let stage = |text: &str| {
        let (host, rules) = (Host::new(), [origin.host(), mirror.host()]);
        let catalog = catalog(&host, &rules, &origin.host(), &[url(&mirror)], OciOptions::default());
        let receipt = catalog.stage(&reference(text), &StageOptions::default()).unwrap();
        assert_whole(&receipt);
        catalog.record(&receipt.id).unwrap().unwrap().source.unwrap().pinned.unwrap()
    };
    let tag = origin.reference("acme/tiny:v1");
    let pinned = stage(&tag);
    assert_eq!(asked(&origin, "/blobs/"), 0);
    let digest = Digest::sha256_of(&fs::read(files(3).path("a.gguf")).unwrap());
    change(&digest.to_hex());
    stage(&tag);
    assert!(asked(&origin, &digest.to_string()) > 0);
    change(pinned.strip_prefix("sha256:").unwrap());
    let by_digest = asked(&origin, &format!("/manifests/{pinned}"));
    stage(&origin.reference(&format!("acme/tiny@{pinned}")));
    assert_eq!(asked(&origin, &format!("/manifests/{pinned}")), by_digest + 1);
}

// Red when a mirror that sent a wrong part is asked for the rest, or when the right parts are fetched again.
#[test]
fn a_wrong_part_comes_from_the_next_mirror() {
    let (Some(origin), Some(first), Some(second)) = (Registry::open(), Registry::open(), Registry::open()) else {
        return;
    };
    let (host, bytes) = (Host::new(), noise(33 << 20, 8));
    let rules = [&origin, &first, &second].map(Registry::host);
    let source = host.file("a.gguf", &bytes);
    let pusher = catalog(&host, &rules, &origin.host(), &[url(&first)], OciOptions::default());
    pusher.stage(&source.into(), &StageOptions::default().with_id("a".to_owned())).unwrap();
    let target = reference(&origin.reference("acme/a:v1"));
    pusher.push("a", &target, &PushOptions::default()).unwrap();
    for mirror in [&first, &second] {
        for entry in WalkDir::new(origin.dir.path().join("storage")).into_iter().map(Result::unwrap) {
            let to = mirror.dir.path().join(entry.path().strip_prefix(origin.dir.path()).unwrap());
            if entry.file_type().is_dir() {
                fs::create_dir_all(to).unwrap()
            } else {
                _ = fs::copy(entry.path(), to).unwrap()
            }
        }
    }
    let digest = Digest::sha256_of(&bytes);
    let mut wrong = bytes.clone();
    wrong[9 << 20] ^= 1;
    fs::write(first.blob(&digest.to_hex()), wrong).unwrap();
    let (other, told) = (Host::new(), Arc::new(Mutex::new(Vec::new())));
    let mirrors = [url(&first), url(&second)];
    let fetcher = catalog(&other, &rules, &origin.host(), &mirrors, OciOptions::default());
    let own = Arc::clone(&told);
    let options = StageOptions::default().with_observer(move |event: &Event<'_>| {
        if matches!(event, Event::Refetching { .. }) {
            own.lock().unwrap().push(format!("{event:?}"));
        }
    });
    let receipt = fetcher.stage(&target, &options).unwrap();
    assert!(fs::read(&receipt.local_path).unwrap() == bytes);
    assert!(told.lock().unwrap().is_empty(), "{told:?}");
    let by = [&origin, &first, &second].map(|registry| asked(registry, &format!("GET /v2/acme/a/blobs/{digest}")));
    assert!(by[0] == 0 && by[1] > 0 && by[2] > 0, "{by:?}");
    assert_eq!(receipt.fetched_bytes, (34 << 20), "one MiB came twice");
}

// Red when the registry's headers go along to a mirror.
#[test]
fn a_login_is_not_for_a_mirror() {
    for origin in [Registry::with_password(), Registry::with_tokens()] {
        let Some(origin) = filled(origin, &["private/a"]) else { return };
        let mirror = Server::new(|asked: &Asked<'_>, stream| {
            // The mirror asks for a login.
            let header = "WWW-Authenticate: Basic realm=\"a\"\r\n";
            let status = if asked.path().contains("/manifests/") { "401 Unauthorized" } else { "404 Not Found" };
            send(stream, &answer(status, header, b""));
        });
        let rules = [origin.ports(), vec![mirror.rule()]].concat();
        let (host, options) = (Host::new(), OciOptions::default().with_login(&origin.host(), "user", "secret"));
        let options = options.with_login(&mirror.rule(), "user", "secret");
        let catalog = catalog(&host, &rules, &origin.host(), &[mirror.url("/some/path/")], options);
        let receipt = catalog.stage(&reference(&origin.reference("private/a")), &StageOptions::default()).unwrap();
        let pinned = catalog.record(&receipt.id).unwrap().unwrap().source.unwrap().pinned.unwrap();
        let digest = reference(&origin.reference(&format!("private/a@{pinned}")));
        catalog.stage(&digest, &StageOptions::default()).unwrap();
        let heads = mirror.heads();
        assert_eq!(heads.len(), 2, "{heads:?}");
        for head in heads {
            assert!(head.starts_with("GET /some/path/v2/private/a/"), "{head}");
            assert!(!head.contains("\nauthorization:") && !head.contains("\nif-range:"), "{head}");
            assert!(head.contains(&format!("\nx-dragonfly-registry: http://{}\n", origin.host())), "{head}");
        }
    }
}

// Red when the command ignores the mirrors stored in the root, or accepts something that is no mirror.
#[test]
fn mirrors_are_kept_in_the_root() {
    let Some((origin, mirror)) = two() else { return };
    let host = Host::new();
    let run = |arguments: &[&str], code: i32| {
        let output = host.command().args(arguments).env("CATALOG_ALLOW_NET", origin.host()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap())
    };
    let key = format!("mirror.{}", origin.host());
    run(&["config", "set", &key, "ftp://a.example"], 2);
    run(&["config", "set", "mirror.a.example/b", "https://a.example"], 2);
    run(&["config", "set", "mirror.", "https://a.example"], 2);
    run(&["config", "set", &key, &format!("{}, https://m.example/x", url(&mirror))], 0);
    assert_eq!(run(&["config", "get", &key], 0)[0], format!("{},https://m.example/x\n", url(&mirror)));
    let all = &run(&["config", "get", "--json"], 0)[0];
    let last: Value = serde_json::from_str(all.lines().last().unwrap()).unwrap();
    assert_eq!((&last["key"], last["value"].as_array().unwrap().len()), (&key.as_str().into(), 2));

    // A rule has to allow each mirror.
    let tag = origin.reference("acme/tiny:v1");
    let [_, said] = run(&["stage", &tag], 0);
    assert!(said.contains(&format!("no rule allows {}", url(&mirror))) && said.contains("https://m.example"), "{said}");
    assert_eq!(asked(&mirror, ""), 0);
    run(&["remove", &tag], 0);
    run(&["gc"], 0);
    let [_, said] = run(&["stage", &tag, "--allow-net", &mirror.host()], 0);
    assert!(asked(&mirror, "/blobs/") > 0 && !said.contains("another server"), "{said}");
    run(&["config", "unset", &key], 0);
    assert!(!run(&["config", "get"], 0)[0].contains("mirror"));
    assert!(!fs::read_to_string(host.root().join("store.json")).unwrap().contains("mirror"));
}
