//! A fleet: many hosts, each with its own root, fetch the same models at the same time from one origin, part of which
//! dies.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;

#[path = "../registry/server.rs"]
#[allow(dead_code)] // the registry's own tests use all of it
mod registry;

#[path = "../servers/seaweed.rs"]
#[allow(dead_code)]
mod seaweed;

mod counting;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use catalog_core::{FsCatalog, ModelRef, Policy, PushOptions, Sources, StageOptions};
use serde_json::Value;

use common::{Host, noise};
use counting::Counting;
use registry::Registry;
use seaweed::{KEY, SECRET, Seaweed};

/// As many as there is room for, but not more than this.
const MOST_HOSTS: usize = 40;
const LARGE_BYTES: usize = 256 << 20;
const SMALL_FILES: usize = 50;
const SMALL_BYTES: usize = 60_000;

/// The promise: the origin sends each host's bytes once, and this much more for everything except content, such as
/// headers and manifests, and for what was in flight when a server died.
const MORE_PERCENT: u64 = 1;

/// Longer than any step takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(400);

/// The models, by name.
fn models() -> Vec<(String, Vec<u8>)> {
    let small = (0..SMALL_FILES).map(|number| (format!("small-{number:02}"), noise(SMALL_BYTES, number as u64 + 1)));
    small.chain([("large".to_owned(), noise(LARGE_BYTES, 100))]).collect()
}

/// The bytes that one host fetches.
const HOST_BYTES: u64 = (LARGE_BYTES + SMALL_FILES * SMALL_BYTES) as u64;

fn hosts() -> Vec<Host> {
    // Reserves room for the origin's data, and a third more for everything else.
    let free_bytes = Host::new().catalog().free_bytes().unwrap_or(u64::MAX);
    let room = usize::try_from((free_bytes / 4 * 3).saturating_sub(4 * HOST_BYTES) / HOST_BYTES).unwrap_or(usize::MAX);
    assert!(room > 4, "there is no room for a fleet: {free_bytes} bytes are free");
    (0..room.min(MOST_HOSTS)).map(|_| Host::new()).collect()
}

/// Starts the hosts' fetches at the same time; `set` completes each command.
fn start(hosts: &[Host], set: impl Fn(&mut Command)) -> Vec<Child> {
    let start = |host: &Host| {
        let mut command = host.command();
        set(&mut command);
        command.args(["--json", "--retries", "20"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    hosts.iter().map(start).collect()
}

/// Waits for all fetches, and checks that each host has all models with the right bytes.
fn assert_all_right(hosts: &[Host], fetches: Vec<Child>, models: &[(String, Vec<u8>)]) {
    for (host, fetch) in hosts.iter().zip(fetches) {
        let output = fetch.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let receipts: Vec<Value> =
            output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        assert_eq!(receipts.len(), models.len());
        for receipt in &receipts {
            let (id, path) = (receipt["id"].as_str().unwrap(), receipt["local_path"].as_str().unwrap());
            let name = id.rsplit('/').next().unwrap();
            let (_, bytes) = models.iter().find(|(known, _)| known == name).unwrap();
            assert!(fs::read(path).unwrap() == *bytes, "{id}");
        }
        fs::remove_dir_all(host.root()).unwrap();
    }
}

/// One fleet at a time: on a busy machine, a mirror that is silent for ten seconds is left before it dies.
static ALONE: Mutex<()> = Mutex::new(());

fn wait_for_bytes(count: &dyn Fn() -> u64, wanted: u64) {
    let began = Instant::now();
    while count() < wanted {
        assert!(began.elapsed() < PATIENCE, "{} bytes of {wanted}", count());
        sleep(Duration::from_millis(20));
    }
}

fn assert_sent_once(hosts: &[Host], sent_bytes: u64) {
    let least = hosts.len() as u64 * HOST_BYTES;
    let most = least + least / 100 * MORE_PERCENT;
    println!("{} hosts, {least} bytes of content, {sent_bytes} were sent", hosts.len());
    assert!((least..=most).contains(&sent_bytes), "{sent_bytes} were sent, and at most {most} should be");
}

/// Whether these tests run: each moves ten gigabytes.
fn runs() -> bool {
    let runs = common::runs_all();
    if !runs {
        common::skip("this takes three minutes and 12 GB; CATALOG_TEST_ALL=1 runs it");
    }
    runs
}

// Red when a host fetches a file twice, or ends up with other bytes. The gateway reads from another server when one
// dies; `tests/network/` covers connections that break off.
#[test]
fn a_bucket_of_which_a_server_dies() {
    if !runs() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(mut weed) = Seaweed::cluster() else { return };
    let models = models();
    for (name, bytes) in &models {
        weed.put("bucket", name, bytes, "ContentType='application/octet-stream'");
    }
    let way = Counting::before(&weed.host());
    let hosts = hosts();
    let all_bytes = hosts.len() as u64 * HOST_BYTES;
    let fetches = start(&hosts, |command| {
        command.arg("stage").args(models.iter().map(|(name, _)| format!("s3://bucket/{name}")));
        command.env("AWS_ENDPOINT_URL", format!("http://{}", way.host())).env("CATALOG_ALLOW_NET", way.host());
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET).env("AWS_REGION", "us-east-1");
    });
    wait_for_bytes(&|| way.sent_bytes(), all_bytes / 4);
    let server = &mut weed.servers[2].0;
    server.kill().unwrap();
    server.wait().unwrap();
    assert_all_right(&hosts, fetches, &models);
    assert_sent_once(&hosts, way.sent_bytes());
}

/// Pushes all models below `fleet/`.
fn push(registry: &Registry, models: &[(String, Vec<u8>)]) {
    let host = Host::new();
    let policy = Policy::default().allow(&registry.host()).unwrap();
    let catalog: FsCatalog = host.catalog().with_sources(Sources::new(policy).unwrap().oci(Default::default()));
    for (name, bytes) in models {
        let path = host.file(name, bytes);
        catalog.stage(&path.into(), &StageOptions::default().with_id(name.clone())).unwrap();
    }
    let ids: Vec<&str> = models.iter().map(|(name, _)| name.as_str()).collect();
    let target = ModelRef::parse(&registry.reference("fleet/")).unwrap();
    catalog.push_many(&ids, &target, &PushOptions::default(), &mut |result| drop(result.unwrap())).unwrap();
}

// Red when a host gives up together with the dying mirror, or when bytes from the mirror are fetched again from the
// registry.
#[test]
fn a_registry_whose_mirror_dies() {
    if !runs() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (Some(origin), Some(mirror)) = (Registry::open(), Registry::open()) else { return };
    let models = models();
    push(&origin, &models);
    push(&mirror, &models);
    let (way, near) = (Counting::before(&origin.host()), Counting::before(&mirror.host()));
    let hosts = hosts();
    let all_bytes = hosts.len() as u64 * HOST_BYTES;
    for host in &hosts {
        host.catalog()
            .change_config(|config| {
                config.mirrors.insert(way.host(), vec![format!("http://{}", near.host())]);
            })
            .unwrap();
    }
    let fetches = start(&hosts, |command| {
        command.arg("stage").args(models.iter().map(|(name, _)| format!("oci://{}/fleet/{name}", way.host())));
        command.env("CATALOG_ALLOW_NET", format!("{},{}", way.host(), near.host()));
    });
    wait_for_bytes(&|| near.sent_bytes(), all_bytes / 20);
    drop(mirror);
    assert_all_right(&hosts, fetches, &models);
    println!("{} from the registry, {} from its mirror", way.sent_bytes(), near.sent_bytes());
    assert!(near.sent_bytes() >= all_bytes / 20);
    assert_sent_once(&hosts, way.sent_bytes() + near.sent_bytes());
}
