//! The policy: which servers may be contacted. It has two gates, and every request passes both at each hop.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use url::{Host, Url};

use super::address::kind_of;
use super::limits::Limits;
use super::machine::{MACHINE_FILE, Machine};
use super::rule::{self, Purpose, Rule, is_name, rule_for};
use super::{listed, shown_origin};
use crate::error::{Error, Refused, Result};
use crate::excerpt::excerpt;

/// Which servers may be contacted. The default allows none.
///
/// A rule is `HOST[:PORT]` or `*.HOST[:PORT]` for https; the same after `http://` for http; an address or a net; or
/// `hf`, the Hugging Face Hub with its stores. The default port is that of the scheme. Addresses outside the public
/// internet (private, loopback, link-local, …) need a rule that names them or their net, even if the name that resolves
/// to them is allowed. A rule that names a loopback address or `localhost` allows http, too.
///
/// ```
/// # use catalog_core::Policy;
/// let policy = Policy::default().allow("hf")?.allow("models.example.org:8443")?;
/// assert!(!policy.is_empty());
/// assert!(Policy::default().allow("ftp://models.example.org").is_err());
/// # Ok::<(), catalog_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    limits: Limits,
    machine: Vec<Machine>,
}

impl Policy {
    /// Also allows what a rule names.
    pub fn allow(mut self, text: &str) -> Result<Self> {
        let rules = rule::parse(text).map_err(|reason| Error::InvalidNetRule { rule: excerpt(text), reason })?;
        self.rules.extend(rules);
        Ok(self)
    }

    /// Also allows what each rule of a list names. The rules are separated by commas or white space, as in an
    /// environment variable.
    pub fn allow_list(self, text: &str) -> Result<Self> {
        listed(text).try_fold(self, Policy::allow)
    }

    /// Refuses files of more than this size before any byte of them is fetched. The lowest limit applies.
    #[must_use]
    pub fn with_max_file_bytes(mut self, bytes: u64) -> Self {
        self.limits = self.limits.and(Limits { max_file_bytes: Some(bytes), ..Limits::default() });
        self
    }

    /// Refuses files whose digest is not known beforehand, either from the server, as the Hub provides for every file,
    /// or from the caller ([`StageOptions::digest`](crate::StageOptions::digest)).
    #[must_use]
    pub fn with_digest_required(mut self) -> Self {
        self.limits.digest_required = true;
        self
    }

    /// Restricts the policy to what a file allows. It can only take away.
    ///
    /// The file may contain `allow = ["RULE", …]` (everything is allowed without it) and `deny = ["RULE", …]`, whose
    /// rules apply to all schemes and ports unless they name one. `max_file_bytes = N` and `digest_required = true` are
    /// the two limits. A file that cannot be read or parsed is an error.
    pub fn narrow(mut self, file: impl AsRef<Path>) -> Result<Self> {
        self.machine.push(Machine::read(file.as_ref())?);
        Ok(self)
    }

    /// Restricts the policy to what the machine allows: `/etc/catalog/net.toml`, if it exists, and the file that
    /// `CATALOG_NET_POLICY` names.
    pub fn narrow_by_machine(self) -> Result<Self> {
        let policy = self.narrow_if_there(Path::new(MACHINE_FILE))?;
        match std::env::var_os("CATALOG_NET_POLICY").filter(|path| !path.is_empty()) {
            Some(path) => policy.narrow(path),
            None => Ok(policy),
        }
    }

    /// A file that cannot be inspected may exist, so it is read.
    fn narrow_if_there(self, file: &Path) -> Result<Self> {
        match file.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self),
            _ => self.narrow(file),
        }
    }

    /// Whether it allows nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The first gate: whether this URL may be requested. `purpose` is `None` if only the host matters.
    pub(super) fn check_url(&self, url: &Url, purpose: Option<Purpose>) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme { scheme: excerpt(url.scheme()) });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::UserInfo);
        }
        match url.host() {
            Some(Host::Domain(name)) if !is_name(name) => return Err(Refused::NotAHost { host: excerpt(name) }),
            None => return Err(Refused::NotAHost { host: String::new() }),
            Some(_) => {}
        }
        let origin = || shown_origin(url);
        if !self.rules.iter().any(|rule| rule.names(url, purpose)) {
            let purpose = purpose.map_or("anything", Purpose::as_str);
            return Err(Refused::Host { origin: origin(), purpose, rule: rule_for(url) });
        }
        let forbids = |machine: &&Machine| {
            let is_allowed = machine.allow.as_ref().is_none_or(|rules| rules.iter().any(|r| r.names(url, purpose)));
            !is_allowed || machine.deny.iter().any(|rule| rule.touches(url))
        };
        match self.machine.iter().find(forbids) {
            Some(machine) => Err(Refused::Machine { origin: origin(), path: machine.path.clone() }),
            None => Ok(()),
        }
    }

    /// Whether a file of this size may be fetched.
    pub(crate) fn check_file(&self, size_bytes: u64, has_digest: bool) -> Result<(), Refused> {
        let all = self.machine.iter().fold(self.limits, |limits, machine| limits.and(machine.limits));
        all.check(size_bytes, has_digest)
    }

    /// The second gate: whether this address, which `host` resolves to, may be connected to.
    pub(super) fn check_address(&self, host: &str, address: SocketAddr) -> Result<(), Refused> {
        let covers = |rules: &[Rule]| rules.iter().any(|rule| rule.covers(host, address));
        let kind = kind_of(address.ip());
        if let Some(kind) = kind.filter(|_| !covers(&self.rules)) {
            let rule = super::address::canonical(address.ip()).to_string();
            return Err(Refused::Address { host: excerpt(host), address: address.ip(), kind, rule });
        }
        let forbids = |machine: &&Machine| {
            let is_allowed = kind.is_none() || machine.allow.as_ref().is_none_or(|rules| covers(rules));
            !is_allowed || covers(&machine.deny)
        };
        match self.machine.iter().find(forbids) {
            Some(machine) => Err(Refused::Machine { origin: address.ip().to_string(), path: machine.path.clone() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
