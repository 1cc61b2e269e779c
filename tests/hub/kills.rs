//! A fetch that is killed resumes where it was.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, UNIX_EPOCH};

use catalog_core::FsCatalog;

use crate::common::{Host, noise};
use crate::server::{Hub, host as host_of};

/// The number of kills, unless CATALOG_TEST_KILLS sets another.
const KILLS: u64 = 8;

/// The size of the file: the first for a few kills, the second for many.
const SIZES_BYTES: [u64; 2] = [64 << 20, 256 << 20];

const CONNECTIONS: u64 = 2;

/// How much one connection requests at once. A kill loses what has not arrived, and it is requested again.
const SEGMENT_BYTES: u64 = 8 << 20;

/// Slower than any disk, so that a kill hits it in the middle.
fn run(host: &Host, hub: &Hub, size_bytes: u64) -> Child {
    let mut command = host.command();
    let rate = format!("{}B/s", size_bytes * 2 / 3);
    command.args(["stage", "hf:acme/big/model.gguf", "--json", "--limit-rate", &rate]);
    command.args(["--connections", &CONNECTIONS.to_string()]).env("HF_ENDPOINT", &hub.hub);
    command.env("CATALOG_ALLOW_NET", format!("{},{}", host_of(&hub.hub), host_of(&hub.cdn)));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// How many bytes of unfinished files are here.
fn done_bytes(catalog: &FsCatalog) -> u64 {
    catalog.partials().unwrap().iter().map(|partial| partial.done_bytes).sum()
}

/// Kills a run as soon as `target` bytes are here. Returns how many are here then, or `None` if the run ended first.
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

/// How many bytes were requested from the store.
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

// Red when the bytes from before a kill are not believed (everything is requested again), or are believed although they
// are missing.
#[test]
fn a_fetch_that_is_killed_goes_on_where_it_was() {
    let wanted = std::env::var("CATALOG_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let size_bytes = SIZES_BYTES[usize::from(wanted > KILLS)];
    let seed = std::env::var("CATALOG_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| UNIX_EPOCH.elapsed().unwrap().as_micros() as u64);
    println!("{wanted} kills of {size_bytes} bytes, CATALOG_TEST_SEED={seed}");
    let bytes = noise(usize::try_from(size_bytes).unwrap(), 5);
    let Some(hub) = Hub::start_with(&[], &[("acme/big/model.gguf", &bytes)]) else { return };
    let (mut kills, mut fetches) = (0, 0);
    while kills < wanted {
        let host = Host::new();
        let catalog = host.catalog();
        hub.forget();
        // A few kills of one fetch, at random places, each later than the one before.
        let mut places = noise(4, seed + fetches);
        places.sort_unstable();
        let targets = places.iter().map(|place| u64::from(*place).max(4) * size_bytes / 256);
        let run = || run(&host, &hub, size_bytes);
        let here: Vec<u64> = targets.map_while(|target| killed_at(target, &catalog, run())).collect();
        let output = run().wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let receipt: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let path = receipt["local_path"].as_str().unwrap();
        assert!(fs::read(Path::new(path)).unwrap() == bytes, "other bytes after a kill");
        if here.len() == places.len() {
            let number = |name: &str| receipt[name].as_u64().unwrap();
            assert_eq!(number("resumed_bytes") + number("fetched_bytes"), size_bytes);
            assert!(Some(&number("resumed_bytes")) >= here.last(), "{receipt} {here:?}");
        }
        let most = size_bytes + here.len() as u64 * CONNECTIONS * SEGMENT_BYTES;
        let asked = asked_bytes(&hub);
        assert!(asked <= most, "{asked} bytes were asked for, at most {most} were missing");
        (kills, fetches) = (kills + here.len() as u64, fetches + 1);
        assert!(fetches <= wanted, "it was never killed in time");
    }
    println!("{kills} kills of {fetches} fetches");
}
