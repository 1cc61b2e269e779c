//! A catalog that stages from the Hub stores what the Hub names, whatever arrives.

use std::fs;

use catalog_core::{FsCatalog, ModelRef, Sources, StageOptions};
use serde_json::json;

use crate::common::Host;
use crate::server::{FILES, Hub};
use crate::{SMALL, content, quick};

fn catalog(host: &Host, hub: &Hub) -> FsCatalog {
    host.catalog().with_sources(Sources::with_options(hub.policy(), quick()).unwrap().hf(hub.options()))
}

#[test]
fn a_repository() {
    let Some(hub) = Hub::start(&[]) else { return };
    let host = Host::new();
    let catalog = catalog(&host, &hub);
    let reference = ModelRef::parse("hf:acme/tiny").unwrap();
    let receipt = catalog.stage(&reference, &StageOptions::default()).unwrap();
    for path in FILES {
        assert_eq!(fs::read(receipt.local_path.join(path)).unwrap(), content(path), "{path}");
    }
    let some = StageOptions::default().with_selection(vec!["*.json".into()], vec![]);
    let receipt = catalog.stage(&reference, &some).unwrap();
    let names: Vec<_> = fs::read_dir(&receipt.local_path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [SMALL]);
}

// Red when a file that is known by its git blob is read like one of unknown content: a wrong byte is then stored.
#[test]
fn wrong_bytes_of_a_small_file_are_not_stored() {
    let Some(hub) = Hub::start(&[]) else { return };
    let host = Host::new();
    let catalog = catalog(&host, &hub);
    hub.rule(&json!({"kind": "wrong-bytes", "origin": "hub", "at": 3}));
    for reference in ["hf:acme/tiny", "hf:acme/tiny/config.json"] {
        let error = catalog.stage(&ModelRef::parse(reference).unwrap(), &StageOptions::default()).unwrap_err();
        assert!(error.is_corrupt() && error.to_string().contains("its bytes are the git blob "), "{error}");
    }
    hub.rule(&json!({"kind": "status", "times": 0}));
    catalog.stage(&ModelRef::parse("hf:acme/tiny").unwrap(), &StageOptions::default()).unwrap();
}
