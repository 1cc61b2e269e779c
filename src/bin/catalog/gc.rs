//! `catalog gc`: frees room by policy, and takes nothing that is in use.

use std::collections::BTreeSet;
use std::time::Duration;

use catalog_core::{
    ArtifactKind, FsCatalog, GcAction, GcFailure, GcKept, GcPlan, GcPolicy, GcReason, GcReport, GcStep, MinFree,
    Record, VerificationOutcome, VerifyDepth, VerifyOptions,
};
use serde::Serialize;

use crate::amount;
use crate::app::App;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::json::Line;
use crate::verify::{self, Listed};

/// Free room: what nothing needs, and by policy what was not used for long
///
/// Without options, it removes what dead processes have left and content that no model references, and keeps the
/// store within the limits that `catalog config` has set. It never takes a model that is pinned, leased, open in a
/// live process, or being staged, and for room it does not take one that was staged or used within the grace. If room
/// is not short, content goes into the store's trash first and stays there for the grace: staging it again then costs
/// nothing.
///
/// It prints each step with its reason, and each model that stays although the policy would take it, with that
/// reason. Then it takes the steps and prints a summary. If it can free less than was asked for, the exit code is 9.
/// With --json, the summary of a dry run has null for `blobs`, `trashed`, `locks` and `removed_shared_bytes`, which
/// are known only afterwards.
///
/// It reads no content. With --check, it then reads all content that was copied or changed since its last full check,
/// so that no `path` has to; after a root was copied or restored, that is everything, once. It reports what it finds
/// as `verify` does.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog gc --dry-run --max-bytes 200GB
  catalog gc --max-idle 30d --retired-after 7d
  catalog gc --min-free 10% --grace 15m
  catalog gc --check                  # for a nightly job, or after the root was copied
  catalog gc --dry-run --max-bytes 0 --json | jq -r 'select(.action == \"keep\").id'")]
pub(crate) struct Args {
    /// Only print what would be done and why; works on a read-only root
    #[arg(long)]
    dry_run: bool,
    /// The most that the store may occupy on disk: 200GB, 200GiB, or plain bytes [default: max_bytes of `config`]
    #[arg(long, value_name = "SIZE", value_parser = amount::size)]
    max_bytes: Option<u64>,
    /// What has to be free on its file system: 10%, 50GB, 50GiB, or plain bytes [default: min_free of `config`]
    #[arg(long, value_name = "SIZE|%", value_parser = amount::min_free)]
    min_free: Option<MinFree>,
    /// Take models that were not used for this long, room or not: 12h, 30d, 8w
    #[arg(long, value_name = "TIME", value_parser = amount::duration)]
    max_idle: Option<Duration>,
    /// Take models that were retired this long ago, room or not
    #[arg(long, value_name = "TIME", value_parser = amount::duration)]
    retired_after: Option<Duration>,
    /// Remove for good what has been in quarantine this long: 30d; 0 for all of it
    #[arg(long, value_name = "TIME", value_parser = amount::duration)]
    quarantine_after: Option<Duration>,
    /// For room, take nothing that was staged or used within this time, and keep trash for as long; 0 for none
    /// [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = amount::duration)]
    grace: Option<Duration>,
    /// For room, first take what can be fetched again: what was pushed to a registry or a bucket, or came from one
    #[arg(long)]
    if_pushed: bool,
    /// Then read what was copied or changed since its last full check, and record that it is good; exit code 4 if not
    #[arg(long, conflicts_with = "dry_run")]
    check: bool,
}

/// The sums of `gc`. Numbers that are known only once it is done are null in a dry run.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Summary {
    /// `summary`.
    action: &'static str,
    /// Nothing was done; the sums are what would be.
    dry_run: bool,
    /// Models that were evicted.
    entries: u64,
    /// Blobs that were removed for good.
    blobs: Option<u64>,
    /// Blobs that were put into the trash.
    trashed: Option<u64>,
    /// Leftovers and views that were removed.
    leftovers: u64,
    /// Files that were removed from quarantine.
    quarantined: u64,
    /// Lock files that were removed.
    locks: Option<u64>,
    /// Bytes of the evicted models, as engines saw them.
    logical_bytes: u64,
    /// Bytes on disk that came free.
    physical_bytes: u64,
    /// What the whole store shares with files outside, before; not in `used_bytes`.
    shared_bytes: u64,
    /// The part of that which was removed and did not come free.
    removed_shared_bytes: Option<u64>,
    /// What the store occupied, before.
    used_bytes: u64,
    /// What is missing to what the policy asks for.
    shortfall_bytes: u64,
    /// Steps that were not taken, because something came into use.
    skipped: u64,
    /// Steps that failed.
    failed: u64,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let catalog = if self.dry_run { app.open()? } else { app.open_with_locks()? };
        app.note_unknown_room(&catalog);
        let plan = catalog.plan_gc(&self.policy(&catalog)?)?;
        for step in &plan.steps {
            self.tell(app, Line::GcStep(step), |app| step_words(step, app));
        }
        for kept in &plan.kept {
            self.tell(app, Line::GcKept(kept), |app| kept_words(kept, app));
        }
        let report = if self.dry_run {
            expected(&catalog, &plan)?
        } else {
            // The plan is visible before it happens.
            app.out.flush();
            catalog.execute_gc(&plan)?
        };
        app.note_unreadable(catalog.root(), &plan.unreadable, "it is left alone");
        let failed = tell_failures(app, &report);
        let summary = self.summary(&plan, &report);
        self.tell(app, Line::GcSummary(&summary), |_| summary.words(&plan).into_bytes());
        let collected = failed.and_then(|()| match summary.shortfall_bytes {
            0 => Ok(()),
            missing => Err(self.shortfall(&catalog, missing, &app.command())),
        });
        let checked = if self.check { check_changed(app, &catalog) } else { Ok(()) };
        collected.and(checked)
    }

    /// Missing options follow the store's own limits, or else the library's defaults.
    fn policy(&self, catalog: &FsCatalog) -> catalog_core::Result<GcPolicy> {
        let config = catalog.config()?;
        Ok(GcPolicy::default()
            .with_max_bytes(self.max_bytes.or(config.max_bytes))
            .with_min_free(self.min_free.or(config.min_free))
            .with_max_idle(self.max_idle)
            .with_retired_after(self.retired_after)
            .with_quarantine_after(self.quarantine_after)
            .with_pushed_first(self.if_pushed)
            .with_grace(self.grace.unwrap_or(GcPolicy::default().grace)))
    }

    /// A requested plan is data; a receipt of what was done is silenced by `--quiet`.
    fn tell(&self, app: &mut App, line: Line<'_>, words: impl FnOnce(&App) -> Vec<u8>) {
        if self.dry_run && !app.json() {
            let words = words(app);
            app.out.line(words);
        } else {
            app.receipt(line, words);
        }
    }

    fn summary(&self, plan: &GcPlan, report: &GcReport) -> Summary {
        let once_done = |count| (!self.dry_run).then_some(count);
        Summary {
            action: "summary",
            dry_run: self.dry_run,
            entries: report.entries,
            blobs: once_done(report.blobs),
            trashed: once_done(report.trashed),
            leftovers: report.leftovers,
            quarantined: report.quarantined,
            locks: once_done(report.locks),
            logical_bytes: report.logical_bytes,
            physical_bytes: report.physical_bytes,
            shared_bytes: plan.shared_bytes,
            removed_shared_bytes: once_done(report.shared_bytes),
            used_bytes: plan.used_bytes,
            shortfall_bytes: report.shortfall_bytes,
            skipped: report.skipped,
            failed: report.failed.len() as u64,
        }
    }

    fn shortfall(&self, catalog: &FsCatalog, missing: u64, command: &str) -> Failure {
        let verb = if self.dry_run { "would be" } else { "are" };
        Failure::no_room(format!(
            "could not free as much as is asked for at {}: {} {verb} missing, and what is left is pinned, leased, \
             open, shared with files outside the store, or was used within the grace",
            catalog.root().display(),
            human::exact_size(missing),
        ))
        .with_hint(format!("`{command} unpin`, `{command} remove` and a shorter --grace give more"))
    }
}

/// Reads content that may have changed since its last full check, without holding a lock.
fn check_changed(app: &mut App, catalog: &FsCatalog) -> Outcome {
    // Known damage would be read each time, with nothing new to report.
    let is_due = |record: &Record| record.kind != ArtifactKind::Registered && record.damaged_ms.is_none();
    let due = catalog.records()?.into_iter().filter(is_due);
    let ids: Vec<String> = due.map(|record| record.entry.id).collect();
    let mut changed: BTreeSet<String> = ids.iter().cloned().collect();
    let by_stamps = VerifyOptions::default().with_depth(VerifyDepth::Quick);
    catalog.verify_many(&ids, &by_stamps, &mut |answer| {
        if let Ok(report) = answer
            && matches!(report.outcome, VerificationOutcome::Pass { .. })
        {
            changed.remove(&report.id);
        }
    });
    if changed.is_empty() {
        return Ok(());
    }
    let models = if changed.len() == 1 { "1 model was" } else { &format!("{} models were", changed.len()) };
    app.note(&format!("{models} copied or changed since the last full check; reading that now"));
    let changed: Vec<String> = changed.into_iter().collect();
    let only_changed = VerifyOptions::default().with_max_age(Duration::MAX);
    verify::check(app, catalog, &changed, only_changed, Listed::ByCatalog, None)
}

/// Reports each step that failed; the rest was done.
fn tell_failures(app: &mut App, report: &GcReport) -> Outcome {
    let about = |failure: &GcFailure| {
        let action = failure.action.as_ref()?;
        let digest = action.digest().map(ToString::to_string);
        action.id().map(str::to_owned).or(digest).or_else(|| Some(action.path()?.to_string_lossy().into_owned()))
    };
    let failed = report.failed.iter().map(|failure| (about(failure).unwrap_or_default(), failure));
    app.each(failed, |_, failure| Err(failure.error.clone().into()))
}

/// What executing the plan would report if nothing changed in between, as far as a plan knows.
fn expected(catalog: &FsCatalog, plan: &GcPlan) -> catalog_core::Result<GcReport> {
    let mut report = GcReport::default();
    report.physical_bytes = plan.freed_bytes;
    report.shortfall_bytes = plan.shortfall_bytes;
    for step in &plan.steps {
        match &step.action {
            GcAction::RemoveLeftover { .. } | GcAction::RemoveView { .. } => report.leftovers += 1,
            GcAction::RemoveQuarantined { .. } => report.quarantined += 1,
            GcAction::EvictEntry { id, .. } => {
                report.entries += 1;
                report.logical_bytes =
                    report.logical_bytes.saturating_add(catalog.record(id)?.map_or(0, |record| record.size_bytes));
            }
            _ => {}
        }
    }
    Ok(report)
}

fn step_words(step: &GcStep, app: &App) -> Vec<u8> {
    let mut words = format!("{} ", step.word().replace('_', " ")).into_bytes();
    if let Some(id) = step.action.id() {
        words.extend_from_slice(app.out.shown(id).as_bytes());
    }
    if let Some(digest) = step.action.digest() {
        words.extend_from_slice(human::short_digest(digest).as_bytes());
    }
    if let Some(path) = step.action.path() {
        words.extend_from_slice(&app.out.shown_path(path));
    }
    words.extend_from_slice(why(step.bytes, &step.reason, app).as_bytes());
    words
}

fn kept_words(kept: &GcKept, app: &App) -> Vec<u8> {
    format!("keep {}{}", app.out.shown(&kept.id), why(kept.bytes, &kept.reason, app)).into_bytes()
}

fn why(bytes: u64, reason: &GcReason, app: &App) -> String {
    format!(", {}: {}", human::size(bytes), app.out.shown(&reason.to_string()))
}

impl Summary {
    fn words(&self, plan: &GcPlan) -> String {
        let freed = human::size(self.physical_bytes);
        let used = human::size(self.used_bytes);
        let mut words =
            if self.dry_run { format!("would free {freed} of {used}") } else { format!("freed {freed} of {used}") };
        let into_trash = human::sum_bytes(plan.steps.iter().filter(|step| !step.at_once).map(|step| step.bytes));
        let counts = [
            (self.entries, "model", "evicted"),
            (self.blobs.unwrap_or(0), "blob", "removed"),
            (self.trashed.unwrap_or(0), "blob", "put into trash"),
            (self.leftovers, "leftover", "removed"),
            (self.quarantined, "file", "of quarantine removed"),
            (self.locks.unwrap_or(0), "lock file", "removed"),
            (self.skipped, "step", "skipped, because it came into use"),
            (self.failed, "step", "failed"),
        ];
        for (count, what, done) in counts {
            if count > 0 {
                words.push_str(&format!(", {} {done}", human::count(count, what)));
            }
        }
        let removed_bytes = self.removed_shared_bytes.unwrap_or(0);
        if removed_bytes > 0 {
            let removed = human::size(removed_bytes);
            words.push_str(&format!(
                "; {removed} of what was removed did not come free: files outside the store have it too"
            ));
        }
        let shared_bytes = self.shared_bytes.saturating_sub(removed_bytes);
        if shared_bytes > 0 {
            let shared = human::size(shared_bytes);
            words.push_str(&format!("; {shared} more are shared with files outside the store and count for nothing"));
        }
        if into_trash > 0 {
            let verb = if self.dry_run { "would stay" } else { "stay" };
            words.push_str(&format!("; {} {verb} in trash for the grace", human::size(into_trash)));
        }
        words
    }
}
