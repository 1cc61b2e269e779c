//! Mirrors of web servers: what they send is right in the end, and what they do not send comes from the server itself.

use std::fs;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use catalog_core::{
    Cancel, ClientOptions, Digest, Error, Event, FsCatalog, ModelRef, Sources, StageOptions, StageReceipt,
};

use crate::common::{Host, noise, wait_until};
use crate::nginx::Nginx;
use crate::server::{Asked, Server, answer, part, redirect, send};
use crate::{policy, quick};

const MIB: usize = 1 << 20;
const TAG: &str = "ETag: \"one\"\r\n";

/// What the mirror sends instead.
type Lie = fn(&Asked<'_>, &[u8]) -> Vec<u8>;

/// Every mirror that was left, and every retry.
type Told = Arc<Mutex<Vec<String>>>;

/// A catalog that asks these mirrors for what is on the server.
fn catalog(host: &Host, rules: &str, server: &str, mirrors: &[String], options: ClientOptions) -> FsCatalog {
    let sources = Sources::with_options(policy(rules), options).unwrap().http();
    host.catalog().with_sources(sources.with_mirrors(server, mirrors).unwrap())
}

fn stage(catalog: &FsCatalog, url: &str, content: &[u8], told: &Told) -> Result<StageReceipt, Error> {
    let told = Arc::clone(told);
    let options =
        StageOptions::default().with_digest(Digest::sha256_of(content)).with_observer(move |event: &Event<'_>| {
            let words = match event {
                Event::AskedElsewhere { what, why, .. } => format!("left {what}: {why}"),
                Event::Refetching { .. } => "refetching".to_owned(),
                Event::Retrying { why, .. } => format!("retrying: {why}"),
                _ => return,
            };
            told.lock().unwrap().push(words);
        });
    catalog.stage(&ModelRef::parse(url).unwrap(), &options)
}

/// A server of this content.
fn good(content: &[u8]) -> Server {
    let content = content.to_vec();
    Server::new(move |asked, stream| send(stream, &part(asked, &content, TAG)))
}

/// A server with a file of one MiB under each number.
fn many() -> Server {
    Server::new(|asked, stream| {
        let seed = asked.path()[1..].split('?').next().unwrap().parse().unwrap();
        send(stream, &part(asked, &noise(MIB, seed), TAG));
    })
}

/// How many body bytes a server has sent according to its log, apart from the byte that asks for the size.
fn sent(nginx: &Nginx) -> usize {
    let log = fs::read_to_string(nginx.host.path("access.log")).unwrap_or_default();
    let bytes = log.lines().filter_map(|line| line.split('"').nth(2)?.split(' ').nth(2)?.parse::<usize>().ok());
    bytes.filter(|bytes| *bytes > 1).sum()
}

/// An nginx that writes a log; `rate` may limit each connection to a MiB a second.
fn logging(content: &[u8], rate: &str) -> Option<Nginx> {
    let host = Host::new();
    host.file("files/a.gguf", content);
    // Another time, so it has another validator.
    fs::create_dir_all(host.path("files/below")).unwrap();
    fs::write(host.path("files/below/a.gguf"), content).unwrap();
    let log = host.path("access.log");
    Nginx::start(host, "", &format!("access_log {}; {rate}", log.display()))
}

// Red when received bytes are fetched again, when the fetch fails together with its mirror, or when the mirror's
// validator is compared with the server's.
#[test]
fn a_mirror_that_is_killed_in_the_middle() {
    let content = noise(64 * MIB, 1);
    let (Some(origin), Some(mut mirror)) = (logging(&content, ""), logging(&content, "limit_rate 8m;")) else { return };
    let host = Host::new();
    let rules = format!("{},{}", origin.rule(), mirror.rule());
    let catalog = catalog(&host, &rules, &origin.rule(), &[mirror.url("/below")], quick());
    let (url, told) = (origin.url("/a.gguf"), Told::default());
    let staged = std::thread::scope(|scope| {
        let staging = scope.spawn(|| stage(&catalog, &url, &content, &told));
        wait_until("the mirror has sent a part", || sent(&mirror) > 0);
        mirror.running.0.kill().unwrap();
        mirror.running.0.wait().unwrap();
        staging.join().unwrap()
    });
    let receipt = staged.unwrap();
    assert!(fs::read(&receipt.local_path).unwrap() == content);
    assert_eq!(receipt.fetched_bytes, content.len() as u64);
    // The range that was interrupted when the mirror was killed is in no log, and its bytes were not requested again.
    let (from_mirror, from_origin) = (sent(&mirror), sent(&origin));
    assert!(from_origin > 0 && from_mirror + from_origin <= content.len(), "{from_mirror} {from_origin}");
    let told = told.lock().unwrap().clone();
    assert!(told.len() == 1 && told[0].starts_with(&format!("left {}/below: ", mirror.url(""))), "{told:?}");
}

// Red when only the next mirror is asked after wrong bytes, or when a mirror that sent wrong bytes is never asked
// again.
#[test]
fn a_wrong_byte() {
    let content = noise(3 * MIB, 2);
    let mut wrong = content.clone();
    wrong[2 * MIB + 5] ^= 1;
    let (origin, first, second) = (good(&content), good(&wrong), good(&wrong));
    let host = Host::new();
    let rules = [&origin, &first, &second].map(Server::rule).join(",");
    let catalog = catalog(&host, &rules, &origin.rule(), &[first.url(""), second.url("")], quick());
    let told = Told::default();
    let receipt = stage(&catalog, &origin.url("/a.gguf"), &content, &told).unwrap();
    assert!(fs::read(&receipt.local_path).unwrap() == content);
    assert_eq!(*told.lock().unwrap(), ["refetching"]);
    assert_eq!(second.connections(), 0);
    let (asked, asked_origin) = (first.connections(), origin.connections());
    assert!(asked > 0 && asked_origin > 1, "{asked} {asked_origin}");
    let other = noise(MIB, 3);
    stage(&catalog, &origin.url("/b.gguf"), &other, &told).unwrap_err();
    assert!(first.connections() > asked);
}

// Each case is red when its check of the answer is taken out.
#[test]
fn what_is_of_no_use() {
    let content = noise(3 * MIB, 4);
    let answers: [(&str, Lie); 11] = [
        ("another size", |asked, content| part(asked, &content[1..], "")),
        ("a larger size", |asked, content| part(asked, &[content, b"x"].concat(), "")),
        ("not found", |_, _| answer("404 Not Found", "", b"")),
        ("denied", |_, _| answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"a\"\r\n", b"")),
        ("an error", |_, _| answer("503 Service Unavailable", "Retry-After: 100\r\n", b"")),
        ("other range", |_, content| {
            answer("206 Partial Content", &format!("Content-Range: bytes 1-9/{}\r\n", content.len()), &content[1..10])
        }),
        ("encoded", |asked, content| part(asked, content, "Content-Encoding: gzip\r\n")),
        ("half of it", |asked, content| part(asked, content, "")[..MIB].to_vec()),
        ("a page", |_, _| answer("200 OK", "", b"<html>")),
        ("elsewhere", |_, _| redirect("http://169.254.169.254/")),
        ("no http", |_, _| b"SSH-2.0\r\n".to_vec()),
    ];
    for (what, lie) in answers {
        let served = content.clone();
        let mirror = Server::new(move |asked, stream| send(stream, &lie(asked, &served)));
        let origin = good(&content);
        let host = Host::new();
        let rules = format!("{},{}", origin.rule(), mirror.rule());
        let catalog = catalog(&host, &rules, &origin.rule(), &[mirror.url("")], quick());
        let told = Told::default();
        let receipt = stage(&catalog, &origin.url("/a.gguf"), &content, &told).unwrap();
        assert!(fs::read(&receipt.local_path).unwrap() == content, "{what}");
        // One range covers the whole file.
        assert_eq!(mirror.connections(), 1, "{what}");
        let told = told.lock().unwrap();
        assert!(told.iter().all(|words| words.starts_with("left ")), "{what}: {told:?}");
    }
}

// Red when a mirror without parts is rejected even for a file that is requested as a whole, or when the beginning of
// the whole is taken for another part.
#[test]
fn the_whole_is_the_only_part_that_it_is() {
    for (length, asked_origin) in [(MIB, 1), (17 * MIB, 4)] {
        let content = noise(length, 5);
        let served = content.clone();
        let mirror = Server::new(move |_, stream| send(stream, &answer("200 OK", "", &served)));
        let origin = good(&content);
        let host = Host::new();
        let rules = format!("{},{}", origin.rule(), mirror.rule());
        let catalog = catalog(&host, &rules, &origin.rule(), &[mirror.url("")], quick());
        let told = Told::default();
        stage(&catalog, &origin.url("/a.gguf"), &content, &told).unwrap();
        // One request for its size, and one for each range.
        assert_eq!(origin.connections(), asked_origin);
        assert!(told.lock().unwrap().is_empty(), "{told:?}");
    }
}

// Red when a mirror bypasses the policy, or when a refused mirror ends the fetch.
#[test]
fn a_mirror_that_no_rule_allows() {
    let (origin, mirror) = (many(), Server::unvisited());
    let host = Host::new();
    let catalog = catalog(&host, &origin.rule(), &origin.rule(), &[mirror.url("")], quick());
    let told = Told::default();
    for seed in 1..=2 {
        stage(&catalog, &origin.url(&format!("/{seed}")), &noise(MIB, seed), &told).unwrap();
    }
    assert_eq!(mirror.connections(), 0);
    let told = told.lock().unwrap();
    assert!(told.len() == 1 && told[0].contains("no rule allows"), "{told:?}");
}

// Red when a silent mirror gets as much time as a server, or when each file waits for it; and when a drip counts as an
// answer.
#[test]
fn a_mirror_that_hangs() {
    for drips in [false, true] {
        let mirror = hanging(drips);
        let origin = many();
        let mut options = quick();
        if drips {
            options.min_rate_window = Duration::from_millis(500);
        }
        let host = Host::new();
        let rules = format!("{},{}", origin.rule(), mirror.rule());
        let catalog = catalog(&host, &rules, &origin.rule(), &[mirror.url("")], options);
        let began = Instant::now();
        for seed in 1..=20 {
            stage(&catalog, &origin.url(&format!("/{seed}")), &noise(MIB, seed), &Told::default()).unwrap();
        }
        assert_eq!(mirror.connections(), 1);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

// Red when cancelling the work does not end the request to a mirror.
#[test]
fn a_mirror_that_hangs_is_not_waited_for_when_it_is_over() {
    let (origin, mirror) = (many(), hanging(false));
    let host = Host::new();
    let rules = format!("{},{}", origin.rule(), mirror.rule());
    let catalog = catalog(&host, &rules, &origin.rule(), &[mirror.url("")], quick());
    let cancel = Cancel::new();
    let options = StageOptions::default().with_digest(Digest::sha256_of(&noise(MIB, 1))).with_cancel(cancel.clone());
    let began = Instant::now();
    let reference = ModelRef::parse(&origin.url("/1")).unwrap();
    let error = std::thread::scope(|scope| {
        let staging = scope.spawn(|| catalog.stage(&reference, &options));
        wait_until("the mirror is asked", || mirror.connections() > 0);
        cancel.cancel();
        staging.join().unwrap().unwrap_err()
    });
    assert!(error.is_cancelled() && began.elapsed() < Duration::from_secs(5), "{error}");
    assert_eq!(origin.connections(), 1);
}

/// A mirror that says nothing, or a byte now and then, for as long as the client waits.
fn hanging(drips: bool) -> Server {
    Server::new(move |asked, stream| {
        let began = Instant::now();
        let head = part(asked, &noise(MIB, 0), "");
        let length = head.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        let mut rest = head[length..].iter();
        if drips {
            send(stream, &head[..length]);
        }
        while began.elapsed() < Duration::from_secs(60) && !is_closed(stream) {
            std::thread::sleep(Duration::from_millis(20));
            if drips {
                send(stream, &[*rest.next().unwrap()]);
            }
        }
    })
}

fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let closed = matches!(stream.peek(&mut [0]), Ok(0));
    stream.set_nonblocking(false).unwrap();
    closed
}

// Red when a mirror is asked for content that nothing would tell from other bytes, or is sent a possible signature.
#[test]
fn what_no_mirror_is_asked_for() {
    let (origin, mirror) = (many(), Server::unvisited());
    let host = Host::new();
    let rules = format!("{},{}", origin.rule(), mirror.rule());
    let catalog = catalog(&host, &rules, &origin.rule(), &[mirror.url("")], quick());
    catalog.stage(&ModelRef::parse(&origin.url("/1")).unwrap(), &StageOptions::default()).unwrap();
    stage(&catalog, &origin.url("/2?X-Amz-Signature=secret"), &noise(MIB, 2), &Told::default()).unwrap();
    assert_eq!(mirror.connections(), 0);
}
