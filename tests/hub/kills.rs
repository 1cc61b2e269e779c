//! A fetch that is killed goes on where it was.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use catalog_core::FsCatalog;

use crate::common::{Host, noise};
use crate::server::{Hub, host as host_of};

const SIZE_BYTES: u64 = 64 << 20;

/// Slower than every disk: a kill comes in the middle.
const RATE: &str = "40MB/s";

const CONNECTIONS: u64 = 2;

/// As much as a connection asks for at once. What has not come of it when it is killed is asked for again.
const SEGMENT_BYTES: u64 = 8 << 20;

fn run(host: &Host, hub: &Hub) -> Child {
    let mut command = host.command();
    command.args(["stage", "hf:acme/big/model.gguf", "--json", "--limit-rate", RATE]);
    command.args(["--connections", &CONNECTIONS.to_string()]).env("HF_ENDPOINT", &hub.hub);
    command.env("CATALOG_ALLOW_NET", format!("{},{}", host_of(&hub.hub), host_of(&hub.cdn)));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// How much is here of what is unfinished.
fn done_bytes(catalog: &FsCatalog) -> u64 {
    catalog.partials().unwrap().iter().map(|partial| partial.done_bytes).sum()
}

/// Kills a run as soon as so much is here. What is here then; `None`: it had ended before.
fn killed_at(target: u64, catalog: &FsCatalog, mut run: Child) -> Option<u64> {
    let mut seen = 0;
    while seen < target && run.try_wait().unwrap().is_none() {
        sleep(Duration::from_millis(2));
        seen = seen.max(done_bytes(catalog));
    }
    run.kill().unwrap();
    let status = run.wait().unwrap();
    let has_ended = status.signal().is_none() || catalog.partials().unwrap().is_empty();
    let here = done_bytes(catalog);
    assert!(has_ended || here >= seen, "{seen} bytes were here before the kill, and {here} are after it");
    (!has_ended).then_some(here)
}

/// How many bytes the store was asked for.
fn asked_bytes(hub: &Hub) -> u64 {
    let log = hub.log();
    let ranges = log.iter().filter(|asked| asked["origin"] == "cdn").map(|asked| asked["range"].as_str().unwrap());
    ranges
        .map(|range| {
            let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            last.parse::<u64>().unwrap() + 1 - first.parse::<u64>().unwrap()
        })
        .sum()
}

// Red when what was there before a kill is not believed (all is asked for again), or is believed though it is not there.
#[test]
fn a_fetch_that_is_killed_goes_on_where_it_was() {
    let wanted: u64 = std::env::var("CATALOG_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(8);
    let bytes = noise(usize::try_from(SIZE_BYTES).unwrap(), 5);
    let Some(hub) = Hub::start_with(&[], &[("acme/big/model.gguf", &bytes)]) else { return };
    let (mut kills, mut fetches) = (0, 0);
    while kills < wanted {
        let host = Host::new();
        let catalog = host.catalog();
        hub.forget();
        // A few kills of one fetch, each later than the one before.
        let targets = [1, 2, 3, 4].map(|fifths| fifths * SIZE_BYTES / 5);
        let here: Vec<u64> =
            targets.iter().map_while(|target| killed_at(*target, &catalog, run(&host, &hub))).collect();
        let output = run(&host, &hub).wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let receipt: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let path = receipt["local_path"].as_str().unwrap();
        assert!(fs::read(Path::new(path)).unwrap() == bytes, "other bytes after a kill");
        if here.len() == targets.len() {
            let number = |name: &str| receipt[name].as_u64().unwrap();
            assert_eq!(number("resumed_bytes") + number("fetched_bytes"), SIZE_BYTES);
            assert!(Some(&number("resumed_bytes")) >= here.last(), "{receipt} {here:?}");
        }
        let most = SIZE_BYTES + here.len() as u64 * CONNECTIONS * SEGMENT_BYTES;
        let asked = asked_bytes(&hub);
        assert!(asked <= most, "{asked} bytes were asked for, at most {most} were missing");
        (kills, fetches) = (kills + here.len() as u64, fetches + 1);
        assert!(fetches <= wanted, "it was never killed in time");
    }
}
