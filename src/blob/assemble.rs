//! Repairs a blob: the good parts of its remains are kept, and the rest is read from sources that have it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{Checker, Pending, Sealed, Subject, Verdict, outboard};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::link::Reflink;
use crate::fs::map::Map;
use crate::fs::sparse::{self, Blocks};
use crate::fs::{Durability, Root, Session, atomic, link, meta_of, read_exact_at, space};
use crate::hash::groups::{self, GROUP_BYTES, Groups};
use crate::hash::hash_both;
use crate::layout;
use crate::read_at::ReadAt;

/// How to put a blob together again.
pub(crate) struct Assembly<'a> {
    pub(crate) digest: Digest,
    /// Files of the store that should have the blob's bytes and may still have some of them, the best first.
    pub(crate) remains: Vec<PathBuf>,
    pub(crate) sources: Vec<Box<dyn ReadAt>>,
    pub(crate) advanced: &'a (dyn Fn(u64) + Sync),
}

/// What the repair took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Assembled {
    /// Bytes that were replaced.
    pub(crate) repaired_bytes: u64,
    /// Bytes that were read from the sources. More than `repaired_bytes` if a source was bad in the same place.
    pub(crate) source_bytes: u64,
}

impl Assembly<'_> {
    /// Puts the blob together under a private name, and checks the whole against its digest. The caller publishes it.
    pub(crate) fn run<'r>(mut self, session: &Session<'r>, durability: Durability) -> Result<(Sealed<'r>, Assembled)> {
        let root = session.root();
        let groups = outboard::read(root, &self.digest).and_then(|outboard| outboard.groups(root, &self.digest));
        match groups {
            Some(groups) => self.by_groups(session, &groups, durability),
            None => self.as_a_whole(session, durability),
        }
    }

    fn by_groups<'r>(
        &mut self,
        session: &Session<'r>,
        groups: &Groups,
        durability: Durability,
    ) -> Result<(Sealed<'r>, Assembled)> {
        let root = session.root();
        let size_bytes = groups.size_bytes();
        let pending = Pending::create(session)?;
        let bad = match self.remains.first() {
            Some(remains) => self.take_over(root, remains, size_bytes, &pending)?,
            None => vec![0..size_bytes],
        };
        // The other remains may be good where the first one is bad.
        let readers = self.readers(root, 1)?;
        let mut assembled = Assembled::default();
        let mut buffer = vec![0; GROUP_BYTES];
        // Bytes beyond the blob's end are simply left out.
        for range in bad.iter().filter(|range| range.start < size_bytes) {
            for number in range.start / GROUP_BYTES as u64..groups::count(range.end.min(size_bytes)) {
                let group = groups::range(number, size_bytes);
                let length = usize::try_from(group.end - group.start).unwrap_or(GROUP_BYTES);
                let Some(bytes) = buffer.get_mut(..length) else { continue };
                let mut is_had = false;
                for (is_source, reader) in &readers {
                    let read = reader.read_exact_at(group.start, bytes);
                    if *is_source && read.is_ok() {
                        assembled.source_bytes += length as u64;
                    }
                    is_had = read.is_ok() && groups.is_good(number, bytes);
                    if is_had {
                        break;
                    }
                }
                if !is_had {
                    let tried = readers.iter().map(|(_, reader)| reader.name()).collect();
                    return Err(self.no_good_source(root, group, tried));
                }
                atomic::write_at(pending.file(), group.start, bytes).map_err(|e| pending.fail("write", e))?;
                assembled.repaired_bytes += length as u64;
            }
        }
        let sealed = self.finish(pending, size_bytes, durability)?;
        Ok((sealed, assembled))
    }

    /// The readers to try: the store's own remains except the first `without`, then the sources. The flag says whether
    /// a reader is a source.
    fn readers(&mut self, root: &Root, without: usize) -> Result<Vec<(bool, Box<dyn ReadAt>)>> {
        let mut readers: Vec<(bool, Box<dyn ReadAt>)> = Vec::new();
        for path in self.remains.iter().skip(without) {
            if let Some(file) = root.open_file(path)? {
                let size_bytes = meta_of(&file).map_err(|e| root.fail("look at", path, e))?.size_bytes;
                readers.push((false, Box::new(Remains { file, path: root.absolute(path), size_bytes })));
            }
        }
        readers.extend(std::mem::take(&mut self.sources).into_iter().map(|source| (true, source)));
        Ok(readers)
    }

    /// Brings the good parts of a file into the private one, by reflink if possible. Returns the ranges that are still
    /// missing.
    fn take_over(
        &self,
        root: &Root,
        remains: &Path,
        size_bytes: u64,
        pending: &Pending<'_>,
    ) -> Result<Vec<Range<u64>>> {
        let subject = Subject { path: remains.to_path_buf(), ..Subject::blob(&self.digest, Some(size_bytes)) };
        let bad = match Checker::quiet(root, Durability::Relaxed).one(subject)? {
            Verdict::Good => Vec::new(),
            Verdict::Bad { ranges, .. } => ranges,
            Verdict::Missing => return Ok(vec![0..size_bytes]),
        };
        let Some(from) = root.open_file(remains)? else { return Ok(vec![0..size_bytes]) };
        let fail = |e| pending.fail("write", e);
        if let Reflink::Made = link::reflink(&from, pending.file()).map_err(fail)? {
            pending.file().set_len(size_bytes).map_err(fail)?;
            return Ok(bad);
        }
        let blocks = Blocks::of(&meta_of(&from).map_err(fail)?);
        space::set_size(pending.file(), size_bytes, blocks).map_err(fail)?;
        let mut at = 0;
        for good_end in bad.iter().map(|range| range.start).chain([size_bytes]) {
            copy_part(&from, pending.file(), at..good_end.min(size_bytes), blocks).map_err(fail)?;
            at = bad.iter().find(|range| range.start == good_end).map_or(good_end, |range| range.end);
        }
        Ok(bad)
    }

    /// Without an outboard, good parts cannot be told from bad ones, so a single file must have all bytes.
    fn as_a_whole<'r>(&mut self, session: &Session<'r>, durability: Durability) -> Result<(Sealed<'r>, Assembled)> {
        let root = session.root();
        let readers = self.readers(root, 0)?;
        let mut assembled = Assembled::default();
        let mut tried = Vec::new();
        for (is_source, reader) in &readers {
            tried.push(reader.name());
            let pending = Pending::create(session)?;
            let size_bytes = reader.size_bytes();
            if !copy_all(&**reader, pending.file()).map_err(|e| pending.fail("write", e))? {
                continue;
            }
            let (source_bytes, repaired_bytes) = if *is_source { (size_bytes, size_bytes) } else { (0, 0) };
            assembled.source_bytes += source_bytes;
            match self.finish(pending, size_bytes, durability) {
                Ok(sealed) => return Ok((sealed, Assembled { repaired_bytes, ..assembled })),
                Err(error) if error.is_corrupt() => {}
                Err(error) => return Err(error),
            }
        }
        Err(self.no_good_source(root, 0..0, tried))
    }

    fn finish<'r>(&self, pending: Pending<'r>, size_bytes: u64, durability: Durability) -> Result<Sealed<'r>> {
        let fetch = |part| Map::read_in(pending.file(), part).map_err(|e| pending.fail("read", e));
        let hashes = hash_both(size_bytes, true, fetch, self.advanced)?;
        if hashes.digest != self.digest {
            let path = pending.root().absolute(&layout::blob(&self.digest));
            return Err(Error::CorruptBlob {
                path,
                reason: "the bytes that it was put together from do not match its name".into(),
            });
        }
        pending.hashed(hashes).seal(durability)
    }

    fn no_good_source(&self, root: &Root, range: Range<u64>, tried: Vec<String>) -> Error {
        Error::NoGoodSource { path: root.absolute(&layout::blob(&self.digest)), range, tried }
    }
}

/// A file of the store that should have the blob's bytes.
struct Remains {
    file: File,
    path: PathBuf,
    size_bytes: u64,
}

impl ReadAt for Remains {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        read_exact_at(&self.file, offset, buffer)
    }
}

fn copy_part(from: &File, to: &File, part: Range<u64>, blocks: Blocks) -> io::Result<()> {
    if part.is_empty() {
        return Ok(());
    }
    match sparse::copy_range(from, to, &part, blocks)? {
        copied if copied == part.end - part.start => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Copies everything; `false` if it could not be read to its end.
fn copy_all(reader: &dyn ReadAt, to: &File) -> io::Result<bool> {
    let mut buffer = vec![0; GROUP_BYTES];
    for number in 0..groups::count(reader.size_bytes()) {
        let range = groups::range(number, reader.size_bytes());
        let length = usize::try_from(range.end - range.start).unwrap_or(0);
        let Some(bytes) = buffer.get_mut(..length) else { continue };
        if reader.read_exact_at(range.start, bytes).is_err() {
            return Ok(false);
        }
        atomic::write(to, bytes)?;
    }
    Ok(true)
}
