//! A hundred processes stage one file: one of them reads it, also if the first reader is killed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use catalog_core::{Digest, Event, FsCatalog, GcPolicy, Observer, UsedMode};
use serde::{Deserialize, Serialize};

use crate::common::{
    Host, Running, assert_sound, blobs, check_artifact, child_test, debris, is_child, options, reference, wait_until,
};
use crate::say;

const PROCESSES: usize = 100;
/// The unit of copying and hashing; the observer gets an event for each.
const CHUNK_BYTES: u64 = 4 << 20;

/// What became of one process.
#[derive(Serialize, Deserialize)]
struct Report {
    mode: String,
    digest: String,
    waited_for: u64,
    elapsed_ms: u64,
}

/// Counts the bytes that a process reads, in a file, so that the count survives a kill. Sleeps after each chunk, to
/// leave time for the kill.
struct Counting {
    bytes: AtomicU64,
    waits: AtomicU64,
    file: PathBuf,
    nap: Duration,
}

impl Observer for Counting {
    fn on(&self, event: &Event<'_>) {
        match event {
            Event::Advanced { bytes, .. } => {
                let bytes = self.bytes.fetch_add(*bytes, Ordering::Relaxed) + bytes;
                fs::write(&self.file, bytes.to_string()).unwrap();
                sleep(self.nap);
            }
            Event::Waiting { .. } => drop(self.waits.fetch_add(1, Ordering::Relaxed)),
            _ => {}
        }
    }
}

/// Not a test: one of the hundred processes.
#[test]
fn one_of_many() {
    if !is_child("one_file::one_of_many") {
        return;
    }
    let variable = |name: &str| std::env::var(name).unwrap();
    let (dir, number) = (PathBuf::from(variable("CATALOG_FLEET_DIR")), variable("CATALOG_FLEET_NUMBER"));
    let nap = Duration::from_millis(variable("CATALOG_FLEET_NAP").parse().unwrap());
    let catalog = FsCatalog::new(dir.join("root")).unwrap();
    let observer = Arc::new(Counting {
        bytes: AtomicU64::new(0),
        waits: AtomicU64::new(0),
        file: dir.join(format!("bytes/{number}")),
        nap,
    });
    fs::write(dir.join(format!("ready/{number}")), "").unwrap();
    while !dir.join("go").exists() {
        sleep(Duration::from_millis(1));
    }
    let began = Instant::now();
    let options = options("big").with_observer(observer.clone());
    let receipt = catalog.stage(&reference(&dir.join("big.gguf")), &options).unwrap();
    let report = Report {
        mode: receipt.mode.as_str().into(),
        digest: receipt.digest.to_string(),
        waited_for: observer.waits.load(Ordering::Relaxed),
        elapsed_ms: began.elapsed().as_millis() as u64,
    };
    let done = dir.join(format!("done/{number}"));
    fs::write(done.with_extension("tmp"), serde_json::to_vec(&report).unwrap()).unwrap();
    fs::rename(done.with_extension("tmp"), done).unwrap();
}

struct Crowd {
    host: Host,
    /// Dropping these kills the processes.
    running: BTreeMap<usize, Running>,
    digest: Digest,
    size: u64,
}

impl Crowd {
    /// Starts all processes; they wait for the signal to begin.
    fn gather(size: u64, nap: Duration) -> Self {
        let host = Host::new();
        for folder in ["ready", "bytes", "done"] {
            fs::create_dir(host.path(folder)).unwrap();
        }
        let digest = make_file(&host.path("big.gguf"), size);
        let start = |number: usize| {
            let mut command = child_test(&[], "one_file::one_of_many");
            command.env("CATALOG_FLEET_DIR", host.dir.path()).env("CATALOG_FLEET_NUMBER", number.to_string());
            command.env("CATALOG_FLEET_NAP", nap.as_millis().to_string());
            let errors = File::create(host.path(&format!("{number}.errors"))).unwrap();
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
            (number, Running(command.spawn().unwrap()))
        };
        let running = (0..PROCESSES).map(start).collect();
        let crowd = Crowd { host, running, digest, size };
        wait_until("all are ready", || crowd.count("ready") == PROCESSES);
        crowd
    }

    fn go(&self) -> Instant {
        fs::write(self.host.path("go"), "").unwrap();
        Instant::now()
    }

    fn count(&self, folder: &str) -> usize {
        fs::read_dir(self.host.path(folder)).unwrap().count()
    }

    /// The processes that have read something, and how many bytes.
    fn readers(&self) -> BTreeMap<usize, u64> {
        let folder = fs::read_dir(self.host.path("bytes")).unwrap();
        let read = |path: PathBuf| {
            let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            // Empty while its process writes it.
            (number, fs::read_to_string(path).unwrap().parse().unwrap_or(0))
        };
        folder.map(|entry| read(entry.unwrap().path())).collect()
    }

    /// Kills the process that reads, in the middle of its work.
    fn kill_reader(&mut self, not: Option<usize>) -> usize {
        let middle = |(number, bytes): &(usize, u64)| Some(*number) != not && *bytes >= self.size / 4;
        wait_until("somebody is in the middle of it", || self.readers().into_iter().any(|r| middle(&r)));
        let (reader, bytes) = self.readers().into_iter().find(middle).unwrap();
        let mut killed = self.running.remove(&reader).unwrap();
        killed.0.kill().unwrap();
        assert!(!killed.0.wait().unwrap().success(), "it was done before it was killed");
        say(&format!("killed the reader after {} MB", bytes >> 20));
        reader
    }

    /// Every surviving process must succeed, one of them by reading.
    fn check(mut self, what: &str, began: Instant, readers: usize) {
        for (number, running) in &mut self.running {
            let status = running.0.wait().unwrap();
            let said = fs::read_to_string(self.host.path(&format!("{number}.errors"))).unwrap();
            assert!(status.success(), "{number}: {status}\n{said}");
        }
        let wall_ms = began.elapsed().as_millis();
        let report =
            |number| serde_json::from_slice::<Report>(&fs::read(self.host.path(&format!("done/{number}"))).unwrap());
        let reports: Vec<Report> = self.running.keys().map(|number| report(number).unwrap()).collect();
        assert!(reports.iter().all(|report| report.digest == self.digest.to_string()));
        let workers: Vec<&Report> =
            reports.iter().filter(|report| report.mode != UsedMode::Unchanged.as_str()).collect();
        assert_eq!(workers.len(), 1, "one does the work");
        let read = self.readers();
        assert_eq!(read.len(), readers, "{read:?}");
        assert_eq!(read.values().filter(|bytes| **bytes == self.size).count(), 1, "{read:?}");
        let waited = reports.iter().filter(|report| report.waited_for > 0).count();
        say(&format!(
            "{what}: {} MB by {} processes in {wall_ms} ms, the worker's own time {} ms, {waited} waited for it",
            self.size >> 20,
            reports.len(),
            workers[0].elapsed_ms
        ));

        let catalog = FsCatalog::open(self.host.root()).unwrap();
        assert_eq!(blobs(catalog.root()), [self.digest.to_hex()].into());
        let record = catalog.record("big").unwrap().unwrap();
        check_artifact(catalog.root(), &record).unwrap();
        let leftovers = catalog.gc(&GcPolicy::default().with_grace(Duration::ZERO)).unwrap().leftovers;
        assert_eq!(leftovers, readers as u64 - 1, "the folders of those that were killed");
        assert_sound(catalog.root());
        assert_eq!(debris(&catalog), Vec::<String>::new());
    }
}

/// Writes a file without holes and without two equal chunks.
fn make_file(path: &Path, size: u64) -> Digest {
    let mut chunk: Vec<u8> = (0..CHUNK_BYTES).map(|byte| (byte % 251) as u8).collect();
    let file = File::create(path).unwrap();
    for number in 0..size / CHUNK_BYTES {
        chunk[..8].copy_from_slice(&number.to_le_bytes());
        std::os::unix::fs::FileExt::write_all_at(&file, &chunk, number * CHUNK_BYTES).unwrap();
    }
    crate::common::set_mtime(path, crate::common::long_ago());
    Digest::sha256_of(&fs::read(path).unwrap())
}

// Red when the process that gets the flight does not check again whether the work is done.
#[test]
fn a_hundred_processes_stage_one_file_and_one_of_them_reads_it() {
    let crowd = Crowd::gather(256 << 20, Duration::ZERO);
    let began = crowd.go();
    crowd.check("one file", began, 1);
}

// Red when the process that gets the flight does not check again whether the work is done.
#[test]
fn when_the_reader_is_killed_one_of_those_who_wait_takes_over() {
    let mut crowd = Crowd::gather(64 << 20, Duration::from_millis(30));
    let began = crowd.go();
    let first = crowd.kill_reader(None);
    crowd.kill_reader(Some(first));
    crowd.check("one file, two readers killed", began, 3);
}
