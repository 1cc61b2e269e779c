//! A fetch from a registry that is killed resumes where it was.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, UNIX_EPOCH};

use catalog_core::OciOptions;
use serde_json::Value;

use crate::common::{Host, noise, runs_all};
use crate::registry_with;
use crate::server::Registry;

const SIZE_BYTES: u64 = (48 << 20) + 5;

/// The number of kills in CI, and of those otherwise, unless CATALOG_TEST_KILLS sets another.
const KILLS: u64 = 100;
const FEW_KILLS: u64 = 20;

fn run(host: &Host, registry: &Registry) -> Child {
    let mut command = host.command();
    command.args(["stage", &registry.reference("acme/m"), "--json", "--limit-rate", "160MB/s"]);
    command.env("CATALOG_ALLOW_NET", registry.host());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Kills a process after this time. `false` if it had ended before.
pub(crate) fn killed_after(time: Duration, mut process: Child) -> bool {
    let began = Instant::now();
    while began.elapsed() < time && process.try_wait().unwrap().is_none() {
        sleep(Duration::from_millis(2));
    }
    process.kill().unwrap();
    process.wait().unwrap().signal().is_some()
}

/// The number of kills, and the seed, which is printed.
pub(crate) fn kills_and_seed() -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("CATALOG_TEST_KILLS").unwrap_or(if runs_all() { KILLS } else { FEW_KILLS });
    let seed = number("CATALOG_TEST_SEED").unwrap_or_else(|| UNIX_EPOCH.elapsed().unwrap().as_micros() as u64);
    println!("{kills} kills, CATALOG_TEST_SEED={seed}");
    (kills, seed)
}

// Red when the bytes from before a kill are not believed, or are believed although they are missing.
#[test]
fn a_fetch_that_is_killed_goes_on_where_it_was() {
    let bytes = noise(usize::try_from(SIZE_BYTES).unwrap(), 8);
    let Some(registry) = registry_with("acme/m", &bytes, OciOptions::default()) else { return };
    let (wanted, seed) = kills_and_seed();
    let (mut kills, mut fetches, mut resumed) = (0, 0, 0);
    while kills < wanted {
        let host = Host::new();
        drop(host.catalog());
        let mut killed = 0;
        for place in noise(4, seed + fetches) {
            let is_killed = killed_after(Duration::from_millis(u64::from(place) / 2), run(&host, &registry));
            killed += u64::from(is_killed);
            if !is_killed {
                break;
            }
        }
        let output = run(&host, &registry).wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(fs::read(receipt["local_path"].as_str().unwrap()).unwrap() == bytes, "other bytes after a kill");
        resumed += u64::from(receipt["resumed_bytes"].as_u64().unwrap() > 0);
        (kills, fetches) = (kills + killed, fetches + 1);
        assert!(fetches <= wanted, "it was never killed in time");
    }
    println!("{kills} kills of {fetches} fetches, {resumed} of which went on");
    assert!(resumed > 0);
}
