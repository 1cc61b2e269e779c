//! Reads a file of a source by offset. If a response breaks off, requests the rest again.

use std::io::{self, Read as _};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use url::Url;

use super::mirrors::Chosen;
use super::ranged::{Place, open_at_mirror};
use super::{Cx, Expected, Opened, RemoteFile, Source};
use crate::error::{Error, NetError, Result};
use crate::net::{Body, Client, Validator, name_of, shown, shown_text};
use crate::observer::Observer;
use crate::read_at::ReadAt;

/// After this many bytes, the server counts as working again, and earlier failures no longer count.
const PROGRESS_BYTES: u64 = 64 << 10;

/// A file of a source that several threads can read by offset at once.
///
/// Each read requests the range that it needs. A server without range support is read as one stream that only goes
/// forward: reading back begins a new stream, if a validator or a digest would reveal a different version.
pub struct RemoteReader {
    source: Arc<dyn Source>,
    client: Client,
    observer: Arc<dyn Observer>,
    file: RemoteFile,
    url: Url,
    /// Valid while this version is read. A reader of another version learns its own.
    place: Place,
    size_bytes: u64,
    /// The validator of the first response, if the listing has none.
    learnt: Mutex<Option<Validator>>,
    has_ranges: AtomicBool,
    connections: usize,
    mirrors: Option<Chosen>,
    stream: Mutex<Option<Stream>>,
    /// How far any reader has read the stream.
    streamed_bytes: AtomicU64,
}

/// Where the bytes of a range come from.
enum Way<'r> {
    /// The response to the range, and the mirror that sent it.
    Part(Body, Option<usize>),
    /// The single stream. It is locked until the range is read: another reader would skip forward in it, and this one
    /// would have to restart it.
    Stream(MutexGuard<'r, Option<Stream>>),
}

struct Stream {
    body: Body,
    at: u64,
}

impl std::fmt::Debug for RemoteReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteReader").field("file", &self.file).finish_non_exhaustive()
    }
}

impl RemoteReader {
    /// Creates a reader for a file of `source`. Fails if its size is unknown.
    pub fn new(source: Arc<dyn Source>, file: RemoteFile, client: Client, observer: Arc<dyn Observer>) -> Result<Self> {
        let url = Url::parse(&file.url).map_err(|e| {
            let source = NetError::malformed(format!("it is not a URL: {e}"));
            Error::Net { url: shown_text(&file.url), source }
        })?;
        let size_bytes = file.size_bytes.ok_or_else(|| Error::Net { url: shown(&url), source: NetError::NoSize })?;
        let (has_ranges, learnt) = (AtomicBool::new(file.has_ranges), Mutex::new(file.validator.clone()));
        let (stream, streamed_bytes) = (Mutex::new(None), AtomicU64::new(0));
        Ok(RemoteReader {
            source,
            client,
            observer,
            file,
            url,
            place: Place::default(),
            size_bytes,
            learnt,
            has_ranges,
            connections: 1,
            mirrors: None,
            stream,
            streamed_bytes,
        })
    }

    /// Sets how many ranges are best read at the same time. The default is 1.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Sets the mirrors of the file. Without a digest, only the file's own server is asked.
    pub(super) fn with_mirrors(mut self, mirrors: Option<Chosen>) -> Self {
        self.mirrors = mirrors.filter(|_| matches!(self.file.expected, Expected::Sha256(_)));
        self
    }

    /// The value that identifies this version of the file: that of the listing, or of the first response.
    #[must_use]
    pub fn validator(&self) -> Option<Validator> {
        lock(&self.learnt).clone()
    }

    /// Whether the server supports ranges, as far as is known. If not, one thread should read the file in order.
    #[must_use]
    pub fn has_ranges(&self) -> bool {
        self.has_ranges.load(Ordering::Relaxed)
    }

    fn open(&self, start: u64, end: u64) -> Result<Opened> {
        let file = RemoteFile { validator: self.validator(), ..self.file.clone() };
        let opened =
            self.source.open(&file, start..end, &Cx::new(&self.client, &*self.observer).with_place(&self.place))?;
        if file.validator.is_none() && file.expected == Expected::Nothing {
            let mut learnt = lock(&self.learnt);
            match (&*learnt, &opened.validator) {
                (Some(before), Some(now)) if before != now => {
                    return Err(self.fail(NetError::changed("two of its parts are of different versions")));
                }
                (None, Some(now)) => *learnt = Some(now.clone()),
                _ => {}
            }
        }
        Ok(opened)
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    fn fail(&self, source: NetError) -> Error {
        Error::Net { url: shown(&self.url), source }
    }

    /// Opens a way to read a range. An open response is read to its end, so this is the only place that checks whether
    /// the server supports ranges.
    fn open_way(&self, start: u64, end: u64) -> io::Result<Way<'_>> {
        if let Some(way) = self.open_at_mirror(start..end).map_err(io::Error::other)? {
            return Ok(way);
        }
        if !self.has_ranges() {
            return Ok(Way::Stream(lock(&self.stream)));
        }
        let opened = self.open(start, end).map_err(io::Error::other)?;
        if opened.is_part {
            return Ok(Way::Part(opened.body, None));
        }
        self.has_ranges.store(false, Ordering::Relaxed);
        if start > 0 {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut place = lock(&self.stream);
        self.check_that_it_may_begin().map_err(io::Error::other)?;
        *place = Some(Stream { body: opened.body, at: 0 });
        Ok(Way::Stream(place))
    }

    fn open_at_mirror(&self, range: Range<u64>) -> Result<Option<Way<'_>>> {
        let Some(mirrors) = &self.mirrors else { return Ok(None) };
        mirrors.ask(&*self.observer, |asked| {
            let body = open_at_mirror(&self.file, &asked, range.clone(), &*self.observer)?;
            Ok(Way::Part(body, Some(asked.number)))
        })
    }

    /// Handles a body that broke off. A mirror is left; the file's own server is asked again as long as that may help.
    fn broke_off(&self, mirror: Option<usize>, tries: &mut Tries, read: usize, error: Error) -> Result<()> {
        match (&self.mirrors, mirror) {
            (Some(mirrors), Some(number)) => mirrors.leave(number, error, &*self.observer),
            _ => tries.again(self, read, error),
        }
    }

    /// Fills the buffer from the open response or stream, which ends at `end`. Opens one if there is none, or if it
    /// broke off.
    fn fill<'r>(&'r self, open: &mut Option<Way<'r>>, offset: u64, end: u64, buffer: &mut [u8]) -> io::Result<()> {
        let (mut done, mut tries) = (0, Tries::default());
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let start = offset + done as u64;
            let way = match open.take() {
                Some(way) => way,
                None => self.open_way(start, end)?,
            };
            match way {
                Way::Part(mut body, mirror) => {
                    let (read, outcome) = read_fully(&mut body, rest);
                    done += read;
                    match outcome {
                        Err(error) => self.broke_off(mirror, &mut tries, read, error).map_err(io::Error::other)?,
                        Ok(()) => *open = Some(Way::Part(body, mirror)),
                    }
                }
                Way::Stream(mut place) => {
                    self.read_stream(&mut place, start, rest).map_err(io::Error::other)?;
                    done += rest.len();
                    *open = Some(Way::Stream(place));
                }
            }
        }
        Ok(())
    }

    /// Fills the buffer from the single stream.
    fn read_stream(&self, place: &mut Option<Stream>, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let (mut done, mut tries) = (0, Tries::default());
        while done < buffer.len() {
            let want = offset + done as u64;
            let stream = match place.take() {
                Some(stream) if stream.at <= want => stream,
                _ => self.restart()?,
            };
            let Stream { mut body, at } = stream;
            let mut outcome = skip(&mut body, want - at).map(|()| 0);
            if outcome.is_ok() {
                let (read, read_outcome) = read_fully(&mut body, buffer.get_mut(done..).unwrap_or_default());
                done += read;
                outcome = read_outcome.map(|()| read);
                self.streamed_bytes.fetch_max(want + read as u64, Ordering::Relaxed);
            }
            match outcome {
                Ok(read) if want + read as u64 == self.size_bytes && is_longer(&mut body) => {
                    return Err(self.fail(NetError::changed(format!("it had {} bytes and has more", self.size_bytes))));
                }
                Ok(read) => *place = Some(Stream { body, at: want + read as u64 }),
                Err(error) => tries.again(self, 0, error)?,
            }
        }
        Ok(())
    }

    /// Starts the stream from the beginning.
    fn restart(&self) -> Result<Stream> {
        self.check_that_it_may_begin()?;
        let opened = self.open(0, self.size_bytes)?;
        Ok(Stream { body: opened.body, at: opened.range.start })
    }

    /// Once bytes of one stream were returned, another one may begin only if a different version would be noticed.
    fn check_that_it_may_begin(&self) -> Result<()> {
        let is_told = self.validator().is_some() || self.file.expected != Expected::Nothing;
        match self.streamed_bytes.load(Ordering::Relaxed) {
            1.. if !is_told => Err(self.fail(NetError::NoRanges)),
            _ => Ok(()),
        }
    }
}

impl ReadAt for RemoteReader {
    fn name(&self) -> String {
        name_of(&self.url)
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(buffer.len() as u64);
        let mut read = || self.read_range(offset..end, buffer, &mut |_| Ok(()));
        match read() {
            // The first attempt found out that there are no ranges; the second one reads the stream.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => read(),
            other => other,
        }
    }

    /// Requests the range as a whole, and the rest of it if it breaks off.
    fn read_range(
        &self,
        range: Range<u64>,
        buffer: &mut [u8],
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if range.end > self.size_bytes {
            return Err(io::Error::other(self.fail(NetError::malformed("the end of the file was passed"))));
        }
        let (mut offset, mut open) = (range.start, None);
        while offset < range.end {
            let left = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
            let length = left.min(buffer.len());
            let piece =
                buffer.get_mut(..length).filter(|piece| !piece.is_empty()).ok_or(io::ErrorKind::InvalidInput)?;
            self.fill(&mut open, offset, range.end, piece)?;
            take(piece)?;
            offset += length as u64;
        }
        // A connection is reused only if its response was read to the end.
        let Some(Way::Part(mut body, mirror)) = open else { return Ok(()) };
        if !is_longer(&mut body) {
            return Ok(());
        }
        let error = self.fail(NetError::malformed("more bytes came than the range has"));
        let outcome = match (&self.mirrors, mirror) {
            // The digest shows whether the received bytes are right.
            (Some(mirrors), Some(number)) => mirrors.leave(number, error, &*self.observer),
            _ => Err(error),
        };
        outcome.map_err(io::Error::other)
    }

    /// The next mirror may have the right bytes.
    fn gave_wrong(&self, _: Range<u64>) {
        self.mirrors.iter().for_each(Chosen::leave_asked);
    }

    /// A mirror may have sent wrong bytes, and nothing shows which one, so the file's own server is asked.
    fn starts_over(&self) {
        self.mirrors.iter().for_each(Chosen::leave_all);
    }

    fn group_values(&self) -> Option<Vec<[u8; 32]>> {
        self.source.group_values(&self.file, &Cx::new(&self.client, &*self.observer))
    }

    fn connections(&self) -> usize {
        // Such a server provides only one stream.
        if self.has_ranges() { self.connections } else { 1 }
    }
}

/// How often in a row a body broke off.
#[derive(Default)]
struct Tries {
    failed: u32,
}

impl Tries {
    /// Waits before a retry. Returns an error if a retry would not help, or if there were enough.
    fn again(&mut self, reader: &RemoteReader, read: usize, error: Error) -> Result<()> {
        let why = match error.net() {
            Some(NetError::Unreachable { detail, .. }) => detail.clone(),
            _ => return Err(error),
        };
        self.failed = if read as u64 >= PROGRESS_BYTES { 1 } else { self.failed + 1 };
        reader.client.pause(&reader.url, self.failed, &why, None, &*reader.observer)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads until the buffer is full. Returns how much was read, even on failure.
fn read_fully(body: &mut Body, buffer: &mut [u8]) -> (usize, Result<()>) {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match body.read(rest) {
            Ok(0) => return (done, Err(body.ended_early())),
            Ok(read) => done += read,
            Err(error) => return (done, Err(Error::of_reader("", error))),
        }
    }
    (done, Ok(()))
}

fn skip(body: &mut Body, mut bytes: u64) -> Result<()> {
    let mut scratch = vec![0; 64 << 10];
    while bytes > 0 {
        let most = bytes.min(scratch.len() as u64) as usize;
        let (read, outcome) = read_fully(body, scratch.get_mut(..most).unwrap_or_default());
        outcome?;
        bytes -= read as u64;
    }
    Ok(())
}

fn is_longer(body: &mut Body) -> bool {
    matches!(body.read(&mut [0]), Ok(1))
}
