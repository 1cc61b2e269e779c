//! The report as a JSON object, and in words on one screen.

use catalog_core::{GcKept, GcStep, MinFree};
use serde::Serialize;

use super::data::{Asked, Plan, State, is_pinned, is_registered, is_retired};
use crate::app::App;
use crate::du;
use crate::human::{self, count};
use crate::table::{self, Column};

/// As many names as fit on a screen next to the sums.
const NAMES: usize = 3;

/// The JSON of `report`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Summary<'a> {
    /// The version of the command.
    version: &'static str,
    /// Where the store is, absolute.
    root: String,
    /// When it was measured, in milliseconds since the Unix epoch.
    made_ms: u64,
    /// The sums of `du`.
    usage: du::Summary,
    /// What is free on the file system; null if it does not tell.
    free_bytes: Option<u64>,
    /// The store's own limit; null if it has none.
    max_bytes: Option<u64>,
    /// What has to stay free by the store's own limits: bytes or a percentage, as text; null if nothing has to.
    min_free: Option<String>,
    /// What no model needs: unreferenced, trash, partials and leftovers. `gc` takes it, a part of it after the grace.
    reclaimable_bytes: u64,
    /// How many models are retired.
    retired: usize,
    /// How many models a pin holds.
    pinned: usize,
    /// How many models are only paths to files elsewhere.
    registered: usize,
    /// The models that are known to be damaged.
    damaged: Vec<&'a str>,
    /// The models that have a digest and were never checked in full.
    never_verified: Vec<&'a str>,
    /// The oldest of the full checks, in milliseconds since the Unix epoch; null if there was none.
    oldest_verified_ms: Option<u64>,
    /// What would go next, and why. There is a second plan if the first one evicts no model.
    plans: Vec<PlanJson<'a>>,
}

/// What a collection would do, and what it was asked for.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PlanJson<'a> {
    /// `limits`: the store's own limits. `half`: nothing has to go, and `max_bytes` is half of what is used.
    asked: Asked,
    /// The most that the store may occupy.
    max_bytes: Option<u64>,
    /// What has to stay free: bytes or a percentage, as text.
    min_free: Option<String>,
    /// What was staged or used within this time is not taken for room.
    grace_ms: u64,
    /// What the store occupies now.
    used_bytes: u64,
    /// What the steps free.
    freed_bytes: u64,
    /// What is missing to what was asked for.
    shortfall_bytes: u64,
    /// The steps, in their order.
    steps: &'a [GcStep],
    /// The models that the plan would take and that stay.
    kept: &'a [GcKept],
}

impl<'a> From<&'a State> for Summary<'a> {
    fn from(state: &'a State) -> Self {
        let checks = state.longest_unchecked();
        let verified_ms = |model: &&&super::data::Model| model.record.entry.last_verified_ms;
        Summary {
            version: env!("CARGO_PKG_VERSION"),
            root: state.root.to_string_lossy().into_owned(),
            made_ms: state.made_ms,
            usage: du::Summary::from(&state.usage),
            free_bytes: state.free_bytes,
            max_bytes: state.config.max_bytes,
            min_free: text(state.config.min_free),
            reclaimable_bytes: state.reclaimable_bytes(),
            retired: state.count(is_retired),
            pinned: state.count(is_pinned),
            registered: state.count(is_registered),
            damaged: state.damaged().map(|model| model.record.entry.id.as_str()).collect(),
            oldest_verified_ms: checks.iter().find_map(|model| verified_ms(&model)),
            never_verified: checks
                .iter()
                .filter(|model| verified_ms(model).is_none())
                .map(|model| model.record.entry.id.as_str())
                .collect(),
            plans: state.plans.iter().map(PlanJson::from).collect(),
        }
    }
}

impl<'a> From<&'a Plan> for PlanJson<'a> {
    fn from(Plan { asked, plan }: &'a Plan) -> Self {
        PlanJson {
            asked: *asked,
            max_bytes: plan.policy.max_bytes,
            min_free: text(plan.policy.min_free),
            grace_ms: u64::try_from(plan.policy.grace.as_millis()).unwrap_or(u64::MAX),
            used_bytes: plan.used_bytes,
            freed_bytes: plan.freed_bytes,
            shortfall_bytes: plan.shortfall_bytes,
            steps: &plan.steps,
            kept: &plan.kept,
        }
    }
}

fn text(amount: Option<MinFree>) -> Option<String> {
    amount.map(|amount| amount.to_string())
}

/// Prints the same numbers in words.
pub(super) fn print(app: &mut App, state: &State, summary: &Summary<'_>) {
    let rows: Vec<Vec<String>> =
        lines(app, state, summary).into_iter().map(|(name, words)| vec![format!("{name}:"), words]).collect();
    app.table(&[Column::text("", 0), Column::text("", 0)], &rows, 1);
}

fn lines(app: &App, state: &State, summary: &Summary<'_>) -> Vec<(&'static str, String)> {
    let usage = &state.usage;
    let size = human::size;
    let models = [
        (summary.retired, "retired"),
        (summary.pinned, "pinned"),
        (summary.registered, "elsewhere"),
        (summary.damaged.len(), "damaged"),
    ];
    let models: Vec<String> =
        models.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}")).collect();
    let some = if models.is_empty() { String::new() } else { format!(": {}", models.join(", ")) };
    let mut lines = vec![
        ("root", app.out.shown(&summary.root).into_owned()),
        ("models", format!("{}{some}", state.models.len())),
        ("logical", format!("{}, as engines see them", size(usage.logical_bytes))),
        ("on disk", format!("{}, of it {} in quarantine", size(usage.physical_bytes), size(usage.quarantine_bytes))),
        ("saved", format!("{}, by storing equal files once", size(usage.saved_bytes))),
        ("shared", format!("{} with files outside the store: removing it frees nothing", size(usage.shared_bytes))),
        ("gc can take", format!("{}, which no model needs", size(summary.reclaimable_bytes))),
        ("free", summary.free_bytes.map_or_else(|| "the file system does not tell".to_owned(), size)),
        ("limits", limits(state.config.max_bytes, state.config.min_free)),
    ];
    for plan in &state.plans {
        lines.push(next(app, plan));
    }
    lines.push(("never checked", names(app, &summary.never_verified)));
    let oldest = summary.oldest_verified_ms.map_or_else(|| "never".to_owned(), human::ago);
    lines.push(("oldest check", oldest));
    lines.push(("damaged", names(app, &summary.damaged)));
    lines
}

/// The limits as a person writes them.
pub(super) fn limits(max_bytes: Option<u64>, min_free: Option<MinFree>) -> String {
    let max = max_bytes.map(|bytes| format!("max_bytes {}", human::size(bytes)));
    let free = min_free.map(|free| match free.as_bytes() {
        Some(bytes) => format!("min_free {}", human::size(bytes)),
        None => format!("min_free {free}"),
    });
    let limits: Vec<String> = max.into_iter().chain(free).collect();
    if limits.is_empty() { "none".to_owned() } else { limits.join(", ") }
}

/// What would go, in one line.
fn next(app: &App, Plan { asked, plan }: &Plan) -> (&'static str, String) {
    let evicted: Vec<&str> = plan.steps.iter().filter_map(|step| step.action.id()).collect();
    let freed = human::size(plan.freed_bytes);
    let short = match plan.shortfall_bytes {
        0 => String::new(),
        bytes => format!("; {} could not be freed", human::size(bytes)),
    };
    let kept = if plan.kept.is_empty() { String::new() } else { format!("; {} kept", count(plan.kept.len(), "model")) };
    let what = if evicted.is_empty() { "no model".to_owned() } else { names(app, &evicted) };
    match asked {
        Asked::Limits => ("gc would take", format!("{what}; {freed} freed{short}{kept}")),
        Asked::Half => {
            let most = human::size(plan.policy.max_bytes.unwrap_or(0));
            ("first to go", format!("{what}, if only {most} were allowed; {freed} freed{short}{kept}"))
        }
    }
}

/// The number of ids, and the first of them.
fn names(app: &App, ids: &[&str]) -> String {
    if ids.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<String> = ids.iter().take(NAMES).map(|id| short(&app.out.shown(id))).collect();
    let more = if ids.len() > NAMES { ", …" } else { "" };
    format!("{}: {}{more}", ids.len(), shown.join(", "))
}

fn short(id: &str) -> String {
    table::cut_in_the_middle(id, 40)
}
