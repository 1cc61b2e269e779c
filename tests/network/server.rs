//! A server that does what a test says, and keeps the requests.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The requests, and the number of connections.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    heads: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

/// Listens on 127.0.0.1 until it is dropped; one request per connection, unless it keeps connections open.
pub(crate) struct Server {
    pub(crate) port: u16,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

/// A request.
pub(crate) struct Asked<'a> {
    /// The request line as sent, and the headers in lower case.
    pub(crate) head: &'a str,
    /// The number of the request, from 0.
    pub(crate) number: usize,
}

impl Asked<'_> {
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The requested range, end exclusive.
    pub(crate) fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse::<usize>().ok()? + 1))
    }
}

impl Server {
    pub(crate) fn new(answer: impl Fn(&Asked<'_>, &mut TcpStream) + Send + Sync + 'static) -> Self {
        Server::start(false, answer)
    }

    /// A server that keeps its connections open for the next request.
    pub(crate) fn keeping(answer: impl Fn(&Asked<'_>) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Server::start(true, move |asked, stream| {
            let bytes = answer(asked);
            let at = bytes.windows(CLOSE.len()).position(|part| part == CLOSE.as_bytes()).unwrap();
            send(stream, &[&bytes[..at], &bytes[at + CLOSE.len()..]].concat());
        })
    }

    fn start(keeps: bool, answer: impl Fn(&Asked<'_>, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Seen::default());
        let (own, answer) = (Arc::clone(&seen), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if own.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                own.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, answer) = (Arc::clone(&own), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, keeps, &seen, &*answer));
            }
        });
        Server { port, seen, thread: Some(thread) }
    }

    /// A server that sends the same bytes for every request.
    pub(crate) fn fixed(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Server::new(move |_, stream| send(stream, answer.as_bytes()))
    }

    /// A server that no client should connect to.
    pub(crate) fn unvisited() -> Self {
        Server::fixed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The rule that allows this server.
    pub(crate) fn rule(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Every request, in order.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.seen.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut stream: TcpStream, keeps: bool, seen: &Seen, answer: &(dyn Fn(&Asked<'_>, &mut TcpStream) + Send + Sync)) {
    while let Some(head) = read_head(&mut stream) {
        let number = {
            let mut heads = seen.heads.lock().unwrap();
            heads.push(head.clone());
            heads.len() - 1
        };
        answer(&Asked { head: &head, number }, &mut stream);
        if !keeps {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    // Lets the client read what was sent: closing a socket with unread input would reset the connection.
    let _ = stream.set_read_timeout(Some(std::time::Duration::from_millis(200)));
    while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let (line, headers) = head.split_once("\r\n").unwrap();
    Some(format!("{line}\n{}", headers.replace("\r\n", "\n").to_ascii_lowercase()))
}

pub(crate) fn send(stream: &mut TcpStream, bytes: &[u8]) {
    // A client may give up in the middle.
    let _ = stream.write_all(bytes);
}

const CLOSE: &str = "Connection: close\r\n";

/// An answer with a body.
pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\n{CLOSE}{headers}").into_bytes();
    bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// An answer that redirects.
pub(crate) fn redirect(location: &str) -> Vec<u8> {
    answer("302 Found", &format!("Location: {location}\r\n"), b"")
}

/// The requested part of `content`, as a good server sends it.
pub(crate) fn part(asked: &Asked<'_>, content: &[u8], headers: &str) -> Vec<u8> {
    let Some((first, end)) = asked.range() else { return answer("200 OK", headers, content) };
    if first >= content.len() {
        let headers = format!("Content-Range: bytes */{}\r\n", content.len());
        return answer("416 Range Not Satisfiable", &headers, b"");
    }
    let end = end.min(content.len());
    let headers = format!("{headers}Content-Range: bytes {first}-{}/{}\r\n", end - 1, content.len());
    answer("206 Partial Content", &headers, &content[first..end])
}
