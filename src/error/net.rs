//! What can go wrong between this machine and a server.

use std::net::IpAddr;

use super::hub::HubProblem;

/// Why a request was not made: no rule of the policy allows it. [`rule`](Refused::rule) is the one that would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// No rule names the host, with this scheme and port.
    #[error("no rule allows {origin} for {purpose}")]
    #[non_exhaustive]
    Host {
        /// Scheme, host and port.
        origin: String,
        /// What it was to be asked for.
        purpose: &'static str,
        /// The rule that would allow it.
        rule: String,
    },
    /// The host is, or its name leads to, an address that is not of the public internet, and no rule names that.
    #[error("{host} has the address {address}, which is {kind}, and no rule names that")]
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
    #[error("{origin} is not allowed on this machine, by {}", path.display())]
    #[non_exhaustive]
    Machine {
        /// Scheme, host and port, or an address.
        origin: String,
        /// The file that says so.
        path: std::path::PathBuf,
    },
    /// Neither http nor https.
    #[error("`{scheme}:` is never spoken, only https and http are")]
    #[non_exhaustive]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// The URL has a user name or a password in it.
    #[error("the URL has a user name or password in it, which would be stored and logged")]
    UserInfo,
    /// Text that is no host.
    #[error("{host:?} is not the name of a host")]
    #[non_exhaustive]
    NotAHost {
        /// The text, cut to a printable length.
        host: String,
    },
    /// A redirect from https to http.
    #[error("it redirects from https to {origin}, which anybody on the way could read and change")]
    #[non_exhaustive]
    Downgrade {
        /// Scheme, host and port of the target.
        origin: String,
    },
    /// The file is larger than the policy takes.
    #[error("it has {size_bytes} bytes, and no file of more than {limit_bytes} may be fetched")]
    #[non_exhaustive]
    FileTooLarge {
        /// Its size.
        size_bytes: u64,
        /// The most that the policy takes.
        limit_bytes: u64,
    },
    /// The policy takes only files whose digest was named beforehand.
    #[error("nobody names its digest, without which no file may be fetched")]
    NoDigest,
    /// A redirect after a redirect after …
    #[error("it redirects more than {limit} times")]
    #[non_exhaustive]
    TooManyRedirects {
        /// The most that are followed.
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

/// Why something could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The policy does not allow it. Nothing was sent to the server in question; one that was allowed may have sent on to it.
    #[error("refused: {0}")]
    Refused(#[from] Refused),
    /// The server does not let this user have it.
    #[error("the server denies access ({status}{}){}", text(": ", reason), place(page, request_id))]
    #[non_exhaustive]
    Denied {
        /// 401 or 403.
        status: u16,
        /// The server's own words.
        reason: Option<String>,
        /// Where to ask for access.
        page: Option<String>,
        /// What the server's operators can find this request by.
        request_id: Option<String>,
    },
    /// The server has no such thing.
    #[error("the server has no such thing ({status}{}){}", text(": ", reason), place(&None, request_id))]
    #[non_exhaustive]
    NotFound {
        /// 404 or 410.
        status: u16,
        /// The server's own words.
        reason: Option<String>,
        /// What the server's operators can find this request by.
        request_id: Option<String>,
    },
    /// The server gives an answer that means none of the others.
    #[error("the server says {status}{}{}", text(": ", reason), place(&None, request_id))]
    #[non_exhaustive]
    Status {
        /// The status.
        status: u16,
        /// The server's own words.
        reason: Option<String>,
        /// What the server's operators can find this request by.
        request_id: Option<String>,
    },
    /// It is another file than when the fetch began.
    #[error("it changed on the server while it was fetched ({detail})")]
    #[non_exhaustive]
    Changed {
        /// What was seen to change.
        detail: String,
    },
    /// The server gives the file only from its beginning, and the fetch has to go on from somewhere else.
    #[error("the server does not give parts of it, and says nothing by which another version could be told")]
    NoRanges,
    /// The Hugging Face Hub has it not, or does not give it to this user.
    #[error("{problem}{}", in_brackets(page, request_id))]
    #[non_exhaustive]
    Hub {
        /// Why.
        problem: HubProblem,
        /// The page of the repository, where access is asked for.
        page: String,
        /// What the Hub's operators can find this request by.
        request_id: Option<String>,
    },
    /// Its bytes are not what the server names, however often it was asked.
    #[error("its bytes are the git blob {found}, and {expected} was named")]
    #[non_exhaustive]
    WrongGitBlob {
        /// SHA-1, in hex.
        expected: String,
        /// SHA-1, in hex.
        found: String,
    },
    /// What is there is no model that can be fetched.
    #[error("it is no model that can be fetched: {detail}")]
    #[non_exhaustive]
    NoModel {
        /// Why.
        detail: String,
    },
    /// The server does not say how large it is.
    #[error("the server does not say how large it is")]
    NoSize,
    /// More than is accepted.
    #[error("{what} is larger than {limit_bytes} bytes")]
    #[non_exhaustive]
    TooLarge {
        /// "the answer", "the header of the answer", …
        what: &'static str,
        /// The limit.
        limit_bytes: u64,
    },
    /// The answer is not what the protocol asks for.
    #[error("the answer makes no sense: {detail}")]
    #[non_exhaustive]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
    /// The server's certificate cannot be trusted.
    #[error("the server could not be trusted: {detail}")]
    #[non_exhaustive]
    Untrusted {
        /// What TLS says.
        detail: String,
    },
    /// No answer, or only half of one, however often it was asked.
    #[error("{detail}{}", tried(*attempts))]
    #[non_exhaustive]
    Unreachable {
        /// How often it was asked.
        attempts: u32,
        /// What came of the last time.
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
