//! The page: one file that loads nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use catalog_core::Digest;

use super::data::{Model, State, is_pinned, is_registered, is_retired};
use super::markup::Html;
use super::picture::{Class, Tile, What, tiles};
use super::summary::limits;
use super::{models, next, svg};
use crate::{du, human};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The lists other than the table of all models have at most this many rows.
const LISTED: usize = 20;

/// The page of a store. `command` is how a shell calls this command for the same root.
pub(super) fn page(state: &State, command: &str) -> String {
    let tiles = tiles(state);
    let mut html = Html::default();
    head(&mut html, state);
    html.raw("<body>\n<a class=\"skip\" href=\"#models\">Skip to the table of all models</a>\n");
    top(&mut html, state);
    html.raw("<main>\n");
    disk(&mut html, state, &tiles, command);
    next::section(&mut html, state, command);
    checks(&mut html, state, command);
    models::section(&mut html, state, &tiles);
    html.raw("</main>\n<script>").raw(SCRIPT).raw("</script>\n</body>\n</html>\n");
    html.into_string()
}

/// The policy allows only this style and this script: neither markup that slips in nor anything that is loaded.
fn head(html: &mut Html, state: &State) {
    html.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    let (style, script) = (source_of(STYLE), source_of(SCRIPT));
    let policy =
        format!("default-src 'none'; style-src {style}; script-src {script}; base-uri 'none'; form-action 'none'");
    html.raw("<meta http-equiv=\"Content-Security-Policy\"").attr("content", policy).raw(">\n");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.raw("<meta name=\"referrer\" content=\"no-referrer\">\n");
    html.raw("<title>Model store ").text(state.root.display()).raw("</title>\n");
    html.raw("<style>").raw(STYLE).raw("</style>\n</head>\n");
}

/// The source expression of a policy that allows an element with this text.
fn source_of(text: &str) -> String {
    format!("'sha256-{}'", BASE64.encode(Digest::sha256_of(text.as_bytes()).as_bytes()))
}

fn top(html: &mut Html, state: &State) {
    html.raw("<header>\n<h1>Model store</h1>\n<p><code>").text(state.root.display()).raw("</code><br>\n");
    html.raw("<span class=\"quiet\">Made ").raw("<time").attr("datetime", human::utc(state.made_ms)).raw(">");
    html.text(human::utc_minute(state.made_ms)).raw(" UTC</time> by catalog ").text(env!("CARGO_PKG_VERSION"));
    html.raw(". All times are UTC.</span></p>\n");
    let damaged = state.damaged().count();
    if damaged > 0 {
        html.raw("<p class=\"notice\"><span class=\"bad\">").text(models_are(damaged)).raw(" damaged</span>");
        html.raw(" and not given out: <a href=\"#checks\">what to do</a></p>\n");
    }
    for folder in &state.usage.unreadable {
        html.raw("<p class=\"notice\"><code>").text(folder.display());
        html.raw("</code> belongs to another user and cannot be looked into; its bytes are not counted.</p>\n");
    }
    html.raw("</header>\n");
}

fn models_are(number: usize) -> String {
    if number == 1 { "1 model is".to_owned() } else { format!("{number} models are") }
}

/// The size as a person reads it, with the exact number in the title.
pub(super) fn size(html: &mut Html, bytes: u64) {
    html.raw("<span").attr("title", format!("{bytes} bytes")).raw(">").text(human::size(bytes)).raw("</span>");
}

/// An id as a link to its row. An id in a right-to-left script must not reorder the text around it.
pub(super) fn id_link(html: &mut Html, state: &State, id: &str) {
    let number = state.models.iter().position(|model| model.record.entry.id == id);
    html.raw("<bdi class=\"id\">");
    match number {
        Some(number) => html.raw("<a").attr("href", format!("#model-{number}")).raw(">").text(id).raw("</a>"),
        None => html.text(id),
    };
    html.raw("</bdi>");
}

fn disk(html: &mut Html, state: &State, tiles: &[Tile], command: &str) {
    html.raw("<section aria-labelledby=\"disk\">\n<h2 id=\"disk\">What is on the disk</h2>\n");
    figures(html, state);
    if tiles.is_empty() {
        html.raw("<p>Nothing is on the disk: ").text(nothing(state)).raw("</p>\n");
    } else {
        svg::patterns(html);
        html.raw("<p class=\"quiet\">Areas are bytes on disk. Of what several models share, each has an equal part. A rectangle leads \
                  to its row in the table.</p>\n<ul class=\"legend\">\n");
        for class in Class::ALL.into_iter().filter(|class| has(tiles, *class)) {
            html.raw("<li>");
            svg::swatch(html, class);
            html.raw("<span>").text(class.meaning()).raw("</span></li>\n");
        }
        html.raw("</ul>\n");
        for picture in svg::SIZES {
            svg::picture(html, state, tiles, picture);
        }
    }
    sums(html, state, command);
    html.raw("</section>\n");
}

fn nothing(state: &State) -> &'static str {
    if state.models.is_empty() { "the store is empty." } else { "the models are empty or elsewhere." }
}

fn has(tiles: &[Tile], class: Class) -> bool {
    let has = |tile: &Tile| {
        (tile.classes.0 == class && tile.first_bytes > 0) || (tile.classes.1 == class && tile.first_bytes < tile.bytes)
    };
    tiles.iter().any(has)
}

/// The few numbers that a reader looks at first.
fn figures(html: &mut Html, state: &State) {
    let usage = &state.usage;
    html.raw("<dl class=\"figures\">\n<div><dt>models</dt><dd>").text(state.models.len()).raw("</dd></div>\n");
    for (name, bytes) in [
        ("on disk", usage.physical_bytes),
        ("logical, as engines see it", usage.logical_bytes),
        ("saved by storing once", usage.saved_bytes),
        ("gc can take", state.reclaimable_bytes()),
    ] {
        html.raw("<div><dt>").text(name).raw("</dt><dd>");
        size(html, bytes);
        html.raw("</dd></div>\n");
    }
    html.raw("<div><dt>free on the file system</dt><dd>");
    match state.free_bytes {
        Some(bytes) => size(html, bytes),
        None => _ = html.raw("not told"),
    }
    html.raw("</dd></div>\n<div><dt>limits of the store</dt><dd>");
    html.text(limits(state.config.max_bytes, state.config.min_free)).raw("</dd></div>\n</dl>\n");
}

fn sums(html: &mut Html, state: &State, command: &str) {
    html.raw("<h3 id=\"sums\">The sums</h3>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"sums\">\n<table>\n");
    html.raw("<thead><tr><th scope=\"col\">Sum</th><th scope=\"col\" class=\"number\">Bytes</th><th scope=\"col\">What it is</th></tr></thead>\n<tbody>\n");
    for (name, bytes, meaning) in du::sums(&state.usage, command) {
        html.raw("<tr><th scope=\"row\">").text(name).raw("</th><td class=\"number\">");
        size(html, bytes);
        html.raw("</td><td>").text(meaning).raw("</td></tr>\n");
    }
    html.raw("</tbody>\n</table>\n</div>\n<p class=\"quiet\">");
    let counts = [
        (is_retired as fn(&_) -> bool, "retired"),
        (is_pinned, "pinned"),
        (is_registered, "only a path to files elsewhere"),
    ];
    let counts = counts.map(|(holds, what)| format!("{} {what}", state.count(holds)));
    html.text(format!("Of {}: {}.", human::count(state.models.len() as u64, "model"), counts.join(", "))).raw("</p>\n");
}

fn checks(html: &mut Html, state: &State, command: &str) {
    html.raw("<section aria-labelledby=\"checks\">\n<h2 id=\"checks\">What was not checked for long</h2>\n");
    let damaged: Vec<&Model> = state.damaged().collect();
    if damaged.is_empty() {
        html.raw("<p>No model is known to be damaged.</p>\n");
    } else {
        html.raw("<h3 id=\"damaged\" class=\"bad\">Damaged</h3>\n<p><code>").text(command);
        html.raw(" repair ID</code> repairs a model from its source or from a good copy.</p>\n");
        let found = |model: &Model| model.record.damaged_ms;
        list(html, state, &damaged, "damaged", ("Found", "-"), found);
    }
    let due = state.longest_unchecked();
    if due.is_empty() {
        html.raw("<p>No model has a digest that it could be checked against.</p>\n</section>\n");
        return;
    }
    html.raw("<h3 id=\"unchecked\">The oldest checks</h3>\n<p>");
    let never = due.iter().filter(|model| model.record.entry.last_verified_ms.is_none()).count();
    html.text(models_are(never).replace(" is", " was").replace(" are", " were"));
    html.raw(" never checked in full. <code>").text(command).raw(" verify ID</code> checks one.</p>\n");
    list(html, state, &due, "unchecked", ("Checked", "never"), |model| model.record.entry.last_verified_ms);
    html.raw("</section>\n");
}

/// The first of these models, with a time for each.
fn list(
    html: &mut Html,
    state: &State,
    models: &[&Model],
    name: &'static str,
    (title, none): (&'static str, &'static str),
    time_of: impl Fn(&Model) -> Option<u64>,
) {
    html.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\"")
        .attr("aria-labelledby", name)
        .raw(">\n<table class=\"ids\">\n<thead><tr>");
    html.raw("<th scope=\"col\">Model</th><th scope=\"col\">").raw(title);
    html.raw("</th><th scope=\"col\" class=\"number\">Size</th></tr></thead>\n<tbody>\n");
    for model in models.iter().take(LISTED) {
        html.raw("<tr><th scope=\"row\">");
        id_link(html, state, &model.record.entry.id);
        html.raw("</th><td class=\"time\">");
        models::time(html, time_of(model), none);
        html.raw("</td><td class=\"number\">");
        size(html, model.record.size_bytes);
        html.raw("</td></tr>\n");
    }
    html.raw("</tbody>\n</table>\n</div>\n");
    if models.len() > LISTED {
        html.raw("<p>And ").text(models.len() - LISTED).raw(" more: the table of all models has them.</p>\n");
    }
}

/// The models that have a rectangle of their own.
pub(super) fn drawn(tiles: &[Tile]) -> impl Iterator<Item = usize> + '_ {
    tiles.iter().filter_map(|tile| if let What::Model(number) = tile.what { Some(number) } else { None })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The relative luminance of `#rrggbb`, as WCAG defines it.
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| match f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0 {
            low if low <= 0.04045 => low / 12.92,
            high => ((high + 0.055) / 1.055).powf(2.4),
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    // Red when the dots of the dark scheme are as light as #8d682c.
    #[test]
    fn every_text_can_be_read_on_every_ground() {
        let schemes: Vec<BTreeMap<&str, &str>> = STYLE
            .split(":root {")
            .skip(1)
            .take(2)
            .map(|rest| {
                let colours =
                    rest.split_once('}').unwrap().0.split(';').filter_map(|line| line.trim().split_once(": "));
                colours.filter(|(_, value)| value.starts_with('#')).collect()
            })
            .collect();
        for scheme in &schemes {
            assert_eq!(scheme.len(), 18, "{scheme:?}");
            let check = |front: &str, grounds: &[&str], least: f64| {
                for ground in grounds {
                    let [a, b] = [front, ground].map(|name| luminance(scheme[format!("--{name}").as_str()]));
                    let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                    assert!(contrast >= least, "{front} on {ground}: {contrast:.1}");
                }
            };
            let fills = ["own", "shared", "gc", "quarantine", "other"];
            check("text", &fills, 4.5);
            check("text", &["shared-line", "gc-line", "quarantine-line", "other-line"], 4.5);
            for front in ["text", "quiet", "link", "bad"] {
                check(front, &["page", "box", "mark"], 4.5);
            }
            check("edge", &fills, 3.0);
        }
    }
}
