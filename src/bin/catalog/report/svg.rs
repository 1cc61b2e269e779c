//! The picture of the disk as SVG, once for each kind of screen, so that its labels are never too small.

use super::data::State;
use super::markup::Html;
use super::picture::{Class, Tile, What};
use super::treemap::{Rect, squarify};
use crate::human;
use crate::table::cut_in_the_middle;

use unicode_width::UnicodeWidthStr as _;

/// The pictures: their classes in the style sheet, and their sizes. The style sheet shows the one that fits.
pub(super) const SIZES: [(&str, f64, f64); 3] =
    [("wide", 1120.0, 560.0), ("middle", 720.0, 560.0), ("narrow", 328.0, 620.0)];

/// A character of the monospaced font of the labels, and a line of them, in pixels.
const CHARACTER: f64 = 7.3;
const LINE: f64 = 15.0;

/// The space between a label and the edge of its tile.
const PADDING: f64 = 5.0;

/// An id takes at most this many lines in a tile.
const ID_LINES: usize = 4;

/// The patterns that all pictures use. They are not in a hidden picture, because some browsers do not draw patterns
/// that are defined in one.
pub(super) fn patterns(html: &mut Html) {
    html.raw("<svg class=\"patterns\" width=\"0\" height=\"0\" aria-hidden=\"true\" focusable=\"false\"><defs>\n");
    html.raw("<pattern id=\"p-shared\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\">");
    html.raw("<path class=\"b-shared\" d=\"M0 0h8v8h-8z\"/><path class=\"l-shared\" d=\"M-2 2l4-4M0 8l8-8M6 10l4-4\"/></pattern>\n");
    html.raw("<pattern id=\"p-gc\" width=\"9\" height=\"9\" patternUnits=\"userSpaceOnUse\">");
    html.raw(
        "<path class=\"b-gc\" d=\"M0 0h9v9h-9z\"/><circle class=\"d-gc\" cx=\"4.5\" cy=\"4.5\" r=\"1.7\"/></pattern>\n",
    );
    html.raw("<pattern id=\"p-quarantine\" width=\"10\" height=\"10\" patternUnits=\"userSpaceOnUse\">");
    html.raw("<path class=\"b-quarantine\" d=\"M0 0h10v10h-10z\"/><path class=\"l-quarantine\" d=\"M0 0l10 10M10 0l-10 10\"/></pattern>\n");
    html.raw("<pattern id=\"p-other\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\">");
    html.raw("<path class=\"b-other\" d=\"M0 0h7v7h-7z\"/><path class=\"l-other\" d=\"M0 3.5h7\"/></pattern>\n");
    html.raw("</defs></svg>\n");
}

/// A sample of a class, for the legend.
pub(super) fn swatch(html: &mut Html, class: Class) {
    html.raw("<svg class=\"swatch\" width=\"30\" height=\"18\" aria-hidden=\"true\" focusable=\"false\"><rect")
        .attr("class", class.name())
        .raw(" x=\"0.5\" y=\"0.5\" width=\"29\" height=\"17\"/></svg>");
}

/// The whole picture in one of its sizes.
pub(super) fn picture(html: &mut Html, state: &State, tiles: &[Tile], size: (&'static str, f64, f64)) {
    let (name, width, height) = size;
    let sizes: Vec<u64> = tiles.iter().map(|tile| tile.bytes).collect();
    let rects = squarify(&sizes, Rect { x: 0.0, y: 0.0, width, height });
    html.raw("<svg").attr("class", format!("map {name}")).attr("viewBox", format!("0 0 {width} {height}"));
    html.raw(" role=\"group\"").attr("aria-labelledby", format!("{name}-title")).raw(">\n<title");
    html.attr("id", format!("{name}-title")).raw(">What is on the disk, by bytes: ");
    html.text(human::size(state.usage.physical_bytes))
        .raw("; the table of all models has the same in numbers</title>\n");
    for (tile, rect) in tiles.iter().zip(rects) {
        draw(html, state, tile, rect, name);
    }
    html.raw("</svg>\n");
}

fn draw(html: &mut Html, state: &State, tile: &Tile, rect: Rect, picture: &str) {
    let (id, mut words) = describe(state, tile);
    html.raw("<a class=\"tile\"");
    match tile.what {
        What::Model(number) => {
            html.attr("id", format!("{picture}-{number}")).attr("href", format!("#model-{number}"));
        }
        What::More(_) => _ = html.raw(" href=\"#models\""),
        What::Thing(_) => _ = html.raw(" href=\"#sums\""),
    }
    if tile.classes.0 != tile.classes.1 {
        let shared_bytes = tile.bytes - tile.first_bytes;
        words += &format!(
            ", {} of it only here and {} shared",
            human::exact_size(tile.first_bytes),
            human::exact_size(shared_bytes)
        );
    }
    html.raw("><title>").text(&id).raw(": ").text(&words).raw("</title>");
    // This leaves a gap to the next tile.
    let inner = |length: f64| (length - 2.0).max(0.6);
    let outline = Rect { x: rect.x + 1.0, y: rect.y + 1.0, width: inner(rect.width), height: inner(rect.height) };
    let portion = if tile.bytes == 0 { 0.0 } else { tile.first_bytes as f64 / tile.bytes as f64 };
    let (first, rest) = outline.split(portion);
    for (class, part) in [(tile.classes.0, first), (tile.classes.1, rest)] {
        if part.width > 0.0 && part.height > 0.0 {
            rectangle(html, class.name(), part);
        }
    }
    rectangle(html, "edge", outline);
    label(html, &id, &human::size(tile.bytes), outline);
    html.raw("</a>\n");
}

/// The name of a tile, and its size.
fn describe(state: &State, tile: &Tile) -> (String, String) {
    let size = format!("{} on disk", human::exact_size(tile.bytes));
    match tile.what {
        What::Model(number) => {
            let id = state.models.get(number).map_or_else(String::new, |model| model.record.entry.id.clone());
            (crate::text::visible(&id).into_owned(), size)
        }
        What::More(count) if count == state.models.len() => (format!("{count} models"), size),
        What::More(count) => (format!("and {count} more"), size),
        What::Thing(name) => (name.to_owned(), size),
    }
}

fn rectangle(html: &mut Html, class: &'static str, rect: Rect) {
    html.raw("<rect").attr("class", class).length("x", rect.x).length("y", rect.y);
    html.length("width", rect.width).length("height", rect.height).raw("/>");
}

/// The id in as many lines as fit, and the size below it. If only a few letters would fit, the label is left out: the
/// title has it.
fn label(html: &mut Html, id: &str, size: &str, rect: Rect) {
    let columns = ((rect.width - 2.0 * PADDING) / CHARACTER).floor().max(0.0) as usize;
    let room = ((rect.height - PADDING) / LINE).floor().max(0.0) as usize;
    if columns < 6.min(id.width()) || room == 0 {
        return;
    }
    let id_lines = ID_LINES.min(if room > 1 { room - 1 } else { 1 });
    let mut lines = wrapped(id, columns, id_lines);
    let has_size = lines.len() < room && size.width() <= columns;
    if has_size {
        lines.push(size.to_owned());
    }
    html.raw("<text aria-hidden=\"true\">");
    let last = lines.len();
    for (number, line) in lines.iter().enumerate() {
        html.raw("<tspan");
        if has_size && number + 1 == last {
            html.raw(" class=\"size\"");
        }
        html.length("x", rect.x + PADDING).length("y", rect.y + LINE * (number as f64 + 1.0)).raw(">");
        html.text(line).raw("</tspan>");
    }
    html.raw("</text>");
}

/// The text in lines of at most `columns`, broken after a separator if there is one in the second half of a line. If
/// the text does not fit, the last line loses its middle.
fn wrapped(text: &str, columns: usize, most: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text;
    while rest.width() > columns && lines.len() + 1 < most {
        let mut used = 0;
        let end = rest.char_indices().find(|(_, c)| {
            used += c.to_string().width();
            used > columns
        });
        let end = end.map_or(rest.len(), |(end, _)| end);
        let (line, _) = rest.split_at(end);
        let separator = line.rfind(['/', ':', '-', '_', '@', ' ']).map(|at| at + 1).filter(|at| *at * 2 >= end);
        let (line, after) = rest.split_at(separator.unwrap_or(end));
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
        rest = after;
    }
    lines.push(cut_in_the_middle(rest, columns));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_breaks_where_a_reader_would() {
        for (text, columns, most, lines) in [
            ("tiny", 10, 3, ["tiny"].as_slice()),
            ("hf:org/model-7b-q4", 10, 3, &["hf:org/", "model-7b-", "q4"]),
            ("abcdefghijkl", 5, 4, &["abcde", "fghij", "kl"]),
            ("abcdefghijkl", 5, 2, &["abcde", "fg…kl"]),
            ("日本語日本語", 5, 3, &["日本", "語日", "本語"]),
            ("日本", 1, 3, &["…"]),
            ("", 5, 2, &[""]),
        ] {
            assert_eq!(wrapped(text, columns, most), lines, "{text}");
        }
    }
}
