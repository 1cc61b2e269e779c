//! How a client behaves, apart from what it may do.

use std::path::PathBuf;
use std::time::Duration;

use super::proxy::Proxies;
use super::retry::Retry;
use crate::cancel::Cancel;

/// How a [`Client`](crate::Client) connects, waits, tries again and keeps to a rate.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientOptions {
    /// How often a request is made again that may succeed later.
    pub retries: u32,
    /// The most that it waits before the first of those; it doubles each time, up to 20 s.
    pub retry_delay: Duration,
    /// How long a name may take to be resolved, and a connection to be made.
    pub connect_timeout: Duration,
    /// How long a server may say nothing.
    pub idle_timeout: Duration,
    /// A server that sends less than this, over `min_rate_window`, is given up. 0: none is.
    pub min_bytes_per_s: u64,
    /// See `min_bytes_per_s`.
    pub min_rate_window: Duration,
    /// All connections together take no more than this.
    pub limit_bytes_per_s: Option<u64>,
    /// Which proxies are used.
    pub proxies: Proxies,
    /// The certificates, as PEM, of the authorities that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Ends what the client does.
    pub cancel: Cancel,
}

impl Default for ClientOptions {
    /// No proxy, the system's authorities, five retries, 10 s to connect, 30 s without a word, 1 kB/s over 30 s.
    fn default() -> Self {
        ClientOptions {
            retries: 5,
            retry_delay: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            min_bytes_per_s: 1000,
            min_rate_window: Duration::from_secs(30),
            limit_bytes_per_s: None,
            proxies: Proxies::default(),
            ca_file: None,
            cancel: Cancel::default(),
        }
    }
}

impl ClientOptions {
    /// With the proxies of the environment, and the authorities of the file that `CATALOG_CA_FILE` names.
    #[must_use]
    pub fn from_env() -> Self {
        let ca_file = std::env::var_os("CATALOG_CA_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        ClientOptions { proxies: Proxies::from_env(), ca_file, ..ClientOptions::default() }
    }

    /// Sets [`cancel`](ClientOptions::cancel).
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    pub(crate) fn retry(&self) -> Retry {
        Retry { times: self.retries, first_delay: self.retry_delay, longest_delay: Duration::from_secs(20) }
    }
}
