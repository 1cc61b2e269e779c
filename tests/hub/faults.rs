//! Each fault of `tests/servers/hub.py`, and its result: the right bytes, or an error that says why. Wrong bytes are
//! never taken for right ones.

use std::time::Duration;

use catalog_core::Error;
use serde_json::{Value, json};

use crate::server::Hub;
use crate::{Asker, Fetched, LARGE, SMALL, TOKEN, content, quick};

use Outcome::{Fails, OtherDigest, Right};

enum Outcome {
    Right,
    /// All bytes came, but have another digest: the engine fetches them once more, and then gives up.
    OtherDigest,
    /// The error contains these words.
    Fails(&'static str),
}

/// The name of the fault, the server that has it, its other parameters, the file to fetch, and the expected outcome.
type Case = (&'static str, &'static str, Value, &'static str, Outcome);

fn cases() -> Vec<Case> {
    let forbidden = "<Error><Code>AccessDenied</Code></Error>";
    vec![
        ("status", "cdn", json!({"code": 503, "times": 2}), LARGE, Right),
        ("status", "cdn", json!({"code": 503}), LARGE, Fails("the server says 503 (tried 3 times)")),
        ("status", "hub", json!({"code": 502, "times": 1, "path": "revision"}), SMALL, Right),
        ("status", "hub", json!({"code": 500, "path": "tree"}), SMALL, Fails("the server says 500 (tried 3 times)")),
        ("status", "cdn", json!({"code": 429, "times": 1, "headers": {"Retry-After": "0"}}), LARGE, Right),
        (
            "status",
            "hub",
            json!({"code": 429, "headers": {"RateLimit": "\"api\";r=0;t=400"}}),
            SMALL,
            Fails("the server says 429, try again in 400 s"),
        ),
        // The signature of a URL has expired: the Hub is asked for another URL.
        ("status", "cdn", json!({"code": 403, "times": 2, "body": forbidden}), LARGE, Right),
        ("status", "cdn", json!({"code": 403, "skip": 1, "times": 1, "body": forbidden}), LARGE, Right),
        ("status", "cdn", json!({"code": 403, "body": forbidden}), LARGE, Fails("the server denies access (403")),
        ("status", "cdn", json!({"code": 404, "skip": 1, "times": 1}), LARGE, Right),
        (
            "redirect",
            "hub",
            json!({"to": "http://169.254.169.254/x", "path": "resolve"}),
            LARGE,
            Fails("refused: no rule allows http://169.254.169.254"),
        ),
        (
            "redirect",
            "hub",
            json!({"to": "//localhost/x", "path": "api/models"}),
            LARGE,
            Fails("refused: no rule allows http://localhost"),
        ),
        ("redirect", "cdn", json!({"to": "file:///etc/passwd"}), LARGE, Fails("refused: `file:` is not supported")),
        ("redirect-loop", "hub", json!({"path": "resolve"}), SMALL, Fails("it redirects more than 5 times")),
        ("wrong-bytes", "cdn", json!({"at": 2_000_000}), LARGE, OtherDigest),
        ("wrong-bytes", "hub", json!({"at": 7}), SMALL, Fails("its bytes are the git blob ")),
        // The second time, they are right.
        ("wrong-bytes", "hub", json!({"at": 7, "times": 1, "path": "resolve-cache"}), SMALL, Right),
        ("wrong-content", "cdn", json!({}), LARGE, OtherDigest),
        ("wrong-content", "hub", json!({}), SMALL, Fails("its bytes are the git blob ")),
        ("short-body", "cdn", json!({"times": 1}), LARGE, Right),
        ("short-body", "cdn", json!({"after": 1000}), LARGE, Fails("(tried 3 times)")),
        ("short-body", "hub", json!({"times": 1, "path": "resolve-cache"}), SMALL, Right),
        ("short-length", "cdn", json!({"after": 1000}), LARGE, Fails("1000 bytes came as the range 0 to 1048576")),
        (
            "short-length",
            "hub",
            json!({"after": 10, "path": "resolve-cache"}),
            SMALL,
            Fails("10 bytes came as the range 0 to "),
        ),
        ("extra-body", "cdn", json!({}), LARGE, Fails("1048676 bytes came as the range 0 to 1048576")),
        ("reset", "cdn", json!({"times": 2}), LARGE, Right),
        ("reset", "cdn", json!({"after": 1000}), LARGE, Fails("(tried 3 times)")),
        ("stall", "cdn", json!({"after": 500_000, "times": 1}), LARGE, Right),
        ("stall", "cdn", json!({"after": 1000}), LARGE, Fails("it took too long")),
        ("stall", "hub", json!({"path": "tree"}), SMALL, Fails("it took too long")),
        ("slow-drip", "cdn", json!({"times": 1}), LARGE, Right),
        ("slow-drip", "cdn", json!({}), LARGE, Fails("the server sends too slowly (tried 3 times)")),
        ("no-range", "cdn", json!({}), LARGE, Right),
        ("no-range", "hub", json!({}), SMALL, Right),
        ("no-range", "cdn", json!({"skip": 1}), LARGE, Right),
        ("content-range", "cdn", json!({"shift": 7}), LARGE, Fails("were requested, but 7 to 1048583 came")),
        (
            "content-range",
            "cdn",
            json!({"shift": 7, "body": false}),
            LARGE,
            Fails("were requested, but 7 to 1048583 came"),
        ),
        ("content-range", "cdn", json!({"total": 5_000_000}), LARGE, Fails("it had 3145745 bytes and has 5000000")),
        ("multipart", "cdn", json!({}), LARGE, Fails("it is a part without a range")),
        ("range-416", "cdn", json!({}), LARGE, Fails("the server says that it has no such range")),
        // The tag does not identify the bytes.
        ("changing-etag", "cdn", json!({}), LARGE, Right),
        ("changing-etag", "cdn", json!({"content": true, "skip": 1}), LARGE, OtherDigest),
        ("weak-etag", "any", json!({}), LARGE, Right),
        ("no-etag", "any", json!({}), LARGE, Right),
        ("linked-etag", "hub", json!({"value": "\"0\""}), LARGE, Right),
        ("linked-size", "hub", json!({"value": 7}), LARGE, Right),
        ("gzip", "cdn", json!({}), LARGE, Fails("its bytes are encoded as \"gzip\", which was not requested")),
        (
            "gzip",
            "hub",
            json!({"bomb": 64}),
            SMALL,
            Fails("its bytes are encoded as \"gzip\", which was not requested"),
        ),
        ("chunked", "cdn", json!({}), LARGE, Right),
        ("html", "cdn", json!({}), LARGE, Fails("it had 3145745 bytes and has ")),
        ("html", "hub", json!({"path": "revision"}), SMALL, Fails("it is not what the Hub says there")),
        ("html", "hub", json!({"path": "tree"}), SMALL, Fails("it is not what the Hub says there")),
        ("no-head", "any", json!({}), LARGE, Right),
        ("header-bomb", "cdn", json!({}), LARGE, Fails("the header of the response is larger than 65536 bytes")),
        ("header-bomb", "hub", json!({}), SMALL, Fails("the header of the response is larger than 65536 bytes")),
    ]
}

/// Every fault that the head of `hub.py` names.
fn all_faults() -> Vec<String> {
    let source = include_str!("../servers/hub.py");
    let (_, list) = source.split_once("Of kind:\n").unwrap();
    let (list, _) = list.split_once("\nWith --xet").unwrap();
    let names = list.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn each_fault_is_a_case() {
    let names: Vec<&str> = cases().iter().map(|case| case.0).collect();
    let page = include_str!("../../docs/testing.md");
    let all = all_faults();
    assert_eq!(all.len(), 25, "{all:?}");
    for fault in all {
        assert!(names.contains(&fault.as_str()), "{fault}");
        assert!(page.contains(&format!("`{fault}`")), "{fault}");
    }
}

// Red when, in turn: a 403 from the store is final; Content-Range is not read; the git blob is not compared; a body
// that ends early is taken for a whole one; Content-Encoding is ignored; the token goes along on every hop.
#[test]
fn the_right_bytes_or_an_error() {
    let Some(hub) = Hub::start(&[]) else { return };
    let mut failed = Vec::new();
    for (fault, origin, more, path, expected) in cases() {
        let mut rule = json!({"kind": fault, "origin": origin});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        hub.rule(&rule);
        let mut options = quick();
        if matches!(fault, "stall" | "slow-drip") {
            (options.idle_timeout, options.min_rate_window) = (Duration::from_secs(1), Duration::from_secs(1));
            options.min_bytes_per_s = 50_000;
        }
        let asker = Asker::with(&hub, hub.options().with_token(TOKEN).unwrap(), options);
        let came = asker.fetch(&format!("hf:acme/tiny/{path}"));
        let is_expected = match (&came, &expected) {
            (Ok(Fetched::Right(bytes)), Right) => *bytes == content(path),
            (Ok(Fetched::OtherDigest), OtherDigest) => true,
            (Err(error), Fails(words)) => error.to_string().contains(words),
            _ => false,
        };
        if let Some(problem) = wrong_in_log(&hub) {
            failed.push(format!("{rule} {path}: {problem}"));
        }
        if !is_expected {
            failed.push(format!("{rule} {path}: {}", told(&came)));
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

fn told(came: &Result<Fetched, Error>) -> String {
    match came {
        Ok(Fetched::Right(_)) => "bytes that are said to be right".into(),
        Ok(Fetched::OtherDigest) => "another digest".into(),
        Err(error) => error.to_string(),
    }
}

/// Checks the log: the token goes only to the Hub, no file is asked about separately, and every body is requested by a
/// range that ends.
fn wrong_in_log(hub: &Hub) -> Option<String> {
    let bearer = format!("Bearer {TOKEN}");
    let is_wrong = |asked: &&Value| {
        let (path, is_cdn) = (asked["path"].as_str().unwrap(), asked["origin"] == "cdn");
        let is_file = is_cdn || path.contains("/resolve");
        let is_open = asked["range"].as_str().is_none_or(|range| range.ends_with('-'));
        let has_token = asked["auth"] == bearer.as_str();
        asked["method"] == "HEAD" || is_cdn == has_token || (is_file && is_open)
    };
    hub.log().iter().find(is_wrong).map(Value::to_string)
}

// Red when the location of a file is kept for ever: a URL that works once gives only one part.
#[test]
fn each_url_can_be_used_once() {
    let Some(hub) = Hub::start(&["--uses", "1"]) else { return };
    let fetched = Asker::new(&hub).fetch(&format!("hf:acme/tiny/{LARGE}"));
    assert!(matches!(fetched, Ok(Fetched::Right(bytes)) if bytes == content(LARGE)));
    assert_eq!(wrong_in_log(&hub), None);
}

// Red when the Hub is asked for each part: that makes 6 requests.
#[test]
fn the_hub_is_asked_once_where_a_file_is() {
    let Some(hub) = Hub::start(&[]) else { return };
    let fetched = Asker::new(&hub).fetch(&format!("hf:acme/tiny/{LARGE}"));
    assert!(matches!(fetched, Ok(Fetched::Right(_))));
    assert_eq!(hub.counts(), (3, 4));
}
