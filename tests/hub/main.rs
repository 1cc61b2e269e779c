//! The Hugging Face Hub as a source, against a Hub on loopback with a second server as its store of large files
//! (`tests/servers/hub.py`). The Hub's own client downloads from it too, so it is not just our idea of a Hub.
#![cfg(all(feature = "hf", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;

#[path = "../servers/hub.rs"]
mod hub_process;
#[path = "../network/server.rs"]
#[allow(dead_code)] // the server's own tests use all of it
mod wire;

mod client;
mod engine;
mod faults;
mod held;
mod kills;
mod listings;
mod mirrors;
mod options;
mod page;
mod refusals;
mod server;
mod staging;

use std::sync::Arc;
use std::time::Duration;

use catalog_core::{
    Client, ClientOptions, Cx, Digest, Error, Expected, GitBlobReader, HfOptions, HfSource, Listing, ModelRef, Policy,
    ReadAt, RemoteFile, RemoteReader, Source,
};
use server::Hub;

/// The valid token.
const TOKEN: &str = "hf_test_token";

/// A large file, in LFS: three of the parts in which it is read, and a bit more.
const LARGE: &str = "q8/model.gguf";
const LARGE_BYTES: usize = (3 << 20) + 17;

/// A small file, in git.
const SMALL: &str = "config.json";

/// How much is requested at once.
const PART_BYTES: usize = 1 << 20;

/// The files of the repository that every test has.
fn content(path: &str) -> Vec<u8> {
    match path {
        LARGE => (0..LARGE_BYTES).map(|i| (i * 31 + i / 251) as u8).collect(),
        SMALL => b"{\"model_type\": \"llama\", \"vocab_size\": 32000}\n".repeat(40),
        other => format!("this is {other}\n").into_bytes(),
    }
}

/// Options that do not wait long before a retry.
fn quick() -> ClientOptions {
    let mut options = ClientOptions::default();
    options.retries = 2;
    options.retry_delay = Duration::from_millis(1);
    options
}

/// A source and the client that it uses.
struct Asker {
    source: Arc<HfSource>,
    client: Client,
}

impl Asker {
    /// With the valid token.
    fn new(hub: &Hub) -> Self {
        Asker::with(hub, hub.options().with_token(TOKEN).unwrap(), quick())
    }

    fn with(hub: &Hub, hf: HfOptions, options: ClientOptions) -> Self {
        let client = Client::new(hub.policy(), options).unwrap();
        Asker { source: Arc::new(HfSource::new(hf)), client }
    }

    fn resolve(&self, reference: &str) -> Result<Listing, Error> {
        self.resolve_some(reference, &[], &[])
    }

    fn resolve_some(&self, reference: &str, include: &[&str], exclude: &[&str]) -> Result<Listing, Error> {
        let owned = |patterns: &[&str]| patterns.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let (include, exclude) = (owned(include), owned(exclude));
        let cx = Cx::new(&self.client, &()).with_selection(&include, &exclude);
        self.source.resolve(&ModelRef::parse(reference).unwrap(), &cx)
    }

    /// Reads a whole file in parts. The digest of a file in LFS is not checked here: that is up to the caller.
    fn read(&self, file: &RemoteFile) -> Result<Vec<u8>, Error> {
        let (source, client, file) = (self.source.clone(), self.client.clone(), file.clone());
        let reader: Box<dyn ReadAt> = match file.expected {
            Expected::GitBlobSha1(_) => Box::new(GitBlobReader::new(source, file, client, Arc::new(()))?),
            _ => Box::new(RemoteReader::new(source, file, client, Arc::new(()))?),
        };
        let mut bytes = vec![0; usize::try_from(reader.size_bytes()).unwrap()];
        for (number, part) in bytes.chunks_mut(PART_BYTES).enumerate() {
            let offset = (number * PART_BYTES) as u64;
            reader
                .read_exact_at(offset, part)
                .map_err(|e| e.get_ref().unwrap().downcast_ref::<Error>().unwrap().clone())?;
        }
        Ok(bytes)
    }

    /// Fetches the only file that a reference names, as the engine would: its bytes match its hash, or it is an error.
    fn fetch(&self, reference: &str) -> Result<Fetched, Error> {
        let listing = self.resolve(reference)?;
        let [file] = listing.files.as_slice() else { panic!("{listing:?}") };
        let bytes = self.read(file)?;
        Ok(match file.expected {
            Expected::Sha256(digest) if digest != Digest::sha256_of(&bytes) => Fetched::OtherDigest,
            Expected::Nothing => panic!("nothing is known of {file:?}"),
            _ => Fetched::Right(bytes),
        })
    }
}

enum Fetched {
    /// The bytes match the listing.
    Right(Vec<u8>),
    /// The bytes came, but have another digest.
    OtherDigest,
}

/// A policy that allows only these.
fn policy(rules: &[&str]) -> Policy {
    rules.iter().fold(Policy::default(), |policy, rule| policy.allow(rule).unwrap())
}
