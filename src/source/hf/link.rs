//! The `Link` header.

/// Returns the target of `rel="next"` as it is written.
pub(crate) fn next(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        let (mut parameters, others) = split_unquoted(after, ',');
        while !parameters.is_empty() {
            let (parameter, more) = split_unquoted(parameters, ';');
            if is_next(parameter) {
                return Some(target);
            }
            parameters = more;
        }
        rest = others;
    }
}

/// Splits the text at the first separator outside quotation marks.
fn split_unquoted(text: &str, separator: char) -> (&str, &str) {
    let mut is_quoted = false;
    let is_here = |c: char| {
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    };
    let at = text.find(is_here).unwrap_or(text.len());
    (text.get(..at).unwrap_or(text), text.get(at + 1..).unwrap_or_default())
}

fn is_next(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, value)| {
        let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
        name.trim().eq_ignore_ascii_case("rel") && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("<https://a.example/x?cursor=1>; rel=\"next\"", Some("https://a.example/x?cursor=1"))]
    #[case("</x>;rel=next", Some("/x"))]
    #[case("<a>; rel=\"prev\", <b>; rel=\"next\"", Some("b"))]
    #[case("<a>; title=\"x, <c>; rel=next\"; rel=\"prev\", <b>; REL=\"last Next\"", Some("b"))]
    #[case("<a,b>; rel=\"next\"", Some("a,b"))]
    #[case("<a>; rel=\"nexting\"", None)]
    #[case("<a>; rev=\"next\"", None)]
    #[case("<a>", None)]
    #[case("<a; rel=\"next\"", None)]
    #[case("a; rel=\"next\"", None)]
    #[case("", None)]
    fn the_next_page(#[case] header: &str, #[case] target: Option<&str>) {
        assert_eq!(next(header), target);
    }
}
