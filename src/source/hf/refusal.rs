//! Errors of the Hub, which explains them in its own headers.

use super::options::HfOptions;
use crate::error::{Error, HubProblem, NetError};
use crate::excerpt::excerpt;
use crate::net::{Response, shown};

/// Converts a response to an error. A response of another server, after a redirect, is handled like that of any server.
pub(super) fn read(response: Response, options: &HfOptions) -> Error {
    let url = response.url();
    if url.origin() != options.endpoint().origin() {
        return response.into_error();
    }
    let parts = Parts::of(options.below_endpoint(url));
    let refusal = Refusal {
        status: response.status(),
        code: response.header("x-error-code").unwrap_or_default(),
        message: response.header("x-error-message").unwrap_or_default(),
    };
    let Some(problem) = refusal.problem(options.has_token(), &parts) else { return response.into_error() };
    let page = options.url([parts.org, parts.name]).into();
    Error::Net { url: shown(url), source: NetError::Hub { problem, page, request_id: response.request_id() } }
}

/// What the path of a URL names.
#[derive(Default)]
struct Parts<'a> {
    org: &'a str,
    name: &'a str,
    revision: &'a str,
    path: &'a str,
}

impl<'a> Parts<'a> {
    /// Finds the reference in `api/models/org/repo/…/revision…`, `api/resolve-cache/models/org/repo/commit/path`, or
    /// `org/repo/resolve/commit/path`.
    fn of(path: &'a str) -> Self {
        let skip = |path: &'a str, count| path.splitn(count + 1, '/').nth(count).unwrap_or_default();
        let (repository, to_revision) = match path {
            _ if path.starts_with("api/resolve-cache/") => (skip(path, 3), 2),
            _ if path.starts_with("api/") => (skip(path, 2), 3),
            _ => (path, 3),
        };
        let mut names = repository.split('/');
        let (org, name) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
        let rest = skip(repository, to_revision);
        let (revision, path) = rest.split_once('/').unwrap_or((rest, ""));
        Parts { org, name, revision, path }
    }
}

struct Refusal<'a> {
    status: u16,
    code: &'a str,
    message: &'a str,
}

impl Refusal<'_> {
    /// `None`: it is not an error specific to the Hub.
    fn problem(&self, had_token: bool, parts: &Parts<'_>) -> Option<HubProblem> {
        Some(match (self.code, self.status) {
            ("GatedRepo", _) if had_token => HubProblem::NotGranted,
            ("GatedRepo", _) => HubProblem::GatedWithoutToken,
            ("RepoNotFound", _) => HubProblem::NoRepository { had_token },
            ("RevisionNotFound", _) => HubProblem::NoRevision { revision: excerpt(parts.revision) },
            ("EntryNotFound", _) => HubProblem::NoFile { path: excerpt(parts.path) },
            (_, 403) if self.message.starts_with("Access to this resource is disabled") => HubProblem::Disabled,
            (_, 401) if self.message.starts_with("Invalid credentials") => HubProblem::BadToken,
            (_, 401 | 403) => {
                let reason = (!self.message.is_empty()).then(|| excerpt(self.message));
                HubProblem::Denied { status: self.status, reason }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("api/models/acme/tiny/revision/v1", "v1", "")]
    #[case("api/models/acme/tiny/tree/c0", "c0", "")]
    #[case("acme/tiny/resolve/c0/a/b", "c0", "a/b")]
    #[case("api/resolve-cache/models/acme/tiny/c0/a/b", "c0", "a/b")]
    #[case("acme/tiny", "", "")]
    fn what_a_path_names(#[case] path: &str, #[case] revision: &str, #[case] file: &str) {
        let parts = Parts::of(path);
        assert_eq!((parts.org, parts.name, parts.revision, parts.path), ("acme", "tiny", revision, file));
        Parts::of("");
    }

    #[rstest]
    #[case(401, "GatedRepo", "", false, Some(HubProblem::GatedWithoutToken))]
    #[case(403, "GatedRepo", "", true, Some(HubProblem::NotGranted))]
    #[case(401, "RepoNotFound", "", false, Some(HubProblem::NoRepository { had_token: false }))]
    #[case(404, "RepoNotFound", "", true, Some(HubProblem::NoRepository { had_token: true }))]
    #[case(401, "", "Invalid credentials in Authorization header", true, Some(HubProblem::BadToken))]
    #[case(404, "RevisionNotFound", "", false, Some(HubProblem::NoRevision { revision: "c0".into() }))]
    #[case(404, "EntryNotFound", "", false, Some(HubProblem::NoFile { path: "a".into() }))]
    #[case(403, "", "Access to this resource is disabled.", false, Some(HubProblem::Disabled))]
    #[case(403, "", "no", false, Some(HubProblem::Denied { status: 403, reason: Some("no".into()) }))]
    #[case(404, "", "", false, None)]
    #[case(500, "", "", false, None)]
    fn what_the_hub_means(
        #[case] status: u16,
        #[case] code: &str,
        #[case] message: &str,
        #[case] had_token: bool,
        #[case] problem: Option<HubProblem>,
    ) {
        let refusal = Refusal { status, code, message };
        assert_eq!(refusal.problem(had_token, &Parts::of("acme/tiny/resolve/c0/a")), problem);
    }
}
