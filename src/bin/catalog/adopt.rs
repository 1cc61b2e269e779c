//! `catalog adopt`: takes in what other tools have.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use catalog_core::adopt::{self, AdoptOptions, AdoptPlan, AdoptReceipt, Found, Scan, Skipped, Tool};
use catalog_core::{FsCatalog, IngestMode, UsedMode};
use serde::Serialize;

use crate::app::App;
use crate::args::Init;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::interrupt::cancel_on_signal;
use crate::json::Line;
use crate::progress::Progress;

/// Take in the models that other tools have, without keeping their bytes twice
///
/// WHAT is a tool, whose store is found as the tool itself finds it: hf (the Hugging Face cache, also of vLLM and
/// transformers), llamacpp, ollama, ramalama, lmstudio, modelscope, docker (Docker Model Runner); or auto, all of them;
/// or the path of a store. A tool and a path is the store of that tool there: `oci PATH` is an OCI image layout.
///
/// Bytes are shared: by reflink where the file system can, otherwise by hardlink if the tool never writes into its
/// files and they belong to you, otherwise they are copied. Every file is hashed once. What its tool says that it is, is
/// checked: a file that is something else is refused, and the rest goes on.
///
/// Nothing in the tool's store is changed, except that a hardlinked file becomes read-only, and by --dedupe. Unfinished
/// downloads and incomplete models are left out, and listed. What was adopted before and has not changed is not read
/// again.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog adopt --dry-run                     # what is there, and what it would take
  catalog adopt
  catalog adopt hf --only 'hf:ibm-granite/*'
  catalog adopt ollama --dedupe               # and free what both would keep
  catalog adopt ~/llm/models/hub
  catalog adopt oci ./models.oci
  catalog path ollama:llama3.2:3b")]
pub(crate) struct Args {
    /// A tool, a path, or auto
    #[arg(value_name = "WHAT", default_value = AUTO)]
    what: Vec<PathBuf>,
    /// Say what would be adopted, and do nothing; reads no model
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Replace the tool's own files by hardlinks to the store's where the same bytes would be kept twice
    #[arg(long)]
    dedupe: bool,
    /// Only models whose id matches this pattern; may be given more than once
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    init: Init,
}

/// How the bytes come in.
#[derive(Clone, Copy, clap::Args)]
#[group(multiple = false)]
struct How {
    /// Only hardlink, and fail where that is not possible
    #[arg(long)]
    link: bool,
    /// Only reflink, and fail where that is not possible
    #[arg(long)]
    reflink: bool,
    /// Only copy
    #[arg(long)]
    copy: bool,
}

/// All tools.
const AUTO: &str = "auto";

/// Whose store is meant.
#[derive(Clone, Copy)]
enum Which {
    All,
    One(Tool),
}

impl Which {
    /// `None`: it is a path.
    fn of(word: &Path) -> Option<Self> {
        match word.to_str()? {
            AUTO => Some(Which::All),
            word => word.parse().ok().map(Which::One),
        }
    }
}

/// The stores of all tools, or of one, where the tools themselves look.
fn places(only: Option<Tool>) -> Vec<(Tool, PathBuf)> {
    let all = adopt::places(|name| env::var_os(name));
    all.into_iter().filter(|(tool, _)| only.is_none_or(|only| only == *tool)).collect()
}

/// The sums of a run.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Summary {
    /// Whether nothing was done.
    dry_run: bool,
    /// The models that were adopted, or would be.
    models: u64,
    /// The bytes of their files, each file counted once.
    size_bytes: u64,
    /// Bytes that the disk holds more than before, or would.
    new_bytes: u64,
    /// Bytes of the tools' own files that came free, or would.
    deduped_bytes: u64,
    /// What was left out: unfinished downloads, incomplete models and the like.
    skipped: u64,
    /// Models that could not be adopted.
    failed: u64,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let stores = self.stores(app)?;
        let mut scans: Vec<Scan> = Vec::new();
        let places = stores.iter().map(|(tool, dir)| (dir.to_string_lossy(), (tool, dir)));
        let scanned = app.each(places, |app, (tool, dir)| {
            if app.is_verbose() {
                app.note(&format!("looking for models of {tool} in {}", dir.display()));
            }
            scans.push(adopt::scan(*tool, dir)?);
            Ok(())
        });
        let models: Vec<Found> =
            scans.iter().flat_map(|scan| &scan.models).filter(|model| self.wants(model)).cloned().collect();
        let skipped: Vec<&Skipped> = scans.iter().flat_map(|scan| &scan.skipped).collect();
        let mut summary = Summary {
            dry_run: self.dry_run,
            size_bytes: adopt::size_bytes(&models),
            skipped: skipped.len() as u64,
            ..Summary::default()
        };
        let done = match self.dry_run {
            true => self.plan(app, &models, &mut summary),
            false => self.adopt(app, &models, &mut summary),
        };
        if let Err(failure) = done.as_ref()
            && !matches!(failure, Failure::Told(_))
        {
            return done; // nothing was begun
        }
        for skipped in skipped {
            app.receipt(Line::Skipped(skipped), |app| skipped_words(skipped, app));
        }
        app.receipt(Line::AdoptSummary(&summary), |_| sums(&summary).into_bytes());
        scanned.and(done)
    }

    /// The stores that are meant, each once.
    fn stores(&self, app: &App) -> Result<Vec<(Tool, PathBuf)>, Failure> {
        let mut stores: Vec<(Tool, PathBuf)> = Vec::new();
        let mut words = self.what.iter().peekable();
        while let Some(word) = words.next() {
            let Some(which) = Which::of(word) else {
                stores.push((tool_at(word)?, word.clone()));
                continue;
            };
            match (which, words.next_if(|next| Which::of(next).is_none())) {
                (Which::All, None) => stores.extend(places(None)),
                (Which::One(tool), Some(dir)) => stores.push((tool, dir.clone())),
                (Which::One(tool), None) => {
                    let found = places(Some(tool));
                    if found.is_empty() {
                        return Err(Failure::not_found(format!("could not find a store of {tool}"))
                            .with_hint(format!("give its path: adopt {tool} PATH")));
                    }
                    stores.extend(found);
                }
                (Which::All, Some(dir)) => stores.push((tool_at(dir)?, dir.clone())),
            }
        }
        stores.sort();
        stores.dedup();
        if stores.is_empty() {
            app.note("none of the tools has a store in its usual place; give the path of one");
        }
        Ok(stores)
    }

    fn wants(&self, model: &Found) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| model.matches(pattern))
    }

    fn options(&self) -> AdoptOptions {
        let mode = match self.how {
            How { link: true, .. } => Some(IngestMode::Link),
            How { reflink: true, .. } => Some(IngestMode::Reflink),
            How { copy: true, .. } => Some(IngestMode::Copy),
            _ => None,
        };
        AdoptOptions::default().with_mode(mode).with_dedupe(self.dedupe)
    }

    fn plan(&self, app: &mut App, models: &[Found], summary: &mut Summary) -> Outcome {
        // Where a catalog would be made, what it can share with is found out in one that is thrown away.
        let (catalog, _scratch) = match app.open() {
            Ok(catalog) => (catalog, None),
            Err(error) if error.is_not_found() => scratch(&app.root()).ok_or(error)?,
            Err(error) => return Err(error.into()),
        };
        let plans = catalog.plan_adopt(models, &self.options());
        app.each(models.iter().map(|model| &model.id).zip(plans), |app, plan| {
            let plan = plan.inspect_err(|_| summary.failed += 1)?;
            summary.add(plan.new_bytes, plan.deduped_bytes);
            app.receipt(Line::AdoptPlan(&plan), |app| plan_words(&plan, app));
            Ok(())
        })
    }

    fn adopt(&self, app: &mut App, models: &[Found], summary: &mut Summary) -> Outcome {
        if models.is_empty() {
            return Ok(());
        }
        let catalog = app.open_or_create(self.init)?;
        app.note_unknown_room(&catalog);
        let progress = Arc::new(Progress::new(app));
        let options = self.options().with_cancel(cancel_on_signal()).with_observer(progress.clone());
        let results = catalog.adopt(models, &options);
        progress.clear();
        app.each(models.iter().map(|model| &model.id).zip(results), |app, receipt| {
            let receipt = receipt.inspect_err(|_| summary.failed += 1)?;
            summary.add(receipt.new_bytes, receipt.deduped_bytes);
            app.receipt(Line::Adopted(&receipt), |app| words(&receipt, app));
            Ok(())
        })
    }
}

impl Summary {
    fn add(&mut self, new_bytes: u64, deduped_bytes: u64) {
        self.models += 1;
        self.new_bytes = self.new_bytes.saturating_add(new_bytes);
        self.deduped_bytes = self.deduped_bytes.saturating_add(deduped_bytes);
    }
}

/// A catalog beside the place where the real one would be made, for as long as the second value lives.
fn scratch(root: &Path) -> Option<(FsCatalog, Option<tempfile::TempDir>)> {
    let folder = root.ancestors().skip(1).find(|folder| folder.is_dir())?;
    let dir = tempfile::Builder::new().prefix(".catalog-plan-").tempdir_in(folder).ok()?;
    Some((FsCatalog::new(dir.path()).ok()?, Some(dir)))
}

/// Which tool's store lies at a path.
fn tool_at(path: &Path) -> Result<Tool, Failure> {
    if !path.exists() {
        let tools: Vec<&str> = Tool::ALL.iter().map(|tool| tool.as_str()).collect();
        let is_word = path.as_os_str().to_string_lossy().chars().all(char::is_alphanumeric);
        let hint = if is_word { format!("the tools are {}", tools.join(", ")) } else { "check the path".to_owned() };
        return Err(Failure::not_found(format!("could not adopt {}: there is nothing", path.display())).with_hint(hint));
    }
    adopt::tool_of(path).ok_or_else(|| {
        Failure::usage(format!("could not adopt {}: it is not the store of a tool that is known", path.display()))
            .with_hint("`stage` takes files and directories in")
    })
}

fn how(receipt: &AdoptReceipt) -> String {
    let staged = &receipt.staged;
    let how = match staged.mode {
        UsedMode::Unchanged => return "here already".to_owned(),
        UsedMode::Present => "its bytes are here already",
        UsedMode::Reflink => "reflinked",
        UsedMode::Link => "hardlinked",
        _ => "copied",
    };
    let why = staged.unshared.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    format!("{how}{why}, {} new", human::size(receipt.new_bytes))
}

fn words(receipt: &AdoptReceipt, app: &App) -> Vec<u8> {
    let size = human::size_of_files(receipt.staged.size_bytes, receipt.staged.files);
    let mut words = format!("adopted {}: {size}, {}", app.out.shown(&receipt.staged.id), how(receipt));
    if receipt.deduped_bytes > 0 {
        words.push_str(&format!(", {} of {} freed", human::size(receipt.deduped_bytes), receipt.tool));
    }
    if !receipt.also.is_empty() {
        words.push_str(&format!("; also {}", app.out.shown(&receipt.also.join(", "))));
    }
    for kept in &receipt.not_deduped {
        words.push_str(&format!("\n  not replaced: {}", app.out.shown(kept)));
    }
    words.into_bytes()
}

fn plan_words(plan: &AdoptPlan, app: &App) -> Vec<u8> {
    let size = human::size_of_files(plan.size_bytes, plan.files);
    let what = match plan.is_here {
        true => "here already".to_owned(),
        false => format!("{} new", human::size(plan.new_bytes)),
    };
    let mut words = format!("would adopt {}: {size}, {what}", app.out.shown(&plan.id));
    if plan.deduped_bytes > 0 {
        words.push_str(&format!(", {} of {} to be freed", human::size(plan.deduped_bytes), plan.tool));
    }
    if !plan.also.is_empty() {
        words.push_str(&format!("; also {}", app.out.shown(&plan.also.join(", "))));
    }
    words.into_bytes()
}

fn skipped_words(skipped: &Skipped, app: &App) -> Vec<u8> {
    let mut words = b"skipped ".to_vec();
    words.extend_from_slice(&app.out.shown_path(&skipped.path));
    words.extend_from_slice(format!(": {}", app.out.shown(&skipped.reason)).as_bytes());
    words
}

fn sums(summary: &Summary) -> String {
    let mut words = format!(
        "{}, {}, {} new",
        human::count(summary.models, "model"),
        human::size(summary.size_bytes),
        human::size(summary.new_bytes)
    );
    if summary.deduped_bytes > 0 {
        let freed = if summary.dry_run { "to be freed" } else { "freed" };
        words.push_str(&format!(", {} {freed}", human::size(summary.deduped_bytes)));
    }
    for (number, what) in [(summary.skipped, "skipped"), (summary.failed, "failed")] {
        if number > 0 {
            words.push_str(&format!("; {number} {what}"));
        }
    }
    words
}
