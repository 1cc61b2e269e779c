//! Answers that never end, say nothing, or are not what was asked for.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use catalog_core::{Cancel, Client, NetError};

use crate::server::{Server, answer, send};
use crate::{Told, client, get, policy, quick};

fn net(error: &catalog_core::Error) -> &NetError {
    error.net().unwrap_or_else(|| panic!("{error}"))
}

// Red when `Response::read_body` does not compare what it has read with the limit.
#[test]
fn what_is_too_large_is_given_up() {
    for header in ["X-Header: x\r\n", "x"] {
        let bomb = Server::new(move |_, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ");
            while stream.write_all(header.as_bytes()).is_ok() {}
        });
        let error = get(&client(&bomb.rule()), &bomb.url("/")).unwrap_err();
        assert!(matches!(net(&error), NetError::TooLarge { .. } | NetError::Malformed { .. }), "{error}");
        assert_eq!(bomb.connections(), 1);
    }

    let endless = Server::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let response = client(&endless.rule()).get(&endless.url("/")).send(&()).unwrap();
    let error = response.bytes(100_000).unwrap_err();
    assert!(matches!(net(&error), NetError::TooLarge { limit_bytes: 100_000, .. }), "{error}");
}

// Red without `timeout_per_read` and `timeout_recv_response`: the client waits for ever.
#[test]
fn a_server_that_says_nothing_is_given_up() {
    let server = Server::new(|asked, stream| {
        if asked.path() == "/half" {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        }
        let _ = std::io::Read::read(stream, &mut [0]);
    });
    let mut options = quick();
    options.idle_timeout = Duration::from_millis(200);
    let client = Client::new(policy(&server.rule()), options).unwrap();
    let error = get(&client, &server.url("/")).unwrap_err();
    assert!(matches!(net(&error), NetError::Unreachable { attempts: 3, .. }), "{error}");
    let response = client.get(&server.url("/half")).send(&()).unwrap();
    assert!(response.bytes(10).unwrap_err().is_unreachable());
}

// Red without `pace::Minimum`: each byte arrives in time, but the last one never.
#[test]
fn a_drip_is_given_up() {
    let server = Server::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let mut options = quick();
    options.min_rate_window = Duration::from_millis(300);
    let client = Client::new(policy(&server.rule()), options).unwrap();
    let error = client.get(&server.url("/")).send(&()).unwrap().bytes(1 << 20).unwrap_err();
    assert!(error.is_unreachable() && error.to_string().contains("too slowly"), "{error}");
}

// Red when `agent::Cancelled` does not check the flag: the server holds the connection until the timeout of 30 s.
#[test]
fn a_silent_server_does_not_hold_what_is_cancelled() {
    let server = Server::new(|_, stream| {
        let _ = std::io::Read::read(stream, &mut [0]);
    });
    let cancel = Cancel::new();
    let mut options = quick().with_cancel(cancel.clone());
    options.idle_timeout = Duration::from_secs(100_000);
    let client = Client::new(policy(&server.rule()), options).unwrap();
    let error = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| get(&client, &server.url("/")).unwrap_err());
        crate::common::wait_until("the server was asked", || !server.heads().is_empty());
        cancel.cancel();
        waiting.join().unwrap()
    });
    assert!(error.is_cancelled(), "{error}");
}

// Red when the header is ignored: the bytes of a gzip stream would become the file.
#[test]
fn an_encoding_that_was_not_asked_for_is_refused() {
    for coding in ["gzip", "br", "zstd", "x"] {
        let server = Server::new(move |asked, stream| {
            assert_eq!(asked.header("accept-encoding"), Some("identity"));
            send(stream, &answer("200 OK", &format!("Content-Encoding: {coding}\r\n"), b"x"));
        });
        let error = get(&client(&server.rule()), &server.url("/")).unwrap_err();
        assert!(matches!(net(&error), NetError::Malformed { .. }), "{error}");
    }
    let server = Server::new(|_, stream| send(stream, &answer("200 OK", "Content-Encoding: identity\r\n", b"x")));
    get(&client(&server.rule()), &server.url("/")).unwrap();
}

// Red when the encoding is checked before the status: an encoded error is then no answer at all, and an encoded
// redirect leads nowhere.
#[test]
fn what_is_no_content_may_be_encoded() {
    let server = Server::new(|asked, stream| {
        let packed = "Content-Encoding: gzip\r\nContent-Type: text/plain\r\n";
        send(
            stream,
            &match (asked.path(), asked.number) {
                ("/sent", _) => answer("302 Found", &format!("{packed}Location: /none\r\n"), b"\x1f\x8b"),
                ("/busy", 0) => answer("503 Busy", packed, b"\x1f\x8b"),
                ("/busy", _) => answer("200 OK", "", b"here"),
                _ => answer("404 Not Found", packed, b"\x1f\x8b"),
            },
        );
    });
    let client = client(&server.rule());
    assert_eq!(get(&client, &server.url("/busy")).unwrap(), 200);
    for path in ["/none", "/sent"] {
        let error = client.get(&server.url(path)).send(&()).unwrap().ok().unwrap_err();
        assert!(error.is_not_found() && !error.to_string().contains('\x1f'), "{error}");
    }
}

// Red when `retry::is_passing` returns false.
#[test]
fn what_passes_is_asked_again_and_told() {
    let server = Server::new(|asked, stream| match asked.number {
        0 => send(stream, &answer("503 Busy", "Content-Type: text/plain\r\n", b"come back\n")),
        1 => send(stream, &answer("429 Slow", "Retry-After: 0\r\nRateLimit: \"api\";r=0;t=0\r\n", b"")),
        _ => send(stream, &answer("200 OK", "", b"here")),
    });
    let told = Told::default();
    let response = client(&server.rule()).get(&server.url("/")).send(&told).unwrap();
    assert_eq!(response.bytes(10).unwrap(), b"here");
    assert_eq!(told.words(), ["the server says 503: come back", "the server says 429"]);
}

// Red when a body that breaks off is returned as it is, or not requested again.
#[test]
fn a_body_that_breaks_off_is_asked_for_again() {
    let server = Server::new(|asked, stream| {
        let mut bytes = answer("200 OK", "Link: <x>\r\n", b"whole");
        bytes.truncate(bytes.len() - 2 + 2 * usize::from(asked.path() == "/whole" && asked.number == 2));
        send(stream, &bytes);
    });
    let told = Told::default();
    let client = client(&server.rule());
    let (response, bytes) = client.get(&server.url("/whole")).read(5, &told).unwrap();
    assert_eq!((response.header("link"), bytes.as_slice()), (Some("<x>"), &b"whole"[..]));
    assert_eq!(told.words().len(), 2);
    assert!(client.get(&server.url("/never")).read(5, &told).unwrap_err().is_unreachable());
}

#[test]
fn asking_again_has_an_end() {
    let server = Server::new(|_, stream| send(stream, &answer("502 Bad", "", b"")));
    let error = get(&client(&server.rule()), &server.url("/")).unwrap_err();
    assert!(error.to_string().ends_with("the server says 502 (tried 3 times)"), "{error}");
    assert_eq!(server.connections(), 3);
    // A server that asks for an hour's pause is believed at once.
    let server = Server::new(|_, stream| send(stream, &answer("429 Slow", "Retry-After: 3600\r\n", b"")));
    let error = get(&client(&server.rule()), &server.url("/")).unwrap_err();
    assert!(error.is_unreachable() && error.to_string().contains("try again in 3600 s"), "{error}");
    assert_eq!(server.connections(), 1);
    // Nothing listens on this port.
    let gone = Server::unvisited();
    let (rule, url) = (gone.rule(), gone.url("/"));
    drop(gone);
    assert!(get(&client(&rule), &url).unwrap_err().is_unreachable());
}

#[test]
fn what_does_not_pass_is_asked_once() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let server = Server::new(|asked, stream| {
        ASKED.fetch_add(1, Ordering::SeqCst);
        let status = asked.path().trim_start_matches('/').to_owned();
        let headers = "X-Request-Id: Root=1-a\r\nX-Error-Message: Access is restricted\r\n";
        send(stream, &answer(&format!("{status} X"), headers, b""));
    });
    let client = client(&server.rule());
    let error = |status: &str| client.get(&server.url(&format!("/{status}"))).send(&()).unwrap().ok().unwrap_err();
    for (status, is) in [
        ("401", catalog_core::Error::is_denied as fn(&catalog_core::Error) -> bool),
        ("403", catalog_core::Error::is_denied),
        ("404", catalog_core::Error::is_not_found),
        ("410", catalog_core::Error::is_not_found),
    ] {
        let error = error(status);
        assert!(is(&error), "{error}");
        let text = error.to_string();
        assert!(text.contains("Access is restricted") && text.contains("request id Root=1-a"), "{text}");
    }
    assert!(matches!(net(&error("418")), NetError::Status { status: 418, .. }));
    assert_eq!(ASKED.load(Ordering::SeqCst), 5);
}

#[test]
fn what_is_no_http_is_an_error() {
    for bytes in ["SSH-2.0-OpenSSH\r\n\r\n", "HTTP/9.9 200 OK\r\n\r\n", "HTTP/1.1 xxx\r\n\r\n", "\0\0\0\r\n\r\n"] {
        let server = Server::fixed(bytes);
        assert!(get(&client(&server.rule()), &server.url("/")).is_err(), "{bytes:?}");
    }
}
