//! The server that an entry was fetched from, as a source for repairs: only the damaged parts are requested.

use std::io;
use std::sync::{Arc, OnceLock};

use crate::cancel::Cancel;
use crate::entry::Record;
use crate::error::Result;
use crate::fetch::{Asking, Remote, RemoteContent, Resolver, Selection};
use crate::model_ref::ModelRef;
use crate::observer::{Event, Observer};
use crate::read_at::ReadAt;

/// The files that the entry's reference names in its pinned version. The server is asked at the first read that no
/// better source could satisfy.
pub(super) struct RemoteOrigin(Arc<Question>);

struct Question {
    sources: Arc<dyn Resolver>,
    reference: ModelRef,
    asking: Asking,
    files: OnceLock<Vec<RemoteContent>>,
}

impl RemoteOrigin {
    /// `None`: the entry was not fetched, or this handle has no source for it.
    pub(super) fn of(
        record: &Record,
        sources: Option<&Arc<dyn Resolver>>,
        cancel: Cancel,
        observer: Arc<dyn Observer>,
    ) -> Option<Self> {
        let (sources, source) = (sources?.clone(), record.source.as_ref()?);
        let reference = ModelRef::parse(&source.reference).ok().filter(|reference| sources.takes(reference))?;
        let reference = match &source.pinned {
            Some(pinned) => sources.at(&reference, pinned),
            None => reference,
        };
        let (asking, files) =
            (Asking { observer, cancel, has_digest: true, digest: None, mirrors: false }, OnceLock::new());
        Some(RemoteOrigin(Arc::new(Question { sources, reference, asking, files })))
    }

    /// The file at this path in the tree.
    pub(super) fn file(&self, path: &str, size_bytes: u64) -> RemoteFile {
        RemoteFile { origin: self.0.clone(), path: path.to_owned(), size_bytes }
    }
}

impl Question {
    fn files(&self) -> &[RemoteContent] {
        self.files.get_or_init(|| {
            self.ask().unwrap_or_else(|error| {
                // Another source may still have the bytes.
                let (what, why) = (self.reference.shown(), error.to_string());
                self.asking.observer.on(&Event::NotAsked { what: &what, why: &why });
                Vec::new()
            })
        })
    }

    fn ask(&self) -> Result<Vec<RemoteContent>> {
        let Remote { files, .. } = self.sources.resolve(&self.reference, &Selection::default(), &self.asking)?;
        Ok(files)
    }
}

/// A file on the server. Before it is read, only its expected size is known.
pub(super) struct RemoteFile {
    origin: Arc<Question>,
    path: String,
    size_bytes: u64,
}

impl ReadAt for RemoteFile {
    fn name(&self) -> String {
        self.origin.reference.shown()
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let files = self.origin.files();
        let is_it = |file: &&RemoteContent| file.path == self.path && file.reader.size_bytes() == self.size_bytes;
        files.iter().find(is_it).ok_or(io::ErrorKind::NotFound)?.reader.read_exact_at(offset, buffer)
    }
}
