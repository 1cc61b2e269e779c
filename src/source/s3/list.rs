//! The objects below a prefix, from all pages of their list.

use url::Url;

use super::bucket::Bucket;
use super::place::is_key;
use super::xml::{self, Object};
use crate::digest::Digest;
use crate::error::{Error, NetError, Result};
use crate::excerpt::excerpt;
use crate::net::shown;
use crate::source::selection::Selection;
use crate::source::{Cx, paths};

/// Limit for all pages together: enough for some hundred thousand objects.
const LIMIT_BYTES: u64 = 64 << 20;

/// Returns every object whose key begins with `prefix`.
pub(super) fn objects(bucket: &Bucket<'_>, url: &Url, prefix: &str, cx: &Cx<'_>) -> Result<Vec<Object>> {
    let (mut objects, mut left_bytes, mut next) = (Vec::new(), LIMIT_BYTES, None::<String>);
    loop {
        let mut url = url.clone();
        let mut query = url.query_pairs_mut();
        query.append_pair("list-type", "2").append_pair("prefix", prefix);
        if let Some(token) = &next {
            query.append_pair("continuation-token", token);
        }
        drop(query);
        escape_blanks(&mut url);
        let fail = |detail: String| Error::Net { url: shown(&url), source: NetError::Malformed { detail } };
        let request = bucket.request("GET", &url);
        let (_, bytes) = request.read_or(left_bytes, cx.observer, &|response| bucket.refusal(response))?;
        left_bytes = left_bytes.saturating_sub(bytes.len() as u64);
        let page = xml::page(&bytes).map_err(|reason| fail(format!("it is not a list of objects ({reason})")))?;
        // Otherwise a server could send next pages for ever.
        if page.is_truncated && page.contents.is_empty() {
            return Err(fail("an empty page has a next one".into()));
        }
        objects.extend(page.contents);
        match page.next_continuation_token.filter(|token| page.is_truncated && !token.is_empty()) {
            Some(token) => next = Some(token),
            None if page.is_truncated => return Err(fail("the next page has no name".into())),
            None => return Ok(objects),
        }
    }
}

/// Not every server takes a `+` for a space.
pub(super) fn escape_blanks(url: &mut Url) {
    if let Some(query) = url.query().map(|query| query.replace('+', "%20")) {
        url.set_query(Some(&query));
    }
}

/// The selected objects, with their paths below the prefix. Objects that stand for folders are not files.
pub(super) fn files<'o>(
    objects: &'o [Object],
    prefix: &str,
    selection: &Selection,
) -> Result<Vec<(&'o str, &'o Object)>, String> {
    let mut files = Vec::with_capacity(objects.len());
    for object in objects {
        let Some(path) = object.key.strip_prefix(prefix) else {
            return Err(format!("{:?} is not below {:?}", excerpt(&object.key), excerpt(prefix)));
        };
        if path.is_empty() || (path.ends_with('/') && object.size == 0) {
            continue;
        }
        paths::check(path)?;
        if !is_key(&object.key) {
            return Err(format!("no URL can name {:?}", excerpt(&object.key)));
        }
        files.push((path, object));
    }
    paths::check_apart(files.iter().map(|(path, _)| *path))?;
    files.retain(|(path, _)| selection.takes(path));
    Ok(files)
}

/// Distinguishes this list from one at another time.
pub(super) fn fingerprint(files: &[(&str, &Object)]) -> String {
    let mut lines: Vec<String> = files
        .iter()
        .map(|(path, object)| format!("{} {} {path}\n", object.size, object.tag().unwrap_or_default()))
        .collect();
    lines.sort_unstable();
    format!("etags {:.32x}", Digest::sha256_of(lines.concat().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(key: &str, size: u64) -> Object {
        Object { key: key.into(), size, etag: Some("\"x\"".into()), checksum_algorithm: Vec::new() }
    }

    fn paths_of(objects: &[Object], prefix: &str) -> Result<Vec<String>, String> {
        let files = files(objects, prefix, &Selection::new(&[], &["*.bin".into()]))?;
        Ok(files.into_iter().map(|(path, _)| path.to_owned()).collect())
    }

    // Red when the marker of a folder counts as a file, or when a pattern is compared with the whole key.
    #[test]
    fn files_below_a_prefix() {
        let objects = [object("p/", 0), object("p/a", 1), object("p/d/", 0), object("p/d/b", 2), object("p/x.bin", 3)];
        assert_eq!(paths_of(&objects, "p/").unwrap(), ["a", "d/b"]);
        assert_eq!(paths_of(&objects[1..2], "").unwrap(), ["p/a"]);
    }

    // Each is red when its check is removed.
    #[test]
    fn keys_that_are_no_files_of_a_tree() {
        for (keys, problem) in [
            (vec!["q/a"], "is not below"),
            (vec!["p/../a"], "not a plain path"),
            (vec!["p//a"], "not a plain path"),
            (vec!["p/a\u{7}"], "not a plain path"),
            (vec!["p/a", "p/a"], "same path"),
            (vec!["p/a", "p/a/b"], "a file and a folder"),
        ] {
            let objects: Vec<_> = keys.iter().map(|key| object(key, 1)).collect();
            let error = paths_of(&objects, "p/").unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }

    // Red when the order of the list changes the fingerprint, or when a tag or the selection does not.
    #[test]
    fn a_list_is_told_by_its_tags() {
        let objects = [object("a", 1), object("b", 1)];
        let of = |objects: &[&Object]| fingerprint(&objects.iter().map(|o| (o.key.as_str(), *o)).collect::<Vec<_>>());
        let (a, b) = (&objects[0], &objects[1]);
        assert_eq!(of(&[a, b]), of(&[b, a]));
        let other = Object { etag: Some("\"y\"".into()), ..object("b", 1) };
        assert_ne!(of(&[a, b]), of(&[a, &other]));
        assert_ne!(of(&[a, b]), of(&[a]));
    }
}
