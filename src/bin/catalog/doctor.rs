//! `catalog doctor`: the store checked against itself, and repaired.

use std::collections::BTreeSet;
use std::sync::Arc;

use catalog_core::{Doctor, Finding, Remedy, RepairOutcome, Severity};
use serde::Serialize;

use crate::advice::with_root;
use crate::app::App;
use crate::failure::{Failure, Outcome, with_hint};
use crate::human;
use crate::json;
use crate::progress::Progress;

/// How often a repair may reveal something else that can be repaired.
const ROUNDS: usize = 4;

/// Check the store itself: its index, links, modes, and what does not belong there
///
/// Checks everything except the bytes of models, which `verify --all` reads. For each finding it prints where it is,
/// what is wrong, what that means, and what --repair would do or what to do instead; docs/recovery.md says more about
/// each. It only reads, so it works on a read-only root and while other processes use the store.
///
/// With --repair it restores lost parts of the index from the previous generation, corrects paths, outboards and
/// modes, and reads in full what has changed since its last check. Whatever it takes out of the way goes to
/// `quarantine/`. It also tests what the file system can do.
///
/// The exit code is 4 if content or index are damaged, 1 if something else is left that needs attention, and 0 if
/// there are only notes and what `gc` takes, or nothing at all.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog doctor
  catalog doctor --json | jq -r 'select(.severity == \"error\").path'
  catalog doctor --repair")]
pub(crate) struct Args {
    /// Repair what can be repaired
    #[arg(long)]
    repair: bool,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Line {
    #[serde(flatten)]
    finding: Finding,
    /// With --repair: `repaired`, `gone`, `failed`, `left`.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    /// With --repair: what was done, or why it failed, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Summary {
    /// Findings that are errors, and are left.
    errors: usize,
    /// Findings that are warnings, and are left.
    warnings: usize,
    /// Notes.
    notes: usize,
    /// Findings that were repaired.
    repaired: usize,
}

/// The sums at the end.
#[derive(Default)]
struct Tally {
    left: Vec<(Severity, bool)>,
    repaired: usize,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let progress = Arc::new(Progress::new(app));
        let doctor = Doctor::open(app.root())?.with_observer(progress.clone());
        let mut tally = Tally::default();
        let mut found = doctor.examine()?;
        if self.repair {
            found = repair(app, &doctor, found, &mut tally)?;
            progress.clear();
            match doctor.probe() {
                Ok(notes) => found.extend(notes),
                Err(error) => drop(app.tell(None, &error.into())),
            }
        } else {
            found.iter().for_each(|finding| show(app, finding, None));
        }
        if self.repair {
            // A note that was printed already is not repeated.
            let mut told = BTreeSet::new();
            found.retain(|finding| finding.severity() != Severity::Note || told.insert(finding.kind));
            found.iter().for_each(|finding| show(app, finding, Some(("left", None))));
        }
        tally.left.extend(found.iter().map(|finding| (finding.severity(), finding.needs_attention())));
        self.conclude(app, &doctor, &tally)
    }

    fn conclude(&self, app: &mut App, doctor: &Doctor, tally: &Tally) -> Outcome {
        let count = |wanted| tally.left.iter().filter(|(severity, _)| *severity == wanted).count();
        let (errors, warnings, notes) = (count(Severity::Error), count(Severity::Warning), count(Severity::Note));
        if errors + warnings + notes + tally.repaired > 0 {
            let summary = Summary { errors, warnings, notes, repaired: tally.repaired };
            let repaired = if tally.repaired > 0 { format!(", {} repaired", tally.repaired) } else { String::new() };
            let [e, w, n] =
                [human::count(errors, "error"), human::count(warnings, "warning"), human::count(notes, "note")];
            let words = format!("{e}, {w}, {n}{repaired}");
            print(app, &json::Line::DoctorSummary(&summary), words.into_bytes());
        }
        if errors + warnings == 0 {
            app.note("nothing is wrong");
        }
        let root = doctor.root().display();
        let next = match self.repair {
            false => format!("`{} doctor --repair` repairs what can be repaired", app.command()),
            true => "docs/recovery.md says what to do about the rest".to_owned(),
        };
        let why = |what: &str| format!("could not vouch for the store at {root}: {what}");
        if errors > 0 {
            return Err(Failure::corrupt(why("content or index are damaged")).with_hint(next));
        }
        match tally.left.iter().any(|(_, needs_attention)| *needs_attention) {
            true => Err(Failure::failed(why("something needs attention")).with_hint(next)),
            false => Ok(()),
        }
    }
}

/// Repairs and examines again until nothing repairable is left. Returns the last findings.
fn repair(
    app: &mut App,
    doctor: &Doctor,
    mut found: Vec<Finding>,
    tally: &mut Tally,
) -> catalog_core::Result<Vec<Finding>> {
    let mut tried: Vec<Finding> = Vec::new();
    for _ in 0..ROUNDS {
        // A repair that failed once is not tried again.
        let due: Vec<Finding> = found.iter().filter(|f| f.is_repairable() && !tried.contains(f)).cloned().collect();
        if due.is_empty() {
            break;
        }
        for (finding, outcome) in due.iter().zip(doctor.repair(&due)) {
            match outcome {
                RepairOutcome::Repaired(what) => {
                    tally.repaired += 1;
                    show(app, finding, Some(("repaired", Some(what))));
                }
                RepairOutcome::Gone => show(app, finding, Some(("gone", None))),
                RepairOutcome::Failed(error) => {
                    show(app, finding, Some(("failed", Some(with_hint(&error, &app.command())))));
                }
                _ => {}
            }
            app.out.flush();
        }
        tried.extend(due);
        found = doctor.examine()?;
    }
    Ok(found)
}

fn show(app: &mut App, finding: &Finding, outcome: Option<(&'static str, Option<String>)>) {
    let (outcome, detail) = outcome.map_or((None, None), |(outcome, detail)| (Some(outcome), detail));
    let mut finding = finding.clone();
    finding.advice = with_root(&finding.advice, &app.command());
    let line = Line { finding, outcome, detail };
    let words = words(app, &line);
    print(app, &json::Line::Finding(&line), words);
}

fn words(app: &App, line: &Line) -> Vec<u8> {
    let finding = &line.finding;
    let mut words = format!("{} {}: ", finding.severity(), finding.kind).into_bytes();
    words.extend_from_slice(&app.out.shown_path(&finding.path));
    if let Some(id) = &finding.id {
        words.extend_from_slice(format!(" of {}", app.out.shown(id)).as_bytes());
    }
    let to_do = match finding.remedy {
        Remedy::Repair => "--repair",
        Remedy::Nothing => "hint",
        _ => "to do",
    };
    let mut rest = format!("\n  wrong: {}\n", app.out.shown(&finding.what));
    match (line.outcome, &line.detail) {
        (Some("repaired"), Some(detail)) => rest.push_str(&format!("  repaired: {}", app.out.shown(detail))),
        (Some("failed"), Some(detail)) => rest.push_str(&format!("  not repaired: {}", app.out.shown(detail))),
        (Some("gone"), _) => rest.push_str("  gone: this is no longer the case"),
        _ => rest.push_str(&format!("  means: {}\n  {to_do}: {}", finding.meaning(), app.out.shown(&finding.advice))),
    }
    words.extend_from_slice(rest.as_bytes());
    words
}

/// The findings are data, so `--quiet` does not silence them.
fn print(app: &mut App, line: &json::Line<'_>, words: Vec<u8>) {
    match app.json() {
        true => app.out.json(line),
        false => app.out.line(words),
    }
}
