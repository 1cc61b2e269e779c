//! Whether all of a model is there, before it is recorded.

use super::StageReceipt;
use super::artifact::Artifact;
use crate::blob::Sealed;
use crate::entry::ArtifactKind;
use crate::error::{Error, Result};
use crate::facts;
use crate::formats::{Completeness, Facts, ModelFile, ModelFiles, facts_of};
use crate::fs::source::Foreign;
use crate::read_at::ReadAt;
use crate::store::Store;
use crate::threads::map_all;

/// The facts of artifacts whose files are still private, in the same order. What cannot be read is no reason not to
/// stage it, unless it has to be complete.
pub(super) fn check_all<'a, 'r: 'a>(
    store: &Store,
    artifacts: impl Iterator<Item = &'a Artifact<'r>>,
) -> Vec<Result<Facts>> {
    map_all(artifacts.collect(), |artifact| check(store, artifact))
}

fn check(store: &Store, artifact: &Artifact<'_>) -> Result<Facts> {
    let item = &artifact.item;
    let facts = match facts(store, artifact) {
        Ok(facts) => facts,
        Err(error) if item.require_complete => return Err(error),
        Err(error) => {
            tracing::warn!(id = item.id, %error, "could not look into the files");
            Facts::default()
        }
    };
    match refusal(&item.id, &facts).filter(|_| item.require_complete) {
        Some(error) => Err(error),
        None => Ok(facts),
    }
}

fn facts(store: &Store, artifact: &Artifact<'_>) -> Result<Facts> {
    let item = &artifact.item;
    let path = |path: &String| if item.kind == ArtifactKind::File { item.name.clone() } else { path.clone() };
    let files = artifact.tree.iter().map(|file| ModelFile { path: path(&file.path), size_bytes: file.size_bytes });
    let open = |place: usize| {
        let name = artifact.incoming.get(place).map(Sealed::name).unwrap_or(std::path::Path::new(""));
        Ok(Box::new(Foreign::open(store.root.absolute(name))?) as Box<dyn ReadAt>)
    };
    facts_of(&ModelFiles::new(&files.collect::<Vec<_>>(), &open))
}

/// Why a model that was here already has to be refused, if it has to be complete.
pub(super) fn refusal_of_held(store: &Store, receipt: &StageReceipt) -> Option<Error> {
    if receipt.completeness.is_some() {
        return None;
    }
    let facts = store.record(&receipt.id).and_then(|record| match record {
        Some(record) => facts::facts(store, &record),
        None => Ok(Facts::default()),
    });
    facts.map_or_else(Some, |facts| refusal(&receipt.id, &facts))
}

fn refusal(id: &str, facts: &Facts) -> Option<Error> {
    let is_incomplete = facts.completeness == Completeness::Incomplete;
    is_incomplete.then(|| Error::Incomplete { id: id.to_owned(), missing: facts.missing.clone() })
}
