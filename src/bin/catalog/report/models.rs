//! The table of all models.

use std::collections::BTreeSet;

use catalog_core::Record;

use super::data::{Model, State};
use super::markup::Html;
use super::page::{drawn, size};
use super::picture::Tile;
use super::svg::SIZES;
use crate::human;
use crate::pins::holds;

/// The columns: the word in `#sort=`, the title, and whether the cells are sorted as numbers.
const COLUMNS: [(&str, &str, bool); 13] = [
    ("id", "ID", false),
    ("size", "Size", true),
    ("disk", "On disk", true),
    ("exclusive", "Exclusive", true),
    ("state", "State", false),
    ("trust", "Trust", false),
    ("kind", "Kind", false),
    ("files", "Files", true),
    ("created", "Created", true),
    ("used", "Last used", true),
    ("verified", "Last verified", true),
    ("pins", "Pins", false),
    ("digest", "Digest", false),
];

/// The column that the table is sorted by at first.
const FIRST: &str = "disk";

pub(super) fn section(html: &mut Html, state: &State, tiles: &[Tile]) {
    html.raw("<section aria-labelledby=\"models\">\n<h2 id=\"models\">All models</h2>\n");
    if state.models.is_empty() {
        html.raw("<p>There is none.</p>\n</section>\n");
        return;
    }
    html.raw("<p class=\"quiet\">Size is what an engine sees. On disk has what is shared in equal parts. Exclusive is what \
              removing the model would free.</p>\n<p class=\"filter\" hidden><label for=\"filter\">Only rows with</label>\
              <input id=\"filter\" type=\"search\" autocomplete=\"off\" spellcheck=\"false\"> <output id=\"shown\" \
              for=\"filter\"></output></p>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"models\">\n\
              <table id=\"all\">\n<thead><tr>");
    for (key, title, is_number) in COLUMNS {
        html.raw("<th scope=\"col\"")
            .attr("data-key", key)
            .attr("data-sort", if is_number { "number" } else { "text" });
        if is_number && !is_time(key) {
            html.raw(" class=\"number\"");
        }
        if key == FIRST {
            html.raw(" aria-sort=\"descending\"");
        }
        html.raw(">").text(title).raw("</th>");
    }
    html.raw("</tr></thead>\n<tbody>\n");
    let drawn: BTreeSet<usize> = drawn(tiles).collect();
    for (number, model) in state.models.iter().enumerate() {
        row(html, number, model, drawn.contains(&number));
    }
    html.raw("</tbody>\n</table>\n</div>\n</section>\n");
}

fn is_time(key: &str) -> bool {
    ["created", "used", "verified"].contains(&key)
}

fn row(html: &mut Html, number: usize, model: &Model, is_drawn: bool) {
    let record = &model.record;
    html.raw("<tr").attr("id", format!("model-{number}")).raw("><th scope=\"row\">");
    if is_drawn {
        // The style sheet shows one of these links: the one to the picture that is visible.
        for (picture, ..) in SIZES {
            html.raw("<a").attr("class", picture).attr("href", format!("#{picture}-{number}"));
            html.raw(" aria-label=\"to its rectangle\" title=\"to its rectangle\">↑</a>");
        }
    }
    html.raw("<bdi class=\"id\">").text(&record.entry.id).raw("</bdi>");
    html.raw("</th>");
    for bytes in [record.size_bytes, model.disk_bytes, model.exclusive_bytes] {
        html.raw("<td class=\"number\"").attr("data-value", bytes).raw(">");
        size(html, bytes);
        html.raw("</td>");
    }
    html.raw("<td class=\"word\">").text(record.entry.lifecycle.as_str()).raw("</td><td class=\"word\">");
    match record.damaged_ms {
        Some(_) => html.raw("<span class=\"bad\">DAMAGED</span>"),
        None => html.text(record.trust.as_str()),
    };
    html.raw("</td><td class=\"word\">").text(record.kind.as_str()).raw("</td><td class=\"number\"");
    html.attr("data-value", record.files).raw(">").text(record.files).raw("</td>");
    for (ms, none) in
        [(Some(record.created_ms), "-"), (record.last_used_ms, "never"), (record.entry.last_verified_ms, "never")]
    {
        html.raw("<td class=\"time\"").attr("data-value", ms.map(|ms| ms.to_string()).unwrap_or_default()).raw(">");
        time(html, ms, none);
        html.raw("</td>");
    }
    html.raw("<td class=\"pins\">").text(pins(record)).raw("</td><td class=\"word\">");
    match &record.entry.digest {
        Some(digest) => {
            html.raw("<span class=\"digest\"").attr("title", digest).raw(">").text(human::short_digest(digest));
            html.raw("</span>");
        }
        None => _ = html.raw("-"),
    }
    html.raw("</td></tr>\n");
}

/// The time to the minute, and the exact time for a program.
pub(super) fn time(html: &mut Html, ms: Option<u64>, none: &'static str) {
    match ms {
        Some(ms) => {
            html.raw("<time").attr("datetime", human::utc(ms)).raw(">").text(human::utc_minute(ms)).raw("</time>");
        }
        None => _ = html.raw(none),
    }
}

fn pins(record: &Record) -> String {
    let names: Vec<&str> = record.pins.iter().filter(|(_, pin)| holds(pin)).map(|(name, _)| name.as_str()).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}
