//! S3 buckets as a source: SeaweedFS, filled by boto3.
#![cfg(all(feature = "s3", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;

#[path = "../network/server.rs"]
#[allow(dead_code)] // the server's own tests use all of it
mod wire;

#[path = "../servers/seaweed.rs"]
mod seaweed;

mod access;
mod cluster;
mod credentials;
mod hostile;
mod model;
mod pull;
mod push;

use std::time::Duration;

use catalog_core::{ClientOptions, FsCatalog, ModelRef, Policy, S3Options, Sources};

use common::Host;
use seaweed::{KEY, SECRET, Seaweed};

/// Options that do not wait long before a retry.
fn quick() -> ClientOptions {
    let mut options = ClientOptions::default();
    options.retries = 1;
    options.retry_delay = Duration::from_millis(1);
    options
}

/// Options of the user who may do everything.
fn user(endpoint: &str) -> S3Options {
    S3Options::default().with_endpoint(endpoint).unwrap().with_credentials(KEY, SECRET, None)
}

/// A catalog that fetches from these hosts alone.
fn catalog(host: &Host, rules: &[&str], options: S3Options) -> FsCatalog {
    let policy = rules.iter().fold(Policy::default(), |policy, rule| policy.allow(rule).unwrap());
    host.catalog().with_sources(Sources::with_options(policy, quick()).unwrap().s3(options))
}

/// A catalog that fetches from this server, as its user.
fn catalog_of(host: &Host, weed: &Seaweed) -> FsCatalog {
    catalog(host, &[&weed.host()], user(&weed.endpoint()))
}

fn reference(text: &str) -> ModelRef {
    ModelRef::parse(text).unwrap()
}
