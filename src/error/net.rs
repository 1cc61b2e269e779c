//! What can go wrong between this machine and a server.

use std::net::IpAddr;

use super::hub::HubProblem;

/// Why a request was not sent: no rule of the policy allows it. [`rule`](Refused::rule) returns the one that would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// No rule names the host with this scheme and port.
    #[error("no rule allows {origin} for {purpose}")]
    #[non_exhaustive]
    Host {
        /// Scheme, host and port.
        origin: String,
        /// What it was to be contacted for.
        purpose: &'static str,
        /// The rule that would allow it.
        rule: String,
    },
    /// The host is, or resolves to, an address outside the public internet, and no rule names that address.
    #[error("{host} has the address {address}, which is {kind}, and no rule names it")]
    #[non_exhaustive]
    Address {
        /// The host as it is written.
        host: String,
        /// The address.
        address: IpAddr,
        /// "a loopback address", "a private address", …
        kind: &'static str,
        /// The rule that would allow it.
        rule: String,
    },
    /// A policy of this machine forbids what a rule may allow.
    #[error("{origin} is not allowed on this machine, according to {}", path.display())]
    #[non_exhaustive]
    Machine {
        /// Scheme, host and port, or an address.
        origin: String,
        /// The policy file.
        path: std::path::PathBuf,
    },
    /// The scheme is neither http nor https.
    #[error("`{scheme}:` is not supported, only https and http are")]
    #[non_exhaustive]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// The URL contains a user name or a password.
    #[error("the URL has a user name or password in it, which would be stored and logged")]
    UserInfo,
    /// The text is not a host.
    #[error("{host:?} is not the name of a host")]
    #[non_exhaustive]
    NotAHost {
        /// The text, cut to a printable length.
        host: String,
    },
    /// A redirect from https to http.
    #[error("it redirects from https to {origin}, where anybody on the way could read and change the data")]
    #[non_exhaustive]
    Downgrade {
        /// Scheme, host and port of the target.
        origin: String,
    },
    /// The file is larger than the policy allows.
    #[error("it has {size_bytes} bytes, and no file of more than {limit_bytes} bytes may be fetched")]
    #[non_exhaustive]
    FileTooLarge {
        /// Its size in bytes.
        size_bytes: u64,
        /// The largest size that the policy allows, in bytes.
        limit_bytes: u64,
    },
    /// The policy requires a digest, and none is known beforehand.
    #[error("its digest is not known in advance, and no file may be fetched without one")]
    NoDigest,
    /// Too many redirects in a row.
    #[error("it redirects more than {limit} times")]
    #[non_exhaustive]
    TooManyRedirects {
        /// The most redirects that are followed.
        limit: u32,
    },
}

impl Refused {
    /// The rule that would allow it. `None`: no rule can.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        match self {
            Refused::Host { rule, .. } | Refused::Address { rule, .. } => Some(rule),
            _ => None,
        }
    }
}

/// Why a request to a server failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The policy does not allow it. Nothing was sent to that server, but an allowed one may have redirected to it.
    #[error("refused: {0}")]
    Refused(#[from] Refused),
    /// The server denies this user access.
    #[error("the server denies access ({status}{}){}", text(": ", reason), place(page, request_id))]
    #[non_exhaustive]
    Denied {
        /// 401 or 403.
        status: u16,
        /// The server's own explanation.
        reason: Option<String>,
        /// The page on which to ask for access.
        page: Option<String>,
        /// The id by which the server's operators can find this request.
        request_id: Option<String>,
    },
    /// The server does not have it.
    #[error("the server does not have it ({status}{}){}", text(": ", reason), place(&None, request_id))]
    #[non_exhaustive]
    NotFound {
        /// 404 or 410.
        status: u16,
        /// The server's own explanation.
        reason: Option<String>,
        /// The id by which the server's operators can find this request.
        request_id: Option<String>,
    },
    /// The server responded with a status that none of the other variants covers.
    #[error("the server says {status}{}{}", text(": ", reason), place(&None, request_id))]
    #[non_exhaustive]
    Status {
        /// The status.
        status: u16,
        /// The server's own explanation.
        reason: Option<String>,
        /// The id by which the server's operators can find this request.
        request_id: Option<String>,
    },
    /// The file has changed since the fetch began.
    #[error("it changed on the server while it was fetched ({detail})")]
    #[non_exhaustive]
    Changed {
        /// What has changed.
        detail: String,
    },
    /// The server sends the file only from its start, but the fetch has to resume in the middle.
    #[error("the server does not send parts of it, and sends nothing by which another version could be recognized")]
    NoRanges,
    /// The Hugging Face Hub does not have it, or denies this user access.
    #[error("{problem}{}", in_brackets(page, request_id))]
    #[non_exhaustive]
    Hub {
        /// Why.
        problem: HubProblem,
        /// The page of the repository, on which to ask for access.
        page: String,
        /// The id by which the Hub's operators can find this request.
        request_id: Option<String>,
    },
    /// The bytes have the wrong hash, even after retries.
    #[error("its bytes are the git blob {found}, but {expected} was expected")]
    #[non_exhaustive]
    WrongGitBlob {
        /// SHA-1, in hex.
        expected: String,
        /// SHA-1, in hex.
        found: String,
    },
    /// The reference leads to something that is not a model that can be fetched.
    #[error("it is not a model that can be fetched: {detail}")]
    #[non_exhaustive]
    NoModel {
        /// Why.
        detail: String,
    },
    /// The server does not report the size.
    #[error("the server does not say how large it is")]
    NoSize,
    /// It is larger than accepted.
    #[error("{what} is larger than {limit_bytes} bytes")]
    #[non_exhaustive]
    TooLarge {
        /// "the response", "the header of the response", …
        what: &'static str,
        /// The limit.
        limit_bytes: u64,
    },
    /// The response violates the protocol.
    #[error("the response makes no sense: {detail}")]
    #[non_exhaustive]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
    /// The server's certificate cannot be trusted.
    #[error("the server could not be trusted: {detail}")]
    #[non_exhaustive]
    Untrusted {
        /// The explanation from TLS.
        detail: String,
    },
    /// No response, or only part of one, even after retries.
    #[error("{detail}{}", tried(*attempts))]
    #[non_exhaustive]
    Unreachable {
        /// Number of attempts.
        attempts: u32,
        /// The outcome of the last attempt.
        detail: String,
    },
}

#[cfg(any(feature = "net", feature = "testing"))]
impl NetError {
    #[cfg(feature = "net")]
    pub(crate) fn unreachable(detail: impl Into<String>) -> Self {
        NetError::Unreachable { attempts: 1, detail: detail.into() }
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        NetError::Malformed { detail: detail.into() }
    }

    pub(crate) fn changed(detail: impl Into<String>) -> Self {
        NetError::Changed { detail: detail.into() }
    }
}

pub(super) fn text(before: &str, words: &Option<String>) -> String {
    words.as_ref().map_or_else(String::new, |words| format!("{before}{words}"))
}

fn place(page: &Option<String>, request_id: &Option<String>) -> String {
    format!("{}{}", text(", see ", page), text(", request id ", request_id))
}

fn in_brackets(page: &str, request_id: &Option<String>) -> String {
    format!(" (see {page}{})", text(", request id ", request_id))
}

fn tried(attempts: u32) -> String {
    if attempts > 1 { format!(" (tried {attempts} times)") } else { String::new() }
}
