//! Bodies that are sent with a request.

use std::io::{self, Read as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use catalog_core::{NetError, Payload, ReadAt};

use crate::client;
use crate::server::{Asked, Server, answer, send};

/// Reads the body of a request.
fn body(asked: &Asked<'_>, stream: &mut TcpStream) -> Vec<u8> {
    if asked.header("expect").is_some() {
        send(stream, b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// A server that keeps the bodies that it receives, and sends `answers` in turn, the last one again and again.
fn keeping(answers: Vec<Vec<u8>>) -> (Server, Arc<Mutex<Vec<Vec<u8>>>>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let own = Arc::clone(&kept);
    let server = Server::new(move |asked, stream| {
        let bytes = body(asked, stream);
        own.lock().unwrap().push(bytes);
        send(stream, answers.get(asked.number).unwrap_or(answers.last().unwrap()));
    });
    (server, kept)
}

struct Bytes(Vec<u8>);

impl ReadAt for Bytes {
    fn name(&self) -> String {
        "bytes".into()
    }

    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        let piece = self.0.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(piece);
        Ok(())
    }
}

fn large() -> Bytes {
    Bytes((0..3_000_000_u32).map(|i| (i >> 7) as u8).collect())
}

// Red when a part is sent from the beginning of the whole, or when the second attempt sends only what the first has
// left.
#[test]
fn a_part_is_sent_whole_each_time() {
    let (server, kept) = keeping(vec![answer("503 Busy", "", b""), answer("201 Created", "", b"")]);
    let (client, large) = (client(&server.rule()), large());
    let put = client.request("PUT", &server.url("/a"));
    let put = put.with_payload(Payload::Part { of: &large, range: 5..2_500_005 });
    assert_eq!(put.send(&()).unwrap().status(), 201);
    let kept = kept.lock().unwrap();
    assert!(kept.len() == 2 && kept.iter().all(|bytes| *bytes == large.0[5..2_500_005]));
    assert_eq!(client.requests(), 2);
    assert!(server.heads().iter().all(|head| head.contains("expect: 100-continue")), "{:?}", server.heads());
}

// Red when a request that must not be repeated is sent twice.
#[test]
fn once_is_once() {
    let (server, kept) = keeping(vec![answer("503 Busy", "", b"")]);
    let client = client(&server.rule());
    let post = client.request("POST", &server.url("/a")).with_payload(Payload::Bytes(b"a".to_vec())).once();
    let error = post.send(&()).unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    assert_eq!(*kept.lock().unwrap(), [b"a"]);
}

// Red when a body is sent to the target of a redirect that allows no body (a 302 for a PUT is an answer), or when a
// possible credential goes along.
#[test]
fn what_is_sent_on() {
    let (other, kept) = keeping(vec![answer("201 Created", "", b"")]);
    for (status, is_sent_on) in [(301, false), (302, false), (303, false), (307, true), (308, true)] {
        let location = format!("Location: {}\r\n", other.url("/b"));
        let (server, _) = keeping(vec![answer(&format!("{status} Elsewhere"), &location, b"")]);
        let client = client(&format!("{},{}", server.rule(), other.rule()));
        let put = client.request("PUT", &server.url("/a")).with_header("authorization", "secret");
        let response = put.with_payload(Payload::Bytes(b"b".to_vec())).send(&()).unwrap();
        assert_eq!(response.status(), if is_sent_on { 201 } else { status });
    }
    assert_eq!(*kept.lock().unwrap(), [b"b", b"b"]);
    assert!(other.heads().iter().all(|head| !head.contains("authorization")), "{:?}", other.heads());
    // If no rule allows the target, nothing is sent.
    let location = format!("Location: {}\r\n", other.url("/b"));
    let (server, _) = keeping(vec![answer("307 Elsewhere", &location, b"")]);
    let client = client(&server.rule());
    let put = client.request("PUT", &server.url("/a")).with_payload(Payload::Bytes(b"c".to_vec()));
    assert!(put.send(&()).unwrap_err().is_refused());
    assert_eq!(kept.lock().unwrap().len(), 2);
}

// Red when a local file that cannot be read counts as a connection that may work the next time.
#[test]
fn what_cannot_be_read_is_not_sent_again() {
    let server = Server::new(|_, stream| {
        send(stream, b"HTTP/1.1 100 Continue\r\n\r\n");
        let _ = io::copy(&mut stream.take(3_000_000), &mut io::sink());
    });
    let (client, large) = (client(&server.rule()), large());
    let put = client.request("PUT", &server.url("/a"));
    let error = put.with_payload(Payload::Part { of: &large, range: 0..3_000_001 }).send(&()).unwrap_err();
    assert!(!error.is_unreachable() && error.to_string().contains("bytes"), "{error}");
    assert_eq!(server.connections(), 1);
}

// Red when everything is sent to a server that has already refused it.
#[test]
fn a_server_that_refuses_is_sent_nothing() {
    let server = Server::new(|_, stream| send(stream, &answer("403 Forbidden", "", b"")));
    let (client, large) = (client(&server.rule()), large());
    let put = client.request("PUT", &server.url("/a"));
    let response = put.with_payload(Payload::Part { of: &large, range: 0..3_000_000 }).send(&()).unwrap();
    assert!(matches!(response.into_error().net(), Some(NetError::Denied { .. })));
}
