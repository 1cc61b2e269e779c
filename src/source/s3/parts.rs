//! Uploads a large object to a bucket in parts, several at a time. The server keeps the parts of an interrupted upload
//! and lists them, so another process can send the rest.
//!
//! S3 knows the SHA-256 of each part, but not of the whole. So the parts are read in order, and each is hashed both by
//! itself and as a piece of the whole; the upload is completed only if the whole is the blob. In the end S3 reports a
//! checksum over the checksums of the parts, which is known here, too.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use md5::Md5;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::bucket::Bucket;
use super::list::escape_blanks;
use super::upload::{If, check_sum, head, in_base64};
use super::xml;
use crate::digest::Digest;
use crate::error::{Error, NetError, Result};
use crate::net::{Payload, shown};
use crate::read_at::ReadAt;
use crate::source::Cx;
use crate::source::sink::Outgoing;
use crate::threads::spawn;

/// The smallest part: the most that is sent again after an interruption, for each part in flight.
const PART_BYTES: u64 = 16 << 20;

/// The most parts that S3 accepts.
const MAX_PARTS: u64 = 10_000;

/// Number of parts in flight at the same time.
const AT_ONCE: usize = 4;

/// The server may read the whole object before it responds.
pub(super) const PATIENCE: Duration = Duration::from_secs(3600);

/// How much to read at most of a server's response about an upload.
const MAX_ANSWER_BYTES: u64 = 16 << 20;

/// An upload that has begun.
struct Upload<'u> {
    bucket: &'u Bucket<'u>,
    url: &'u Url,
    digest: Digest,
    content: &'u dyn ReadAt,
    cx: &'u Cx<'u>,
    id: String,
    part_bytes: u64,
}

/// A part that the server has.
struct Done {
    etag: String,
    sha256: Digest,
}

/// The state of reading in order.
struct Reading {
    next: u64,
    whole: Sha256,
    buffer: Vec<u8>,
}

/// A part that was read.
struct Read {
    number: u32,
    range: Range<u64>,
    sha256: Digest,
    /// Set if there is something to compare it with.
    md5: Option<String>,
}

/// Sends a blob. Returns how many bytes were sent, or `None` if the object at the URL was not as `condition` requires;
/// nothing is changed then.
pub(super) fn send(
    bucket: &Bucket<'_>,
    url: &Url,
    blob: &Outgoing<'_>,
    condition: &If,
    cx: &Cx<'_>,
) -> Result<Option<u64>> {
    let sent_bytes = AtomicU64::new(0);
    let is_there = || {
        let there = head(bucket, url, cx)?;
        Ok::<_, Error>(there.is_some_and(|head| head.is(&blob.digest, blob.content.size_bytes())))
    };
    let go_on = |upload: &Upload<'_>, there| {
        let outcome = upload.go_on(there, condition, &sent_bytes);
        if outcome.is_ok() || matches!(outcome, Err(Error::DigestMismatch { .. })) {
            blob.memory.keep(None);
        }
        outcome
    };
    // An upload that the server does not know was completed or aborted, or belongs to another server: begin a new one.
    if let Some(upload) = Upload::recall(bucket, url, blob, cx) {
        match upload.there() {
            Ok(there) => match go_on(&upload, there) {
                Err(error) if is_gone(&error) => {}
                outcome => return outcome,
            },
            Err(error) if error.is_cancelled() || error.is_unreachable() => return Err(error),
            Err(error) => tracing::debug!(%error, "could not resume the earlier upload"),
        }
    } else {
        let upload = Upload::begin(bucket, url, blob, cx)?;
        match go_on(&upload, BTreeMap::new()) {
            Err(error) if is_gone(&error) => {}
            outcome => return outcome,
        }
    }
    // It may be complete, and only the last response was lost.
    blob.memory.keep(None);
    if is_there()? {
        return Ok(Some(sent_bytes.into_inner()));
    }
    go_on(&Upload::begin(bucket, url, blob, cx)?, BTreeMap::new())
}

fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Net { source: NetError::NotFound { .. }, .. })
}

/// Large enough that there are not too many parts.
fn part_bytes(size_bytes: u64) -> u64 {
    let mut bytes = PART_BYTES;
    while size_bytes.div_ceil(bytes) > MAX_PARTS {
        bytes *= 2;
    }
    bytes
}

impl<'u> Upload<'u> {
    /// The upload that an earlier attempt began.
    fn recall(bucket: &'u Bucket<'u>, url: &'u Url, blob: &'u Outgoing<'u>, cx: &'u Cx<'u>) -> Option<Self> {
        let kept = blob.memory.recall()?;
        let (part_bytes, id) = kept.split_once(' ')?;
        let part_bytes = part_bytes.parse().ok().filter(|bytes| *bytes > 0)?;
        let (digest, content) = (blob.digest, blob.content);
        Some(Upload { bucket, url, digest, content, cx, id: id.to_owned(), part_bytes })
    }

    fn begin(bucket: &'u Bucket<'u>, url: &'u Url, blob: &'u Outgoing<'u>, cx: &'u Cx<'u>) -> Result<Self> {
        let part_bytes = part_bytes(blob.content.size_bytes());
        let (digest, content) = (blob.digest, blob.content);
        let upload = Upload { bucket, url, digest, content, cx, id: String::new(), part_bytes };
        let url = upload.with_query(&[("uploads", "")]);
        let request = bucket.request("POST", &url).with_header("x-amz-checksum-algorithm", "SHA256");
        let request = request.with_header("content-type", "application/octet-stream");
        let request = request.with_payload(Payload::Bytes(Vec::new()));
        let (_, bytes) = request.read_or(MAX_ANSWER_BYTES, cx.observer, &|response| bucket.refusal(response))?;
        let xml::Begun { upload_id: id } = upload.read(&bytes)?;
        blob.memory.keep(Some(&format!("{part_bytes} {id}")));
        Ok(Upload { id, ..upload })
    }

    fn fail(&self, detail: String) -> Error {
        Error::Net { url: shown(self.url), source: NetError::Malformed { detail } }
    }

    fn read<T: for<'de> serde::Deserialize<'de>>(&self, bytes: &[u8]) -> Result<T> {
        xml::read(bytes).map_err(|reason| self.fail(format!("that is not a response to an upload ({reason})")))
    }

    fn with_query(&self, pairs: &[(&str, &str)]) -> Url {
        let mut url = self.url.clone();
        url.query_pairs_mut().extend_pairs(pairs);
        escape_blanks(&mut url);
        url
    }

    /// The parts that the server has, by number. If it lists two versions of a part, neither counts, and the part is
    /// sent again.
    fn there(&self) -> Result<BTreeMap<u32, xml::Part>> {
        let (mut there, mut twice, mut marker) = (BTreeMap::new(), Vec::new(), String::new());
        loop {
            let url = match marker.as_str() {
                "" => self.with_query(&[("uploadId", &self.id)]),
                marker => self.with_query(&[("uploadId", &self.id), ("part-number-marker", marker)]),
            };
            let request = self.bucket.request("GET", &url);
            let (_, bytes) =
                request.read_or(MAX_ANSWER_BYTES, self.cx.observer, &|response| self.bucket.refusal(response))?;
            let xml::Parts { parts, is_truncated, next_part_number_marker } = self.read(&bytes)?;
            let before = there.len();
            for part in parts {
                let number = part.number;
                if there.insert(number, part).is_some() {
                    twice.push(number);
                }
            }
            match next_part_number_marker.filter(|_| is_truncated) {
                Some(next) if there.len() > before => marker = next,
                _ => break,
            }
        }
        there.retain(|number, _| !twice.contains(number));
        Ok(there)
    }

    /// Sends the missing parts, and completes the upload. `None`: the object at the URL was not as `condition`
    /// requires.
    fn go_on(&self, there: BTreeMap<u32, xml::Part>, condition: &If, sent_bytes: &AtomicU64) -> Result<Option<u64>> {
        let reading = Mutex::new(Reading { next: 0, whole: Sha256::new(), buffer: vec![0; 1 << 20] });
        let (done, failed) = (Mutex::new(BTreeMap::new()), Mutex::new(None));
        let work = || {
            while lock(&failed).is_none() {
                let outcome = self.next(&reading, &there).and_then(|read| match read {
                    Some(read) => self.part(read, &there, sent_bytes).map(Some),
                    None => Ok(None),
                });
                match outcome {
                    Ok(Some((number, part))) => drop(lock(&done).insert(number, part)),
                    Ok(None) => break,
                    Err(error) => drop(lock(&failed).get_or_insert(error)),
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..AT_ONCE {
                if spawn(scope, work).is_err() {
                    break; // the running threads do all the work
                }
            }
            work();
        });
        if let Some(error) = lock(&failed).take() {
            return Err(error);
        }
        let actual = Digest::from_sha256(lock(&reading).whole.clone().finalize().into());
        if actual != self.digest {
            self.give_up();
            return Err(Error::DigestMismatch { path: self.content.name().into(), expected: self.digest, actual });
        }
        let done = std::mem::take(&mut *lock(&done));
        if !self.complete(&done, condition)? {
            self.give_up();
            return Ok(None);
        }
        Ok(Some(sent_bytes.load(Ordering::Relaxed)))
    }

    /// Reads the next part. Only one thread does so at a time, so that the whole is hashed in order.
    fn next(&self, reading: &Mutex<Reading>, there: &BTreeMap<u32, xml::Part>) -> Result<Option<Read>> {
        let mut reading = lock(reading);
        let Reading { next, whole, buffer } = &mut *reading;
        let size_bytes = self.content.size_bytes();
        let range = *next..size_bytes.min(next.saturating_add(self.part_bytes));
        if range.is_empty() {
            return Ok(None);
        }
        let number =
            u32::try_from(range.start / self.part_bytes + 1).map_err(|_| self.fail("too many parts".into()))?;
        let needs_md5 = there.get(&number).is_some_and(|part| part.sha256.is_none());
        let (mut sha256, mut md5) = (Sha256::new(), needs_md5.then(Md5::new));
        let mut take = |piece: &[u8]| {
            self.cx.cancel().check(|| format!("sending {}", shown(self.url))).map_err(io::Error::other)?;
            sha256.update(piece);
            whole.update(piece);
            if let Some(md5) = &mut md5 {
                md5.update(piece);
            }
            Ok(())
        };
        let content = self.content;
        content.read_range(range.clone(), buffer, &mut take).map_err(|e| Error::of_reader(content.name(), e))?;
        *next = range.end;
        let md5 = md5.map(|md5| format!("\"{}\"", hex::encode(md5.finalize())));
        Ok(Some(Read { number, range, sha256: Digest::from_sha256(sha256.finalize().into()), md5 }))
    }

    /// Sends a part, unless the server has it.
    fn part(&self, read: Read, there: &BTreeMap<u32, xml::Part>, sent_bytes: &AtomicU64) -> Result<(u32, Done)> {
        let Read { number, range, sha256, md5 } = read;
        let length = range.end - range.start;
        let is_it = |part: &&xml::Part| {
            let is_content = match &part.sha256 {
                Some(sum) => *sum == in_base64(&sha256),
                // If the tag is not an MD5, as with some ways of encryption, the part is sent again.
                None => md5.as_ref() == Some(&part.etag),
            };
            part.size == length && is_content
        };
        if let Some(part) = there.get(&number).filter(is_it) {
            return Ok((number, Done { etag: part.etag.clone(), sha256 }));
        }
        let url = self.with_query(&[("partNumber", &number.to_string()), ("uploadId", &self.id)]);
        let request = self.bucket.request("PUT", &url).with_header("x-amz-content-sha256", sha256.to_hex());
        let request = request.with_header("x-amz-checksum-sha256", in_base64(&sha256));
        let request = request.with_payload(Payload::Part { of: self.content, range }).with_patience(PATIENCE);
        let response = request.send(self.cx.observer)?;
        if response.status() != 200 {
            return Err(self.bucket.refusal(response));
        }
        check_sum(&response, &sha256)?;
        let etag = response.header("etag").map(str::to_owned).ok_or_else(|| self.fail("a part has no tag".into()))?;
        sent_bytes.fetch_add(length, Ordering::Relaxed);
        Ok((number, Done { etag, sha256 }))
    }

    /// Turns the parts into the object, and checks what the server reports about it. `false`: the object at the URL was
    /// not as `condition` requires.
    fn complete(&self, done: &BTreeMap<u32, Done>, condition: &If) -> Result<bool> {
        let sums: Vec<String> = done.values().map(|part| in_base64(&part.sha256)).collect();
        let parts = done.iter().zip(&sums).map(|((number, part), sum)| (*number, part.etag.as_str(), sum.as_str()));
        let body = xml::completing(parts).into_bytes();
        let (name, value) = condition.header();
        let request = self.bucket.request("POST", &self.with_query(&[("uploadId", &self.id)]));
        let request = request.with_header(name, value).with_header("content-type", "application/xml");
        let request = request.with_header("x-amz-content-sha256", Digest::sha256_of(&body).to_hex());
        let response = request.with_payload(Payload::Bytes(body)).with_patience(PATIENCE).send(self.cx.observer)?;
        match response.status() {
            200 => {}
            409 | 412 => return Ok(false),
            _ => return Err(self.bucket.refusal(response)),
        }
        let bytes = response.bytes(MAX_ANSWER_BYTES)?;
        if let Some(refusal) = xml::refusal(&bytes) {
            return match refusal.code.as_str() {
                "PreconditionFailed" | "ConditionalRequestConflict" => Ok(false),
                _ => Err(self.fail(refusal.text())),
            };
        }
        let xml::Completed { etag } = self.read(&bytes)?;
        self.check(&etag, done)?;
        Ok(true)
    }

    /// Compares the completed object with what it should be, and removes it if it is wrong.
    fn check(&self, etag: &str, done: &BTreeMap<u32, Done>) -> Result<()> {
        let Some(head) = head(self.bucket, self.url, self.cx)? else {
            return Err(self.fail("the completed object is missing".into()));
        };
        // It is another client's by now.
        if head.etag.as_deref() != Some(etag) {
            return Ok(());
        }
        let sums: Vec<u8> = done.values().flat_map(|part| part.sha256.as_ref().to_vec()).collect();
        let sum = format!("{}-{}", in_base64(&Digest::sha256_of(&sums)), done.len());
        let is_sum = head.sum.as_ref().is_none_or(|said| *said == sum || !said.contains('-'));
        if is_sum && head.is(&self.digest, self.content.size_bytes()) {
            return Ok(());
        }
        let gone = self.bucket.request("DELETE", self.url).with_header("if-match", etag).send(self.cx.observer);
        tracing::debug!(
            status = gone.ok().map(|response| response.status()),
            "asked the server to delete the wrong object"
        );
        Err(self.fail("it says that it has stored something other than what was sent".into()))
    }

    /// Aborts the upload: no process will resume it.
    fn give_up(&self) {
        let url = self.with_query(&[("uploadId", &self.id)]);
        if let Err(error) = self.bucket.request("DELETE", &url).send(self.cx.observer) {
            tracing::debug!(%error, "could not abort the upload");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when there are more parts than S3 accepts.
    #[test]
    fn there_are_never_too_many_parts() {
        for size_bytes in [1, PART_BYTES, PART_BYTES * MAX_PARTS, PART_BYTES * MAX_PARTS + 1, 5 << 40] {
            assert!(size_bytes.div_ceil(part_bytes(size_bytes)) <= MAX_PARTS, "{size_bytes}");
        }
        assert_eq!(part_bytes(PART_BYTES * MAX_PARTS), PART_BYTES);
    }
}
