//! A registry that says what no registry should.

use std::sync::Arc;

use catalog_core::{Digest, Error, NetError, OciOptions, StageOptions, UsedMode};
use serde_json::{Value, json};

use crate::common::{Host, noise};
use crate::wire::{Asked, Server, answer, part, send};
use crate::{catalog, reference};

fn stage(server: &Server, name: &str, rules: &[&str]) -> Result<(), Error> {
    let host = Host::new();
    let options = OciOptions::default().with_login(&format!("127.0.0.1:{}", server.port), "user", "secret");
    let catalog = catalog(&host, &[rules, &[&server.rule()]].concat(), options);
    let staged =
        catalog.stage(&reference(&format!("oci://127.0.0.1:{}/{name}", server.port)), &StageOptions::default());
    assert!(staged.is_ok() || catalog.records().unwrap().is_empty());
    staged.map(drop)
}

fn with_manifest(manifest: &Value, headers: &'static str) -> Server {
    let manifest = manifest.to_string();
    Server::new(move |_: &Asked<'_>, stream| {
        send(stream, &answer("200 OK", headers, manifest.as_bytes()));
    })
}

fn layer(name: &str) -> Value {
    let digest = Digest::sha256_of(name.as_bytes()).to_string();
    json!({"mediaType": "application/octet-stream", "digest": digest, "size": 3,
           "annotations": {"org.opencontainers.image.title": name}})
}

// Each case is red when its check is taken out.
#[test]
fn manifests_that_are_none() {
    let problem = |manifest: &Value| match stage(&with_manifest(manifest, ""), "a", &[]).unwrap_err() {
        Error::Net { source: NetError::NoModel { detail, .. }, .. } => detail,
        other => panic!("{other}"),
    };
    let of = |layers: Vec<Value>| json!({"schemaVersion": 2, "layers": layers});
    assert!(problem(&of(vec![layer("../../etc/passwd")])).contains("not a plain path"));
    assert!(problem(&of(vec![layer("a"), layer("a/b")])).contains("a file and a folder"));
    assert!(problem(&of(Vec::new())).contains("none of its files"));
    assert!(problem(&of((0..100_001).map(|i| layer(&i.to_string())).collect())).contains("more than 100000 layers"));
    assert!(problem(&json!({"schemaVersion": 1})).contains("version 1"));
    assert!(problem(&json!("a")).contains("not a manifest"));
    let list = json!({"schemaVersion": 2, "manifests": [{"digest": Digest::sha256_of(b""), "size": 1}]});
    assert!(matches!(stage(&with_manifest(&list, ""), "a", &[]), Err(Error::DigestMismatch { .. })));
}

// Red when a manifest's bytes are believed.
#[test]
fn a_manifest_of_another_digest() {
    let manifest = json!({"schemaVersion": 2, "layers": [layer("a")]});
    let other = Digest::sha256_of(&noise(3, 1));
    let by_digest = stage(&with_manifest(&manifest, ""), &format!("a@{other}"), &[]).unwrap_err();
    assert!(matches!(by_digest, Error::DigestMismatch { .. }), "{by_digest}");
    const HEADER: &str =
        "Docker-Content-Digest: sha256:1ef0bef1eb6c8ec311d53e18138501725116d829ab11914a811d72812a5253cd\r\n";
    let by_tag = stage(&with_manifest(&manifest, HEADER), "a:v1", &[]).unwrap_err();
    assert!(matches!(by_tag, Error::DigestMismatch { .. }), "{by_tag}");
}

// Red when a registry can send a login to a server that no rule allows, or when an invalid token becomes a header.
#[test]
fn a_realm_is_the_registrys_word() {
    let asks_for = |challenge: String| {
        Server::new(move |_: &Asked<'_>, stream| {
            let header = format!("WWW-Authenticate: {challenge}\r\n");
            send(stream, &answer("401 Unauthorized", &header, b""));
        })
    };
    let elsewhere = Arc::new(Server::unvisited());
    let url = elsewhere.url("/token");
    let error = stage(&asks_for(format!("Bearer realm=\"{url}\",service=\"a\"")), "a", &[]).unwrap_err();
    assert!(error.is_refused(), "{error}");
    assert_eq!(elsewhere.connections(), 0);
    for (challenge, problem) in [
        ("Bearer service=\"a\"", "where to get a token"),
        ("Digest realm=\"a\",nonce=\"b\"", "neither a token nor a password"),
        ("Bearer realm=\"http://169.254.169.254/latest\"", "no rule allows"),
        ("Bearer realm=\"file:///etc/passwd\"", "is not supported"),
        ("\"", "makes no sense"),
    ] {
        let error = stage(&asks_for(challenge.into()), "a", &[]).unwrap_err().to_string();
        assert!(error.contains(problem), "{challenge}: {error}");
    }
    let tokens = Server::new(|_: &Asked<'_>, stream| {
        send(stream, &answer("200 OK", "", br#"{"token": "a\r\nX-Evil: 1"}"#));
    });
    let asks = asks_for(format!("Bearer realm=\"{}\"", tokens.url("/")));
    let error = stage(&asks, "a", &[&tokens.rule()]).unwrap_err().to_string();
    assert!(error.contains("its token has characters that no token can have"), "{error}");
    // The login only went to the server that the rule allows.
    assert!(
        tokens.heads().iter().all(|head| head.to_lowercase().contains("authorization: basic")),
        "{:?}",
        tokens.heads()
    );
}

// Red when whatever the registry calls a digest becomes part of a reference: the error would blame the caller.
#[test]
fn a_digest_that_is_none_is_not_named() {
    let bytes = noise(5_000, 2);
    let digest = Digest::sha256_of(&bytes);
    let layer = json!({"mediaType": "application/octet-stream", "digest": digest, "size": bytes.len(),
                       "annotations": {"org.opencontainers.image.title": "a.gguf"}});
    let manifest = json!({"schemaVersion": 2, "layers": [layer]}).to_string();
    let server = Server::new(move |asked: &Asked<'_>, stream| {
        let bytes = match asked.path() {
            path if path.contains("/blobs/") => part(asked, &bytes, ""),
            _ if asked.head.starts_with("HEAD ") => answer("200 OK", "Docker-Content-Digest: sha256:../..\r\n", b""),
            _ => answer("200 OK", "Docker-Content-Digest: none\r\n", manifest.as_bytes()),
        };
        send(stream, &bytes);
    });
    let host = Host::new();
    let catalog = catalog(&host, &[&server.rule()], OciOptions::default());
    let tag = reference(&format!("oci://127.0.0.1:{}/a:v1", server.port));
    for mode in [UsedMode::Fetch, UsedMode::Unchanged] {
        let receipt = catalog.stage(&tag, &StageOptions::default()).unwrap();
        assert_eq!((receipt.digest, receipt.mode), (digest, mode));
    }
}
