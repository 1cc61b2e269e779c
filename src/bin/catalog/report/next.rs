//! What `gc` would take next, and why.

use std::time::Duration;

use catalog_core::{GcPlan, GcStep};

use super::data::{Asked, Plan, State};
use super::markup::Html;
use super::page::{id_link, size};
use super::summary::limits;
use crate::human;

/// The page shows at most this many steps of a plan, and this many models that stay.
const STEPS: usize = 40;
const KEPT: usize = 20;

pub(super) fn section(html: &mut Html, state: &State, command: &str) {
    html.raw("<section aria-labelledby=\"next\">\n<h2 id=\"next\">What would go next</h2>\n");
    for plan in &state.plans {
        match plan.asked {
            Asked::Limits => by_limits(html, state, plan, command),
            Asked::Half => if_room_were_needed(html, state, plan, command),
        }
    }
    html.raw("</section>\n");
}

fn by_limits(html: &mut Html, state: &State, Plan { plan, .. }: &Plan, command: &str) {
    html.raw("<h3 id=\"limits\">What gc would take now</h3>\n<p>Asked: <code>").text(command);
    html.raw(" gc</code> with the store’s own limits (").text(limits(plan.policy.max_bytes, plan.policy.min_free));
    html.raw("), and with a grace of ").text(minutes(plan.policy.grace)).raw(".</p>\n");
    outcome(html, plan);
    table(html, state, plan, "limits");
}

fn if_room_were_needed(html: &mut Html, state: &State, Plan { plan, .. }: &Plan, command: &str) {
    let most = plan.policy.max_bytes.unwrap_or(0);
    html.raw("<h3 id=\"half\">If room were needed</h3>\n<p>No model has to go now. Asked, to see which would go first: <code>");
    html.text(format!("{command} gc --dry-run --max-bytes {most}")).raw("</code>, which is half of the ");
    size(html, plan.used_bytes);
    html.raw(" that are used. What is used least recently goes first; what was staged or used within ");
    html.text(minutes(plan.policy.grace)).raw(" stays.</p>\n");
    outcome(html, plan);
    table(html, state, plan, "half");
}

fn minutes(time: Duration) -> String {
    match time.as_secs() / 60 {
        minutes if minutes % 60 == 0 && minutes > 0 => format!("{} h", minutes / 60),
        minutes => format!("{minutes} min"),
    }
}

fn outcome(html: &mut Html, plan: &GcPlan) {
    if plan.steps.is_empty() {
        html.raw("<p>It would take nothing.");
    } else {
        html.raw("<p>It would free ");
        size(html, plan.freed_bytes);
        html.raw(" of ");
        size(html, plan.used_bytes);
        html.raw(".");
    }
    if plan.shortfall_bytes > 0 {
        html.raw(" <span class=\"bad\">");
        size(html, plan.shortfall_bytes);
        html.raw(
            " could not be freed</span>: what is left is pinned, leased, open, shared, or was used within the grace.",
        );
    }
    html.raw("</p>\n");
}

/// The steps in their order, then the models that stay.
fn table(html: &mut Html, state: &State, plan: &GcPlan, heading: &'static str) {
    if plan.steps.is_empty() && plan.kept.is_empty() {
        return;
    }
    html.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\"").attr("aria-labelledby", heading);
    html.raw(">\n<table class=\"ids\">\n<thead><tr><th scope=\"col\">Action</th><th scope=\"col\">What</th>");
    html.raw("<th scope=\"col\" class=\"number\">Frees</th><th scope=\"col\">Why</th></tr></thead>\n<tbody>\n");
    for step in plan.steps.iter().take(STEPS) {
        html.raw("<tr><td class=\"word\">").text(step.word().replace('_', " ")).raw("</td><th scope=\"row\">");
        subject(html, state, step);
        html.raw("</th><td class=\"number\">");
        size(html, step.bytes);
        html.raw("</td><td class=\"why\">").text(&step.reason).raw("</td></tr>\n");
    }
    for kept in plan.kept.iter().take(KEPT) {
        html.raw("<tr><td class=\"word\">keep</td><th scope=\"row\">");
        id_link(html, state, &kept.id);
        html.raw("</th><td class=\"number\">-</td><td class=\"why\">").text(&kept.reason).raw("</td></tr>\n");
    }
    html.raw("</tbody>\n</table>\n</div>\n");
    let (steps, kept) = (plan.steps.len().saturating_sub(STEPS), plan.kept.len().saturating_sub(KEPT));
    if steps + kept > 0 {
        html.raw("<p>And ").text(human::count(steps as u64, "more step")).raw(" and ");
        html.text(human::count(kept as u64, "more model")).raw(" that would be kept.</p>\n");
    }
}

fn subject(html: &mut Html, state: &State, step: &GcStep) {
    if let Some(id) = step.action.id() {
        id_link(html, state, id);
    } else if let Some(digest) = step.action.digest() {
        html.raw("<code").attr("title", digest).raw(">").text(human::short_digest(digest)).raw("</code>");
    } else if let Some(path) = step.action.path() {
        html.raw("<code>").text(path.display()).raw("</code>");
    }
}
