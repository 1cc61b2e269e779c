//! `catalog verify`: whether models are what was staged, and if not, where they are damaged.

use std::sync::Arc;
use std::time::Duration;

use catalog_core::{FsCatalog, VerificationOutcome, VerifyDepth, VerifyOptions, VerifyReport};

use crate::amount;
use crate::app::App;
use crate::args::find_all;
use crate::complete;
use crate::failure::{Exit, Failure, Outcome};
use crate::human;
use crate::interrupt::cancel_on_signal;
use crate::json::Line;
use crate::progress::Progress;
use crate::text::argument;

/// Check that the content of models is what was staged
///
/// Reads every byte, on all cores, and compares it with the BLAKE3 hashes that `stage` made. It names damage to the
/// MiB and takes it out of service: damaged files go to `quarantine/`, and `path` and `lease` fail until `catalog
/// repair` or a new `stage` has repaired the model. It leaves the page cache as it was.
///
/// With --all, it prints a line only for models that fail, and then the sums; -v prints a line for each.
///
/// The exit code is 4 if something is damaged. You can interrupt it at any time; `--max-age` resumes there.
#[derive(clap::Args)]
#[command(override_usage = "catalog verify [OPTIONS] <ID|REF|PATTERN>...\n       catalog verify [OPTIONS] --all")]
#[command(after_help = "Examples:
  catalog verify llama3
  catalog verify --all --max-age 7d --rate 200MB/s    # for a nightly job
  catalog verify --all --quick                        # what was changed since it was checked")]
pub(crate) struct Args {
    /// Ids, references, patterns such as 'hf:org/*', digests or the first digits of one, or paths below the root
    #[arg(value_name = "ID|REF|PATTERN", conflicts_with = "all", add = complete::models())]
    models: Vec<String>,
    /// Every model that is here
    #[arg(long)]
    all: bool,
    /// Read nothing: only compare inode, size and modification time with those of the last full check
    #[arg(long, conflicts_with = "sha256")]
    quick: bool,
    /// Check against the SHA-256 that names the content; several times slower
    #[arg(long)]
    sha256: bool,
    /// Skip what was checked within this time and has not changed since, such as 12h or 7d
    #[arg(long, value_name = "TIME", value_parser = amount::duration)]
    max_age: Option<Duration>,
    /// Read no faster than this, such as 200MB/s
    #[arg(long, value_name = "RATE", value_parser = amount::rate)]
    rate: Option<u64>,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        if self.models.is_empty() && !self.all {
            return Err(Failure::usage("could not tell which models to verify").with_hint("name some, or use --all"));
        }
        let catalog = app.open_with_locks()?;
        let mut first = None;
        let mut ids = Vec::new();
        if self.all {
            ids.extend(catalog.records()?.into_iter().map(|record| record.entry.id));
        }
        for model in &self.models {
            match find_all(&catalog, app, model) {
                Ok(records) => ids.extend(records.into_iter().map(|record| record.entry.id)),
                Err(failure) => drop(first.get_or_insert(app.tell(Some(model), &failure))),
            }
        }
        let options = VerifyOptions::default()
            .with_depth(match (self.quick, self.sha256) {
                (true, _) => VerifyDepth::Quick,
                (_, true) => VerifyDepth::ByName,
                _ => VerifyDepth::Full,
            })
            .with_max_age(self.max_age)
            .with_max_bytes_per_s(self.rate);
        let listed = if self.all { Listed::ByCatalog } else { Listed::ByUser };
        check(app, &catalog, &ids, options, listed, first)
    }
}

/// What chose the models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    ByUser,
    /// A model that is gone by now is no failure, and sums are printed.
    ByCatalog,
}

/// Checks models, and reports each as soon as it is known. `first` is the exit code of an earlier failure.
pub(crate) fn check(
    app: &mut App,
    catalog: &FsCatalog,
    ids: &[String],
    options: VerifyOptions,
    listed: Listed,
    mut first: Option<Exit>,
) -> Outcome {
    let is_quick = options.depth == VerifyDepth::Quick;
    let progress = Arc::new(Progress::new(app));
    let cancel = cancel_on_signal();
    let options = options.with_observer(progress.clone()).with_cancel(cancel.clone());
    let (mut passed, mut others, mut bytes) = (0_u64, 0_u64, 0);
    catalog.verify_many(ids, &options, &mut |answer| {
        if let Err(error) = &answer
            && listed == Listed::ByCatalog
            && error.is_not_found()
        {
            // It was removed since it was listed.
            return progress.suspend(|| app.note(&format!("skipped: {error}")));
        }
        bytes += answer.as_ref().map_or(0, |report| report.bytes_read);
        match progress.suspend(|| show(app, answer, is_quick, listed)) {
            Ok(()) => passed += 1,
            Err(exit) => {
                others += 1;
                first.get_or_insert(exit);
            }
        }
    });
    progress.clear();
    if listed == Listed::ByCatalog && !app.json() {
        let bad = if others == 0 { String::new() } else { format!(", {others} not") };
        app.note(&format!("{passed} intact{bad}; {} read", human::size(bytes)));
    }
    if cancel.is_cancelled() {
        app.note("ended before all was checked; what was found by then is recorded");
        return Err(Failure::Told(Exit::Cancelled));
    }
    first.map_or(Ok(()), |exit| Err(Failure::Told(exit)))
}

/// Prints the result for one model.
fn show(app: &mut App, answer: catalog_core::Result<VerifyReport>, quick: bool, listed: Listed) -> Result<(), Exit> {
    let report = answer.map_err(|error| app.tell(None, &error.into()))?;
    let id = app.out.shown(&report.id).into_owned();
    let is_pass = matches!(report.outcome, VerificationOutcome::Pass { .. });
    // With --all, intact models are only counted.
    if listed == Listed::ByUser || !is_pass || app.json() || app.is_verbose() {
        app.receipt(Line::Verified(&report), |_| {
            let digest = report.digest.as_ref().map(human::short_digest).unwrap_or_default();
            format!("{}  {id}  {digest}", report.outcome.as_str()).into_bytes()
        });
        app.out.flush();
    }
    let (command, reason, word) = (app.command(), report.outcome.reason(), argument(&report.id));
    match &report.outcome {
        VerificationOutcome::Pass { .. } => Ok(()),
        VerificationOutcome::Warn { .. } if quick => {
            let failure = Failure::failed(format!("could not vouch for {:?}: {reason}", report.id));
            Err(app.tell(Some(&report.id), &failure.with_hint(format!("`{command} verify {word}` reads it"))))
        }
        VerificationOutcome::Warn { .. } => {
            app.note(&format!("{}: {reason}", report.id));
            Ok(())
        }
        VerificationOutcome::Fail { .. } => {
            let failure = Failure::corrupt(format!("could not verify {:?}: {reason}", report.id));
            Err(app.tell(Some(&report.id), &failure.with_hint(format!("`{command} repair {word}` repairs it"))))
        }
    }
}
