//! Exporting: shows models of the store in the layout of another tool, without copying where both sides allow it.
//!
//! An export writes into folders that other programs own, so it goes by these rules:
//!
//! - No name that it makes is a symlink into the store: a tool that follows one would change or remove our blob.
//! - A file is a hardlink of the blob only if no program writes into a finished file there. Otherwise it is a reflink or
//!   a copy.
//! - What the tool has already stays. A file of the tool with other bytes is an error before anything is made.
//! - The record in `exports/` names everything before the first name appears outside the store, with the stamp of each
//!   file before that file gets its name. So after a kill at any moment, exactly what the export has made can be removed.
//! - The files are made in a private folder of the target, and renamed to their names in the order in which the tool
//!   needs them: content first, pointers last.
//!
//! ```text
//! options.rs      how a model is exported
//! receipt.rs      what came of it
//! record.rs       the record in `exports/`
//! records.rs      all records, each read once
//! names.rs        the names that a model gets there
//! artifact.rs     a leased model whose bytes were checked
//! plan.rs         the names of an export, in order
//! hf.rs, ollama.rs, ramalama.rs, folders.rs, oci.rs      the plan for each layout
//! lfs.rs          which files the Hub keeps in LFS
//! index.rs        `index.json` of an image layout
//! archive.rs      an image layout as a tar archive
//! target.rs       the folder outside the store
//! look.rs         what is at the names of an export already
//! make.rs         the private files of an export
//! run.rs          exports entries
//! job.rs          the order of one export
//! publish.rs      gives the files their names
//! in_use.rs       what the tool itself needs of it
//! state.rs        whether an export is still what was made
//! remove.rs       taking an export away
//! sync.rs         making exports again
//! ```

#[cfg(feature = "tar")]
mod archive;
mod artifact;
mod folders;
mod hf;
mod in_use;
mod index;
mod job;
mod lfs;
mod look;
mod make;
mod names;
mod oci;
mod ollama;
mod options;
mod plan;
mod publish;
mod ramalama;
mod receipt;
mod record;
mod records;
mod remove;
mod run;
mod state;
mod sync;
mod target;

pub use options::{ExportLayout, ExportOptions};
pub use receipt::{Export, ExportReceipt, ExportRemoval, ExportState, ExportSync, ExportWay, ExportedFile, SyncAction};
pub(crate) use record::check_record;
pub(crate) use records::Records;
pub(crate) use remove::remove;
pub(crate) use run::{export, export_many};
pub(crate) use state::exports;
pub(crate) use sync::sync;
