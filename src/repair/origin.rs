//! The server that an entry was fetched from, as a source of what is damaged: only the bad parts are asked for.

use std::cell::OnceCell;
use std::sync::Arc;

use crate::cancel::Cancel;
use crate::entry::Record;
use crate::error::Result;
use crate::fetch::{Asking, Remote, RemoteContent, Resolver, Selection};
use crate::model_ref::ModelRef;
use crate::observer::{Event, Observer};
use crate::read_at::ReadAt;

/// What the entry's reference means, in the version that it was pinned to. Nobody is asked before something is needed.
pub(super) struct RemoteOrigin<'a> {
    sources: &'a dyn Resolver,
    reference: ModelRef,
    asking: Asking,
    files: OnceCell<Vec<RemoteContent>>,
}

impl<'a> RemoteOrigin<'a> {
    /// `None`: it was not fetched, or by nobody that this handle has.
    pub(super) fn of(
        record: &Record,
        sources: Option<&'a dyn Resolver>,
        cancel: Cancel,
        observer: Arc<dyn Observer>,
    ) -> Option<Self> {
        let (sources, source) = (sources?, record.source.as_ref()?);
        let reference = ModelRef::parse(&source.reference).ok().filter(|reference| sources.takes(reference))?;
        let reference = match &source.pinned {
            Some(pinned) => sources.at(&reference, pinned),
            None => reference,
        };
        Some(RemoteOrigin { sources, reference, asking: Asking { observer, cancel }, files: OnceCell::new() })
    }

    /// The file that is at this place in its tree.
    pub(super) fn open(&self, path: &str) -> Option<Box<dyn ReadAt>> {
        let files = self.files.get_or_init(|| {
            self.ask().unwrap_or_else(|error| {
                // There may be another source.
                let (what, why) = (self.reference.to_string(), error.to_string());
                self.asking.observer.on(&Event::NotAsked { what: &what, why: &why });
                Vec::new()
            })
        });
        let file = files.iter().find(|file| file.path == path)?;
        Some(Box::new(file.reader.clone()))
    }

    fn ask(&self) -> Result<Vec<RemoteContent>> {
        let Remote { files, .. } = self.sources.resolve(&self.reference, &Selection::default(), &self.asking)?;
        Ok(files)
    }
}
