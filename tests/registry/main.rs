//! OCI registries as a source: Debian's `docker-registry`, with models that oras pushed and logins that skopeo made.
#![cfg(all(feature = "oci", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;

#[path = "../network/server.rs"]
#[allow(dead_code)] // the server's own tests use all of it
mod wire;

mod access;
mod command;
mod documents;
mod hostile;
mod kills;
mod login;
mod mirrors;
mod page;
mod pull;
mod push;
mod server;
mod uploads;

use std::time::Duration;

use catalog_core::{ClientOptions, FsCatalog, ModelRef, OciOptions, Policy, PushOptions, Sources, StageOptions};

use common::Host;

/// Options that do not wait long before a retry.
fn quick() -> ClientOptions {
    let mut options = ClientOptions::default();
    options.retries = 1;
    options.retry_delay = Duration::from_millis(1);
    options
}

/// A catalog that only fetches from these hosts.
fn catalog(host: &Host, rules: &[&str], options: OciOptions) -> FsCatalog {
    let policy = rules.iter().fold(Policy::default(), |policy, rule| policy.allow(rule).unwrap());
    host.catalog().with_sources(Sources::with_options(policy, quick()).unwrap().oci(options))
}

fn reference(text: &str) -> ModelRef {
    ModelRef::parse(text).unwrap()
}

/// A registry that lets everybody do everything, with a model of these bytes.
fn registry_with(name: &str, bytes: &[u8], options: OciOptions) -> Option<server::Registry> {
    let registry = server::Registry::open()?;
    let host = Host::new();
    let path = host.file("m.gguf", bytes);
    let catalog = catalog(&host, &[&registry.host()], options);
    catalog.stage(&path.into(), &StageOptions::default().with_id("m".to_owned())).unwrap();
    catalog.push("m", &reference(&registry.reference(name)), &PushOptions::default()).unwrap();
    Some(registry)
}
