//! Content that is already here, whole or in part, is given without a request and without a second fetch.

use std::fs;
use std::process::Command;
use std::sync::Barrier;
use std::thread;

use catalog_core::{
    CatalogStore as _, Digest, Error, FsCatalog, LifecycleState, ModelFetcher as _, ModelRef, RepairOptions, Sources,
    StageOptions, UsedMode,
};

use serde_json::json;

use crate::common::{self, Host, blob_path, noise, set_mode};
use crate::server::{Hub, host as host_of};
use crate::{LARGE, content, quick};

const TINY: &str = "hf:acme/tiny";

fn catalog(host: &Host, hub: &Hub) -> FsCatalog {
    host.catalog().with_sources(Sources::with_options(hub.policy(), quick()).unwrap().hf(hub.options()))
}

fn reference(text: &str) -> ModelRef {
    ModelRef::parse(text).unwrap()
}

fn offline() -> StageOptions {
    StageOptions::default().with_offline(true)
}

// Red when what is held for a reference is given to a caller that wants other files of it.
#[test]
fn some_files_of_a_reference_are_not_all_of_it() {
    let Some(hub) = Hub::start(&[]) else { return };
    let host = Host::new();
    let catalog = catalog(&host, &hub);
    let some = || StageOptions::default().with_selection(vec!["*.json".into()], vec![]);
    let receipt = catalog.stage(&reference(TINY), &some()).unwrap();
    let error = catalog.stage(&reference(TINY), &offline()).unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "{error}");
    assert_eq!(catalog.stage(&reference(TINY), &some().with_offline(true)).unwrap().digest, receipt.digest);
    let all = catalog.ensure_present(&reference(TINY)).unwrap();
    assert!(all.local_path.join(LARGE).exists());
}

// Red when the Hub is asked what a reference means although its digest is given, and the content is here.
#[test]
fn a_given_digest_that_is_here_asks_nobody() {
    let Some(hub) = Hub::start(&[]) else { return };
    let host = Host::new();
    let catalog = catalog(&host, &hub);
    let large = reference(&format!("{TINY}/{LARGE}"));
    let given = StageOptions::default().with_digest(Digest::sha256_of(&content(LARGE)));
    catalog.stage(&large, &given).unwrap();
    hub.forget();
    assert_eq!(catalog.stage(&large, &given).unwrap().mode, UsedMode::Unchanged);
    assert_eq!(hub.counts(), (0, 0));
}

// Red when the wrong file is fetched before its digest is compared with the given one.
#[test]
fn another_digest_than_the_hub_names_is_refused_before_a_byte_comes() {
    let Some(hub) = Hub::start(&[]) else { return };
    let host = Host::new();
    let catalog = catalog(&host, &hub);
    let given = StageOptions::default().with_digest(Digest::sha256_of(b"something else"));
    let error = catalog.stage(&reference(&format!("{TINY}/{LARGE}")), &given).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert_eq!(hub.counts().1, 0, "{:?}", hub.log());
}

// Red when present content is returned as it is recorded (the entry stays retired), or is fetched only to be recorded
// again.
#[test]
fn what_was_retired_is_in_service_again_once_it_is_staged() {
    let Some(hub) = Hub::start(&[]) else { return };
    let host = Host::new();
    let catalog = catalog(&host, &hub);
    let first = catalog.stage(&reference(TINY), &StageOptions::default()).unwrap();
    for options in [StageOptions::default(), offline()] {
        catalog.set_state(TINY, LifecycleState::Retired).unwrap();
        hub.forget();
        let again = catalog.stage(&reference(TINY), &options).unwrap();
        assert_eq!((again.digest, again.fetched_bytes, hub.counts().1), (first.digest, 0, 0));
        let record = catalog.record(TINY).unwrap().unwrap();
        assert_eq!(record.entry.lifecycle, LifecycleState::Active);
        assert_eq!(record.source.unwrap().pinned, first.pinned);
    }
}

// Red when two files with the same digest on the Hub are fetched twice: large ones, which have partials, or small ones.
#[test]
fn equal_files_are_fetched_once() {
    for size_bytes in [100_000, 9 << 20] {
        let bytes = noise(size_bytes, 7);
        let more: [(&str, &[u8]); 2] = [("acme/twice/a.gguf", &bytes), ("acme/twice/b.gguf", &bytes)];
        let Some(hub) = Hub::start_with(&[], &more) else { return };
        let host = Host::new();
        let receipt = catalog(&host, &hub).stage(&reference("hf:acme/twice"), &StageOptions::default()).unwrap();
        assert_eq!((hub.sent_by_cdn(), receipt.fetched_bytes), (size_bytes as u64, size_bytes as u64));
        for name in ["a.gguf", "b.gguf"] {
            assert!(fs::read(receipt.local_path.join(name)).unwrap() == bytes);
        }
    }
}

// Red when several callers want the same content and each asks for it when its turn comes.
#[test]
fn those_that_waited_for_a_fetch_ask_nobody() {
    let Some(hub) = Hub::start(&[]) else { return };
    let alone = Host::new();
    catalog(&alone, &hub).ensure_present(&reference(TINY)).unwrap();
    let counts = hub.counts();
    hub.forget();
    let (host, start) = (Host::new(), Barrier::new(4));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let catalog = catalog(&host, &hub);
                start.wait();
                catalog.ensure_present(&reference(TINY)).unwrap();
            });
        }
    });
    assert_eq!(hub.counts(), counts, "{:?}", hub.log());
}

// Red when a copy of a root fetches what it has, because the copied files are new and nobody has checked them.
#[test]
fn a_copied_root_is_checked_and_not_fetched() {
    let Some(hub) = Hub::start(&[]) else { return };
    let host = Host::new();
    let commit = catalog(&host, &hub).stage(&reference(TINY), &StageOptions::default()).unwrap().pinned.unwrap();
    let copied = Host::new();
    let status = Command::new("cp").arg("-r").arg(host.root()).arg(copied.root()).status().unwrap();
    assert!(status.success());
    let catalog = catalog(&copied, &hub);
    hub.forget();
    for options in [offline(), StageOptions::default()] {
        assert_eq!(catalog.stage(&reference(TINY), &options).unwrap().fetched_bytes, 0);
    }
    let path = catalog.ensure_present(&reference(TINY)).unwrap().local_path;
    assert!(path.starts_with(copied.root()) && fs::read(path.join(LARGE)).unwrap() == content(LARGE));
    assert_eq!(hub.counts().1, 0, "{:?}", hub.log());
    // Under another reference, the content is known only by its digests.
    let status = Command::new("cp").arg("-r").arg(host.root()).arg(copied.path("second")).status().unwrap();
    assert!(status.success());
    let second = FsCatalog::open(copied.path("second")).unwrap();
    let second = second.with_sources(Sources::with_options(hub.policy(), quick()).unwrap().hf(hub.options()));
    second.stage(&reference(&format!("{TINY}@{commit}")), &StageOptions::default()).unwrap();
    assert_eq!(hub.sent_by_cdn(), 0, "{:?}", hub.log());
}

// Red when a call holds a descriptor for each of its references until the last one is fetched.
#[test]
fn many_references_with_few_descriptors() {
    let files: Vec<(String, Vec<u8>)> = (0..60).map(|i| (format!("acme/many/{i}.gguf"), noise(1000, i))).collect();
    let more: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (&**path, &**bytes)).collect();
    let Some(hub) = Hub::start_with(&[], &more) else { return };
    let host = Host::new();
    let program = host.command().get_program().to_owned();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$@\"", "sh"]).arg(program).args(["stage", "-q"]);
    command.args(files.iter().map(|(path, _)| format!("hf:{path}"))).env("CATALOG_ROOT", host.root());
    command.env("CATALOG_ALLOW_NET", format!("{},{}", host_of(&hub.hub), host_of(&hub.cdn)));
    let output = common::run({
        command.env("HF_ENDPOINT", &hub.hub);
        command
    });
    assert!(output.status.success(), "{output:?}");
    assert_eq!(host.catalog().records().unwrap().len(), files.len());
}

// Red when the server is asked although a local file has the bytes.
#[test]
fn a_repair_from_a_good_file_asks_nobody() {
    let Some(hub) = Hub::start(&[]) else { return };
    let host = Host::new();
    let catalog = catalog(&host, &hub);
    let receipt = catalog.stage(&reference(&format!("{TINY}/{LARGE}")), &StageOptions::default()).unwrap();
    let blob = blob_path(&host.root(), &receipt.digest);
    let mut bytes = fs::read(&blob).unwrap();
    bytes[0] ^= 1;
    set_mode(&blob, 0o644);
    fs::write(&blob, bytes).unwrap();
    hub.forget();
    let good = catalog_core::LocalSource::new(host.file("good.gguf", content(LARGE)));
    let options = RepairOptions::default().with_from(vec![std::sync::Arc::new(good)]);
    let report = catalog.repair(&*receipt.id, &options).unwrap();
    assert_eq!((report.files, hub.counts()), (1, (0, 0)));
}

// Red when each connection to a server without ranges starts the file from the beginning: the server sends it several
// times.
#[test]
fn a_server_without_ranges_sends_a_large_file_about_once() {
    const SIZE_BYTES: usize = (34 << 20) + 5;
    let bytes = noise(SIZE_BYTES, 7);
    let Some(hub) = Hub::start_with(&[], &[("acme/large/a.gguf", &bytes)]) else { return };
    for good_ranges in [0, 2] {
        hub.rule(&json!({"kind": "no-range", "origin": "cdn", "skip": good_ranges}));
        let host = Host::new();
        let receipt = catalog(&host, &hub).stage(&reference("hf:acme/large/a.gguf"), &StageOptions::default()).unwrap();
        assert_eq!(receipt.digest, Digest::sha256_of(&bytes));
        let sent = hub.sent_by_cdn();
        assert!(sent < 2 * SIZE_BYTES as u64, "{sent}: {:?}", hub.log());
    }
}
