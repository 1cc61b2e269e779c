//! What the Hugging Face Hub does not give, and why.

use crate::hint::Hint;

/// Why the Hugging Face Hub does not give something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HubProblem {
    /// The repository is gated, and no token was given.
    #[error("access to the repository is granted on request, and no token says who asks")]
    GatedWithoutToken,
    /// The repository is gated, and the token's account has not been let in.
    #[error("access to the repository is granted on request, and this account has not been granted it")]
    NotGranted,
    /// The Hub does not tell a private repository from one that does not exist.
    #[error("there is no such repository, or it is private and {}", who(*had_token))]
    #[non_exhaustive]
    NoRepository {
        /// A token was sent.
        had_token: bool,
    },
    /// The Hub does not accept the token, which it checks for public repositories too.
    #[error("the Hub does not accept the token")]
    BadToken,
    /// The repository is there, and has no such branch, tag or commit.
    #[error("the repository has no revision {revision:?}")]
    #[non_exhaustive]
    NoRevision {
        /// The branch, tag or commit, cut to a printable length.
        revision: String,
    },
    /// The revision is there, and has no such file or folder.
    #[error("the repository has no file or folder {path:?}")]
    #[non_exhaustive]
    NoFile {
        /// The path in the repository, cut to a printable length.
        path: String,
    },
    /// There are files, and the patterns leave none of them.
    #[error("no file of the repository is selected")]
    NothingSelected,
    /// The Hub has taken the repository out of service.
    #[error("the Hub has disabled access to it")]
    Disabled,
    /// Another refusal of the Hub's.
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

    /// Every other one is about who asks.
    pub(super) fn is_denied(&self) -> bool {
        !self.is_not_found()
    }
}

fn who(had_token: bool) -> &'static str {
    if had_token { "the token cannot read it" } else { "no token was given" }
}
