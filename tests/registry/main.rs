//! OCI registries as a source: Debian's `docker-registry`, to which oras has pushed, and in which skopeo has logged in.
#![cfg(all(feature = "oci", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;

#[path = "../network/server.rs"]
#[allow(dead_code)] // its own tests use all of it
mod wire;

mod access;
mod hostile;
mod login;
mod mirrors;
mod pull;
mod push;
mod readme;
mod server;
mod uploads;

use std::time::Duration;

use catalog_core::{ClientOptions, FsCatalog, ModelRef, OciOptions, Policy, Sources};

use common::Host;

/// Options that do not wait long before anything is tried again.
fn quick() -> ClientOptions {
    let mut options = ClientOptions::default();
    options.retries = 1;
    options.retry_delay = Duration::from_millis(1);
    options
}

/// A catalog that fetches from these hosts alone.
fn catalog(host: &Host, rules: &[&str], options: OciOptions) -> FsCatalog {
    let policy = rules.iter().fold(Policy::default(), |policy, rule| policy.allow(rule).unwrap());
    host.catalog().with_sources(Sources::with_options(policy, quick()).unwrap().oci(options))
}

fn reference(text: &str) -> ModelRef {
    ModelRef::parse(text).unwrap()
}
