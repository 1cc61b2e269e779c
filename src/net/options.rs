//! How a client behaves, apart from what its policy allows.

use std::path::PathBuf;
use std::time::Duration;

use super::proxy::Proxies;
use super::retry::Retry;
use crate::cancel::Cancel;

/// How a [`Client`](crate::Client) connects, waits, retries and limits its rate.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientOptions {
    /// How often to retry a request that may succeed later.
    pub retries: u32,
    /// The longest wait before the first retry. It doubles each time, up to 20 s.
    pub retry_delay: Duration,
    /// How long resolving a name, and making a connection, may take.
    pub connect_timeout: Duration,
    /// How long a server may send nothing.
    pub idle_timeout: Duration,
    /// Give up on a server that sends less than this over `min_rate_window`. 0: no minimum.
    pub min_bytes_per_s: u64,
    /// See `min_bytes_per_s`.
    pub min_rate_window: Duration,
    /// Limit for all connections together.
    pub limit_bytes_per_s: Option<u64>,
    /// The proxies to use.
    pub proxies: Proxies,
    /// A PEM file with the certificates of the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Cancels the work of the client.
    pub cancel: Cancel,
}

impl Default for ClientOptions {
    /// No proxy, the system's authorities, five retries, 10 s to connect, 30 s of silence, 1 kB/s over 30 s.
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
    /// The default options with the proxies of the environment, and the authorities of the file that `CATALOG_CA_FILE`
    /// names.
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
