//! Exports entries: each by itself, or all into one archive.

use std::cell::Cell;
use std::path::Path;
use std::time::Instant;

use super::artifact::Artifact;
use super::job::Job;
use super::options::{ExportLayout, ExportOptions};
use super::plan::Plan;
use super::receipt::ExportReceipt;
use super::{folders, hf, oci, ollama, ramalama, record, target};
use crate::error::Result;
use crate::store::Store;

/// Exports an entry; see [`FsCatalog::export`](crate::FsCatalog::export).
pub(crate) fn export(store: &Store, id: &str, options: &ExportOptions) -> Result<ExportReceipt> {
    let mut result = None;
    export_many(store, &[id], options, &mut |done| result = result.take().or(Some(done)));
    result.unwrap_or_else(|| Err(store.not_found(id)))
}

/// Exports several entries; see [`FsCatalog::export_many`](crate::FsCatalog::export_many).
pub(crate) fn export_many<S: AsRef<str>>(
    store: &Store,
    ids: &[S],
    options: &ExportOptions,
    each: &mut dyn FnMut(Result<ExportReceipt>),
) {
    let began = Instant::now();
    let to = match target::place(store, options) {
        Ok(to) => to,
        Err(error) => return each(Err(error)),
    };
    if options.layout == ExportLayout::Oci && record::is_archive(&to) {
        return archive(store, ids, options, &to, began, each);
    }
    for id in ids {
        let began = Instant::now();
        let exported = || {
            let artifact = Artifact::open(store, id.as_ref())?;
            let plan = plan(&artifact, options, &to)?;
            let names = vec![plan.name.clone()];
            let mut receipts = Job {
                store,
                artifacts: &[artifact],
                plan: &plan,
                names,
                options,
                to: &to,
                began,
                reason: Cell::default(),
            }
            .run()?;
            receipts.pop().ok_or_else(|| store.not_found(id.as_ref()))
        };
        each(exported());
    }
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
    ids: &[S],
    options: &ExportOptions,
    to: &Path,
    began: Instant,
    each: &mut dyn FnMut(Result<ExportReceipt>),
) {
    use super::archive::Archive;
    use super::plan::{Content, Linking, Role};

    let (mut artifacts, mut plans, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for id in ids {
        let opened = Artifact::open(store, id.as_ref());
        match opened.and_then(|artifact| Ok((oci::plan(&artifact, options)?, artifact))) {
            Ok((plan, artifact)) => {
                names.push(plan.name.clone());
                plans.push(plan);
                artifacts.push(artifact);
            }
            Err(error) => each(Err(error)),
        }
    }
    let (Some(first), Some(name)) = (artifacts.first(), to.file_name().and_then(|name| name.to_str())) else { return };
    let archive = match Archive::of(plans) {
        Ok(archive) => archive,
        Err(reason) => return each(Err(first.cannot(options.layout, reason))),
    };
    let mut plan = Plan::new(name, name, Linking::No("an archive has bytes of its own"));
    plan.push(name.to_owned(), Content::Archive(archive), Role::Head);
    match (Job { store, artifacts: &artifacts, plan: &plan, names, options, to, began, reason: Cell::default() }.run())
    {
        Ok(receipts) => receipts.into_iter().for_each(|receipt| each(Ok(receipt))),
        Err(error) => each(Err(error)),
    }
}

#[cfg(not(feature = "tar"))]
fn archive<S: AsRef<str>>(
    _: &Store,
    _: &[S],
    _: &ExportOptions,
    to: &Path,
    _: Instant,
    each: &mut dyn FnMut(Result<ExportReceipt>),
) {
    let reason = "this build writes no archives; name a directory".to_owned();
    each(Err(crate::error::Error::InvalidExport { value: to.display().to_string(), reason }));
}
