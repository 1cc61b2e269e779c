//! Exports entries: each by itself, or all into one archive.

use std::cell::Cell;
use std::path::Path;
use std::time::Instant;

use super::artifact::Artifact;
use super::job::Job;
use super::options::{ExportLayout, ExportOptions};
use super::plan::Plan;
use super::receipt::ExportReceipt;
use super::records::Records;
use super::{folders, hf, oci, ollama, ramalama, record, target};
use crate::error::Result;
use crate::store::Store;

/// What an entry's export came to, with its id.
type Each<'e> = dyn FnMut(&str, Result<ExportReceipt>) + 'e;

/// Exports an entry; see [`FsCatalog::export`](crate::FsCatalog::export).
pub(crate) fn export(store: &Store, known: &Records, id: &str, options: &ExportOptions) -> Result<ExportReceipt> {
    let mut result = None;
    export_many(store, known, &[id], options, &mut |_, done| result = result.take().or(Some(done)))?;
    result.unwrap_or_else(|| Err(store.not_found(id)))
}

/// Exports several entries; see [`FsCatalog::export_many`](crate::FsCatalog::export_many).
pub(crate) fn export_many<S: AsRef<str>>(
    store: &Store,
    known: &Records,
    ids: &[S],
    options: &ExportOptions,
    each: &mut Each<'_>,
) -> Result<()> {
    let to = target::place(store, options)?;
    if options.layout == ExportLayout::Oci && record::is_archive(&to) {
        return archive(store, known, ids, options, &to, each);
    }
    for id in ids.iter().map(AsRef::as_ref) {
        let began = Instant::now();
        let exported = || {
            let artifact = Artifact::open(store, id)?;
            let plan = plan(&artifact, options, &to)?;
            let names = vec![plan.name.clone()];
            let (artifacts, plan, to) = (&[artifact], &plan, &*to);
            let job = Job { store, known, artifacts, plan, names, options, to, began, reason: Cell::default() };
            job.run()?.pop().ok_or_else(|| store.not_found(id))
        };
        each(id, exported());
    }
    Ok(())
}

fn plan(artifact: &Artifact<'_>, options: &ExportOptions, to: &Path) -> Result<Plan> {
    match options.layout {
        ExportLayout::Hf | ExportLayout::LlamaCpp => hf::plan(artifact, options),
        ExportLayout::Ollama => ollama::plan(artifact, options),
        ExportLayout::RamaLama => ramalama::plan(artifact, options, to),
        ExportLayout::LmStudio => folders::lmstudio(artifact, options),
        ExportLayout::ModelScope => folders::modelscope(artifact, options),
        ExportLayout::Oci => oci::plan(artifact, options),
        ExportLayout::Dir => folders::dir(artifact, options),
    }
}

/// All entries go into one archive.
#[cfg(feature = "tar")]
fn archive<S: AsRef<str>>(
    store: &Store,
    known: &Records,
    ids: &[S],
    options: &ExportOptions,
    to: &Path,
    each: &mut Each<'_>,
) -> Result<()> {
    use super::archive::Archive;
    use super::plan::{Content, Linking, Role};

    let began = Instant::now();
    let (mut artifacts, mut plans, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for id in ids.iter().map(AsRef::as_ref) {
        let opened = Artifact::open(store, id);
        match opened.and_then(|artifact| Ok((oci::plan(&artifact, options)?, artifact))) {
            Ok((plan, artifact)) => {
                names.push(plan.name.clone());
                plans.push(plan);
                artifacts.push(artifact);
            }
            Err(error) => each(id, Err(error)),
        }
    }
    let name = to.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let made = || {
        let Some(first) = artifacts.first() else { return Ok(Vec::new()) };
        let archive = Archive::of(plans).map_err(|reason| first.cannot(options.layout, reason))?;
        let mut plan = Plan::new(name, name, Linking::No("an archive has bytes of its own"));
        plan.push(name.to_owned(), Content::Archive(archive), Role::Head);
        let (artifacts, plan, reason) = (&artifacts, &plan, Cell::default());
        Job { store, known, artifacts, plan, names, options, to, began, reason }.run()
    };
    match made() {
        Ok(receipts) => receipts.into_iter().for_each(|receipt| each(&receipt.id.clone(), Ok(receipt))),
        Err(error) => artifacts.iter().for_each(|artifact| each(artifact.id(), Err(error.clone()))),
    }
    Ok(())
}

#[cfg(not(feature = "tar"))]
fn archive<S: AsRef<str>>(
    _: &Store,
    _: &Records,
    _: &[S],
    _: &ExportOptions,
    to: &Path,
    _: &mut Each<'_>,
) -> Result<()> {
    let reason = "this build writes no archives; name a directory".to_owned();
    Err(crate::error::Error::InvalidExport { value: to.display().to_string(), reason })
}
