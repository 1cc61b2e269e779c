//! Many processes on one root: stagers, resolvers with leases, pinners, retirers, removers, two collectors with tiny
//! budgets, a lister. Each logs what it did; in the end, the logs are compared with the store.
//!
//! `CATALOG_TEST_SECONDS` sets how long the schedules run, `CATALOG_TEST_KILLS` how many processes are killed.
//! `CATALOG_TEST_SEED` repeats the random choices of an earlier run, but not the kernel's scheduling.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;
mod judge;
mod log;
mod no_locks;
mod one_file;

mod rng;
mod worker;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use catalog_core::{Durability, FsCatalog};
use common::{Host, Running, child_test, is_child, options, reference};
use judge::{Logs, collect_and_check};
use log::{Log, Outcome, What, now_ns};
use rng::Rng;
use worker::{KEPT, ORDERS, Orders, Role, Source, kept, work};

/// Not a test: the main function of the fleet's processes.
#[test]
fn worker_main() {
    if is_child("worker_main") {
        work(serde_json::from_str(&std::env::var(ORDERS).unwrap()).unwrap());
    }
}

// Red when a commit does not lock the store, when a sweep locks it shared, when a sweep overlooks leases, when it
// removes the folder of a live operation. (`src/catalog/lease.rs` shows that a lease compares inodes.)
#[test]
fn nothing_that_is_acknowledged_leased_or_pinned_is_lost() {
    Fleet::launch("fleet", 0).run();
}

// Red when a collection leaves what dead processes left in `ingest/`, and like the test above.
#[test]
fn nothing_is_lost_when_processes_are_killed_at_any_moment() {
    let seconds = seconds();
    let kills = number_from("CATALOG_TEST_KILLS").unwrap_or(10 * seconds);
    Fleet::launch("killed fleet", kills).run();
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}")))
}

fn seconds() -> u64 {
    number_from("CATALOG_TEST_SECONDS").unwrap_or(20)
}

/// Not `println`: the test harness hides its output when the test passes.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

const CREW: [(Role, &str, usize); 7] = [
    (Role::Stager, "stager", 4),
    (Role::Resolver, "resolver", 3),
    (Role::Pinner, "pinner", 2),
    (Role::Retirer, "retirer", 1),
    (Role::Remover, "remover", 2),
    (Role::Collector, "collector", 2),
    (Role::Lister, "lister", 1),
];

/// A fraction of all content that is staged.
const BUDGET_BYTES: u64 = 3 << 20;

struct Fleet {
    name: &'static str,
    host: Host,
    seed: u64,
    rng: Rng,
    kills: u64,
    seconds: u64,
    orders: Vec<Orders>,
    /// One for each of `orders`; dropping it kills the process.
    running: Vec<Running>,
}

impl Fleet {
    fn launch(name: &'static str, kills: u64) -> Self {
        let (host, seconds) = (Host::new(), seconds());
        let seed = number_from("CATALOG_TEST_SEED").unwrap_or_else(now_ns);
        say(&format!("{name}: {seconds} s, {kills} kills, CATALOG_TEST_SEED={seed}"));
        for folder in ["logs", "fresh"] {
            fs::create_dir(host.path(folder)).unwrap();
        }
        let mut rng = Rng::new(seed, name);
        let sources = make_sources(&host, &mut rng);
        keep_some(&host, &sources);
        let until_ns = now_ns() + seconds * 1_000_000_000;
        let crew = CREW.iter().flat_map(|(role, name, count)| (0..*count).map(move |n| (*role, format!("{name}-{n}"))));
        let orders: Vec<Orders> = crew
            .map(|(role, name)| Orders {
                role,
                name,
                dir: host.dir.path().to_path_buf(),
                seed: rng.next(),
                until_ns,
                budget_bytes: BUDGET_BYTES,
                sources: sources.clone(),
            })
            .collect();
        let running = orders.iter().map(start).collect();
        Fleet { name, host, seed, rng, kills, seconds, orders, running }
    }

    fn run(mut self) {
        let began = Instant::now();
        let killed = self.kill_at_random();
        for (running, orders) in self.running.iter_mut().zip(&self.orders) {
            let status = running.0.wait().unwrap();
            let said = fs::read_to_string(errors_of(orders)).unwrap();
            assert!(status.success(), "{}: {status}\n{said}", orders.name);
        }
        let logs = Logs::read(&self.host.path("logs"));
        say(&format!(
            "{}: {} operations in {:.0} s by {} processes, {killed} kills, {} operations cut off: {:?}",
            self.name,
            logs.operations(),
            began.elapsed().as_secs_f64(),
            self.orders.len(),
            logs.cut_off(),
            logs.counts,
        ));
        assert_eq!(killed, self.kills);
        let catalog = FsCatalog::open(self.host.root()).unwrap();
        logs.judge(&catalog);
        collect_and_check(&catalog, BUDGET_BYTES);
        for number in 0..KEPT {
            assert!(catalog.record(&kept(number)).unwrap().is_some(), "{} was pinned", kept(number));
        }
        for record in catalog.records().unwrap() {
            catalog.unpin(&record.entry.id, None).unwrap();
        }
        collect_and_check(&catalog, BUDGET_BYTES / 4);
        collect_and_check(&catalog, 0);
        assert_eq!(catalog.records().unwrap(), []);
    }

    /// Kills processes of any role at random moments, and restarts each one at once.
    fn kill_at_random(&mut self) -> u64 {
        let began = Instant::now();
        for number in 0..self.kills {
            let slot = Duration::from_secs(self.seconds) / u32::try_from(self.kills + 1).unwrap();
            let due = slot * u32::try_from(number).unwrap() + slot * self.rng.below(1000) as u32 / 1000;
            sleep(due.saturating_sub(began.elapsed()));
            let chosen = self.rng.below(self.orders.len() as u64) as usize;
            let running = &mut self.running[chosen];
            running.0.kill().unwrap();
            let status = running.0.wait().unwrap();
            assert!(!status.success() || now_ns() > self.orders[chosen].until_ns, "it ended by itself");
            self.orders[chosen].seed = self.rng.next();
            *running = start(&self.orders[chosen]);
        }
        self.kills
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("{}: failed with CATALOG_TEST_SEED={}", self.name, self.seed));
        }
    }
}

fn errors_of(orders: &Orders) -> PathBuf {
    orders.dir.join(format!("{}.errors", orders.name))
}

fn start(orders: &Orders) -> Running {
    let errors = File::options().create(true).append(true).open(errors_of(orders)).unwrap();
    let mut command = child_test(&[], "worker_main");
    command.env(ORDERS, serde_json::to_string(orders).unwrap());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    Running(command.spawn().unwrap())
}

/// Files of 1 KB to 1 MB, some with the same bytes, and trees that share files with them and with each other.
fn make_sources(host: &Host, rng: &mut Rng) -> Vec<Source> {
    let mut paths = Vec::new();
    let mut contents: Vec<Vec<u8>> = Vec::new();
    for number in 0..24 {
        let content = match number % 4 {
            3 => rng.pick(&contents).clone(), // the same bytes under another name
            _ => {
                let size = 1 << (10 + rng.below(11));
                rng.bytes(size)
            }
        };
        paths.push(host.file(&format!("sources/file-{number}.gguf"), &content));
        contents.push(content);
    }
    for number in 0..8 {
        for file in 0..2 + rng.below(4) {
            let content = rng.pick(&contents).clone();
            host.file(&format!("sources/tree-{number}/part {}/{file}.safetensors", file % 2), content);
        }
        host.file(&format!("sources/tree-{number}/config.json"), format!("{{\"n\":{}}}", number % 3));
        paths.push(host.path(&format!("sources/tree-{number}")));
    }
    // Another store computes their digests.
    let scratch = tempfile::tempdir().unwrap();
    let catalog = FsCatalog::new(scratch.path().join("root")).unwrap().with_durability(Durability::Relaxed);
    let staged = |path: PathBuf| {
        let digest = catalog.stage(&reference(&path), &options("any")).unwrap().digest;
        Source { path, digest }
    };
    paths.into_iter().map(staged).collect()
}

/// Stages and pins the ids that must never be absent.
fn keep_some(host: &Host, sources: &[Source]) {
    let catalog = FsCatalog::new(host.root()).unwrap();
    let mut log = Log::open(&host.path("logs/parent"));
    for (number, source) in sources.iter().take(KEPT).enumerate() {
        let id = kept(number);
        let digest = source.digest.to_string();
        log.write(What::Begin { verb: "stage".into(), targets: vec![(id.clone(), Some(digest.clone()))] });
        catalog.stage(&reference(&source.path), &options(&id)).unwrap();
        log.write(What::End { outcomes: vec![Outcome::Put(digest)] });
        catalog.pin(&id, "parent", None).unwrap();
    }
}
