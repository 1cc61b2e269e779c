//! What a check covers and what it leaves out, its rate, its progress, and how it ends early.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use catalog_core::{Cancel, Event, Observer, TrustState, VerifyDepth};

use super::*;
use crate::common::{assert_readable, options, reference, set_mtime};

const SIZE: u64 = 2 * GROUP + 1;

fn check_all(catalog: &FsCatalog, ids: &[&str], options: &VerifyOptions) -> Vec<catalog_core::Result<VerifyReport>> {
    let mut reports = Vec::new();
    catalog.verify_many(ids, options, &mut |answer| reports.push(answer));
    reports
}

fn last_verified_ms(catalog: &FsCatalog, id: &str) -> u64 {
    catalog.record(id).unwrap().unwrap().entry.last_verified_ms.unwrap()
}

#[test]
fn all_and_several_and_one_that_is_not_there() {
    let host = Host::new();
    let catalog = catalog(&host);
    for (seed, id) in [(50, "a"), (51, "b"), (52, "c")] {
        add(&host, &catalog, id, &noise(seed, SIZE));
    }
    add_tree(&host, &catalog, "tree", &[("x", &noise(53, SIZE)), ("y", b"y")]);
    add(&host, &catalog, "empty", b"");
    rot(&view(&catalog, "b"), |file| flip(file, 0));

    let several = run(&host, &["verify", "a", "nobody", "b", "c"]);
    assert_eq!(several.code, 3, "the first failure decides: {}", several.errors);
    let outcome = |ran: &Ran, id: &str| ran.objects.iter().find(|o| o["id"] == id).unwrap()["outcome"].clone();
    assert_eq!(["a", "b", "c"].map(|id| outcome(&several, id)), ["pass", "fail", "pass"]);
    assert!(several.errors.contains("nobody"));

    let all = run(&host, &["verify", "--all"]);
    assert_eq!(all.code, 4);
    let mut ids: Vec<_> = all.objects.iter().map(|o| o["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["a", "b", "c", "empty", "tree"]);
    assert_eq!(["a", "b", "c", "empty", "tree"].map(|id| outcome(&all, id)), ["pass", "fail", "pass", "pass", "pass"]);
    assert_eq!(all.objects.iter().find(|o| o["id"] == "tree").unwrap()["files"], 3, "its manifest is one");
    assert_eq!(run(&host, &["verify"]).code, 2);
    assert_eq!(run(&host, &["verify", "--all", "a"]).code, 2);
    assert_eq!(run(&host, &["verify", "--quick", "--sha256", "a"]).code, 2);
}

#[test]
fn an_id_that_is_asked_for_twice_is_answered_twice_and_read_once() {
    let host = Host::new();
    let catalog = catalog(&host);
    let bytes = noise(54, SIZE);
    add(&host, &catalog, "a", &bytes);
    add(&host, &catalog, "same", &bytes);
    let read = Arc::new(Counter::default());
    let options = VerifyOptions::default().with_observer(read.clone());
    let reports = check_all(&catalog, &["a", "same", "a"], &options);
    assert_eq!(reports.len(), 3);
    assert!(reports.iter().all(|report| passes(report.as_ref().unwrap())));
    assert_eq!(read.advanced.load(Ordering::Relaxed), SIZE);
}

// Red when the stamp is not compared, or when what was left out counts as verified now.
#[test]
fn what_was_checked_lately_and_not_changed_is_left_out() {
    let host = Host::new();
    let catalog = catalog(&host);
    let digests = ["a", "b", "c"].map(|id| add(&host, &catalog, id, &noise(u64::from(id.as_bytes()[0]), SIZE)));
    // Make it look as if it had been checked long ago.
    let json = outboard(&catalog, &digests[2], "json");
    let mut old: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    old["checked_ms"] = (old["checked_ms"].as_u64().unwrap() - 8 * 24 * 3600 * 1000).into();
    fs::write(&json, old.to_string()).unwrap();
    set_mtime(&blob(&catalog, &digests[1]), SystemTime::now());
    let before = ["a", "b", "c"].map(|id| last_verified_ms(&catalog, id));
    sleep(Duration::from_millis(5));

    let ran = run(&host, &["verify", "--all", "--max-age", "7d"]);
    assert_eq!(ran.code, 0, "{}", ran.errors);
    let report = |id: &str| ran.objects.iter().find(|o| o["id"] == id).unwrap();
    assert_eq!(["a", "b", "c"].map(|id| report(id)["bytes_read"].as_u64().unwrap()), [0, SIZE, SIZE]);
    assert!(ran.objects.iter().all(|report| report["outcome"] == "pass"));
    assert!(!report("a")["reason"].as_str().unwrap().contains("every byte"), "nothing of it was read");
    let after = ["a", "b", "c"].map(|id| last_verified_ms(&catalog, id));
    assert_eq!(after[0], before[0]);
    assert!(after[1] > before[1] && after[2] > before[2]);

    let again = run(&host, &["verify", "--all", "--max-age", "7d"]);
    assert!(again.objects.iter().all(|report| report["bytes_read"] == 0), "{}", again.text);
    let all = run(&host, &["verify", "--all", "--max-age", "0"]);
    assert!(all.objects.iter().all(|report| report["bytes_read"] == SIZE), "{}", all.text);
}

// Red when a quarantined file still matches the stamp of its outboard: it would be left out silently.
#[test]
fn what_is_known_to_be_damaged_is_not_left_out() {
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add(&host, &catalog, "m", &noise(55, SIZE));
    rot(&blob(&catalog, &digest), |file| flip(file, GROUP));
    for _ in 0..2 {
        let ran = run(&host, &["verify", "--max-age", "7d", "--sha256", "m"]);
        if ran.code == 0 {
            // Staging has just checked it.
            assert_eq!(ran.object()["bytes_read"], 0);
        }
        let ran = run(&host, &["verify", "m"]);
        assert_eq!(ran.code, 4);
        let young = run(&host, &["verify", "--max-age", "7d", "m"]);
        assert_eq!((young.code, json_ranges(young.object())), (4, vec![GROUP..2 * GROUP]));
    }
}

// A lower bound: a busy machine only makes it slower.
// Red when nothing waits for the rate.
#[test]
fn a_rate_is_kept_over_all_threads() {
    let host = Host::new();
    let catalog = catalog(&host);
    for id in ["a", "b", "c"] {
        add(&host, &catalog, id, &noise(u64::from(id.as_bytes()[0]), 1_000_000));
    }
    let start = Instant::now();
    let ran = run(&host, &["verify", "--all", "--rate", "1MB/s"]);
    assert_eq!(ran.code, 0, "{}", ran.errors);
    // Each read waits for the time of those before it, so the last one's time is not waited for.
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
}

/// Adds up the progress that was reported.
#[derive(Default)]
struct Counter {
    advanced: AtomicU64,
    total: AtomicU64,
    ends: Mutex<Vec<&'static str>>,
}

impl Observer for Counter {
    fn on(&self, event: &Event<'_>) {
        match event {
            Event::Started { bytes_total, .. } => {
                self.total.fetch_add(*bytes_total, Ordering::Relaxed);
                self.ends.lock().unwrap().push("started");
            }
            Event::Advanced { bytes, .. } => drop(self.advanced.fetch_add(*bytes, Ordering::Relaxed)),
            Event::Finished => self.ends.lock().unwrap().push("finished"),
            _ => {}
        }
    }
}

// Red when a manifest's bytes are read but not announced.
#[test]
fn progress_comes_to_the_bytes_that_were_announced() {
    let host = Host::new();
    let catalog = catalog(&host);
    add(&host, &catalog, "a", &noise(56, 20 * MIB + 1));
    add(&host, &catalog, "b", b"");
    add_tree(&host, &catalog, "tree", &[("x", &noise(57, SIZE)), ("y", b"y"), ("same as y", b"y")]);
    for depth in [VerifyDepth::Full, VerifyDepth::ByName] {
        let told = Arc::new(Counter::default());
        let options = VerifyOptions::default().with_depth(depth).with_observer(told.clone());
        let reports = check_all(&catalog, &["a", "b", "tree"], &options);
        assert!(reports.iter().all(|report| passes(report.as_ref().unwrap())));
        let manifest = fs::metadata(blob(&catalog, &catalog.record("tree").unwrap().unwrap().entry.digest.unwrap()));
        let expected = 20 * MIB + 1 + SIZE + 1 + manifest.unwrap().len();
        assert_eq!(told.advanced.load(Ordering::Relaxed), expected, "{depth:?}");
        assert_eq!(told.total.load(Ordering::Relaxed), expected, "{depth:?}");
        assert_eq!(*told.ends.lock().unwrap(), ["started", "finished"]);
    }
}

/// Cancels once this many bytes were read.
struct StopAfter {
    left: AtomicU64,
    cancelled: Cancel,
}

impl Observer for StopAfter {
    fn on(&self, event: &Event<'_>) {
        if let Event::Advanced { bytes, .. } = event {
            let before =
                self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n.saturating_sub(*bytes)));
            if before.unwrap() <= *bytes {
                self.cancelled.cancel();
            }
        }
    }
}

// Red when `cancelled` is only checked between files, or when the work done so far is not recorded.
#[test]
fn who_cancels_gets_what_was_done_and_goes_on_from_there() {
    let host = Host::new();
    let catalog = catalog(&host);
    let large = add(&host, &catalog, "large", &noise(58, 64 * MIB));
    let small = add(&host, &catalog, "small", &noise(59, MIB));
    for digest in [&large, &small] {
        set_mtime(&blob(&catalog, digest), SystemTime::now());
    }
    for (depth, parts) in [(VerifyDepth::Full, 8 * MIB), (VerifyDepth::ByName, 4 * MIB)] {
        // In the middle of the large file: nothing is known about it.
        let cancelled = Cancel::new();
        let stop = StopAfter { left: AtomicU64::new(parts), cancelled: cancelled.clone() };
        let mut options = VerifyOptions::default().with_depth(depth).with_cancel(cancelled);
        options.observer = Some(Arc::new(stop));
        let reports = check_all(&catalog, &["large"], &options);
        assert!(reports.is_empty(), "{depth:?}: {reports:?}");
        assert!(catalog.verify("large", &options).is_err());
        assert_eq!(run(&host, &["verify", "--quick", "large"]).code, 1, "{depth:?}: its stamp is as it was");
    }

    // When the large file is done.
    let cancelled = Cancel::new();
    let stop = StopAfter { left: AtomicU64::new(64 * MIB), cancelled: cancelled.clone() };
    let options = VerifyOptions::default()
        .with_max_age(Some(Duration::from_secs(3600)))
        .with_cancel(cancelled)
        .with_observer(Arc::new(stop));
    let before = last_verified_ms(&catalog, "large");
    let reports = check_all(&catalog, &["large", "small"], &options);
    assert!(reports.iter().any(|report| report.as_ref().is_ok_and(|report| report.id == "large")), "{reports:?}");
    assert!(last_verified_ms(&catalog, "large") > before);

    let options = VerifyOptions::default().with_max_age(Some(Duration::from_secs(3600)));
    let reports = check_all(&catalog, &["large", "small"], &options);
    let read = reports.iter().map(|report| report.as_ref().unwrap().bytes_read).sum::<u64>();
    assert!(read <= MIB, "{read} bytes were read again");
}

// Red when cancelling does not end the wait for the rate: here, it would take two hours.
#[test]
fn who_cancels_does_not_wait_for_the_rate() {
    let host = Host::new();
    let catalog = catalog(&host);
    add(&host, &catalog, "m", &noise(60, 20 * MIB));
    let cancelled = Cancel::new();
    let stop = StopAfter { left: AtomicU64::new(1), cancelled: cancelled.clone() };
    let options =
        VerifyOptions::default().with_max_bytes_per_s(Some(1000)).with_cancel(cancelled).with_observer(Arc::new(stop));
    assert!(check_all(&catalog, &["m"], &options).is_empty());
}

#[test]
fn a_pass_is_recorded_and_trust_stays_as_it_was() {
    let host = Host::new();
    let catalog = catalog(&host);
    let bytes = noise(61, SIZE);
    add(&host, &catalog, "warned", &bytes);
    let file = host.file("m.gguf", &bytes);
    let expected = options("verified").with_digest(Some(Digest::sha256_of(&bytes)));
    catalog.stage(&reference(&file), &expected).unwrap();
    let before = last_verified_ms(&catalog, "warned");
    sleep(Duration::from_millis(2));
    let reports = check_all(&catalog, &["warned", "verified"], &VerifyOptions::default());
    assert!(reports.iter().all(|report| passes(report.as_ref().unwrap())));
    assert!(last_verified_ms(&catalog, "warned") > before);
    let trust = |id: &str| catalog.record(id).unwrap().unwrap().trust;
    assert_eq!((trust("warned"), trust("verified")), (TrustState::Warned, TrustState::Verified));
    assert_readable(&catalog, "warned", &bytes);
}
