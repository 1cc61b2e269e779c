//! What the Hugging Face Hub refuses, and why.

use crate::hint::Hint;

/// Why the Hugging Face Hub refuses a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HubProblem {
    /// The repository is gated, and no token was given.
    #[error("access to the repository is granted on request, and no token was given")]
    GatedWithoutToken,
    /// The repository is gated, and the token's account has no access.
    #[error("access to the repository is granted on request, and this account has not been granted it")]
    NotGranted,
    /// There is no such repository, or it is private; the Hub does not say which.
    #[error("there is no such repository, or it is private and {}", who(*had_token))]
    #[non_exhaustive]
    NoRepository {
        /// Whether a token was sent.
        had_token: bool,
    },
    /// The Hub rejects the token. It checks the token even for public repositories.
    #[error("the Hub does not accept the token")]
    BadToken,
    /// The repository exists, but has no such branch, tag or commit.
    #[error("the repository has no revision {revision:?}")]
    #[non_exhaustive]
    NoRevision {
        /// The branch, tag or commit, cut to a printable length.
        revision: String,
    },
    /// The revision exists, but has no such file or folder.
    #[error("the repository has no file or folder {path:?}")]
    #[non_exhaustive]
    NoFile {
        /// The path in the repository, cut to a printable length.
        path: String,
    },
    /// The repository has files, but the patterns select none of them.
    #[error("none of the repository's files is selected")]
    NothingSelected,
    /// The Hub has disabled the repository.
    #[error("the Hub has disabled access to it")]
    Disabled,
    /// Another refusal of the Hub.
    #[error("the Hub denies access ({status}{})", super::net::text(": ", reason))]
    #[non_exhaustive]
    Denied {
        /// 401 or 403.
        status: u16,
        /// The Hub's own words.
        reason: Option<String>,
    },
}

impl HubProblem {
    pub(super) fn hint(&self) -> Option<Hint> {
        match self {
            HubProblem::GatedWithoutToken => Some(Hint::GiveToken),
            HubProblem::NotGranted => Some(Hint::AskForAccess),
            HubProblem::NoRepository { .. } => Some(Hint::CheckRepository),
            HubProblem::BadToken => Some(Hint::GiveOtherToken),
            HubProblem::NoRevision { .. } | HubProblem::NoFile { .. } => Some(Hint::CheckReference),
            HubProblem::NothingSelected => Some(Hint::CheckPatterns),
            HubProblem::Denied { .. } => Some(Hint::GetAccess),
            HubProblem::Disabled => None,
        }
    }

    pub(super) fn is_not_found(&self) -> bool {
        matches!(
            self,
            HubProblem::NoRepository { .. }
                | HubProblem::NoRevision { .. }
                | HubProblem::NoFile { .. }
                | HubProblem::NothingSelected
        )
    }

    /// All other problems deny access.
    pub(super) fn is_denied(&self) -> bool {
        !self.is_not_found()
    }
}

fn who(had_token: bool) -> &'static str {
    if had_token { "the token cannot read it" } else { "no token was given" }
}
