//! What the Hub refuses: each refusal is an error of its own, with the page to go to and the id of the request.

use catalog_core::{Error, HubProblem, NetError};
use serde_json::{Value, json};

use crate::server::Hub;
use crate::{Asker, LARGE, SMALL, TOKEN, quick};

const ARGUMENTS: [&str; 6] = ["--private", "acme/private", "--gated", "acme/tiny", "--refused", "acme/refused"];

/// The fault of the Hub, the token, the reference; the expected kind of error, its words, and its hint.
type Case<'a> = (Option<Value>, Option<&'a str>, &'a str, Kind, &'a str, &'a str);

#[derive(Debug, PartialEq)]
enum Kind {
    Denied,
    NotFound,
    Unreachable,
}

fn kind(error: &Error) -> Kind {
    match (error.is_denied(), error.is_not_found(), error.is_unreachable()) {
        (true, false, false) => Kind::Denied,
        (false, true, false) => Kind::NotFound,
        (false, false, true) => Kind::Unreachable,
        other => panic!("{other:?} {error}"),
    }
}

fn asked(hub: &Hub, token: Option<&str>, reference: &str) -> Error {
    let options = token.map_or(hub.options(), |token| hub.options().with_token(token).unwrap());
    let asker = Asker::with(hub, options, quick());
    match asker.resolve(reference).and_then(|listing| asker.read(&listing.files[0])) {
        Err(error) => error,
        Ok(_) => panic!("{reference} is given"),
    }
}

// Red when the status code or the token is ignored: two cases then have the same words.
#[test]
fn each_has_its_own_words() {
    let Some(hub) = Hub::start(&ARGUMENTS) else { return };
    let disabled = json!({"kind": "status", "code": 403, "headers": {"X-Error-Message": "Access to this resource is disabled.", "X-Request-Id": "R"}});
    let gated_files =
        json!({"kind": "status", "code": 401, "path": "/resolve/", "headers": {"X-Error-Code": "GatedRepo"}});
    let cases: [Case<'_>; 12] = [
        (
            None,
            None,
            "hf:acme/tiny",
            Kind::Denied,
            "granted on request, and no token was given",
            "set HF_TOKEN to a token",
        ),
        (
            None,
            None,
            "hf:acme/refused",
            Kind::Denied,
            "granted on request, and no token was given",
            "set HF_TOKEN to a token",
        ),
        (
            None,
            Some(TOKEN),
            "hf:acme/refused",
            Kind::Denied,
            "this account has not been granted it",
            "ask for access on that page",
        ),
        (
            None,
            None,
            "hf:acme/private",
            Kind::NotFound,
            "or it is private and no token was given",
            "if the repository is private",
        ),
        (
            None,
            None,
            "hf:acme/missing",
            Kind::NotFound,
            "or it is private and no token was given",
            "if the repository is private",
        ),
        (
            None,
            Some(TOKEN),
            "hf:acme/missing",
            Kind::NotFound,
            "or it is private and the token cannot read it",
            "if the repository is private",
        ),
        (
            None,
            Some("hf_other"),
            "hf:acme/tiny",
            Kind::Denied,
            "the Hub does not accept the token",
            "set HF_TOKEN to another token",
        ),
        (
            None,
            Some(TOKEN),
            "hf:acme/tiny@v9",
            Kind::NotFound,
            "the repository has no revision \"v9\"",
            "check the reference",
        ),
        (
            None,
            Some(TOKEN),
            "hf:acme/tiny/none.gguf",
            Kind::NotFound,
            "the repository has no file or folder \"none.gguf\"",
            "check the reference",
        ),
        (Some(disabled), Some(TOKEN), "hf:acme/tiny", Kind::Denied, "the Hub has disabled access to it", ""),
        // The Hub may list the files of a gated repository, but give none.
        (
            Some(gated_files.clone()),
            Some(TOKEN),
            "hf:acme/tiny",
            Kind::Denied,
            "this account has not been granted it",
            "ask for access on that page",
        ),
        (
            Some(gated_files),
            Some(TOKEN),
            &format!("hf:acme/tiny/{LARGE}"),
            Kind::Denied,
            "this account has not been granted it",
            "",
        ),
    ];
    for (rule, token, reference, expected, words, hint) in cases {
        hub.rule(&rule.unwrap_or(json!({"kind": "status", "times": 0})));
        let error = asked(&hub, token, reference);
        let text = error.to_string();
        assert_eq!(kind(&error), expected, "{reference}: {text}");
        assert!(text.contains(words), "{reference}: {text}");
        assert!(error.hint().map(|hint| hint.to_string()).unwrap_or_default().contains(hint), "{reference}: {error:?}");
        let name = reference.strip_prefix("hf:").unwrap().split('@').next().unwrap();
        let page = name.split('/').take(2).collect::<Vec<_>>().join("/");
        assert!(text.contains(&format!("(see {}/{page}", hub.hub)), "{reference}: {text}");
        let is_ours = words.contains("no file or folder");
        assert!(is_ours || text.contains(", request id "), "{reference}: {text}");
        assert!(!format!("{error:?} {text}").contains("hf_"), "{reference}: {error:?}");
    }
}

#[test]
fn too_many_requests() {
    let Some(hub) = Hub::start(&[]) else { return };
    hub.rule(&json!({"kind": "status", "code": 429, "headers": {"Retry-After": "3600"}}));
    let error = asked(&hub, None, "hf:acme/tiny");
    assert_eq!(kind(&error), Kind::Unreachable);
    assert!(error.to_string().contains("429, try again in 3600 s"), "{error}");
    assert_eq!(hub.counts(), (1, 0));
}

#[test]
fn patterns_that_leave_nothing() {
    let Some(hub) = Hub::start(&[]) else { return };
    let error = Asker::new(&hub).resolve_some("hf:acme/tiny", &["*.onnx"], &[]).unwrap_err();
    assert_eq!(kind(&error), Kind::NotFound);
    assert!(error.to_string().contains("none of the repository's files is selected"), "{error}");
}

// Red when one of the two calls ignores that it is offline.
#[test]
fn nobody_is_asked_offline() {
    let Some(hub) = Hub::start(&[]) else { return };
    let file = Asker::new(&hub).resolve(&format!("hf:acme/tiny/{SMALL}")).unwrap().files.remove(0);
    hub.rule(&json!({"kind": "status", "times": 0}));
    let asker = Asker::with(&hub, hub.options().with_offline(true), quick());
    for error in [asker.resolve("hf:acme/tiny").unwrap_err(), asker.read(&file).unwrap_err()] {
        assert!(matches!(error, Error::Offline { .. }) && error.is_unreachable(), "{error}");
    }
    assert_eq!(hub.counts(), (0, 0));
}

// Red when the policy is not applied to the store: only the Hub is allowed here.
#[test]
fn the_store_needs_a_rule_too() {
    let Some(hub) = Hub::start(&[]) else { return };
    let client = catalog_core::Client::new(crate::policy(&[&hub.hub]), quick()).unwrap();
    let asker = Asker { client, ..Asker::new(&hub) };
    let listing = asker.resolve(&format!("hf:acme/tiny/{LARGE}")).unwrap();
    let error = asker.read(&listing.files[0]).unwrap_err();
    assert!(error.is_refused(), "{error}");
    assert_eq!(hub.counts().1, 0);
}

// Red when the token is sent to whatever server is said to have a file.
#[test]
fn a_file_of_another_server_gets_no_token() {
    let (Some(hub), Some(other)) = (Hub::start(&[]), Hub::start(&[])) else { return };
    let file = Asker::new(&other).resolve(&format!("hf:acme/tiny/{SMALL}")).unwrap().files.remove(0);
    other.rule(&json!({"kind": "status", "times": 0}));
    let client = catalog_core::Client::new(other.policy(), quick()).unwrap();
    Asker { client, ..Asker::new(&hub) }.read(&file).unwrap();
    let log = other.log();
    assert!(!log.is_empty() && log.iter().all(|asked| asked["auth"].is_null()), "{log:?}");
}

#[test]
fn a_wrong_git_blob_names_both() {
    let Some(hub) = Hub::start(&[]) else { return };
    hub.rule(&json!({"kind": "wrong-content", "origin": "hub"}));
    let asker = Asker::new(&hub);
    let file = asker.resolve(&format!("hf:acme/tiny/{SMALL}")).unwrap().files.remove(0);
    let error = asker.read(&file).unwrap_err();
    let Some(NetError::WrongGitBlob { expected, found, .. }) = error.net() else { panic!("{error}") };
    assert!(expected != found && error.is_corrupt() && [expected, found].iter().all(|hash| hash.len() == 40));
    // The commit and the tree; then, twice, the file and the place on the Hub that it redirects to.
    assert_eq!(hub.counts(), (2 + 4, 0));
}

#[test]
fn problems_can_be_told_apart() {
    let Some(hub) = Hub::start(&ARGUMENTS) else { return };
    let error = asked(&hub, None, "hf:acme/private");
    let Some(NetError::Hub { problem: HubProblem::NoRepository { had_token: false, .. }, .. }) = error.net() else {
        panic!("{error:?}");
    };
}
