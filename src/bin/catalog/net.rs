//! What the command may speak to, and how.

use std::env;
use std::time::Duration;

use catalog_core::{
    Cancel, Client, ClientOptions, Config, FsCatalog, HfOptions, OciOptions, Policy, S3Options, Sources,
};

use crate::amount;
use crate::app::App;

/// Rules of the network policy for every run, with commas or blanks between them.
const ALLOW_VARIABLE: &str = "CATALOG_ALLOW_NET";

/// The options of a verb that may fetch.
#[derive(clap::Args)]
#[command(next_help_heading = "Network options")]
pub(crate) struct Net {
    /// Let the command speak to this server; may be given more than once [env: CATALOG_ALLOW_NET]
    ///
    /// HOST or HOST:PORT for https, *.HOST for all hosts below it, http://HOST for http, an address or a net for one
    /// outside the public internet, hf for the Hugging Face Hub. `catalog config set allow_net` allows it for
    /// everybody who uses the root.
    #[arg(long, value_name = "HOST")]
    allow_net: Vec<String>,
    /// Contact no server: use what is here, and fail if it is not
    #[arg(long)]
    offline: bool,
    /// Receive no more than this from all servers together, such as 20MB/s
    #[arg(long, value_name = "RATE", value_parser = amount::rate)]
    limit_rate: Option<u64>,
    /// How many connections to use for one file
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    connections: u8,
    /// How often to retry after an error that may pass
    #[arg(long, value_name = "N", default_value_t = 5)]
    retries: u32,
    /// How long a server may stay silent, from 1s to 1d
    #[arg(long, value_name = "TIME", value_parser = amount::patience, default_value = "30s")]
    timeout: Duration,
}

impl Net {
    /// The catalog, which fetches what the policy allows: that of the options, of the environment and of the root.
    pub(crate) fn apply(&self, catalog: FsCatalog, cancel: &Cancel) -> catalog_core::Result<FsCatalog> {
        let config = catalog.config()?;
        let sources = Sources::with_options(self.policy(&config)?, self.options(cancel))?;
        let sources =
            config.mirrors.iter().try_fold(sources, |sources, (host, urls)| sources.with_mirrors(host, urls))?;
        let sources = sources.with_connections(self.connections.into());
        let sources = sources.http().hf_with(HfOptions::from_env).oci_with(OciOptions::from_env);
        Ok(catalog.with_sources(sources.s3_with(S3Options::from_env)))
    }

    /// A client with the same policy. The root need not exist.
    pub(crate) fn client(&self, app: &App, cancel: &Cancel) -> catalog_core::Result<Client> {
        let config = match app.open() {
            Ok(catalog) => catalog.config()?,
            Err(error) if error.is_not_found() => Config::default(),
            Err(error) => return Err(error),
        };
        Client::new(self.policy(&config)?, self.options(cancel))
    }

    fn policy(&self, config: &Config) -> catalog_core::Result<Policy> {
        let mut policy = Policy::default().allow_list(&env::var(ALLOW_VARIABLE).unwrap_or_default())?;
        for rule in self.allow_net.iter().chain(&config.allow_net) {
            policy = policy.allow_list(rule)?;
        }
        Ok(policy)
    }

    fn options(&self, cancel: &Cancel) -> ClientOptions {
        let mut options = ClientOptions::from_env().with_cancel(cancel.clone());
        (options.retries, options.idle_timeout) = (self.retries, self.timeout);
        options.limit_bytes_per_s = self.limit_rate;
        options
    }

    pub(crate) fn is_offline(&self) -> bool {
        self.offline
    }
}
