//! Secrets go to the server that they are for, and to no other.

use std::sync::Arc;

use catalog_core::{Client, Cx, HttpSource, ModelRef, RemoteReader, Source as _, Sources};

use crate::server::{Server, answer, part, redirect, send};
use crate::{client, policy, quick};

// Red when `Request::headers` sends all headers on every hop: the other server gets them.
#[test]
fn credentials_stay_with_their_origin() {
    let store = Server::fixed(String::from_utf8(answer("200 OK", "", b"x")).unwrap());
    let target = store.url("/signed?X-Signature=1");
    let hub = Server::new(move |asked, stream| {
        let next = if asked.path() == "/first" { "/second".to_owned() } else { target.clone() };
        send(stream, &redirect(&next));
    });
    let client = client(&format!("{} {}", hub.rule(), store.rule()));
    let secrets = ["authorization", "cookie", "x-api-key", "x-amz-security-token"];
    let mut request = client.get_range(&hub.url("/first"), 0..10, None).with_header("Accept", "x/y");
    for name in secrets {
        request = request.with_header(name, "secret");
    }
    request.send(&()).unwrap();
    for head in hub.heads() {
        assert!(secrets.iter().all(|name| head.contains(&format!("\n{name}: secret"))), "{head}");
    }
    let heads = store.heads();
    assert!(heads.len() == 1 && !heads[0].contains("secret"), "{heads:?}");
    // Headers about the part go along.
    assert!(heads[0].contains("\nrange: bytes=0-9") && heads[0].contains("\naccept: x/y"), "{heads:?}");
    assert_eq!(hub.heads().len(), 2);
}

// Red when each hop is compared with the origin afresh: the other server could redirect back to it, wherever it likes.
#[test]
fn who_has_left_does_not_get_them_back() {
    let hub_port = std::sync::Arc::new(std::sync::OnceLock::new());
    let own = std::sync::Arc::clone(&hub_port);
    let store = Server::new(move |_, stream| {
        send(stream, &redirect(&format!("http://127.0.0.1:{}/back", own.get().unwrap())));
    });
    let target = store.url("/");
    let hub = Server::new(move |asked, stream| match asked.path() {
        "/back" => send(stream, &answer("200 OK", "", b"")),
        _ => send(stream, &redirect(&target)),
    });
    hub_port.set(hub.port).unwrap();
    let client = client(&format!("{} {}", hub.rule(), store.rule()));
    client.get(&hub.url("/")).with_header("authorization", "secret").send(&()).unwrap();
    let heads = hub.heads();
    assert!(heads[0].contains("secret") && !heads[1].contains("secret"), "{heads:?}");
}

#[test]
fn an_error_does_not_say_what_is_secret() {
    let server = Server::fixed("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let response = client(&server.rule()).get(&server.url("/x?token=secret")).send(&()).unwrap();
    let error = response.into_error().to_string();
    assert!(!error.contains("secret") && error.contains("/x?…"), "{error}");
    let error = client(&server.rule()).get("http://user:secret@127.0.0.1:1/").send(&()).unwrap_err().to_string();
    assert!(!error.contains("secret"), "{error}");
}

// Red when one of these derives `Debug`: each has a query, a password or a header.
#[test]
fn debug_does_not_say_what_is_secret() {
    let server = Server::new(|asked, stream| {
        send(stream, &part(asked, b"some bytes", "ETag: \"one\"\r\nSet-Cookie: a=secret\r\nLocation: /?secret\r\n"));
    });
    let url = server.url("/a?X-Signature=secret");
    let mut options = quick();
    options.proxies.https = Some("http://user:secret@127.0.0.1:1".into());
    let client = Client::new(policy(&server.rule()), options.clone()).unwrap();
    let sources = Sources::with_options(policy(&server.rule()), options.clone()).unwrap().http();
    let (reference, cx) = (ModelRef::parse(&url).unwrap(), Cx::new(&client, &()));
    let source = Arc::new(HttpSource::new());
    let listing = source.resolve(&reference, &cx).unwrap();
    let file = listing.files[0].clone();
    let opened = source.open(&file, 0..5, &cx).unwrap();
    let request = client.get(&url).with_header("authorization", "secret");
    let response = request.send(&()).unwrap();
    let (error, no_reference) = (
        ModelRef::parse("ftp://user:secret@a.example/a?secret").unwrap_err(),
        client.get("https://a b/?secret").send(&()).unwrap_err(),
    );
    let reader = RemoteReader::new(source.clone(), file.clone(), client.clone(), Arc::new(())).unwrap();
    for words in [
        format!("{options:?} {client:?} {sources:?} {cx:?}"),
        format!("{reference:?} {listing:?} {file:?} {opened:?} {reader:?}"),
        format!("{request:?} {response:?} {:?}", response.validator()),
        format!("{error:?} {error} {no_reference:?} {no_reference}"),
        format!("{:?}", response.into_body()),
    ] {
        assert!(!words.contains("secret"), "{words}");
    }
}
