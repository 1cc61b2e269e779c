//! A server that says what no S3 server should.

use std::sync::atomic::{AtomicUsize, Ordering};

use catalog_core::{Digest, Error, NetError, PushOptions, PushReceipt, S3Options, StageOptions};

use crate::common::{Host, noise};
use crate::wire::{Asked, Server, answer, part, send};
use crate::{catalog, reference, user};

fn stage(server: &Server, text: &str, options: impl FnOnce(&str) -> S3Options) -> Result<(), Error> {
    let host = Host::new();
    let catalog = catalog(&host, &[&server.rule()], options(&server.url("")));
    let staged = catalog.stage(&reference(text), &StageOptions::default());
    assert!(staged.is_ok() || catalog.records().unwrap().is_empty());
    staged.map(drop)
}

fn page(body: String) -> Server {
    Server::new(move |_: &Asked<'_>, stream| send(stream, &answer("200 OK", "", body.as_bytes())))
}

// Each case is red when its check is taken out.
#[test]
fn lists_that_are_none() {
    let problem = |body: &str| match stage(&page(body.into()), "s3://bucket/t/", user).unwrap_err() {
        Error::Net { source: NetError::Malformed { detail, .. }, .. } => detail,
        other => panic!("{other}"),
    };
    let list =
        |contents: &str, more: &str| format!("<ListBucketResult>{contents}<IsTruncated>{more}</ListBucketResult>");
    let object = |key: &str| format!("<Contents><Key>{key}</Key><Size>1</Size><ETag>x</ETag></Contents>");
    let end = "false</IsTruncated>";
    assert!(problem("<html/>").contains("not a list"));
    assert!(problem(&list(&object("u/a"), end)).contains("not below"));
    assert!(problem(&list(&object("t/../../a"), end)).contains("not a plain path"));
    assert!(problem(&list(&(object("t/a") + &object("t/a/b")), end)).contains("a file and a folder"));
    assert!(
        problem(&list("", "true</IsTruncated><NextContinuationToken>x</NextContinuationToken>")).contains("empty page")
    );
    assert!(problem(&list(&object("t/a"), "true</IsTruncated>")).contains("no name"));
    assert!(problem("<!DOCTYPE a [<!ENTITY b \"c\">]><ListBucketResult>&b;</ListBucketResult>").contains("not a list"));
}

// Red when nothing bounds the number of pages.
#[test]
fn pages_without_end() {
    let server = Server::new(|asked: &Asked<'_>, stream| {
        let objects: String = (0..1000)
            .map(|i| {
                let key = format!("t/{}-{i}-{}", asked.number, "x".repeat(900));
                format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>")
            })
            .collect();
        let end = "<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>";
        send(stream, &answer("200 OK", "", format!("<L>{objects}{end}</L>").as_bytes()));
    });
    let error = stage(&server, "s3://bucket/t/", user).unwrap_err();
    assert!(matches!(error, Error::Net { source: NetError::TooLarge { .. }, .. }), "{error}");
}

// Red when a redirect carries a key's signature to another server.
#[test]
fn a_signature_stays_with_its_server() {
    let elsewhere = Server::fixed("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    let location = format!("Location: {}\r\n", elsewhere.url("/bucket/a"));
    let server =
        Server::new(move |_: &Asked<'_>, stream| send(stream, &answer("307 Temporary Redirect", &location, b"")));
    let host = Host::new();
    let catalog =
        catalog(&host, &[&server.rule(), &elsewhere.rule()], user(&server.url("")).with_region("r-1").unwrap());
    catalog.stage(&reference("s3://bucket/a"), &StageOptions::default()).unwrap_err();
    let signed = |heads: Vec<String>| heads.iter().filter(|head| head.contains("authorization: ")).count();
    assert!(signed(server.heads()) > 0);
    assert!(!elsewhere.heads().is_empty());
    assert_eq!(signed(elsewhere.heads()), 0);
    assert!(elsewhere.heads().iter().all(|head| !head.contains("x-amz-")), "{:?}", elsewhere.heads());
}

// Red when a retried request is not signed again: its signature may have expired by then.
#[test]
fn each_time_is_signed_anew() {
    static TIMES: AtomicUsize = AtomicUsize::new(0);
    let content = b"content";
    let server = Server::new(|asked: &Asked<'_>, stream| {
        let bytes = match TIMES.fetch_add(1, Ordering::SeqCst) {
            0 => {
                // Signatures have a resolution of one second.
                std::thread::sleep(std::time::Duration::from_millis(1100));
                answer("503 Slow Down", "", b"<Error><Code>SlowDown</Code></Error>")
            }
            _ if asked.head.starts_with("HEAD ") => {
                let headers = format!("ETag: \"x\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
                format!("HTTP/1.1 200 OK\r\n{headers}").into_bytes()
            }
            _ => part(asked, content, "ETag: \"x\"\r\n"),
        };
        send(stream, &bytes);
    });
    stage(&server, "s3://bucket/a", user).unwrap();
    let heads = server.heads();
    let date = |head: &String| head.lines().find_map(|line| line.strip_prefix("x-amz-date: ")).unwrap().to_owned();
    let signature = |head: &String| head.lines().find(|line| line.starts_with("authorization: ")).unwrap().to_owned();
    assert_ne!(date(&heads[0]), date(&heads[1]));
    assert_ne!(signature(&heads[0]), signature(&heads[1]));
    // Everything sent is signed, range and tag included.
    let last = heads.last().unwrap();
    assert!(last.contains("if-match: \"x\"") && signature(last).contains("if-match;range;"), "{last}");
}

// Red when a checksum is believed without a check, or when the checksum over the parts' checksums is taken for the
// object's.
#[test]
fn a_sum_that_is_wrong() {
    const SUM: &str = "ETag: \"x\"\r\nx-amz-checksum-sha256: LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=\r\n"; // of "hello"
    let with = |kind: &'static str| {
        Server::new(move |asked: &Asked<'_>, stream| {
            let bytes = match asked.head.starts_with("HEAD ") {
                true => format!("HTTP/1.1 200 OK\r\n{SUM}{kind}Content-Length: 5\r\nConnection: close\r\n\r\n").into(),
                false => part(asked, b"hullo", SUM),
            };
            send(stream, &bytes);
        })
    };
    let error = stage(&with("x-amz-checksum-type: FULL_OBJECT\r\n"), "s3://bucket/a", user).unwrap_err();
    assert!(
        matches!(error, Error::DigestMismatch { expected, .. } if expected == Digest::sha256_of(b"hello")),
        "{error}"
    );
    stage(&with("x-amz-checksum-type: COMPOSITE\r\n"), "s3://bucket/a", user).unwrap();
}

/// A server that accepts an upload in parts. If `is_lost`, the answer to its last request never comes. `sum` is the
/// checksum that it then reports for the object.
fn taking(is_lost: bool, sum: &'static str) -> Server {
    let is_done = AtomicUsize::new(0);
    Server::new(move |asked: &Asked<'_>, stream| {
        let (path, query) = asked.path().split_once('?').unwrap_or((asked.path(), ""));
        let is_blob = path.contains("/blobs/") && path.contains(&Digest::sha256_of(&noise(65 << 20, 1)).to_hex());
        let none = || answer("404 Not Found", "", b"<Error><Code>NoSuchKey</Code></Error>");
        let bytes = match asked.head.split(' ').next().unwrap() {
            "HEAD" if is_blob && is_done.load(Ordering::SeqCst) > 0 => {
                let headers =
                    format!("ETag: \"done\"\r\nx-amz-checksum-sha256: {sum}\r\nContent-Length: {}\r\n", 65 << 20);
                format!("HTTP/1.1 200 OK\r\n{headers}Connection: close\r\n\r\n").into_bytes()
            }
            "HEAD" => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
            "POST" if query == "uploads=" => {
                answer("200 OK", "", b"<R><Bucket>b</Bucket><UploadId>an-upload</UploadId></R>")
            }
            "POST" => match is_done.fetch_add(1, Ordering::SeqCst) {
                0 if is_lost => return,
                0 => answer("200 OK", "", b"<R><ETag>&quot;done&quot;</ETag></R>"),
                _ => answer("404 Not Found", "", b"<Error><Code>NoSuchUpload</Code></Error>"),
            },
            "PUT" => answer("200 OK", "ETag: \"a-part\"\r\n", b""),
            "DELETE" => answer("204 No Content", "", b""),
            _ => none(),
        };
        send(stream, &bytes);
    })
}

fn push(server: &Server) -> Result<PushReceipt, Error> {
    let host = Host::new();
    let catalog = catalog(&host, &[&server.rule()], user(&server.url("")));
    let options = StageOptions::default().with_id("a".to_owned());
    catalog.stage(&host.file("a", noise(65 << 20, 1)).into(), &options).unwrap();
    catalog.push("a", &reference("s3://bucket/models"), &PushOptions::default())
}

// Red when the checksum that the server reports is not compared, or when a wrong object is left in the bucket.
#[test]
fn what_has_become_another_object_is_removed() {
    let server = taking(false, "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=-5");
    let error = push(&server).unwrap_err();
    assert!(error.to_string().contains("other than what was sent"), "{error}");
    let is_removed = |head: &String| head.starts_with("DELETE ") && head.contains("if-match: \"done\"");
    assert!(server.heads().iter().any(is_removed), "{:?}", server.heads());
    assert!(server.heads().iter().all(|head| !head.contains("/index.json")), "{:?}", server.heads());
}

// Red when a lost answer counts as a failure, or when it makes us send everything again.
#[test]
fn an_upload_whose_last_answer_is_lost_is_done() {
    let server = taking(true, "its-5");
    push(&server).unwrap();
    let parts = server.heads().iter().filter(|head| head.contains("partNumber=")).count();
    assert_eq!(parts, 5);
}
