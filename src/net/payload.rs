//! What a request sends: bytes, or a part of a source that is read by offset. It can be sent again from its start.

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::pace::Bucket;
use crate::cancel::Cancel;
use crate::error::Error;
use crate::read_at::ReadAt;

/// From this size on, the server is asked whether it accepts the bytes before any are sent.
const ASK_FIRST_BYTES: u64 = 1 << 20;

/// What a [`Request`](crate::Request) sends.
#[derive(Clone)]
#[non_exhaustive]
pub enum Payload<'a> {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A part of a source.
    Part {
        /// The source.
        of: &'a dyn ReadAt,
        /// The range of the part. It must lie within the source.
        range: Range<u64>,
    },
}

/// Omits the bytes.
impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Payload::Part { of, range } => write!(f, "{range:?} of {}", of.name()),
        }
    }
}

impl Payload<'_> {
    /// Number of bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        match self {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::Part { range, .. } => range.end.saturating_sub(range.start),
        }
    }

    pub(super) fn asks_first(&self) -> bool {
        self.size_bytes() >= ASK_FIRST_BYTES
    }

    pub(super) fn reader(&self, cancel: &Cancel, bucket: Option<Arc<Bucket>>) -> Sending<'_> {
        Sending { payload: self, at: 0, cancel: cancel.clone(), bucket }
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Payload::Bytes(bytes) => {
                let start = usize::try_from(at).map_err(|_| io::ErrorKind::UnexpectedEof)?;
                let piece = bytes.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
                buffer.copy_from_slice(piece);
                Ok(())
            }
            // Unlike a connection problem, a problem with a local file is not temporary.
            Payload::Part { of, range } => {
                of.read_exact_at(range.start + at, buffer).map_err(|e| io::Error::other(Error::of_reader(of.name(), e)))
            }
        }
    }
}

/// One attempt to send it.
pub(super) struct Sending<'p> {
    payload: &'p Payload<'p>,
    at: u64,
    cancel: Cancel,
    bucket: Option<Arc<Bucket>>,
}

impl Read for Sending<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancel.check(|| "sending to a server".into()).map_err(io::Error::other)?;
        let left = usize::try_from(self.payload.size_bytes() - self.at).unwrap_or(usize::MAX);
        let at_once = self.bucket.as_ref().map_or(usize::MAX, |bucket| bucket.at_once());
        let length = left.min(buffer.len()).min(at_once);
        self.payload.read_at(self.at, buffer.get_mut(..length).unwrap_or_default())?;
        self.at += length as u64;
        if let Some(bucket) = &self.bucket {
            let time = bucket.take(length, Instant::now());
            self.cancel.wait(time, || "sending to a server".into()).map_err(io::Error::other)?;
        }
        Ok(length)
    }
}
