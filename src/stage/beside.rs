//! Documents that a source has beside a model that was just fetched: they are attached to it.
//!
//! The model is recorded by then, and is whole without them: a document that cannot be had or attached is left out. The
//! source says what a document is and which model it belongs to; nobody here has checked that.

use super::StageReceipt;
use crate::documents::{self, NewDocument};
use crate::fetch::{Asking, RemoteDocument, Resolver};
use crate::model_ref::ModelRef;
use crate::store::Store;

/// Attaches what the source has. Documents that the entry has already stay.
pub(super) fn attach(
    store: &Store,
    sources: &dyn Resolver,
    reference: &ModelRef,
    receipt: &StageReceipt,
    asking: &Asking,
) {
    let Some(pinned) = &receipt.pinned else { return };
    let id = &receipt.id;
    let mut attach = |RemoteDocument { kind, name, bytes }| {
        // An id that has other content by now gets no document of this one.
        if let Err(error) = documents::attach_to(store, id, receipt.digest, &NewDocument::new(kind, name, bytes)) {
            tracing::warn!(id, %error, "could not attach a document of the model");
        }
    };
    if let Err(error) = sources.documents(reference, pinned, asking, &mut attach) {
        tracing::warn!(id, %error, "could not get the documents of the model");
    }
}
