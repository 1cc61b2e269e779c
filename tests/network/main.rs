//! The policy, the HTTP engine and web servers as a source, against servers on loopback that count, lie, stall and
//! redirect.
//!
//! No test connects to anything else.
#![cfg(all(feature = "http", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;

mod addresses;
mod answers;
mod credentials;
mod machine;
mod mirrors;
mod nginx;
mod parts;
mod payloads;
mod proxies;
mod redirects;
mod server;
mod spellings;
mod threads;
mod tls;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use catalog_core::{
    Client, ClientOptions, Cx, Error, Event, HttpSource, Listing, ModelRef, Observer, Policy, RemoteReader, Source as _,
};

/// A policy with these rules.
fn policy(rules: &str) -> Policy {
    Policy::default().allow_list(rules).unwrap()
}

/// Options that do not wait long for anything.
fn quick() -> ClientOptions {
    let mut options = ClientOptions::default();
    options.retries = 2;
    options.retry_delay = Duration::from_millis(1);
    options
}

fn client(rules: &str) -> Client {
    Client::new(policy(rules), quick()).unwrap()
}

/// The result of a `GET`: the status, or the error.
fn get(client: &Client, url: &str) -> Result<u16, Error> {
    client.get(url).send(&()).map(|response| response.status())
}

/// Everything that an observer heard about retries.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Observer for Told {
    fn on(&self, event: &Event<'_>) {
        if let Event::Retrying { why, .. } = event {
            self.0.lock().unwrap().push((*why).to_owned());
        }
    }
}

impl Told {
    fn words(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn resolve(client: &Client, url: &str) -> Result<Listing, Error> {
    HttpSource::new().resolve(&ModelRef::parse(url).unwrap(), &Cx::new(client, &()))
}

/// The one file at a URL, for reads at any offset.
fn reader(client: &Client, url: &str, told: &Told) -> Result<RemoteReader, Error> {
    let source = HttpSource::new();
    let listing = source.resolve(&ModelRef::parse(url).unwrap(), &Cx::new(client, told))?;
    let file = listing.files.into_iter().next().unwrap();
    RemoteReader::new(Arc::new(source), file, client.clone(), Arc::new(told.clone()))
}

/// Reads a part; the error is the crate's own.
fn read(reader: &RemoteReader, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
    use catalog_core::ReadAt as _;
    let mut buffer = vec![0; length];
    match reader.read_exact_at(offset, &mut buffer) {
        Ok(()) => Ok(buffer),
        Err(error) => Err(error.get_ref().unwrap().downcast_ref::<Error>().unwrap().clone()),
    }
}
