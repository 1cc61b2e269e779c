//! A proxy in front of a server that counts every byte that the server sends.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Listens on 127.0.0.1 until it is dropped, and forwards everything.
pub(crate) struct Counting {
    port: u16,
    sent_bytes: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Counting {
    pub(crate) fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let counting = Counting { port, sent_bytes: Arc::default(), is_over: Arc::default() };
        let (sent_bytes, is_over) = (Arc::clone(&counting.sent_bytes), Arc::clone(&counting.is_over));
        let server = server.to_owned();
        thread::spawn(move || {
            for client in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                // A server that has ended accepts no connection, so the client's connection ends too.
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&server)) else { continue };
                let (to_server, from_server) = (server.try_clone().unwrap(), server);
                let (from_client, to_client) = (client.try_clone().unwrap(), client);
                let sent_bytes = Arc::clone(&sent_bytes);
                thread::spawn(move || hand_on(from_client, to_server, &AtomicU64::new(0)));
                thread::spawn(move || hand_on(from_server, to_client, &sent_bytes));
            }
        });
        counting
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn hand_on(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        count.fetch_add(read as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}
