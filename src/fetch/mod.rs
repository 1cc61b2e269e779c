//! Fetchers: from a reference to a path. They know nothing about the store.

mod remote;

pub use remote::RemoteDocument;
pub(crate) use remote::{Asking, Remote, RemoteContent, Resolver, Selection};

use std::path::PathBuf;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::fs::source::source_meta;
use crate::json::lossy;
use crate::model_ref::{ModelRef, absolute};

/// An artifact that is available locally.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ResolvedModel {
    /// The reference's own string.
    pub id: String,
    /// Its absolute path.
    #[serde(serialize_with = "lossy")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub local_path: PathBuf,
}

/// Makes sure that the artifact of a reference is on this machine.
pub trait ModelFetcher: Send + Sync {
    /// Fetches the artifact if it is missing, and returns where it is.
    fn ensure_present(&self, mr: &ModelRef) -> Result<ResolvedModel>;
}

/// Finds local files and directories; fetches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileFetcher;

impl ModelFetcher for FileFetcher {
    /// The id is `file:/abs/path`. Fails with [`Error::NoFetcher`] if the reference is not a file, with
    /// [`Error::SourceMissing`] if the path does not exist, and with [`Error::UnsupportedFileType`] for a FIFO, socket
    /// or device.
    fn ensure_present(&self, mr: &ModelRef) -> Result<ResolvedModel> {
        let id = mr.id()?;
        let ModelRef::File { path } = mr else {
            return Err(Error::NoFetcher { scheme: mr.scheme().to_owned(), reference: mr.shown() });
        };
        let local_path = absolute(path)?;
        source_meta(&local_path)?;
        Ok(ResolvedModel { id, local_path })
    }
}
