//! HTML in which no text from outside can be markup: only literals of this program are written raw.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

use crate::text::visible;

/// A growing page. Markup has to be `'static`. An id, a path or a reason can only be added as text or as the value of
/// an attribute, which are both escaped.
#[derive(Default)]
pub(super) struct Html(String);

impl Html {
    /// Adds markup from a literal of this program.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text, with invisible characters made visible.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        self.0.push_str(&escape(&text.to_string()));
        self
    }

    /// Adds an attribute, with its value in quotes.
    pub(super) fn attr(&mut self, name: &'static str, value: impl Display) -> &mut Self {
        self.raw(" ").raw(name).raw("=\"").text(value).raw("\"")
    }

    /// Adds a length as an attribute of an SVG, to a tenth of a pixel, which is as fine as a person can see.
    pub(super) fn length(&mut self, name: &'static str, value: f64) -> &mut Self {
        self.raw(" ").raw(name);
        // Writing to a string cannot fail.
        let _ = write!(self.0, "=\"{:.1}\"", if value.is_finite() { value } else { 0.0 });
        self
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// The text as HTML, for an element or a quoted attribute. Five characters have a meaning there.
fn escape(text: &str) -> Cow<'_, str> {
    let text = visible(text);
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when a row of the match is removed.
    #[test]
    fn text_is_never_markup() {
        for (text, escaped) in [
            ("hf:org/model", "hf:org/model"),
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("\" onmouseover=\"x", "&quot; onmouseover=&quot;x"),
            ("' x='", "&#39; x=&#39;"),
            ("&lt;", "&amp;lt;"),
            ("]]><!--", "]]&gt;&lt;!--"),
            // A bidi override, a zero-width space and a NUL are shown as text, and have no effect.
            ("a\u{202e}b\u{200b}\0", "a\\u{202e}b\\u{200b}\\u{0}"),
            ("modèle 模型", "modèle 模型"),
        ] {
            assert_eq!(escape(text), escaped);
        }
    }

    #[test]
    fn an_attribute_does_not_end_early() {
        let mut html = Html::default();
        html.raw("<td").attr("title", "a\" onclick=\"b").length("x", f64::NAN).raw(">").text("<b>").raw("</td>");
        assert_eq!(html.into_string(), "<td title=\"a&quot; onclick=&quot;b\" x=\"0.0\">&lt;b&gt;</td>");
    }
}
