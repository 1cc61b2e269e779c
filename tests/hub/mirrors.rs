//! Mirrors of the Hub: large files come from there, and no token goes there.

use std::fs;

use catalog_core::{ModelRef, Sources, StageOptions};

use crate::common::Host;
use crate::server::{FILES, Hub, host as host_of};
use crate::wire::{Server, part, send};
use crate::{LARGE, TOKEN, content, policy, quick};

// Red when the token goes along, when a large file comes from the Hub's own store, or when a small file is requested
// from the mirror.
#[test]
fn large_files_come_from_the_mirror() {
    let Some(hub) = Hub::start(&[]) else { return };
    let mirror = Server::new(|asked, stream| send(stream, &part(asked, &content(LARGE), "")));
    let host = Host::new();
    let rules = [host_of(&hub.hub), host_of(&hub.cdn), &mirror.rule()].map(str::to_owned);
    let policy = policy(&rules.each_ref().map(String::as_str));
    let sources = Sources::with_options(policy, quick()).unwrap().hf(hub.options().with_token(TOKEN).unwrap());
    let catalog = host.catalog().with_sources(sources.with_mirrors(host_of(&hub.hub), [mirror.url("/hub")]).unwrap());
    let receipt = catalog.stage(&ModelRef::parse("hf:acme/tiny").unwrap(), &StageOptions::default()).unwrap();
    for path in FILES {
        assert_eq!(fs::read(receipt.local_path.join(path)).unwrap(), content(path), "{path}");
    }
    assert_eq!(hub.sent_by_cdn(), 0);
    let heads = mirror.heads();
    assert!(!heads.is_empty());
    for head in heads {
        assert!(head.starts_with("GET /hub/acme/tiny/resolve/") && head.contains("/q8/model.gguf HTTP"), "{head}");
        assert!(!head.contains(TOKEN) && !head.contains("\nauthorization:"), "{head}");
        assert!(!head.contains("dragonfly") && !head.contains("?ns="), "{head}");
    }
}
