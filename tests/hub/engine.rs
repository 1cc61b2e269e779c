//! What staging from the Hub requests, what it keeps, and what happens when it is stopped.

use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use catalog_core::{
    Cancel, Error, Event, FsCatalog, ModelFetcher as _, ModelRef, RepairOptions, Sources, StageOptions, StageReceipt,
    TrustState, UsedMode,
};
use serde_json::json;

use crate::common::{Host, blob_path, blobs, has_tool, noise, set_mode, skip};
use crate::server::Hub;
use crate::{LARGE, LARGE_BYTES, content, quick};

fn catalog(host: &Host, hub: &Hub) -> FsCatalog {
    host.catalog().with_sources(Sources::with_options(hub.policy(), quick()).unwrap().hf(hub.options()))
}

fn tiny(revision: &str) -> ModelRef {
    ModelRef::parse(&format!("hf:acme/tiny{revision}")).unwrap()
}

/// The events that an observer received, as text.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn options(&self) -> StageOptions {
        let told = self.0.clone();
        StageOptions::default().with_observer(move |event: &Event<'_>| told.lock().unwrap().push(format!("{event:?}")))
    }

    fn has(&self, what: &str) -> bool {
        self.0.lock().unwrap().iter().any(|told| told.starts_with(what))
    }
}

fn stage(catalog: &FsCatalog, reference: &ModelRef) -> StageReceipt {
    catalog.stage(reference, &StageOptions::default()).unwrap()
}

// Red when a branch that has not moved is listed again, or when a commit that is here is asked about.
#[test]
fn what_is_here_is_asked_about_once_or_not_at_all() {
    let Some(hub) = Hub::start(&[]) else { return };
    let host = Host::new();
    let catalog = catalog(&host, &hub);
    let first = stage(&catalog, &tiny(""));
    let commit = first.pinned.clone().unwrap();
    assert_eq!((first.mode, first.fetched_bytes), (UsedMode::Fetch, first.size_bytes));
    let record = catalog.record("hf:acme/tiny").unwrap().unwrap();
    assert_eq!(record.trust, TrustState::Claimed);
    assert_eq!(record.source.unwrap().named_by.as_deref(), Some("127.0.0.1"));

    hub.forget();
    assert_eq!(stage(&catalog, &tiny("")).mode, UsedMode::Unchanged);
    assert_eq!(hub.counts(), (1, 0), "{:?}", hub.log());
    // Using what is here needs no request.
    hub.forget();
    assert_eq!(catalog.ensure_present(&tiny("")).unwrap().local_path, first.local_path);
    assert_eq!(hub.counts(), (0, 0));
    // For a commit, only the list is requested, since the bytes are here; after that, nothing.
    let pinned = tiny(&format!("@{commit}"));
    let by_commit = stage(&catalog, &pinned);
    assert_eq!((by_commit.digest, hub.counts().1), (first.digest, 0));
    hub.forget();
    assert_eq!(stage(&catalog, &pinned).mode, UsedMode::Unchanged);
    assert_eq!(hub.counts(), (0, 0));
    // With other patterns, the same reference means other content.
    let some = StageOptions::default().with_selection(vec!["*.gguf".into()], vec![]);
    let weights = catalog.stage(&pinned, &some).unwrap();
    assert_eq!((weights.files, weights.mode, weights.replaced), (1, UsedMode::Present, Some(first.digest)));
}

// Red when a Hub that does not answer, or that no rule allows, makes staging fail for what is here.
#[test]
fn when_nobody_answers_what_is_here_is_given() {
    let Some(hub) = Hub::start(&[]) else { return };
    let host = Host::new();
    let first = stage(&catalog(&host, &hub), &tiny(""));
    let refused = host.catalog().with_sources(Sources::new(catalog_core::Policy::default()).unwrap().hf(hub.options()));
    let allowed = catalog(&host, &hub);
    drop(hub);
    for catalog in [refused, allowed] {
        let told = Told::default();
        let again = catalog.stage(&tiny(""), &told.options()).unwrap();
        assert_eq!((again.mode, again.digest), (UsedMode::Unchanged, first.digest));
        assert!(told.has("NotAsked"), "{:?}", told.0);
        let error = catalog.stage(&tiny("@v1"), &StageOptions::default()).unwrap_err();
        assert!(error.is_unreachable() || error.is_refused(), "{error}");
        let error = catalog.stage(&tiny("@v1"), &StageOptions::default().with_offline(true)).unwrap_err();
        assert!(matches!(error, Error::Offline { .. }), "{error}");
        assert_eq!(catalog.stage(&tiny(""), &StageOptions::default().with_offline(true)).unwrap().digest, first.digest);
    }
}

// Red when fetched bytes are recorded before their digest is checked, or when they are fetched a third time.
#[test]
fn bytes_of_another_digest_are_fetched_once_more_and_never_recorded() {
    let Some(hub) = Hub::start(&[]) else { return };
    let host = Host::new();
    let catalog = catalog(&host, &hub);
    let reference = tiny(&format!("/{LARGE}"));
    hub.rule(&json!({"kind": "wrong-bytes", "origin": "cdn", "at": 2_000_000}));
    let told = Told::default();
    let error = catalog.stage(&reference, &told.options()).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert!(told.has("Refetching"), "{:?}", told.0);
    assert_eq!(hub.sent_by_cdn(), 2 * LARGE_BYTES as u64);
    assert!(catalog.records().unwrap().is_empty() && blobs(&host.root()).is_empty());
    assert!(catalog.partials().unwrap().is_empty());
    // The second time, they are right.
    hub.rule(&json!({"kind": "wrong-bytes", "origin": "cdn", "at": 2_000_000, "times": 1}));
    let receipt = stage(&catalog, &reference);
    assert!(fs::read(&receipt.local_path).unwrap() == content(LARGE));
}

// Red (it never ends) when the client uses another `Cancel` than the call's.
#[test]
fn a_call_is_cancelled_while_a_server_is_silent() {
    let Some(hub) = Hub::start(&[]) else { return };
    let host = Host::new();
    let mut client = quick();
    client.idle_timeout = Duration::from_secs(24 * 3600);
    let catalog = host.catalog().with_sources(Sources::with_options(hub.policy(), client).unwrap().hf(hub.options()));
    hub.rule(&json!({"kind": "stall", "origin": "cdn", "after": 1_500_000}));
    let cancel = Cancel::new();
    let options = StageOptions::default().with_cancel(cancel.clone());
    let error = thread::scope(|scope| {
        let staging = scope.spawn(|| catalog.stage(&tiny(&format!("/{LARGE}")), &options).unwrap_err());
        thread::sleep(Duration::from_millis(300)); // by then it waits for the rest of the file
        cancel.cancel();
        staging.join().unwrap()
    });
    assert!(error.is_cancelled(), "{error}");
}

// Red when a repair requests more than the bad group, or nothing.
#[test]
fn a_repair_asks_for_the_bad_part_alone() {
    let Some(hub) = Hub::start(&[]) else { return };
    let host = Host::new();
    let catalog = catalog(&host, &hub);
    let receipt = stage(&catalog, &tiny(""));
    let blob = blob_path(&host.root(), &catalog_core::Digest::sha256_of(&content(LARGE)));
    let mut bytes = fs::read(&blob).unwrap();
    bytes[2 << 20] ^= 1;
    set_mode(&blob, 0o644);
    fs::write(&blob, bytes).unwrap();
    set_mode(&blob, 0o444);
    hub.forget();
    let report = catalog.repair("hf:acme/tiny", &RepairOptions::default()).unwrap();
    assert_eq!((report.files, report.repaired_bytes, report.source_bytes), (1, 1 << 20, 1 << 20));
    assert_eq!(hub.sent_by_cdn(), 1 << 20);
    assert!(fs::read(receipt.local_path.join(LARGE)).unwrap() == content(LARGE));
}

// Red when room is only checked once the bytes arrive, or when entries are evicted for content that is here.
#[test]
fn without_room_no_body_is_asked_for() {
    let Some(hub) = Hub::start(&[]) else { return };
    let host = Host::new();
    let catalog = catalog(&host, &hub);
    catalog.change_config(|config| config.max_bytes = Some(1 << 20)).unwrap();
    let error = catalog.stage(&tiny(""), &StageOptions::default()).unwrap_err();
    assert!(error.is_no_space(), "{error}");
    assert_eq!(hub.counts(), (2, 0));
}

// Red when a resumed fetch asks for room that its partial already takes.
#[test]
fn what_is_half_here_needs_room_for_nothing_more() {
    let bytes = noise(20 << 20, 5);
    let Some(hub) = Hub::start_with(&[], &[("acme/big/model.gguf", &bytes)]) else { return };
    let host = Host::new();
    let catalog = catalog(&host, &hub);
    catalog.change_config(|config| config.max_bytes = Some(25 << 20)).unwrap();
    let reference = ModelRef::parse("hf:acme/big/model.gguf").unwrap();
    hub.rule(&json!({"kind": "status", "origin": "cdn", "code": 503, "skip": 2}));
    let error = catalog.stage(&reference, &StageOptions::default()).unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    let [partial] = catalog.partials().unwrap().try_into().unwrap();
    assert!(partial.disk_bytes >= bytes.len() as u64 && partial.done_bytes > 0, "{partial:?}");
    hub.rule(&json!({"kind": "status", "times": 0}));
    let receipt = stage(&catalog, &reference);
    assert_eq!(receipt.resumed_bytes + receipt.fetched_bytes, bytes.len() as u64);
    assert!(receipt.resumed_bytes > 0 && fs::read(&receipt.local_path).unwrap() == bytes);
}

// Red when anything connects, or a name is looked up, without a rule that allows it.
#[test]
fn with_an_empty_policy_nothing_is_connected() {
    if !has_tool("strace") {
        return skip("strace is not installed");
    }
    let host = Host::new();
    for reference in ["hf:acme/tiny", "https://models.example/a.gguf", "http://127.0.0.1:9/a"] {
        let log = host.path("strace");
        let mut command = Command::new("strace");
        command.args(["-f", "-e", "trace=socket,connect,sendto", "-o"]).arg(&log);
        command.arg(host.command().get_program()).args(["stage", reference]).env("CATALOG_ROOT", host.root());
        let output = command.env_remove("CATALOG_ALLOW_NET").output().unwrap();
        assert_eq!(output.status.code(), Some(6), "{output:?}");
        let calls = fs::read_to_string(&log).unwrap();
        let calls: Vec<_> = calls.lines().filter(|line| !line.contains("+++") && !line.contains("---")).collect();
        assert!(calls.is_empty(), "{calls:?}");
    }
}
