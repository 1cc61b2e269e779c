//! A file in parts, from servers that do not keep their word.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use catalog_core::{
    Cancel, Cx, Error, HttpSource, ModelRef, NetError, ReadAt as _, RemoteReader, Source, Sources, StageOptions,
    Validator,
};

use crate::common::{Host, noise};
use crate::server::{Asked, Server, answer, part, redirect, send};
use crate::{Told, client, policy, quick, read, reader, resolve};

const TAG: &str = "ETag: \"one\"\r\n";

fn content() -> Vec<u8> {
    noise(300_000, 7)
}

/// A good server, except that `lie` may change its answers after the first.
fn server(lie: impl Fn(&Asked<'_>, &[u8]) -> Option<Vec<u8>> + Send + Sync + 'static) -> Server {
    let content = content();
    Server::new(move |asked, stream| {
        let lied = if asked.number == 0 { None } else { lie(asked, &content) };
        send(stream, &lied.unwrap_or_else(|| part(asked, &content, TAG)));
    })
}

/// The result of reading the second 100,000 bytes.
fn outcome(server: &Server) -> Result<Vec<u8>, Error> {
    let client = client(&server.rule());
    read(&reader(&client, &server.url("/a.gguf"), &Told::default())?, 100_000, 100_000)
}

fn assert_second(bytes: &[u8]) {
    assert!(bytes == &content()[100_000..200_000], "other bytes");
}

#[test]
fn size_and_validator_are_those_of_the_first_part() {
    // The server would refuse a HEAD.
    let server = server(|asked, _| asked.head.starts_with("HEAD").then(|| answer("405 No", "", b"")));
    let listing = resolve(&client(&server.rule()), &server.url("/models/a.gguf?x")).unwrap();
    let file = &listing.files[0];
    assert_eq!((file.path.as_str(), file.size_bytes, file.has_ranges), ("a.gguf", Some(300_000), true));
    assert_eq!(file.validator, Some(Validator::Etag("\"one\"".into())));
    assert_eq!((listing.pinned.as_deref(), listing.immutable), (Some("\"one\""), false));
    assert_second(&outcome(&server).unwrap());
    // Every body is requested by a range that ends, and later ones only if the file is still the same.
    let heads = server.heads();
    assert!(heads.iter().all(|head| head.starts_with("GET ") && head.contains("\nrange: bytes=")), "{heads:?}");
    assert!(heads[2].contains("\nrange: bytes=100000-199999\n") && heads[2].contains("\nif-range: \"one\"\n"));
}

// Red when parts are requested one by one although nothing tells versions apart: the second is from another version.
#[test]
fn without_a_validator_it_is_one_stream() {
    let server = Server::new(|asked, stream| {
        let content = noise(300_000, if asked.number < 2 { 7 } else { 8 });
        send(stream, &part(asked, &content, ""));
    });
    let reader = reader(&client(&server.rule()), &server.url("/a.gguf"), &Told::default()).unwrap();
    let mut read_bytes = Vec::new();
    for offset in [0, 100_000, 200_000] {
        read_bytes.extend(read(&reader, offset, 100_000).unwrap());
    }
    assert!(read_bytes == content(), "other bytes");
    assert_eq!(server.heads().len(), 2, "the first byte, and the stream");
    read(&reader, 0, 10).unwrap_err();
}

#[test]
fn an_empty_file_has_no_part() {
    let server = Server::new(|asked, stream| send(stream, &part(asked, b"", TAG)));
    let listing = resolve(&client(&server.rule()), &server.url("/empty")).unwrap();
    assert_eq!(listing.files[0].size_bytes, Some(0));
}

#[test]
fn without_a_size_there_is_no_file() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nx",
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/*\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-5/10\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 416 No\r\nContent-Range: bytes */7\r\nContent-Length: 0\r\n\r\n",
    ] {
        let server = Server::fixed(answer);
        let error = resolve(&client(&server.rule()), &server.url("/a")).unwrap_err();
        assert_eq!(error.net(), Some(&NetError::NoSize), "{error}");
    }
}

fn ranged(range: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    answer("206 Partial Content", &format!("{headers}Content-Range: {range}\r\n"), body)
}

// Red when `check_part` does not compare the range: the shifted one gives wrong bytes.
#[test]
fn another_range_than_was_asked_for_is_an_error() {
    type Lie = fn(&[u8]) -> Vec<u8>;
    let lies: [(&str, Lie); 7] = [
        ("shifted", |c| ranged("bytes 100007-200006/300000", TAG, &c[100_007..200_007])),
        ("shorter", |c| ranged("bytes 100000-199998/300000", TAG, &c[100_000..199_999])),
        ("longer", |c| ranged("bytes 100000-200000/300000", TAG, &c[100_000..200_001])),
        ("nothing said", |c| answer("206 Partial Content", TAG, &c[..100_000])),
        ("no sense", |c| ranged("bytes 100000-199999", TAG, &c[..100_000])),
        ("fewer bytes than it says", |c| ranged("bytes 100000-199999/300000", TAG, &c[100_000..150_000])),
        ("several parts", |_| {
            answer("206 Partial Content", &format!("{TAG}Content-Type: multipart/byteranges; boundary=x\r\n"), b"--x")
        }),
    ];
    for (what, lie) in lies {
        let error = outcome(&server(move |_, content| Some(lie(content)))).unwrap_err();
        assert!(matches!(error.net(), Some(NetError::Malformed { .. })), "{what}: {error}");
    }
}

// Red when `check_part` and `check_whole` do not compare size and validator: parts of two versions are combined.
#[test]
fn another_version_is_an_error() {
    type Lie = fn(&Asked<'_>, &[u8]) -> Vec<u8>;
    let lies: [(&str, Lie); 6] = [
        ("If-Range is obeyed", |_, c| answer("200 OK", "ETag: \"two\"\r\n", c)),
        ("If-Range is ignored", |asked, c| part(asked, c, "ETag: \"two\"\r\n")),
        ("it has grown", |_, c| ranged("bytes 100000-199999/300001", TAG, &c[100_000..200_000])),
        ("all of it, larger", |_, c| answer("200 OK", TAG, &[c, b"x"].concat())),
        ("it is shorter than the part", |_, _| answer("416 No", "Content-Range: bytes */5\r\n", b"")),
        ("a weak tag now", |asked, c| part(asked, c, "ETag: W/\"one\"\r\n")),
    ];
    for (what, lie) in lies {
        let error = outcome(&server(move |asked, content| Some(lie(asked, content)))).unwrap_err();
        assert!(matches!(error.net(), Some(NetError::Changed { .. })), "{what}: {error}");
    }
}

// Red when the validator is not learnt: the second part is from another version.
#[test]
fn a_validator_is_learnt_from_the_first_part_that_has_one() {
    let server = Server::new(|asked, stream| {
        let tag = match asked.number {
            0 => "",
            1 => "ETag: \"one\"\r\n",
            _ => "ETag: \"two\"\r\n",
        };
        send(stream, &part(asked, &content(), tag));
    });
    let client = client(&server.rule());
    let reader = reader(&client, &server.url("/"), &Told::default()).unwrap();
    assert_second(&read(&reader, 100_000, 100_000).unwrap());
    let error = read(&reader, 0, 10).unwrap_err();
    assert!(matches!(error.net(), Some(NetError::Changed { .. })), "{error}");
}

// Red when the received bytes of a part are thrown away: the whole part is requested again, and its end is never
// reached.
#[test]
fn a_part_that_breaks_off_goes_on_where_it_was() {
    let server = server(|asked, content| {
        let mut bytes = part(asked, content, TAG);
        let body = asked.range().map_or(0, |(first, end)| end - first);
        bytes.truncate(bytes.len() - body + body.min(40_000));
        Some(bytes)
    });
    let told = Told::default();
    let client = client(&server.rule());
    let reader = reader(&client, &server.url("/a"), &told).unwrap();
    assert_second(&read(&reader, 100_000, 100_000).unwrap());
    let ranges: Vec<String> = server
        .heads()
        .iter()
        .map(|head| head.split("range: bytes=").nth(1).unwrap().lines().next().unwrap().into())
        .collect();
    assert_eq!(ranges, ["0-0", "100000-199999", "140000-199999", "180000-199999"]);
    assert_eq!(told.words().len(), 2, "{:?}", told.words());
}

#[test]
fn breaking_off_has_an_end() {
    let server = server(|asked, content| {
        let mut bytes = part(asked, content, TAG);
        bytes.truncate(bytes.len() - 90_000 - 9_999);
        Some(bytes)
    });
    assert!(outcome(&server).unwrap_err().is_unreachable());
    assert_eq!(server.connections(), 1 + 3);
}

// Red when a stream is restarted although nothing tells versions apart.
#[test]
fn from_a_server_without_parts_it_is_one_stream() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let whole = |headers: &'static str, count: Arc<AtomicUsize>| {
        Server::new(move |_, stream| {
            count.fetch_add(1, Ordering::SeqCst);
            send(stream, &answer("200 OK", headers, &content()));
        })
    };
    let plain = whole("", count);
    let client = client(&plain.rule());
    let reader_of = |server: &Server| reader(&client, &server.url("/a"), &Told::default()).unwrap();
    let reader = reader_of(&plain);
    let mut all = Vec::new();
    for offset in (0..300_000).step_by(100_000) {
        all.extend(read(&reader, offset, 100_000).unwrap());
    }
    assert!(all == content());
    assert_eq!(asked.load(Ordering::SeqCst), 2, "once to resolve, once to read");
    // Nothing would reveal a difference the second time.
    assert_eq!(read(&reader, 0, 1).unwrap_err().net(), Some(&NetError::NoRanges));
    drop(plain);

    let tagged = whole(TAG, Arc::new(AtomicUsize::new(0)));
    let client = crate::client(&tagged.rule());
    let reader = crate::reader(&client, &tagged.url("/a"), &Told::default()).unwrap();
    assert_second(&read(&reader, 100_000, 100_000).unwrap());
    assert_eq!(read(&reader, 0, 10).unwrap(), content()[..10]);
}

#[test]
fn a_server_may_cease_to_give_parts() {
    let server = server(|_, content| Some(answer("200 OK", TAG, content)));
    assert_second(&outcome(&server).unwrap());
}

// Red when the next range does not continue an answer that is the whole file (it is requested again, four heads), or
// when the second reader joins the first one's stream and skips forward in it.
#[test]
fn two_readers_find_out_that_there_are_no_parts() {
    let both_asked = Arc::new(Barrier::new(2));
    let server = Server::new(move |asked, stream| match asked.number {
        0 => send(stream, &part(asked, &content(), TAG)),
        number => {
            // Neither of the two knows the other's answer when it asks.
            if number < 3 {
                both_asked.wait();
            }
            send(stream, &answer("200 OK", TAG, &content()));
        }
    });
    let reader = reader(&client(&server.rule()), &server.url("/a"), &Told::default()).unwrap().with_connections(4);
    let range = |start: u64, end: u64| {
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 30_000]);
        let outcome = reader.read_range(start..end, &mut buffer, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        });
        outcome.map(|()| bytes).map_err(|error| error.kind())
    };
    assert_eq!(reader.connections(), 4);
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| range(100_000, 200_000));
        (range(0, 100_000), second.join().unwrap())
    });
    assert_eq!((second, reader.connections()), (Err(std::io::ErrorKind::Unsupported), 1));
    let (second, third) = std::thread::scope(|scope| {
        let second = scope.spawn(|| range(100_000, 200_000)).join().unwrap();
        (second, range(200_000, 300_000))
    });
    assert!([first, second, third].map(Result::unwrap).concat() == content(), "other bytes");
    assert_eq!(server.heads().len(), 3, "one to resolve, and one for each reader");
}

// Red when the target of a redirect is kept for ever: after two parts, the third is denied.
#[test]
fn a_place_that_expires_is_asked_for_again() {
    let store = Server::new(|asked, stream| {
        // Each signature is good for two parts.
        let bytes = if asked.number % 3 == 2 { answer("403 Expired", "", b"") } else { part(asked, &content(), TAG) };
        send(stream, &bytes);
    });
    let target = store.url("/signed");
    let hub = Server::new(move |asked, stream| send(stream, &redirect(&format!("{target}?s={}", asked.number))));
    let client = client(&format!("{} {}", hub.rule(), store.rule()));
    let reader = reader(&client, &hub.url("/a"), &Told::default()).unwrap();
    for offset in [0, 100_000, 200_000, 0, 100_000] {
        assert!(read(&reader, offset, 100_000).unwrap() == content()[offset as usize..][..100_000]);
    }
    assert!(hub.connections() < store.connections(), "{} {}", hub.connections(), store.connections());
}

// Red when the target of a redirect outlives its resolution: the second reader goes where the first one went.
#[test]
fn a_place_is_that_of_one_version() {
    let store = Server::new(|asked, stream| {
        let (seed, tag) = if asked.path() == "/one" { (7, "ETag: \"one\"\r\n") } else { (8, "ETag: \"two\"\r\n") };
        send(stream, &part(asked, &noise(300_000, seed), tag));
    });
    let target = store.url("/");
    let is_new = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&is_new);
    let hub = Server::new(move |_, stream| {
        let name = if now.load(Ordering::SeqCst) { "two" } else { "one" };
        send(stream, &redirect(&format!("{target}{name}")));
    });
    let client = client(&format!("{} {}", hub.rule(), store.rule()));
    let source: Arc<dyn Source> = Arc::new(HttpSource::new());
    for seed in [7, 8] {
        is_new.store(seed == 8, Ordering::SeqCst);
        let url = ModelRef::parse(&hub.url("/a")).unwrap();
        let file = source.resolve(&url, &Cx::new(&client, &())).unwrap().files.remove(0);
        let reader = RemoteReader::new(source.clone(), file, client.clone(), Arc::new(())).unwrap();
        for offset in [0, 100_000] {
            let bytes = read(&reader, offset, 100_000).unwrap();
            assert!(bytes == noise(300_000, seed)[offset as usize..][..100_000], "{seed} {offset}");
        }
    }
    // Once to resolve, once to read.
    assert_eq!(hub.heads().len(), 4);
}

// Red when nothing checks where a stream ends: it has more bytes than the file had, so it belongs to neither version.
#[test]
fn a_stream_that_is_longer_has_changed() {
    let longer = |more: &'static [u8]| {
        Server::new(move |asked, stream| match asked.number {
            0 => send(stream, &part(asked, &content(), TAG)),
            // The body ends when the connection does.
            _ => {
                send(stream, format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{TAG}\r\n").as_bytes());
                send(stream, &[&content(), more].concat());
            }
        })
    };
    let read_all = |server: &Server| {
        let client = client(&server.rule());
        read(&reader(&client, &server.url("/a"), &Told::default())?, 0, 300_000)
    };
    assert!(read_all(&longer(b"")).unwrap() == content());
    let error = read_all(&longer(b"x")).unwrap_err();
    assert!(matches!(error.net(), Some(NetError::Changed { .. })), "{error}");
}

// Red when only the date is pinned: another file with the same second, such as one that was moved there, would count as
// the same.
#[test]
fn a_date_is_pinned_with_the_size() {
    let server = Server::new(|asked, stream| {
        let length = if asked.number == 0 { 300 } else { 301 };
        let dated = "Last-Modified: Mon, 02 Jan 2023 03:04:05 GMT\r\n";
        send(stream, &part(asked, &content()[..length], dated));
    });
    let pinned = || resolve(&client(&server.rule()), &server.url("/a")).unwrap().pinned.unwrap();
    assert_eq!([pinned(), pinned()], ["300 Mon, 02 Jan 2023 03:04:05 GMT", "301 Mon, 02 Jan 2023 03:04:05 GMT"]);
}

// Red when the first byte of a file, or the body of a redirect, is not read: its connection cannot be used again.
#[test]
fn connections_are_used_again() {
    let store = Server::keeping(|asked| part(asked, &content(), TAG));
    let target = store.url("/a");
    let hub = Server::keeping(move |_| answer("302 Found", &format!("Location: {target}\r\n"), b"it is elsewhere"));
    let client = client(&format!("{} {}", hub.rule(), store.rule()));
    for _ in 0..3 {
        let reader = reader(&client, &hub.url("/a"), &Told::default()).unwrap();
        assert_second(&read(&reader, 100_000, 100_000).unwrap());
    }
    assert_eq!((hub.heads().len(), store.heads().len()), (6, 6));
    assert_eq!((hub.connections(), store.connections()), (1, 1));
}

// Red when each call or each `Cancel` has a client of its own: two calls then have two connections, and twice the rate.
#[test]
fn one_client_does_the_work_of_several_calls() {
    let server = Server::keeping(|asked| part(asked, &content(), TAG));
    let host = Host::new();
    let sources = Sources::with_options(policy(&server.rule()), quick()).unwrap().http();
    let catalog = host.catalog().with_sources(sources);
    let stage = |path: &str, cancel: &Cancel| {
        let options = StageOptions::default().with_cancel(cancel.clone());
        catalog.stage(&ModelRef::parse(&server.url(path)).unwrap(), &options)
    };
    let (one, two) = (Cancel::new(), Cancel::new());
    stage("/a", &one).unwrap();
    stage("/b", &two).unwrap();
    // Cancelling one call does not end the other, although both have used the same connection.
    one.cancel();
    assert!(stage("/c", &one).unwrap_err().is_cancelled());
    stage("/d", &two).unwrap();
    assert_eq!((server.connections(), server.heads().len()), (1, 6));
}

#[test]
fn past_the_end_is_an_error() {
    let server = server(|_, _| None);
    let client = client(&server.rule());
    let reader = reader(&client, &server.url("/a?secret"), &Told::default()).unwrap();
    assert!(read(&reader, 299_999, 2).is_err() && read(&reader, u64::MAX, 2).is_err());
    assert_eq!(server.connections(), 1);
    // The name contains no query, but differs for another query.
    assert!(!reader.name().contains("secret"), "{}", reader.name());
    assert_ne!(reader.name(), crate::reader(&client, &server.url("/a?other"), &Told::default()).unwrap().name());
}
